"""One socket of one request, on a socket pair over a real reactor."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.core.endings import Reason, Side
from relayd.core.hold import HoldBudget
from relayd.protocol.frames import Opcode, close_frame, encode_frame
from relayd.protocol.outcomes import EndOfStream, Event, PeerClosed, Violation
from relayd.session.chat.line import FRAME_MAX_BYTES, FRAMES_MAX, WAITING_MAX_BYTES, Line
from relayd.transport.endpoint import Endpoint
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.reactor import Reactor

SOON_S = 2.0


@attrs.define(eq=False)
class Stage:
    reactor: Reactor
    hold: HoldBudget
    line: Line
    far: trio.SocketStream

    async def say(self, *payloads: bytes) -> None:
        """The upstream sends these, in one segment where they fit."""
        await self.far.send_all(
            b"".join(encode_frame(Opcode.TEXT, each, masked=False) for each in payloads)
        )

    async def next(self) -> list[bytes] | Event:
        with trio.fail_after(SOON_S):
            return await self.line.next()

    async def all(self, count: int) -> list[bytes]:
        """So many frames."""
        found: list[bytes] = []
        while len(found) < count:
            came = await self.next()
            assert isinstance(came, list)
            assert came, "a waking brings something"
            found += came
        return found


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    reactor, hold = Reactor(), HoldBudget(1 << 22)
    near, far = socket.socketpair()
    near.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        endpoint = Endpoint(near, Side.UPSTREAM, hold, trio.current_time())
        line = Line.over_new(endpoint, reactor, hold)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(far))
        yield Stage(reactor, hold, line, stream)
        line.drop()
        reactor.release(endpoint)
        endpoint.close()
        await stream.aclose()
        nursery.cancel_scope.cancel()
    assert hold.bytes_held == 0
    reactor.close()


def numbered(count: int) -> Sequence[bytes]:
    return [str(number).encode() for number in range(count)]


async def test_frames_that_come_together_are_taken_together(stage: Stage) -> None:
    await stage.say(b"a", b"b", b"c")
    assert await stage.next() == [b"a", b"b", b"c"]
    assert stage.hold.bytes_held == 0


async def test_more_than_may_wait_is_taken_in_turns(stage: Stage) -> None:
    words = numbered(5 * FRAMES_MAX + 7)
    await stage.say(*words)
    await wait_all_tasks_blocked()
    first = await stage.next()
    assert isinstance(first, list)
    assert len(first) == FRAMES_MAX
    assert first + await stage.all(len(words) - FRAMES_MAX) == list(words)


async def test_an_upstream_waits_for_a_reader_that_does_not_come(stage: Stage) -> None:
    payload = b"x" * 60_000
    with trio.move_on_after(0.2) as stuck:
        while True:
            await stage.say(payload)
    assert stuck.cancelled_caught
    assert stage.hold.bytes_held < WAITING_MAX_BYTES + 4 * len(payload)


async def test_what_came_before_the_end_is_taken_before_it(stage: Stage) -> None:
    await stage.far.send_all(
        encode_frame(Opcode.TEXT, b"a", masked=False) + close_frame(1000, "bye", masked=False)
    )
    await wait_all_tasks_blocked()
    assert await stage.next() == [b"a"]
    assert await stage.next() == PeerClosed(1000, "bye")
    assert await stage.next() == PeerClosed(1000, "bye")


async def test_the_end_behind_many_frames_is_found(stage: Stage) -> None:
    words = numbered(2 * FRAMES_MAX)
    await stage.say(*words)
    await stage.far.aclose()
    assert await stage.all(len(words)) == list(words)
    assert isinstance(await stage.next(), EndOfStream)


async def test_cancelling_loses_nothing(stage: Stage) -> None:
    with trio.move_on_after(0.01):
        await stage.line.next()
    await stage.say(b"a")
    assert await stage.next() == [b"a"]


async def test_a_frame_that_is_too_long(stage: Stage) -> None:
    await stage.far.send_all(b"\x81\x7f" + (FRAME_MAX_BYTES + 1).to_bytes(8, "big"))
    end = await stage.next()
    assert isinstance(end, Violation)
    assert end.reason is Reason.TOO_BIG


async def test_fragments_that_are_together_too_long(stage: Stage) -> None:
    head = encode_frame(Opcode.TEXT, b"x" * 700_000, masked=False, fin=False)
    more = encode_frame(Opcode.CONTINUATION, b"x" * 700_000, masked=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.far.send_all, head + more)
        end = await stage.next()
        nursery.cancel_scope.cancel()
    assert isinstance(end, Violation)
    assert end.reason is Reason.TOO_BIG


async def test_frames_that_relayd_may_not_hold(stage: Stage) -> None:
    stage.hold.bytes_max = 10
    await stage.say(b"0123456789", b"x")
    assert await stage.next() == [b"0123456789"]
    assert await stage.next() == Violation.overload()
    stage.hold.bytes_max = 1 << 20


async def test_frames_go_out_masked(stage: Stage) -> None:
    assert stage.line.send(b"hello")
    data = bytes(await stage.far.receive_some(100))
    assert data[:2] == b"\x81\x85"
    mask = data[2:6]
    assert bytes(each ^ mask[at % 4] for at, each in enumerate(data[6:])) == b"hello"


async def test_a_frame_that_there_is_no_room_for_is_not_sent(stage: Stage) -> None:
    stage.hold.bytes_max = 3
    assert not stage.line.send(b"hello")


async def test_an_upstream_that_takes_nothing_gets_all_of_it_later(stage: Stage) -> None:
    payload = b"x" * 3_000_000
    assert stage.line.send(payload)
    assert stage.line.endpoint.sink.blocked
    received = 0
    with trio.fail_after(SOON_S):
        while received < len(payload):
            received += len(await stage.far.receive_some(1 << 20))


async def test_a_socket_that_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    reactor, hold = Reactor(), HoldBudget(1000)

    def adopt(endpoint: Endpoint) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reactor, "adopt", adopt)
    near, far = socket.socketpair()
    endpoint = Endpoint(near, Side.UPSTREAM, hold, trio.current_time())
    with pytest.raises(DialError) as caught:
        Line.over_new(endpoint, reactor, hold)
    assert caught.value.kind is DialErrorKind.RESOURCES_EXHAUSTED
    endpoint.close()
    far.close()
    reactor.close()


async def test_the_pass_is_told_that_somebody_waits(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where traffic is dense it would stay for more of it, with the frame in its hands."""
    told = 0

    def woke(_: Reactor) -> None:
        nonlocal told
        told += 1

    monkeypatch.setattr(Reactor, "woke", woke)
    await stage.say(b"a")

    assert await stage.next() == [b"a"]
    assert told == 1
