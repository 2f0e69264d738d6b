"""A session's deadlines, on a clock that jumps: each rule at its time, none early, none twice."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.accounts import Timeouts
from relayd.config.schema import LimitSettings
from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.meter import CountingMeter, Refuse, Ticket, TurnAsk, Usage
from relayd.dialect.passthrough import Bytes
from relayd.dialect.realtime import RealtimeConversation
from relayd.protocol.directions import UpstreamFlow
from relayd.protocol.frames import Opcode, encode_frame
from relayd.session.clock import LAST_RESPONSE_S, PROGRESS_LOOKS, Clock
from relayd.session.terms import TOO_OLD, Deadlines, Term
from relayd.session.verdict import Verdict
from relayd.transport.reactor import Reactor
from tests.session.ends import End, Ends, both_ends, conversation

LIMITS = LimitSettings(
    keepalive_s=15.0, keepalive_timeout_s=45.0, stall_s=10.0, session_max_s=3600.0
)
TIMEOUTS = Timeouts(idle_s=60.0, total_s=300.0)
PING = encode_frame(Opcode.PING, b"relayd", masked=False)
JUST_S = 0.001
LATE_S = TIMEOUTS.session_idle_s / PROGRESS_LOOKS


@attrs.define(eq=False)
class Stage:
    """A clock that is not running yet, and what it looks at."""

    ends: Ends
    reactor: Reactor
    verdict: Verdict
    talk: RealtimeConversation
    clock: Clock

    @property
    def client(self) -> End:
        return self.ends.client

    @property
    def upstream(self) -> End:
        return self.ends.upstream

    async def keep_alive(self) -> None:
        """Both peers answer every ping."""
        while True:
            await trio.sleep(1.0)
            for end in (self.client, self.upstream):
                end.heard()
                end.endpoint.last_received = trio.current_time()

    def say(self, text: bytes) -> None:
        """The upstream sends a message."""
        flow = self.upstream.endpoint.flow
        assert flow is not None
        data = bytearray(encode_frame(Opcode.TEXT, text, masked=False))
        flow.feed(memoryview(data), data, len(data), trio.current_time())


def deadlines(term: Term | None = None) -> Deadlines:
    by_age = Term(trio.current_time() + LIMITS.session_max_s, Reason.SESSION_MAX_AGE, TOO_OLD)
    return Deadlines(LIMITS, TIMEOUTS, term or by_age)


def ticket() -> Ticket:
    return CountingMeter().turn_begun(TurnAsk(now=0.0, expected=Usage(source="response")))


def never_due(now: float) -> float:
    return math.inf


@pytest.fixture
async def stage(autojump_clock: MockClock) -> AsyncIterator[Stage]:
    with both_ends() as ends:
        reactor = Reactor()
        for end in (ends.client, ends.upstream):
            end.endpoint.armed = True
        ends.upstream.endpoint.flow = UpstreamFlow(message_max_bytes=1 << 20, hold=ends.hold)
        verdict, talk = Verdict(), conversation()
        clock = Clock.of(
            reactor,
            ends.client.endpoint,
            ends.upstream.endpoint,
            verdict,
            talk,
            deadlines(),
            never_due,
        )
        yield Stage(ends, reactor, verdict, talk, clock)
        reactor.close()


async def verdict_after(stage: Stage, *, started: float | None = None) -> float:
    """Run the clock until the verdict falls; when that was, from the start."""
    begin = trio.current_time() if started is None else started
    with stage.verdict.scope:
        await stage.clock.run()
    return trio.current_time() - begin


# -- pings and silence


async def test_a_silent_peer_is_pinged_each_keepalive_and_gone_at_the_timeout(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    stage.upstream.endpoint.armed = False
    pings: list[float] = []

    async def listen() -> None:
        while True:
            await trio.sleep(0.5)
            if stage.client.heard() == PING:
                pings.append(trio.current_time() - begin)

    begin = trio.current_time()
    nursery.start_soon(listen)
    lasted = await verdict_after(stage)
    nursery.cancel_scope.cancel()

    assert stage.verdict.reason is Reason.CLIENT_SILENT
    assert lasted == LIMITS.keepalive_timeout_s
    assert pings == pytest.approx([15.0, 30.0], abs=0.5)


async def test_an_upstream_that_answers_no_ping_is_gone_at_the_timeout(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.client.endpoint.armed = False

    lasted = await verdict_after(stage)

    assert stage.verdict.reason is Reason.UPSTREAM_KEEPALIVE_TIMEOUT
    assert lasted == LIMITS.keepalive_timeout_s


async def test_any_byte_is_life_and_puts_the_next_ping_off(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    stage.upstream.endpoint.armed = False
    nursery.start_soon(verdict_after, stage)

    for _ in range(10):
        await trio.sleep(LIMITS.keepalive_s - 1)
        stage.client.endpoint.last_received = trio.current_time()
    await trio.sleep(LIMITS.keepalive_s - JUST_S)

    assert stage.client.heard() == b""
    await trio.sleep(2 * JUST_S)
    assert stage.client.heard() == PING
    assert stage.verdict.reason is None
    nursery.cancel_scope.cancel()


async def test_looking_in_between_sends_no_further_ping(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    stage.upstream.endpoint.armed = False
    nursery.start_soon(verdict_after, stage)
    await trio.sleep(LIMITS.keepalive_s + 1)
    assert stage.client.heard() == PING

    stage.clock.look_at(trio.current_time())
    await trio.sleep(1.0)

    assert stage.client.heard() == b""
    nursery.cancel_scope.cancel()


async def test_silence_is_not_counted_while_relayd_does_not_listen(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    for end in (stage.client, stage.upstream):
        end.endpoint.armed = False
    nursery.start_soon(verdict_after, stage)

    await trio.sleep(10 * LIMITS.keepalive_timeout_s)

    assert stage.verdict.reason is None
    assert stage.client.heard() == b""
    nursery.cancel_scope.cancel()


async def test_silence_is_counted_from_when_relayd_began_to_listen_again(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.upstream.endpoint.armed = False
    begin = trio.current_time()
    await trio.sleep(44.0)
    stage.client.endpoint.armed_since = trio.current_time()

    lasted = await verdict_after(stage, started=begin)

    assert lasted == 44.0 + LIMITS.keepalive_timeout_s


# -- stalls


@pytest.mark.parametrize(
    ("side", "reason"),
    [("client", Reason.CLIENT_STALLED), ("upstream", Reason.UPSTREAM_STALLED)],
)
async def test_a_peer_that_takes_no_byte_is_cut(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery, side: str, reason: Reason
) -> None:
    nursery.start_soon(stage.keep_alive)
    end: End = getattr(stage, side)

    async def block_later() -> None:
        await trio.sleep(7.25)
        end.block(trio.current_time())
        stage.clock.on_blocked(end.endpoint)

    nursery.start_soon(block_later)
    lasted = await verdict_after(stage)
    nursery.cancel_scope.cancel()

    assert stage.verdict.reason is reason
    assert lasted == 7.25 + LIMITS.stall_s


async def test_a_peer_that_takes_a_byte_in_time_is_not_cut(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    nursery.start_soon(verdict_after, stage)
    stage.client.block(trio.current_time())
    stage.clock.on_blocked(stage.client.endpoint)

    for _ in range(3):
        await trio.sleep(LIMITS.stall_s - JUST_S)
        stage.client.heard()
        assert not stage.client.endpoint.sink.flush(trio.current_time())

    assert stage.verdict.reason is None
    nursery.cancel_scope.cancel()


# -- turns


async def test_an_upstream_that_falls_silent_in_a_turn_ends_it(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    nursery.start_soon(stage.keep_alive)
    stage.talk.ask(trio.current_time(), ticket())
    stage.clock.turn_began(trio.current_time())

    lasted = await verdict_after(stage)
    nursery.cancel_scope.cancel()

    assert stage.verdict.reason is Reason.UPSTREAM_SILENT
    assert lasted == TIMEOUTS.session_idle_s


async def test_every_message_puts_the_silence_off(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    every_s = TIMEOUTS.session_idle_s - JUST_S

    async def talk() -> None:
        for _ in range(3):
            await trio.sleep(every_s)
            stage.say(b'{"type":"response.output_text.delta"}')

    nursery.start_soon(stage.keep_alive)
    nursery.start_soon(talk)
    stage.talk.ask(trio.current_time(), ticket())
    stage.clock.turn_began(trio.current_time())

    lasted = await verdict_after(stage)
    nursery.cancel_scope.cancel()

    assert stage.verdict.reason is Reason.UPSTREAM_SILENT
    assert TIMEOUTS.session_idle_s <= lasted - 3 * every_s <= TIMEOUTS.session_idle_s + LATE_S


async def test_a_turn_must_end_however_busy_the_upstream_is(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    async def talk() -> None:
        while True:
            await trio.sleep(1.0)
            stage.say(b'{"type":"response.output_text.delta"}')

    nursery.start_soon(stage.keep_alive)
    nursery.start_soon(talk)
    stage.talk.ask(trio.current_time(), ticket())
    stage.clock.turn_began(trio.current_time())

    lasted = await verdict_after(stage)
    nursery.cancel_scope.cancel()

    assert stage.verdict.reason is Reason.TURN_TIMEOUT
    assert lasted == TIMEOUTS.total_s


async def test_without_a_turn_an_upstream_may_be_silent(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    nursery.start_soon(stage.keep_alive)
    nursery.start_soon(verdict_after, stage)

    await trio.sleep(3 * TIMEOUTS.total_s)

    assert stage.verdict.reason is None
    nursery.cancel_scope.cancel()


# -- age and leaving


async def test_an_idle_session_ends_at_its_maximum_age(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    nursery.start_soon(stage.keep_alive)

    lasted = await verdict_after(stage)
    nursery.cancel_scope.cancel()

    assert stage.verdict.reason is Reason.SESSION_MAX_AGE
    assert lasted == LIMITS.session_max_s
    assert stage.clock.leaving is Reason.SESSION_MAX_AGE


async def test_a_running_response_gets_a_last_moment_beyond_the_maximum_age(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    async def ask_late() -> None:
        await trio.sleep(LIMITS.session_max_s - 5)
        stage.talk.ask(trio.current_time(), ticket())
        stage.clock.turn_began(trio.current_time())

    nursery.start_soon(stage.keep_alive)
    nursery.start_soon(ask_late)

    lasted = await verdict_after(stage)
    nursery.cancel_scope.cancel()

    assert stage.verdict.reason is Reason.SESSION_MAX_AGE
    assert lasted == LIMITS.session_max_s + LAST_RESPONSE_S
    assert stage.talk.tell_idle, "the response's end is to be told, so that the session ends then"
    assert stage.talk.closed_to_turns is not None, "no further response may begin"


async def test_leaving_ends_at_its_moment_and_the_soonest_moment_counts(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    nursery.start_soon(stage.keep_alive)
    now = trio.current_time()

    async def leave() -> None:
        stage.clock.leave(Reason.ACCOUNT_REMOVED, now + 20)
        stage.clock.leave(Reason.DRAIN, now + 12)
        stage.clock.leave(Reason.KILLED, now + 30)

    nursery.start_soon(leave)
    lasted = await verdict_after(stage)
    nursery.cancel_scope.cancel()

    assert (stage.verdict.reason, lasted) == (Reason.DRAIN, 12.0)


async def test_nothing_leaves_before_it_is_told_to(autojump_clock: MockClock, stage: Stage) -> None:
    assert stage.clock.leaving is None

    stage.clock.leave(Reason.DRAIN, trio.current_time() + 1)

    assert stage.clock.leaving is Reason.DRAIN


async def test_a_session_without_turns_is_never_called_silent(autojump_clock: MockClock) -> None:
    with both_ends() as ends:
        reactor, verdict = Reactor(), Verdict()
        clock = Clock.of(
            reactor,
            ends.client.endpoint,
            ends.upstream.endpoint,
            verdict,
            Bytes(),
            deadlines(),
            never_due,
        )
        with verdict.scope:
            await clock.run()

        assert verdict.reason is Reason.SESSION_MAX_AGE
        assert ends.hold == HoldBudget(ends.hold.bytes_max)
        reactor.close()


async def test_a_ping_that_does_not_fit_starts_the_stall_deadline(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.upstream.endpoint.armed = False
    endpoint = stage.client.endpoint
    while endpoint.sock.send(bytes(1 << 16)) == 1 << 16:
        pass

    lasted = await verdict_after(stage)

    assert stage.verdict.reason is Reason.CLIENT_STALLED
    assert lasted == LIMITS.keepalive_s + LIMITS.stall_s


async def test_an_upstream_is_not_silent_while_its_client_is_what_holds_it_up(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    stage.upstream.endpoint.armed = False
    nursery.start_soon(stage.keep_alive)
    stage.talk.ask(trio.current_time(), ticket())

    lasted = await verdict_after(stage)
    nursery.cancel_scope.cancel()

    assert stage.verdict.reason is Reason.TURN_TIMEOUT
    assert lasted == TIMEOUTS.total_s


async def test_an_upstream_that_says_one_thing_and_falls_silent_is_noticed_as_soon(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    patient = attrs.evolve(LIMITS, keepalive_s=900.0, keepalive_timeout_s=3000.0)
    stage.clock.deadlines = attrs.evolve(stage.clock.deadlines, limits=patient)

    async def talk() -> None:
        await trio.sleep(1.0)
        stage.talk.ask(trio.current_time(), ticket())
        stage.clock.turn_began(trio.current_time())
        await trio.sleep(JUST_S)
        stage.say(b'{"type":"response.created"}')

    nursery.start_soon(talk)
    lasted = await verdict_after(stage)

    assert stage.verdict.reason is Reason.UPSTREAM_SILENT
    assert lasted - 1.0 <= TIMEOUTS.session_idle_s + LATE_S


async def test_a_key_that_expires_ends_the_session_after_its_running_response(
    autojump_clock: MockClock, stage: Stage
) -> None:
    refuse = Refuse("permission_error", "key_expired", "This key expired.")
    at = trio.current_time() + 20.0
    stage.clock.deadlines = deadlines(Term(at, Reason.KEY_EXPIRED, refuse))
    stage.talk.ask(trio.current_time(), ticket())
    stage.talk.started("resp_1", trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.keep_alive)
        with stage.verdict.scope:
            nursery.start_soon(stage.clock.run)
            await trio.sleep(20.5)
            assert stage.verdict.reason is None
            assert stage.talk.closed_to_turns is refuse
            assert stage.clock.leaving is Reason.KEY_EXPIRED
        nursery.cancel_scope.cancel()


async def test_the_bill_is_looked_at_when_it_is_due(
    autojump_clock: MockClock, stage: Stage
) -> None:
    looked = list[float]()
    begin = trio.current_time()

    def bill(now: float) -> float:
        looked.append(now - begin)
        return now + 7.0

    stage.clock.bill = bill
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.keep_alive)
        nursery.start_soon(stage.clock.run)
        await trio.sleep(15.0)
        nursery.cancel_scope.cancel()

    assert {0.0, 7.0, 14.0} <= {round(when, 3) for when in looked}


async def test_it_looks_again_when_the_first_of_several_asks_for_it(
    autojump_clock: MockClock, stage: Stage, nursery: trio.Nursery
) -> None:
    looks: list[float] = []

    def look(now: float) -> float:
        looks.append(now - begin)
        return math.inf

    begin = trio.current_time()
    stage.clock.bill = look
    nursery.start_soon(stage.clock.run)
    await trio.testing.wait_all_tasks_blocked()
    for wait_s in (3.0, 2.0, 4.0):  # behind the first, the others are no change or a sooner one
        stage.clock.look_at(begin + wait_s)
    await trio.sleep(5.0)
    nursery.cancel_scope.cancel()

    assert looks == [0.0, 2.0]
