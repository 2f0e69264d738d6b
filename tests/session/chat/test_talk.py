"""Pieces of an answer over a socket pair, for an exchange that is played by hand."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.dialect.behind import (
    Began,
    Fault,
    Faulted,
    Finished,
    FinishReason,
    More,
    Piece,
    Text,
)
from relayd.pool.parting import Partings
from relayd.protocol.frames import Opcode, close_frame, encode_frame
from relayd.protocol.outcomes import Crash
from relayd.session.chat import verdicts
from relayd.session.chat.line import Line
from relayd.session.chat.talk import SocketTalk
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

LOST = Fault(status=502, type="server_error", code="lost", message="Lost.")
DONE = Finished(FinishReason.STOP)


@attrs.define
class PlayedExchange:
    """Each word of a frame is a piece."""

    ignored: tuple[str, ...] = ("seed",)
    upstream_id: str | None = None
    lost: list[tuple[int | None, str]] = attrs.Factory(list)

    def opening(self) -> tuple[bytes, ...]:
        return (b"one", b"two")

    def feed(self, frame: bytes) -> tuple[Piece, ...]:
        return tuple(map(self._piece, frame.decode().split()))

    def _piece(self, word: str) -> Piece:
        match word:
            case "began":
                self.upstream_id = "u1"
                return Began("u1")
            case "more":
                return More((b"three", b"four"))
            case "done":
                return DONE
            case "fault":
                return Faulted(LOST)
            case _:
                return Text(word)

    def closed(self, code: int | None, reason: str) -> Fault:
        self.lost.append((code, reason))
        return LOST

    def cancelling(self) -> bytes | None:
        return b"stop"


@attrs.define(eq=False)
class Stage:
    talk: SocketTalk
    exchange: PlayedExchange
    hold: HoldBudget
    far: trio.SocketStream
    received: bytearray = attrs.Factory(bytearray)

    async def say(self, *frames: bytes) -> None:
        data = (encode_frame(Opcode.TEXT, each, masked=False) for each in frames)
        await self.far.send_all(b"".join(data))

    async def heard(self, count: int) -> list[tuple[int, bytes]]:
        """The next frames that the upstream gets: their opcodes and payloads."""
        found: list[tuple[int, bytes]] = []
        with trio.fail_after(2):
            while len(found) < count:
                while len(self.received) < 6 or len(self.received) < 6 + (self.received[1] & 0x7F):
                    self.received += await self.far.receive_some(1000)
                size = self.received[1] & 0x7F
                mask, data = self.received[2:6], self.received[6 : 6 + size]
                payload = bytes(each ^ mask[at % 4] for at, each in enumerate(data))
                found.append((self.received[0] & 0x0F, payload))
                del self.received[: 6 + size]
        return found


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    reactor, hold, exchange = Reactor(), HoldBudget(1 << 20), PlayedExchange()
    near, far = socket.socketpair()
    near.setblocking(False)
    partings = Partings(reactor)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        nursery.start_soon(partings.run)
        await wait_all_tasks_blocked()
        endpoint = Endpoint(near, Side.UPSTREAM, hold, trio.current_time())
        talk = SocketTalk(
            line=Line.over_new(endpoint, reactor, hold),
            exchange=exchange,
            partings=partings,
            was_ready=False,
        )
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(far))
        yield Stage(talk, exchange, hold, stream)
        await stream.aclose()
        nursery.cancel_scope.cancel()
    assert near.fileno() == -1
    assert hold.bytes_held == 0
    assert len(reactor) == 0
    reactor.close()


async def test_from_the_request_to_the_end(stage: Stage) -> None:
    talk = stage.talk
    assert talk.begin() is None
    assert await stage.heard(2) == [(1, b"one"), (1, b"two")]
    await stage.say(b"began a", b"b")
    assert await talk.pieces() == (Began("u1"), Text("a"), Text("b"))
    assert (talk.upstream_id, talk.ignored) == ("u1", ("seed",))
    await stage.say(b"done", b"late")
    assert await talk.pieces() == (DONE,)
    await talk.aclose()
    assert await stage.heard(1) == [(8, b"\x03\xe8")]


async def test_a_frame_without_pieces_is_a_sign_of_life(stage: Stage) -> None:
    await stage.say(b"")
    assert await stage.talk.pieces() == ()
    await stage.talk.aclose()


async def test_more_is_sent_and_nobody_hears_of_it(stage: Stage) -> None:
    await stage.say(b"began more a")
    assert await stage.talk.pieces() == (Began("u1"), Text("a"))
    assert await stage.heard(2) == [(1, b"three"), (1, b"four")]
    await stage.talk.aclose()


async def test_more_that_relayd_cannot_hold_ends_it(stage: Stage) -> None:
    await stage.say(b"began more a")
    await wait_all_tasks_blocked()
    stage.hold.bytes_max = 12
    pieces = await stage.talk.pieces()
    assert pieces == (Began("u1"), Faulted(verdicts.OVERLOADED))
    stage.hold.bytes_max = 1 << 20
    await stage.talk.aclose()


async def test_a_request_that_relayd_cannot_hold(stage: Stage) -> None:
    stage.hold.bytes_max = 1
    assert stage.talk.begin() is verdicts.OVERLOADED
    stage.hold.bytes_max = 1 << 20
    await stage.talk.aclose()


async def test_who_leaves_before_the_end_says_so(stage: Stage) -> None:
    await stage.say(b"began a")
    await stage.talk.pieces()
    await stage.talk.aclose()
    assert await stage.heard(2) == [(1, b"stop"), (8, b"\x03\xe8")]


async def test_leaving_waits_for_nothing(stage: Stage) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await stage.talk.aclose()
    assert await stage.heard(2) == [(1, b"stop"), (8, b"\x03\xe8")]


async def test_a_fault_is_the_last_piece(stage: Stage) -> None:
    await stage.say(b"a fault b")
    assert await stage.talk.pieces() == (Text("a"), Faulted(LOST))
    await stage.talk.aclose()
    assert await stage.heard(1) == [(8, b"\x03\xe8")]


async def test_an_upstream_that_closes(stage: Stage) -> None:
    await stage.far.send_all(close_frame(1011, "oops", masked=False))
    assert await stage.talk.pieces() == (Faulted(LOST),)
    assert stage.exchange.lost == [(1011, "oops")]
    await stage.talk.aclose()


async def test_an_upstream_that_is_gone(stage: Stage) -> None:
    await stage.far.aclose()
    assert await stage.talk.pieces() == (Faulted(LOST),)
    assert stage.exchange.lost == [(None, "")]
    await stage.talk.aclose()


async def test_an_upstream_that_breaks_the_rules_is_told(stage: Stage) -> None:
    await stage.far.send_all(b"\xff\xff")
    (piece,) = await stage.talk.pieces()
    assert isinstance(piece, Faulted)
    assert piece.fault.code == "upstream_protocol_error"
    await stage.talk.aclose()
    assert await stage.heard(1) == [(8, b"\x03\xea")]


async def test_a_bug_in_the_byte_path_is_one(stage: Stage) -> None:
    stage.talk.line._noticed(Crash(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError):
        await stage.talk.pieces()
    await stage.talk.aclose()
