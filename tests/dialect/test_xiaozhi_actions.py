"""Steps may be logged: what people said is not in them."""

from __future__ import annotations

import pytest

from relayd.dialect.xiaozhi_actions import AudioToServer, Called, Part, Step, ToDevice, ToServer
from relayd.dialect.xiaozhi_frames import AudioFrame


@pytest.mark.parametrize(
    "step",
    [
        ToServer(b"private"),
        ToDevice(b"private"),
        AudioToServer((AudioFrame(b"private"),)),
        Called(1, b"private"),
        Part(1, said="private"),
    ],
)
def test_no_step_shows_what_was_said(step: Step) -> None:
    assert "private" not in repr(step)
