"""Both ends of a session's connections, the far ones in the test's hand."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from relayd.core.endings import Reason, Side
from relayd.core.hold import HoldBudget
from relayd.dialect.meter import (
    Charge,
    CountingMeter,
    Listener,
    ToolCalled,
    Turn,
    UpstreamError,
)
from relayd.dialect.realtime import RealtimeConversation
from relayd.dialect.realtime_client import ModelRule
from relayd.protocol.flow import Standing
from relayd.session.verdict import Verdict
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor
from tests.faults.wire import Wire

SEND_BUFFER_BYTES = 4096
"""Asked of the kernel, so that a peer which does not read is soon noticed."""

MORE_THAN_FITS = bytes(4 << 20)
"""More than the buffers between two ends hold."""


@attrs.define(eq=False)
class End:
    """An endpoint and the far end of its connection."""

    endpoint: Endpoint
    far: Wire
    far_sock: socket.socket

    def heard(self) -> bytes:
        """What has been sent to the far end since this was last asked."""
        try:
            return self.far_sock.recv(65536)
        except BlockingIOError:
            return b""

    def block(self, now: float, standing: Standing = Standing.BOUNDARY) -> None:
        """Write until the far end, which does not read, takes nothing more."""
        assert not self.endpoint.sink.write([MORE_THAN_FITS], standing, now)


@attrs.define(eq=False)
class Ends:
    """A session's two connections, not adopted yet."""

    client: End
    upstream: End
    hold: HoldBudget


@contextmanager
def both_ends(*, tcp: bool = False) -> Iterator[Ends]:
    """Two connections, of TCP where a reset matters; all four sockets are closed afterwards."""
    hold = HoldBudget(64 << 20)
    ends = Ends(_end(Side.CLIENT, hold, tcp=tcp), _end(Side.UPSTREAM, hold, tcp=tcp), hold)
    try:
        yield ends
    finally:
        for end in (ends.client, ends.upstream):
            end.endpoint.close()
            end.far.close()


def _end(side: Side, hold: HoldBudget, *, tcp: bool) -> End:
    near, far = _connected() if tcp else socket.socketpair()
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    wire = Wire(trio.socket.from_stdlib_socket(far), is_client=side is Side.CLIENT)
    return End(Endpoint(near, side, hold, trio.current_time()), wire, far)


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    return near, far


class Silent:
    """A listener that takes no note."""

    def turn_asked(self, now: float) -> None:
        """Nothing."""

    def turn_started(self, turn_id: str | None, now: float) -> None:
        """Nothing."""

    def turn_first_output(self, turn_id: str | None, asked_at: float, now: float) -> None:
        """Nothing."""

    def tool_called(self, turn_id: str | None, call: ToolCalled) -> None:
        """Nothing."""

    def turn_ended(self, turn: Turn, charge: Charge) -> None:
        """Nothing."""

    def upstream_error(self, error: UpstreamError, now: float) -> None:
        """Nothing."""

    def upstream_limited(self, retry_after_s: float, now: float) -> None:
        """Nothing."""


def conversation(listener: Listener | None = None) -> RealtimeConversation:
    """A Realtime conversation in which every model may be used."""
    rule = ModelRule(permits=lambda model: True)
    return RealtimeConversation(CountingMeter(), listener or Silent(), rule)


def fallen(reason: Reason, **more: object) -> Verdict:
    """A verdict that has fallen."""
    verdict = Verdict()
    verdict.end(reason, **more)  # type: ignore[arg-type]  # passed on as it came
    return verdict


@contextmanager
def adopted(ends: Ends) -> Iterator[Reactor]:
    """A reactor that has adopted both endpoints, and at the end neither."""
    reactor = Reactor()
    for end in (ends.client, ends.upstream):
        reactor.adopt(end.endpoint)
    try:
        yield reactor
    finally:
        for end in (ends.client, ends.upstream):
            reactor.release(end.endpoint)
        reactor.close()
