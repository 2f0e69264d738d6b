"""The pool's hands on real sockets: what is kept, lent, parted from and cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import attrs
import pytest
import trio

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.pool.idle import IDLE, why_broken
from relayd.pool.wire import LOOKS_MAX, ReactorWire
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.flow import Standing
from relayd.protocol.frames import Opcode, apply_mask, close_frame, encode_frame
from relayd.protocol.outcomes import EndOfStream, Event, Instead, Notice, Violation
from relayd.transport.endpoint import Endpoint
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.reactor import Reactor

BUDGET = 1 << 20
LIMITS = b'{"type":"codex.rate_limits"}'
CREATED = b'{"type":"response.created"}'
DONE = b'{"type":"response.completed"}'


class Turn:
    """A lease's reader: lets everything pass and notices the end."""

    proof = b"\x00"

    def message(self, payload: bytes | bytearray, now: float) -> Notice | Instead | None:
        return Notice("end") if payload == DONE else None

    def harmless(self, head: bytes | bytearray) -> bool:
        return False

    def oversize(self, head: bytes | bytearray, now: float) -> Violation | None:
        return None


@attrs.define(eq=False)
class Rig:
    """A pooled socket, its far end, and the events that the pool is told of."""

    reactor: Reactor
    wire: ReactorWire
    hold: HoldBudget
    endpoint: Endpoint
    far: socket.socket
    events: list[Event] = attrs.Factory(list)

    @property
    def flow(self) -> EventFlow:
        assert isinstance(self.endpoint.flow, EventFlow)
        return self.endpoint.flow

    def keep(self) -> bool:
        return self.wire.keep(self.endpoint, self.events.append, trio.current_time())

    def lend(self) -> bool:
        return self.wire.lend(self.endpoint, trio.current_time())

    def say(self, *texts: bytes) -> None:
        for text in texts:
            self.far.sendall(encode_frame(Opcode.TEXT, text, masked=False))

    def serve(self) -> None:
        while self.reactor.serve_ready():
            pass

    def heard(self) -> list[tuple[int, bytes]]:
        """The frames at the far end: each opcode with its payload; -1 for the end."""
        data, frames = bytearray(), []
        while True:
            try:
                piece = self.far.recv(65536)
            except BlockingIOError:
                break
            if not piece:
                frames.append((-1, b""))
                break
            data += piece
        while data:
            stop = 6 + (data[1] & 0x7F)
            payload = apply_mask(data[6:stop], data[2:6])
            frames.insert(len(frames) - (frames[-1:] == [(-1, b"")]), (data[0] & 15, payload))
            del data[:stop]
        return frames

    def run_turn(self, *texts: bytes) -> None:
        """A lease whose turn consists of ``texts``."""
        self.flow.reader = Turn()
        self.flow.splice = b'"stream_id":"x",'
        self.reactor.arm(self.endpoint, trio.current_time())
        self.say(*texts)
        self.serve()


@pytest.fixture
def rig() -> Iterator[Rig]:
    reactor, hold = Reactor(), HoldBudget(BUDGET)
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    endpoint = Endpoint(near, Side.UPSTREAM, hold, 0.0)
    rig = Rig(reactor, ReactorWire(reactor, hold, 1 << 16), hold, endpoint, far)
    rig.wire.adopt(endpoint)
    yield rig
    reactor.release(endpoint)
    endpoint.close()
    far.close()
    reactor.close()
    assert hold.bytes_held == 0


# -- a turn, and what is left of it


async def test_a_clean_socket_is_kept_and_lent(rig: Rig) -> None:
    rig.run_turn(CREATED, DONE)
    assert await rig.endpoint.next_event() == Notice("end")

    assert rig.keep()
    assert (rig.flow.reader, rig.flow.splice) == (IDLE, b"")
    assert rig.endpoint.armed
    assert rig.lend()
    assert rig.events == []


async def test_a_new_socket_is_its_owner_s_to_arm(rig: Rig) -> None:
    """What came right behind the handshake is the first lease's to read."""
    rig.say(CREATED)
    rig.serve()
    assert not rig.endpoint.armed
    rig.run_turn(DONE)

    assert await rig.endpoint.next_event() == Notice("end")
    assert rig.flow.messages == 2


async def test_what_came_behind_the_end_of_a_turn_makes_it_unclean(rig: Rig) -> None:
    rig.run_turn(DONE, CREATED)
    await rig.endpoint.next_event()
    assert rig.endpoint.tail is not None

    assert not rig.keep()
    assert [why_broken(event) for event in rig.events] == ["stray_event"]


async def test_so_does_what_the_pass_has_not_read_yet(rig: Rig) -> None:
    rig.run_turn(DONE)
    await rig.endpoint.next_event()
    rig.say(CREATED)

    assert not rig.keep()


@pytest.mark.parametrize("size", [1, 3, 10])
async def test_so_does_half_a_message(rig: Rig, size: int) -> None:
    rig.run_turn(DONE)
    await rig.endpoint.next_event()
    rig.far.sendall(encode_frame(Opcode.TEXT, LIMITS, masked=False)[:size])

    assert not rig.keep()


async def test_so_does_a_message_that_is_not_over(rig: Rig) -> None:
    rig.run_turn(CREATED)
    rig.far.sendall(encode_frame(Opcode.TEXT, b"{", masked=False, fin=False))
    rig.serve()

    assert not rig.keep()
    assert rig.flow.reader is not IDLE


async def test_so_do_bytes_that_the_upstream_has_not_taken(rig: Rig) -> None:
    rig.run_turn(DONE)
    await rig.endpoint.next_event()
    rig.endpoint.sink.write([bytes(1 << 19)], Standing.BOUNDARY, trio.current_time())
    assert rig.endpoint.sink.blocked

    assert not rig.keep()


async def test_so_does_an_end(rig: Rig) -> None:
    rig.run_turn(DONE)
    await rig.endpoint.next_event()
    rig.far.close()

    assert not rig.keep()
    assert [why_broken(event) for event in rig.events] == ["peer_gone"]


async def test_so_does_a_broken_rule(rig: Rig) -> None:
    rig.run_turn(CREATED)
    rig.far.sendall(encode_frame(Opcode.BINARY, b"x", masked=False))
    rig.serve()
    assert isinstance(await rig.endpoint.next_event(), Violation)
    assert rig.endpoint.tail is not None

    assert not rig.keep()
    assert rig.reactor.crashes == 0


async def test_a_socket_of_a_client_is_detached_when_it_is_kept(rig: Rig) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    client = Endpoint(near, Side.CLIENT, rig.hold, trio.current_time())
    rig.reactor.adopt(client)
    rig.reactor.attach(rig.endpoint, client)
    rig.run_turn(DONE)
    await rig.endpoint.next_event()

    assert rig.keep()
    assert rig.endpoint.peer is None
    rig.say(LIMITS)
    rig.serve()
    assert far.recv(1000) == encode_frame(
        Opcode.TEXT, b'{"stream_id":"x",' + DONE[1:], masked=False
    )
    rig.reactor.release(client)
    client.close()
    far.close()


# -- while nobody uses it


async def kept(rig: Rig) -> Rig:
    rig.run_turn(DONE)
    await rig.endpoint.next_event()
    assert rig.keep()
    rig.heard()
    return rig


async def test_a_kept_socket_may_tell_of_quotas(rig: Rig) -> None:
    await kept(rig)
    rig.say(LIMITS, LIMITS)
    rig.serve()
    rig.say(LIMITS)

    assert rig.lend()
    assert rig.events == []


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (encode_frame(Opcode.TEXT, CREATED, masked=False), "stray_event"),
        (encode_frame(Opcode.TEXT, bytes([0x7B, 0xFF]), masked=False), "bad_utf8"),
        (encode_frame(Opcode.BINARY, b"x", masked=False), "protocol_error_upstream"),
        (close_frame(1012, "restart", masked=False), "peer_closed"),
        (b"", "peer_gone"),
    ],
)
async def test_anything_else_is_noticed_at_once(rig: Rig, data: bytes, word: str) -> None:
    await kept(rig)
    if data:
        rig.far.sendall(data)
    else:
        rig.far.close()
    rig.serve()

    assert [why_broken(event) for event in rig.events] == [word]
    assert not rig.lend()


async def test_what_has_come_unnoticed_makes_it_unfit_to_be_lent(rig: Rig) -> None:
    await kept(rig)
    rig.say(CREATED)

    assert not rig.lend()
    assert [why_broken(event) for event in rig.events] == ["stray_event"]


async def test_who_never_stops_talking_is_not_lent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receive does not block however often it is tried."""
    await kept(rig)
    looks = []
    real = rig.reactor.look

    def look(endpoint: Endpoint, now: float) -> bool:
        rig.say(LIMITS)
        looks.append(real(endpoint, now))
        return looks[-1]

    monkeypatch.setattr(rig.reactor, "look", look)

    assert not rig.lend()
    assert looks == [True] * LOOKS_MAX


async def test_a_lent_socket_s_events_are_its_owner_s(rig: Rig) -> None:
    await kept(rig)
    assert rig.lend()
    rig.far.close()
    rig.serve()

    assert isinstance(await rig.endpoint.next_event(), EndOfStream)
    assert rig.events == []


async def test_a_ping_is_answered_by_any_byte(rig: Rig) -> None:
    await kept(rig)
    sent_at = trio.current_time()
    rig.wire.ping(rig.endpoint, sent_at)
    assert rig.heard() == [(Opcode.PING, b"relayd")]
    assert rig.wire.heard_at(rig.endpoint) < sent_at

    async def pong() -> None:
        await trio.sleep(0.003)
        rig.far.sendall(encode_frame(Opcode.PONG, b"relayd", masked=False))
        rig.serve()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pong)
        with trio.fail_after(2):
            await rig.wire.answered(rig.endpoint, sent_at)

    assert rig.wire.heard_at(rig.endpoint) >= sent_at
    assert rig.lend(), "the pong is swallowed"


async def test_a_pong_that_comes_during_a_lease_is_swallowed(rig: Rig) -> None:
    await kept(rig)
    rig.wire.ping(rig.endpoint, trio.current_time())
    assert rig.lend()
    rig.flow.reader = Turn()
    rig.far.sendall(encode_frame(Opcode.PONG, b"relayd", masked=False))
    rig.say(DONE)
    rig.serve()

    assert await rig.endpoint.next_event() == Notice("end")
    assert rig.keep()


# -- the end


async def test_a_goodbye_is_a_close_of_1000_and_its_answer_is_noticed(rig: Rig) -> None:
    await kept(rig)
    rig.wire.part(rig.endpoint, rig.events.append, trio.current_time())
    assert rig.heard() == [(Opcode.CLOSE, b"\x03\xe8"), (-1, b"")]
    assert rig.events == []
    rig.far.sendall(close_frame(1000, "", masked=False))
    rig.serve()
    assert len(rig.events) == 1
    rig.wire.cut(rig.endpoint, trio.current_time())

    assert len(rig.reactor) == 0
    assert rig.endpoint.sock.fileno() == -1


async def test_a_cut_says_1001_and_closes(rig: Rig) -> None:
    rig.run_turn(CREATED)
    rig.wire.cut(rig.endpoint, trio.current_time())

    assert rig.heard() == [(Opcode.CLOSE, b"\x03\xe9"), (-1, b"")]
    assert rig.endpoint.sock.fileno() == -1
    assert len(rig.reactor) == 0


async def test_a_cut_inside_what_is_being_sent_resets(rig: Rig) -> None:
    rig.endpoint.sink.write([bytes(1 << 19)], Standing.BOUNDARY, trio.current_time())
    rig.wire.cut(rig.endpoint, trio.current_time())

    assert rig.endpoint.sock.fileno() == -1
    assert rig.hold.bytes_held == 0


async def test_a_socket_that_cannot_be_watched_is_the_relay_s_fault(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(endpoint: Endpoint) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rig.reactor, "adopt", full)
    with pytest.raises(DialError) as caught:
        rig.wire.adopt(rig.endpoint)

    assert caught.value.kind is DialErrorKind.RESOURCES_EXHAUSTED
