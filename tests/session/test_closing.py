"""What each side is told at the end, on real connections: Close codes, a clean end, or a reset."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.core.endings import ENDINGS, ENDINGS_BY_UPSTREAM, Ending, Reason, Side
from relayd.protocol.flow import Standing
from relayd.protocol.frames import Opcode, encode_frame
from relayd.session.closing import CLOSE_GRACE_S, CLOSE_TEXTS, Closed, close_all
from relayd.transport.reactor import Reactor
from tests.faults.wire import CLOSE, SOON_S, TEXT, Ended, Frame, Wire, close
from tests.faults.wire import Ending as WireEnding
from tests.session.ends import Ends, adopted, both_ends, fallen

CASES = [
    *((reason, Side.CLIENT) for reason in Reason),
    *((r, Side.UPSTREAM) for r in ENDINGS_BY_UPSTREAM),
]
LONG = encode_frame(Opcode.BINARY, b"x" * 60_000, masked=False)
OWN = (Reason.CLIENT_CLOSED, Reason.UPSTREAM_CLOSED)


@attrs.define
class Heard:
    """All that came to one far end."""

    frames: list[Frame] = attrs.field(factory=list)
    ending: WireEnding | None = None


async def hear(wire: Wire, heard: Heard) -> None:
    """Read to the end, answering a Close as a good peer does."""
    try:
        while True:
            got = await wire.frame()
            heard.frames.append(got)
            if got.opcode == CLOSE:
                await wire.send(close(got.close_code or 1000, masked=wire.is_client))
                await wire.finish()
    except Ended as ended:
        heard.ending = ended.ending


@attrs.define(eq=False)
class Stage:
    """Two adopted endpoints, a reactor that runs, and peers that listen."""

    ends: Ends
    reactor: Reactor
    client: Heard = attrs.field(factory=Heard)
    upstream: Heard = attrs.field(factory=Heard)

    async def close(self, reason: Reason, *, words: bytes = b"", **more: object) -> Closed:
        """End for ``reason`` and hear what both peers were told."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear, self.ends.client.far, self.client)
            nursery.start_soon(hear, self.ends.upstream.far, self.upstream)
            return await close_all(
                self.reactor,
                self.ends.client.endpoint,
                self.ends.upstream.endpoint,
                verdict=fallen(reason, **more),
                last_words=words,
            )


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    with both_ends(tcp=True) as ends, adopted(ends) as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            yield Stage(ends, reactor)
            nursery.cancel_scope.cancel()


def told(heard: Heard) -> tuple[int | None, str] | None:
    """Code and reason of the Close that was heard, if one was."""
    closes = [frame for frame in heard.frames if frame.opcode == CLOSE]
    if not closes:
        return None
    (got,) = closes
    return got.close_code, got.payload[2:].decode()


def ending_of(reason: Reason, sender: Side) -> Ending:
    by_upstream = ENDINGS_BY_UPSTREAM.get(reason) if sender is Side.UPSTREAM else None
    return by_upstream or ENDINGS[reason]


@pytest.mark.parametrize(("reason", "sender"), [case for case in CASES if case[0] not in OWN])
async def test_both_sides_are_told_what_the_table_says(
    stage: Stage, reason: Reason, sender: Side
) -> None:
    ending = ending_of(reason, sender)

    closed = await stage.close(reason, sender=sender)

    for heard, code, abort, logged in (
        (stage.client, ending.client_code, ending.abort_client, closed.client),
        (stage.upstream, ending.upstream_code, ending.abort_upstream, closed.upstream),
    ):
        assert told(heard) == (None if code is None else (code, CLOSE_TEXTS.get(reason, "")))
        assert heard.ending is (WireEnding.RESET if abort else WireEnding.FIN)
        assert logged == code
    assert len(stage.reactor) == 0
    assert stage.ends.hold.bytes_held == 0


@pytest.mark.parametrize(
    ("code", "text", "heard", "logged"),
    [
        (4001, "as agreed", (4001, "as agreed"), 4001),
        (1000, "", (1000, ""), 1000),
        (None, "", (None, ""), 1005),
        (1011, "key sk-canarycanarycanary", (1011, "key [redacted]"), 1011),
    ],
)
@pytest.mark.parametrize("reason", OWN)
async def test_a_peer_s_own_close_travels_on_and_is_echoed(
    stage: Stage,
    reason: Reason,
    code: int | None,
    text: str,
    heard: tuple[int | None, str],
    logged: int,
) -> None:
    closed = await stage.close(reason, code=code, text=text)

    assert told(stage.client) == told(stage.upstream) == heard
    assert closed == Closed(logged, logged)


async def test_a_message_of_the_verdict_s_own_is_the_reason_that_is_given(stage: Stage) -> None:
    await stage.close(Reason.POLICY, message="say less " + "é" * 100)

    assert told(stage.client) == (1008, "say less " + "é" * 57)


async def test_the_last_words_come_before_the_close(stage: Stage) -> None:
    await stage.close(Reason.UPSTREAM_SILENT, words=b'{"type":"error"}')

    assert [frame.opcode for frame in stage.client.frames] == [TEXT, CLOSE]
    assert stage.client.frames[0].payload == b'{"type":"error"}'
    assert [frame.opcode for frame in stage.upstream.frames] == [CLOSE]


@pytest.mark.parametrize("reason", [Reason.DRAIN, Reason.UPSTREAM_LOST_MID_FRAME, Reason.KILLED])
async def test_a_client_inside_a_frame_is_reset_whatever_the_reason(
    stage: Stage, reason: Reason
) -> None:
    half = b"\x82\x7f" + (1 << 20).to_bytes(8, "big") + b"half"
    stage.ends.client.endpoint.sink.write([half], Standing.FRAME, trio.current_time())

    closed = await stage.close(reason)

    assert stage.client.ending is WireEnding.RESET
    assert closed.client is None


async def test_what_was_accepted_before_the_close_arrives_before_it(stage: Stage) -> None:
    endpoint, now = stage.ends.client.endpoint, trio.current_time()
    while endpoint.sink.write([LONG], Standing.BOUNDARY, now):
        pass
    stage.reactor.update(endpoint)

    await stage.close(Reason.UPSTREAM_LOST)

    *messages, goodbye = stage.client.frames
    assert goodbye.close_code == 1011
    assert {frame.payload for frame in messages} == {LONG[4:]}
    assert stage.client.ending is WireEnding.FIN


async def test_a_side_that_has_ended_is_sent_nothing(stage: Stage) -> None:
    stage.ends.upstream.endpoint.ended = True

    closed = await stage.close(Reason.DRAIN)

    assert closed == Closed(client=1012, upstream=None)
    assert told(stage.upstream) is None
    assert stage.upstream.ending is WireEnding.FIN


async def test_peers_that_do_not_answer_are_waited_for_no_longer_than_the_grace(
    autojump_clock: MockClock,
) -> None:
    with both_ends() as ends, adopted(ends) as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            ends.client.block(trio.current_time())
            begin = trio.current_time()

            with trio.fail_after(SOON_S):
                await close_all(
                    reactor,
                    ends.client.endpoint,
                    ends.upstream.endpoint,
                    verdict=fallen(Reason.KILLED),
                    last_words=b"",
                )

            assert trio.current_time() - begin == CLOSE_GRACE_S
            nursery.cancel_scope.cancel()
        assert ends.client.endpoint.sock.fileno() == ends.upstream.endpoint.sock.fileno() == -1
        assert ends.hold.bytes_held == 0


async def test_a_client_that_takes_nothing_in_the_grace_is_reset(
    autojump_clock: MockClock,
) -> None:
    with both_ends(tcp=True) as ends, adopted(ends) as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            ends.client.block(trio.current_time())

            await close_all(
                reactor,
                ends.client.endpoint,
                ends.upstream.endpoint,
                verdict=fallen(Reason.KILLED),
                last_words=b"",
            )

            assert await ends.client.far.end() is WireEnding.RESET
            assert await ends.upstream.far.end() is WireEnding.FIN
            nursery.cancel_scope.cancel()


async def test_cancelling_does_not_cut_the_goodbye_short(stage: Stage) -> None:
    endpoint, now = stage.ends.client.endpoint, trio.current_time()
    while endpoint.sink.write([LONG], Standing.BOUNDARY, now):
        pass
    stage.reactor.update(endpoint)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_shielded, stage.ends.client.far, stage.client)
            nursery.start_soon(hear_shielded, stage.ends.upstream.far, stage.upstream)
            scope.cancel()
            await close_all(
                stage.reactor,
                stage.ends.client.endpoint,
                stage.ends.upstream.endpoint,
                verdict=fallen(Reason.DRAIN),
                last_words=b"",
            )

    assert told(stage.client) == (1012, CLOSE_TEXTS[Reason.DRAIN])
    assert told(stage.upstream) == (1000, CLOSE_TEXTS[Reason.DRAIN])


async def hear_shielded(wire: Wire, heard: Heard) -> None:
    """As :func:`hear`, whatever is cancelled around it."""
    with trio.CancelScope(shield=True):
        await hear(wire, heard)
