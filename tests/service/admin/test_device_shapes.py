"""What requests about devices may hold."""

from __future__ import annotations

import msgspec
import pytest

from relayd.service.admin.device_shapes import Alert, ToolCall


def test_an_alert_needs_its_message_alone() -> None:
    assert msgspec.json.decode(b'{"message":"hi"}', type=Alert) == Alert("hi", "Alert", "neutral")


def test_arguments_are_not_shared_between_calls() -> None:
    first, second = (msgspec.json.decode(b"{}", type=ToolCall) for _ in range(2))
    first.arguments["a"] = msgspec.Raw(b"1")

    assert second.arguments == {}


@pytest.mark.parametrize("shape", [Alert, ToolCall])
def test_what_is_not_known_is_refused(shape: type[Alert | ToolCall]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"message":"hi","arguments":{},"other":1}', type=shape)
