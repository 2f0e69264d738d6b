"""What every kind of session has: one ending, and ways to be ended."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.schema import LimitSettings, Timeouts
from relayd.config.snapshot import Key
from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.base import Timed
from relayd.dialect.meter import Refuse
from relayd.session.clock import LAST_RESPONSE_S, Clock
from relayd.session.living import Living
from relayd.session.terms import Deadlines, Term

SPENT = Refuse("insufficient_quota", "insufficient_quota", "no money is left")


@attrs.define
class Turns:
    """Whether one runs."""

    busy: bool = False
    tell_idle: bool = False
    closed_to_turns: Refuse | None = None
    busy_since: float | None = None


@attrs.define
class Told:
    """A reporter's share in this."""

    opened_times: int = 0
    crashes: list[BaseException] = attrs.field(factory=list)

    def opened(self) -> None:
        self.opened_times += 1

    def crashed(self, error: BaseException) -> None:
        self.crashes.append(error)


@attrs.define(eq=False, kw_only=True)
class Plain(Living):
    """A session that relays nothing."""

    turns: Turns = attrs.field(factory=Turns)
    relay: Callable[[], Awaitable[None]] = trio.sleep_forever
    ended_as: list[Reason | None] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._clock = Clock(
            reactor=self.reactor,
            verdict=self.verdict,
            conversation=self.turns,
            deadlines=self.deadlines,
            bill=lambda now: math.inf,
            peers=(),
        )

    @property
    def timed(self) -> Timed:
        return self.turns

    async def _relay(self) -> None:
        with self.verdict.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._clock.run)
                nursery.start_soon(self.relay)

    async def _end(self) -> None:
        self.ended_as.append(self.verdict.reason)


@pytest.fixture
def session() -> Plain:
    nothing: Any = None
    told: Any = Told()
    term = Term(math.inf, Reason.SESSION_MAX_AGE, SPENT)
    return Plain(
        client=nothing,
        reactor=nothing,
        hold=HoldBudget(1),
        reporter=told,
        deadlines=Deadlines(LimitSettings(), Timeouts(), term),
        message_max_bytes=1,
        key=Key(name="dev", tenant="t", digest=bytes(32)),
    )


async def test_who_waits_for_nothing_leaves_at_once(
    session: Plain, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(1)
        session.leave(Reason.DRAIN, at=100.0, refuse=SPENT)
    assert (session.ended_as, trio.current_time()) == ([Reason.DRAIN], 1.0)
    assert session.turns.closed_to_turns is None


async def test_a_busy_session_leaves_at_the_deadline_at_the_latest(
    session: Plain, autojump_clock: MockClock
) -> None:
    session.turns.busy = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(1)
        session.leave(Reason.DRAIN, at=5.0, refuse=SPENT)
        session.leave(Reason.KEY_REMOVED, at=9.0, refuse=SPENT)  # no sooner than that
        assert (session.leaving, session.verdict.reason) == (Reason.DRAIN, None)
        assert session.turns.closed_to_turns is SPENT
        assert session.turns.tell_idle
    assert (session.ended_as, trio.current_time()) == ([Reason.DRAIN], 5.0)


@pytest.mark.parametrize("told", [False, True])
async def test_what_is_used_up_lets_the_running_response_end(
    session: Plain, autojump_clock: MockClock, *, told: bool
) -> None:
    session.turns.busy = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(1)
        session.run_out(Reason.BUDGET_EXHAUSTED, SPENT, told=told)
    assert session.ended_as == [Reason.BUDGET_EXHAUSTED]
    assert trio.current_time() == 1 + LAST_RESPONSE_S
    assert session._last_words_of == {Reason.BUDGET_EXHAUSTED: None if told else SPENT}


async def test_a_killed_session_ends_at_once(session: Plain, autojump_clock: MockClock) -> None:
    session.turns.busy = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(1)
        session.kill()
        session.kill(Reason.DRAIN)  # the first one wins
    assert (session.ended_as, session.leaving) == ([Reason.KILLED], Reason.KILLED)


async def test_cancelling_it_is_a_drain(session: Plain, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        await session.run()
    assert session.ended_as == [Reason.DRAIN]


async def test_a_bug_ends_it_and_is_told(session: Plain, autojump_clock: MockClock) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug")

    session.relay = broken
    await session.run()
    told: Any = session.reporter
    assert (session.ended_as, len(told.crashes)) == ([Reason.INTERNAL_ERROR], 1)
    assert told.opened_times == 1
