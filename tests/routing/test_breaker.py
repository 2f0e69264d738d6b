"""The breaker: its table, its verdicts, and how long it stays open."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relayd.routing.breaker import (
    TRANSITIONS,
    Breaker,
    BreakerEvent,
    BreakerPolicy,
    BreakerState,
    IllegalEventError,
    advance,
)

FRAGILE = BreakerPolicy(failures_in_a_row_max=1)
CLOSED, OPEN, PROBATION = BreakerState


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(FRAGILE)
    assert breaker.fail(breaker.admit(now), now)
    return breaker


def on_probation() -> tuple[Breaker, int]:
    breaker = opened()
    return breaker, breaker.admit(breaker.retry_at)


def judge(breaker: Breaker, verdict: str, generation: int, now: float = 2.0) -> bool:
    """Give ``verdict`` and return whether it changed the state, as far as that is told."""
    match verdict:
        case "succeed":
            return breaker.succeed(generation, now)
        case "fail":
            return breaker.fail(generation, now)
        case _:
            breaker.void(generation)
            return False


@pytest.mark.parametrize(("state", "event"), [*itertools.product(BreakerState, BreakerEvent)])
def test_every_pair_of_state_and_event_is_a_step_or_an_error(
    state: BreakerState, event: BreakerEvent
) -> None:
    if (state, event) in TRANSITIONS:
        assert advance(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalEventError, match=f"{event.name} while {state.name}"):
            advance(state, event)


def test_the_table_says_what_each_state_permits() -> None:
    permitted = {state: {e for s, e in TRANSITIONS if s is state} for state in BreakerState}

    assert permitted == {
        CLOSED: set(BreakerEvent),
        OPEN: {BreakerEvent.ADMITTED},
        PROBATION: {BreakerEvent.SUCCEEDED, BreakerEvent.TRIPPED, BreakerEvent.VOIDED},
    }


@pytest.mark.parametrize("verdict", ["succeed", "fail", "void"])
def test_a_verdict_that_an_open_breaker_cannot_have_asked_for_changes_nothing(verdict: str) -> None:
    breaker = opened()
    current = 1
    before = repr(breaker), breaker.retry_at

    with pytest.raises(IllegalEventError):
        judge(breaker, verdict, current)

    assert (repr(breaker), breaker.retry_at) == before
    assert breaker.admits(breaker.retry_at)


def test_admitting_against_its_word_raises_and_changes_nothing() -> None:
    breaker = opened()

    with pytest.raises(IllegalEventError, match="ADMITTED while OPEN"):
        breaker.admit(breaker.retry_at - 0.001)

    assert breaker.state is OPEN
    breaker.admit(breaker.retry_at)
    with pytest.raises(IllegalEventError, match="ADMITTED while PROBATION"):
        breaker.admit(breaker.retry_at + 1000)


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    generation = breaker.admit(0.0)

    changed = [breaker.fail(generation, float(second)) for second in range(5)]

    assert changed == [False, False, False, False, True]
    assert breaker.state is OPEN


def test_a_success_between_them_starts_the_count_again() -> None:
    breaker = Breaker()
    generation = breaker.admit(0.0)
    for _ in range(3):
        for _ in range(4):
            assert not breaker.fail(generation, 0.0)
        breaker.succeed(generation, 0.0)

    assert breaker.state is CLOSED


def test_half_of_many_outcomes_failing_opens_it() -> None:
    breaker = Breaker()
    generation = breaker.admit(0.0)
    outcomes = 0
    while breaker.state is CLOSED:
        outcomes += 1
        if outcomes % 2:
            breaker.succeed(generation, 0.0)
        else:
            breaker.fail(generation, 0.0)

    assert outcomes == 20


def test_outcomes_leave_the_window() -> None:
    breaker = Breaker()
    generation = breaker.admit(0.0)
    for second in range(0, 1000, 4):  # 15 outcomes a minute: never enough of them
        breaker.succeed(generation, float(second))
        if second % 8:
            breaker.fail(generation, float(second + 2))

    assert breaker.state is CLOSED


def test_one_session_at_a_time_is_the_trial() -> None:
    breaker, _ = on_probation()

    assert breaker.state is PROBATION
    assert not breaker.admits(1e9)


def test_a_good_trial_closes_it() -> None:
    breaker, generation = on_probation()

    assert breaker.succeed(generation, 2.0)

    assert breaker.state is CLOSED
    assert breaker.admits(2.0)


def test_a_trial_without_a_verdict_leaves_the_next_session_to_be_the_trial() -> None:
    breaker, generation = on_probation()

    breaker.void(generation)

    assert breaker.state is OPEN
    assert breaker.admits(breaker.retry_at)


def test_the_open_time_doubles_with_each_failed_trial_up_to_its_cap() -> None:
    breaker, now, times = opened(), 0.0, []
    for _ in range(8):
        times.append(breaker.retry_at - now)
        now = breaker.retry_at
        assert breaker.fail(breaker.admit(now), now)

    assert times == [1, 2, 4, 8, 16, 32, 60, 60]


def test_an_upstream_that_fails_soon_after_it_recovered_is_left_alone_for_longer() -> None:
    breaker, generation = on_probation()
    breaker.succeed(generation, 1.0)

    breaker.fail(breaker.admit(60.9), 60.9)

    assert breaker.retry_at - 60.9 == pytest.approx(2.0)


def test_an_upstream_that_stayed_well_for_a_minute_starts_afresh() -> None:
    breaker, generation = on_probation()
    breaker.succeed(generation, 1.0)

    breaker.fail(breaker.admit(61.0), 61.0)

    assert breaker.retry_at - 61.0 == pytest.approx(1.0)


@pytest.mark.parametrize(("jitter", "open_s"), [(0.0, 1.0), (0.5, 0.875), (1.0, 0.75)])
def test_jitter_shortens_the_open_time(jitter: float, open_s: float) -> None:
    breaker = Breaker(FRAGILE)

    breaker.fail(breaker.admit(0.0), 0.0, jitter=jitter)

    assert breaker.retry_at == open_s


@pytest.mark.parametrize("verdict", ["succeed", "fail", "void"])
def test_a_late_verdict_about_an_older_generation_is_void(verdict: str) -> None:
    breaker = Breaker(FRAGILE)
    early, late = breaker.admit(0.0), breaker.admit(0.0)
    breaker.fail(early, 0.0)
    trial = breaker.admit(breaker.retry_at)

    assert not judge(breaker, verdict, late)

    assert breaker.state is PROBATION
    assert breaker.succeed(trial, 3.0)


def test_its_repr_names_the_state() -> None:
    assert repr(opened()) == "<Breaker open generation=1>"


class BreakerMachine(RuleBasedStateMachine):
    """Any order of admissions and verdicts, early and late."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.given: list[int] = []
        self.trials: set[int] = set()

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.admits(self.now))
    @rule()
    def admit(self) -> None:
        was_open = self.breaker.state is OPEN
        generation = self.breaker.admit(self.now)
        if was_open:
            self.trials.add(generation)
        self.given.append(generation)

    @precondition(lambda self: self.given)
    @rule(data=st.data(), verdict=st.sampled_from(["succeed", "fail", "void"]))
    def judge(self, data: st.DataObject, verdict: str) -> None:
        generation = data.draw(st.sampled_from(self.given))
        before = self.breaker.state
        changed = judge(self.breaker, verdict, generation, self.now)
        after = self.breaker.state
        match verdict:
            case "succeed":
                assert changed == (before is PROBATION and after is CLOSED)
            case "fail":
                assert changed == (before is not OPEN and after is OPEN)
                assert not changed or 0.999 <= self.breaker.retry_at - self.now <= 60.001
            case _:
                assert after is before or (before is PROBATION and after is OPEN)

    @invariant()
    def never_shut_for_good(self) -> None:
        """Unless a trial is under way, it admits a session within its longest open time."""
        assert self.breaker.state is PROBATION or self.breaker.admits(self.now + 60.001)

    @invariant()
    def one_trial_a_generation(self) -> None:
        assert all(self.given.count(generation) == 1 for generation in self.trials)


TestBreakerMachine = BreakerMachine.TestCase


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=50))
def test_the_same_calls_give_the_same_states(calls: list[tuple[float, bool]]) -> None:
    def play() -> list[tuple[str, float]]:
        breaker, seen = Breaker(), []
        for now, good in sorted(calls):
            if breaker.admits(now):
                generation = breaker.admit(now)
                breaker.succeed(generation, now) if good else breaker.fail(generation, now)
            seen.append((repr(breaker), breaker.retry_at))
        return seen

    assert play() == play()
