"""Any interleaving of peers that send, read, stop reading, close or are cancelled, on sockets.

Two real socket pairs with small buffers, both directions at once. Whatever happens in whichever
order: bytes stay in order, none is lost or doubled, every frame that arrives is whole, and at the
end nothing is held.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.protocol.directions import ClientFlow, UpstreamFlow
from relayd.protocol.frames import Opcode, apply_mask, encode_frame
from relayd.protocol.outcomes import EndOfStream, Event, PeerClosed
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

BUDGET = 1 << 26
MESSAGE_MAX = 1 << 20
SNDBUF = 4608
ROUNDS_MAX = 20_000

PAYLOADS = st.lists(
    st.tuples(
        st.one_of(st.integers(1, 300), st.sampled_from([4000, 65_535, 65_536, 150_000])),
        st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING]),
    ),
    max_size=8,
)
SIDES = st.sampled_from([Side.CLIENT, Side.UPSTREAM])
MOVES = st.lists(
    st.tuples(
        SIDES,
        st.sampled_from(["send", "read", "read all", "serve", "ping", "cancel"]),
        st.sampled_from([1, 7, 1000, 30_000, 200_000]),
    ),
    max_size=40,
)


@attrs.frozen
class Frame:
    opcode: int
    payload: bytes


def frames_in(wire: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames of ``wire``, unmasked, and what is left."""
    frames, pos = [], 0
    while len(wire) - pos >= 2:
        start, length = pos + 2, wire[pos + 1] & 0x7F
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(wire[start : start + size], "big")
            start += size
        masked = bool(wire[pos + 1] & 0x80)
        start += 4 * masked
        if len(wire) < start + length:
            break
        payload = wire[start : start + length]
        if masked:
            payload = apply_mask(payload, wire[start - 4 : start])
        frames.append(Frame(wire[pos] & 0x0F, payload))
        pos = start + length
    return frames, wire[pos:]


@attrs.define
class Peer:
    """One side: its script, what it has sent and read, and its endpoint inside the relay."""

    sock: socket.socket
    endpoint: Endpoint
    sends: list[Frame]
    wire: bytes
    sent: int = 0
    got: bytearray = attrs.Factory(bytearray)
    at_end: bool = False

    def send(self, count: int) -> None:
        piece = self.wire[self.sent : self.sent + count]
        try:
            self.sent += self.sock.send(piece) if piece else 0
        except BlockingIOError:
            pass  # the relay does not read at the moment
        except (BrokenPipeError, ConnectionResetError):
            self.wire = self.wire[: self.sent]

    def read(self, count: int) -> None:
        try:
            data = self.sock.recv(count)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self.got += data
        self.at_end = self.at_end or not data

    @property
    def sent_data(self) -> list[Frame]:
        return [frame for frame in self.sends if frame.opcode < Opcode.CLOSE]

    @property
    def got_data(self) -> list[Frame]:
        return [frame for frame in frames_in(bytes(self.got))[0] if frame.opcode < Opcode.CLOSE]


class Relay:
    """Both directions between two peers, served by hand."""

    def __init__(self, scripts: Sequence[list[tuple[int, Opcode]]], close: bool) -> None:
        self.reactor = Reactor()
        self.hold = HoldBudget(BUDGET)
        self.peers = {
            side: self._peer(side, script, close)
            for side, script in zip(Side, scripts, strict=True)
        }
        client, upstream = self.client, self.upstream
        hold = self.hold
        client.endpoint.flow = ClientFlow(message_max_bytes=MESSAGE_MAX, hold=hold)
        upstream.endpoint.flow = UpstreamFlow(message_max_bytes=MESSAGE_MAX, hold=hold)
        client.endpoint.peer, upstream.endpoint.peer = upstream.endpoint, client.endpoint
        for peer in (client, upstream):
            self.reactor.adopt(peer.endpoint)
            self.reactor.arm(peer.endpoint, trio.current_time())

    @property
    def client(self) -> Peer:
        return self.peers[Side.CLIENT]

    @property
    def upstream(self) -> Peer:
        return self.peers[Side.UPSTREAM]

    def _peer(self, side: Side, script: list[tuple[int, Opcode]], close: bool) -> Peer:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF)
        frames = []
        for at, (length, opcode) in enumerate(script):
            size = min(length, 125) if opcode is Opcode.PING else length
            frames.append(Frame(opcode, (b"%d " % at * (size // 2 + 1))[:size]))
        if close:
            frames.append(Frame(Opcode.CLOSE, b"\x03\xe8"))
        masked = side is Side.CLIENT
        wire = b"".join(encode_frame(Opcode(f.opcode), f.payload, masked=masked) for f in frames)
        return Peer(theirs, Endpoint(ours, side, self.hold, 0.0), frames, wire)

    def serve(self) -> None:
        for _ in range(ROUNDS_MAX):
            if not self.reactor.serve_ready():
                return
        raise AssertionError("the reactor spins")

    async def move(self, side: Side, what: str, count: int) -> None:
        peer = self.peers[side]
        match what:
            case "send":
                peer.send(count)
            case "read":
                peer.read(count)
            case "read all":
                peer.read(1 << 20)
            case "ping":
                peer.endpoint.sink.ping(b"%d" % count, trio.current_time())
                self.reactor.update(peer.endpoint)
            case "cancel":
                await self._wait_cancelled(peer.endpoint)
            case _:
                self.serve()

    async def _wait_cancelled(self, endpoint: Endpoint) -> None:
        """Wait as the owner of the direction does, and be cancelled; no event may get lost."""
        event: Event | None = None
        with trio.CancelScope() as scope:
            scope.cancel()
            event = await endpoint.next_event()
        assert event is None

    async def run_out(self) -> None:
        """Let both peers send all and read all."""
        for _ in range(ROUNDS_MAX):
            before = [(p.sent, len(p.got)) for p in self.peers.values()]
            for peer in self.peers.values():
                peer.send(100_000)
            self.serve()
            for peer in self.peers.values():
                peer.read(1 << 20)
            if before == [(p.sent, len(p.got)) for p in self.peers.values()]:
                return
        raise AssertionError("the relay does not come to rest")

    def close(self) -> None:
        for peer in self.peers.values():
            self.reactor.release(peer.endpoint)
            peer.endpoint.close()
            peer.sock.close()
        self.reactor.close()
        assert self.hold.bytes_held == 0


@settings(max_examples=200)
@given(scripts=st.tuples(PAYLOADS, PAYLOADS), moves=MOVES)
def test_any_interleaving_delivers_every_message_once_and_in_order(
    scripts: tuple[list[tuple[int, Opcode]], ...],
    moves: list[tuple[Side, str, int]],
) -> None:
    async def play() -> None:
        relay = Relay(scripts, close=False)
        try:
            for side, what, count in moves:
                await relay.move(side, what, count)
            await relay.run_out()
            for sender, receiver in (
                (relay.client, relay.upstream),
                (relay.upstream, relay.client),
            ):
                assert sender.sent == len(sender.wire)
                assert receiver.got_data == sender.sent_data
                frames, rest = frames_in(bytes(receiver.got))
                assert rest == b""
                pongs = [frame.payload for frame in frames if frame.opcode == Opcode.PONG]
                pings = [f.payload for f in receiver.sends if f.opcode == Opcode.PING]
                assert is_subsequence(pongs, pings)
                assert pongs[-1:] == pings[-1:]
            assert relay.reactor.crashes == 0
        finally:
            relay.close()

    trio.run(play)


def is_subsequence(some: list[bytes], of: list[bytes]) -> bool:
    rest = iter(of)
    return all(one in rest for one in some)


@settings(max_examples=200)
@given(scripts=st.tuples(PAYLOADS, PAYLOADS), moves=MOVES, clean=st.booleans())
def test_what_came_before_the_end_of_either_side_is_delivered_before_its_event(
    scripts: tuple[list[tuple[int, Opcode]], ...],
    moves: list[tuple[Side, str, int]],
    clean: bool,
) -> None:
    async def play() -> None:
        relay = Relay(scripts, close=clean)
        client, upstream = relay.client, relay.upstream
        try:
            for side, what, count in moves:
                if what != "cancel":  # there may be an event, for which the end of this waits
                    await relay.move(side, what, count)
            while upstream.sent < len(upstream.wire):
                upstream.send(100_000)
                relay.serve()
                client.read(1 << 20)
                upstream.read(1 << 20)
            upstream.sock.shutdown(socket.SHUT_WR)
            await relay.run_out()

            assert client.got_data == upstream.sent_data
            with trio.fail_after(5):
                event = await upstream.endpoint.next_event()
            assert event == (PeerClosed(1000, "") if clean else EndOfStream())
        finally:
            relay.close()

    trio.run(play)


@settings(max_examples=200)
@given(scripts=st.tuples(PAYLOADS, PAYLOADS), moves=MOVES, more=MOVES)
def test_a_close_from_relayd_at_any_moment_cuts_no_frame(
    scripts: tuple[list[tuple[int, Opcode]], ...],
    moves: list[tuple[Side, str, int]],
    more: list[tuple[Side, str, int]],
) -> None:
    async def play() -> None:
        relay = Relay(scripts, close=False)
        client, upstream = relay.client, relay.upstream
        try:
            for side, what, count in moves:
                await relay.move(side, what, count)
            relay.reactor.finish(client.endpoint, 1012, "", trio.current_time())
            for side, what, count in more:
                if what != "cancel":
                    await relay.move(side, what, count)
            await relay.run_out()

            frames, rest = frames_in(bytes(client.got))
            data = [frame for frame in frames if frame.opcode < Opcode.CLOSE]
            assert data == upstream.sent_data[: len(data)]
            if client.endpoint.sink.closing:
                assert rest == b""
                assert frames[-1] == Frame(Opcode.CLOSE, (1012).to_bytes(2, "big"))
                assert client.at_end
            else:
                assert rest  # the peer stands inside a cut-through frame
        finally:
            relay.close()

    trio.run(play)
