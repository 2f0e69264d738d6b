"""What stands against accounts, and what later clients are told of it."""

from __future__ import annotations

import attrs
import pytest

from relayd.dialect.behind import Effect, Fault, Retry
from relayd.routing.classify import Failure, FailureKind
from relayd.routing.roster import Roster, Seat, Standing
from relayd.session.chat.bars import BARRED_S, BARS_MAX, RESTS, Bars
from tests.session.chat import accounts

ONE, TWO = accounts.spark("one"), accounts.spark("two")
WALL = 16 * 3600.0
"""Midnight at Shanghai."""


def hushed(fault: Fault) -> Fault:
    """As another client is told of it."""
    return attrs.evolve(fault, message=RESTS, detail="", upstream_id=None)


def fault(effect: Effect, code: str = "no", **members: object) -> Fault:
    made = Fault(status=429, type="t", code=code, message="No.", retry=Retry.ELSEWHERE)
    return attrs.evolve(made, effect=effect, **members)  # type: ignore[arg-type]  # as given


def standings(*names: str) -> tuple[Standing, ...]:
    roster = Roster.of([ONE, TWO])
    return tuple(each for each in roster.standings() if each.account.name in names)


def rest(standing: Standing, until_s: float) -> None:
    """The account's health has it rest."""
    with Seat(standing, 0.0) as seat:
        seat.fail(Failure(FailureKind.RATE_LIMITED, "no", "No.", until_s), 0.0)


def note(
    bars: Bars, standing: Standing, said: Fault, *, model: str = "m", wall: float = WALL
) -> None:
    """The upstream of this account says this, at 0."""
    bars.note(standing.account, standing.health, model, said, 0.0, wall)


@pytest.mark.parametrize("effect", [Effect.NONE, Effect.UNREACHABLE])
def test_some_faults_stand_against_nobody(effect: Effect) -> None:
    bars, both = Bars(), standings("one", "two")
    note(bars, both[0], fault(effect))
    assert bars.barred(both, "m", 1.0) == set()
    assert bars.why(both, "m", 1.0) is None


def test_a_model_is_barred_at_its_account_for_a_while() -> None:
    bars, both = Bars(), standings("one", "two")
    said = fault(Effect.DISABLE_MODEL)
    note(bars, both[0], said)
    assert bars.barred(both, "m", BARRED_S - 1) == {"one"}
    assert bars.barred(both, "other", 1.0) == set()
    assert bars.why(both[:1], "m", 1.0) == hushed(said)
    assert bars.barred(both, "m", BARRED_S) == set()


def test_models_are_those_of_the_account() -> None:
    (mapped,) = Roster.of([attrs.evolve(ONE, model_map={"alias": "m"})]).standings()
    bars = Bars()
    note(bars, mapped, fault(Effect.DISABLE_MODEL))
    assert bars.barred([mapped], "alias", 1.0) == {"one"}


def test_an_account_that_is_configured_anew_starts_anew() -> None:
    bars, roster = Bars(), Roster.of([ONE])
    note(bars, roster.standings()[0], fault(Effect.DISABLE_MODEL))
    roster.update([attrs.evolve(ONE, weight=7)])
    assert bars.barred(roster.standings(), "m", 1.0) == set()


def test_so_does_one_that_an_operator_has_forgiven() -> None:
    bars, roster = Bars(), Roster.of([ONE])
    for effect, model in ((Effect.DISABLE_MODEL, "m"), (Effect.COOL, "other")):
        note(bars, roster.standings()[0], fault(effect, cool_s=60.0), model=model)
    asked_before = roster.standings()[0].health
    roster.forgive("one")

    assert bars.barred(roster.standings(), "m", 1.0) == set()
    rest(roster.standings()[0], 60.0)
    assert bars.why(roster.standings(), "m", 1.0) is None

    bars.note(ONE, asked_before, "m", fault(Effect.DISABLE_MODEL), 2.0, WALL)
    assert bars.barred(roster.standings(), "m", 3.0) == set(), "it was asked before that"


def test_why_an_account_rests_is_remembered_while_it_does() -> None:
    bars, (standing,) = Bars(), standings("one")
    note(bars, standing, fault(Effect.COOL, cool_s=10.0))
    assert bars.why((standing,), "any", 1.0) is None, "it has been forgiven"
    rest(standing, 10.0)
    told = bars.why((standing,), "any", 1.0)
    assert told is not None
    assert told.retry_after_s is None
    assert bars.why((standing,), "any", 10.0) is None


def test_when_to_come_back_is_counted_down() -> None:
    bars, (standing,) = Bars(), standings("one")
    note(bars, standing, fault(Effect.COOL, cool_s=10.0, retry_after_s=1.0))
    rest(standing, 10.0)
    told = bars.why((standing,), "m", 4.0)
    assert told is not None
    assert told.retry_after_s == 6.0


def test_a_day_ends_where_the_upstream_is() -> None:
    bars, (standing,) = Bars(), standings("one")
    until_midnight = fault(Effect.COOL, cool_until_midnight_at=8 * 3600)
    note(bars, standing, until_midnight, wall=WALL - 60)
    rest(standing, 100.0)
    assert bars.why((standing,), "m", 59.0) == hushed(until_midnight)
    assert bars.why((standing,), "m", 60.0) is None


def test_a_disabled_account_is_told_of_for_as_long_as_it_is() -> None:
    bars, (standing,) = Bars(), standings("one")
    said = fault(Effect.DISABLE)
    note(bars, standing, said)
    assert bars.why((standing,), "m", 1e6) is None
    with Seat(standing, 0.0) as seat:
        seat.fail(Failure(FailureKind.FATAL, "no", "No."), 0.0)
    assert bars.why((standing,), "m", 1e6) == hushed(said)


def test_the_account_that_is_back_first_says_why() -> None:
    bars, both = Bars(), standings("one", "two")
    note(bars, both[0], fault(Effect.COOL, "late", cool_s=60.0))
    note(bars, both[1], fault(Effect.COOL, "soon", cool_s=5.0))
    for each in both:
        rest(each, 60.0)
    told = bars.why(both, "m", 1.0)
    assert told is not None
    assert told.code == "soon"


def test_only_so_many_are_remembered() -> None:
    bars, (standing,) = Bars(), standings("one")
    for number in range(BARS_MAX + 1):
        note(bars, standing, fault(Effect.DISABLE_MODEL), model=f"m{number}")
    assert bars.barred((standing,), "m0", 1.0) == set()
    assert bars.barred((standing,), "m1", 1.0) == {"one"}
