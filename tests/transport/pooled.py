"""Several upstreams, one client, and the reactor between them, served by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.protocol.directions import ClientFlow
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.frames import Opcode, encode_frame
from relayd.protocol.outcomes import Action, Taken, Watch
from relayd.transport.reactor import Reactor
from tests.properties.events import Judge
from tests.properties.streams import messages_in
from tests.transport.peers import Contexts, Peer, make_peer

BUDGET: Final = 1 << 26
MESSAGE_MAX: Final = 1 << 24
SOON: Final = 5.0
FILL: Final = 50
"""So many messages of 1 KB are one receive, and more than the client's sockets hold."""


class Taking:
    """Takes every message of the client."""

    def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
        return Taken(payload)

    def release(self, head: bytes) -> Watch | None:
        return None


@attrs.define
class Pooled:
    """The rig. The upstreams are attached and armed."""

    reactor: Reactor
    hold: HoldBudget
    client: Peer
    upstreams: list[Peer]

    @classmethod
    def of(cls, kinds: list[str], contexts: Contexts, *, hold_bytes: int = BUDGET) -> Pooled:
        """A unix or TCP client as ``kinds`` says first, and the upstreams that it says then."""
        hold = HoldBudget(hold_bytes)
        client, *upstreams = (
            make_peer(kind, Side.UPSTREAM if number else Side.CLIENT, hold, contexts)
            for number, kind in enumerate(kinds)
        )
        rig = cls(Reactor(), hold, client, upstreams)
        for peer in (client, *upstreams):
            rig.reactor.adopt(peer.endpoint)
            peer.endpoint.on_event = peer.events.append
        now = trio.current_time()
        client.endpoint.flow = ClientFlow(message_max_bytes=MESSAGE_MAX, hold=hold, reader=Taking())
        rig.reactor.arm(client.endpoint, now)
        for peer in upstreams:
            peer.endpoint.flow = EventFlow(message_max_bytes=MESSAGE_MAX, hold=hold, reader=Judge())
            rig.reactor.attach(peer.endpoint, client.endpoint)
            rig.reactor.arm(peer.endpoint, now)
        return rig

    def serve(self) -> None:
        """Serve until nothing is ready."""
        for _ in range(10_000):
            if not self.reactor.serve_ready():
                return
        raise AssertionError("the reactor spins")

    async def until(self, true: Callable[[], object]) -> None:
        with trio.fail_after(SOON):
            while not true():
                self.serve()
                await trio.lowlevel.checkpoint()

    async def arrives(self, count: int) -> list[bytes]:
        """Serve and read until ``count`` messages have come in all; returns those."""

        def done() -> bool:
            self.client.read()
            return len(self.payloads) >= count

        await self.until(done)
        return self.payloads

    @property
    def payloads(self) -> list[bytes]:
        """The whole messages that the client has read."""
        return [message.payload for message in messages_in(bytes(self.client.got))]

    def arm(self, peer: Peer) -> None:
        self.reactor.arm(peer.endpoint, trio.current_time())

    def detach(self, peer: Peer) -> bool:
        return self.reactor.detach(peer.endpoint, trio.current_time())

    def block(self) -> bytes:
        """Have the first upstream send :data:`FILL` messages; returns which."""
        text = b'{"type":"delta","fill":"%s"}' % (b"x" * 1000)
        self.upstreams[0].send(event(text) * FILL)
        self.serve()
        assert self.client.endpoint.sink.blocked
        return text

    def close(self) -> None:
        peers = [*self.upstreams, self.client]
        for peer in self.upstreams:
            peer.endpoint.deferred = False
            self.reactor.detach(peer.endpoint, 0.0)
        for peer in peers:
            self.reactor.release(peer.endpoint)
            peer.endpoint.close()
            peer.sock.close()
        self.reactor.close()
        assert self.hold.bytes_held == 0


def event(text: bytes, *, fin: bool = True) -> bytes:
    return encode_frame(Opcode.TEXT, text, masked=False, fin=fin)


def piece(text: bytes, *, fin: bool = False) -> bytes:
    return encode_frame(Opcode.CONTINUATION, text, masked=False, fin=fin)
