"""How a device's socket ends."""

from __future__ import annotations

from trio_websocket import CloseReason, ConnectionClosed

from relayd.sim.xiaozhi.heard import channel_closed


def test_the_code_of_a_close_or_1006() -> None:
    closed = channel_closed(ConnectionClosed(CloseReason(1012, "restart")))
    lost = channel_closed(ConnectionClosed(None))

    assert (closed.code, closed.reason, str(closed)) == (1012, "restart", "closed: 1012 restart")
    assert (lost.code, str(lost)) == (1006, "closed: 1006")
