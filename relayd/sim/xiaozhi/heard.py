"""What a simulated device has heard: answers, and the end of its socket."""

from __future__ import annotations

import attrs
from trio_websocket import ConnectionClosed


class DeviceError(Exception):
    """The server did not do what a device waits for; the message says what."""


class ChannelClosed(DeviceError):
    """The socket has ended.

    Attributes:
        code: Of the Close; 1006 where there was none.
        reason: Of the Close.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed: {code} {reason}".strip())
        self.code = code
        self.reason = reason


@attrs.define(eq=False)
class Turn:
    """One answer, as a device has heard it. Times are of the Trio clock, in seconds.

    Attributes:
        heard: What the server has understood.
        sentences: What it has said.
        packets: How many sounded.
        is_over: Whether it has been spoken to its end.
        heard_at: When it was told what was understood.
        sounded_at: When the first packet came.
    """

    heard: str | None = None
    sentences: list[str] = attrs.field(factory=list)
    packets: int = 0
    is_over: bool = False
    heard_at: float | None = None
    sounded_at: float | None = None


def channel_closed(closed: ConnectionClosed) -> ChannelClosed:
    """The end of a socket, as ``trio_websocket`` tells it."""
    reason = closed.reason
    if reason is None:
        return ChannelClosed(1006, "")
    return ChannelClosed(int(reason.code), reason.reason or "")
