"""Steps may be logged: what people said is not in them."""

from __future__ import annotations

import pytest

from relayd.dialect.xiaozhi_actions import AudioToServer, Called, Part, Step, ToDevice, ToServer


@pytest.mark.parametrize(
    "step",
    [
        ToServer(b"private"),
        ToDevice(b"private"),
        AudioToServer((b"private",)),
        Called(1, b"private"),
        Part(1, said="private"),
    ],
)
def test_no_step_shows_what_was_said(step: Step) -> None:
    assert "private" not in repr(step)
