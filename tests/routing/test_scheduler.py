"""Choosing an account: the filter, the priorities, the draw, and the words when there is none."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, TypedDict, Unpack

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.providers import Provider
from relayd.config.snapshot import Account
from relayd.core.refusals import Refusal, RefusalCode
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.routing.health import Health
from relayd.routing.roster import Roster, Seat, Standing
from relayd.routing.scheduler import Demand, choose, why_none

VOICE = Demand("realtime", "gpt-realtime")
FATAL = Failure(FailureKind.FATAL, "invalid_api_key", "the key is wrong")
LIMITED = Failure(FailureKind.RATE_LIMITED, "rate_limit_exceeded", "slow down", 30.0)
LOST = unreachable("connect_timeout", "no answer")


class Settings(TypedDict, total=False):
    """What the tests below set of an account."""

    provider: Provider
    models: tuple[str, ...]
    model_map: dict[str, str]
    enabled: bool
    priority: int
    weight: int
    sessions_max: int


def account(name: str, **settings: Unpack[Settings]) -> Account:
    made = Account(name=name, provider=Provider.OPENAI, models=("gpt-*",))
    return attrs.evolve(made, **settings)


def chosen(
    roster: Roster,
    demand: Demand = VOICE,
    *,
    now: float = 0.0,
    random_unit: float = 0.0,
    tried: tuple[str, ...] = (),
) -> str | None:
    """The name of the choice; the seat is given back."""
    seat = choose(roster, demand, now=now, random_unit=random_unit, tried=tried)
    if seat is None:
        return None
    with seat:
        return seat.account.name


def standing(roster: Roster, name: str) -> Standing:
    found = roster.standing(name)
    assert found is not None
    return found


def health(roster: Roster, name: str) -> Health:
    return standing(roster, name).health


def fail(roster: Roster, name: str, failure: Failure, times: int = 1) -> None:
    with Seat(standing(roster, name), 0.0) as seat:
        for _ in range(times):
            seat.fail(failure, 0.0)


def drawn(roster: Roster, times: int = 2000) -> Counter[str | None]:
    unit = random.Random(7)
    return Counter(chosen(roster, random_unit=unit.random()) for _ in range(times))


def test_the_choice_is_a_seat_that_counts() -> None:
    roster = Roster.of([account("main")])

    seat = choose(roster, VOICE, now=0.0, random_unit=0.5)

    assert seat is not None
    assert standing(roster, "main").in_flight == 1
    seat.release()
    assert standing(roster, "main").in_flight == 0


def test_a_model_goes_to_an_account_that_serves_it() -> None:
    roster = Roster.of([account("other", models=("o-*",)), account("main")])

    assert chosen(roster) == "main"
    assert chosen(roster, Demand("realtime", "o-1")) == "other"
    assert chosen(roster, Demand("realtime", "x")) is None


def test_a_mapped_name_is_served() -> None:
    roster = Roster.of([account("main", model_map={"voice": "gpt-realtime"})])

    assert chosen(roster, Demand("realtime", "voice")) == "main"


def test_without_a_model_any_account_of_the_dialect_will_do() -> None:
    roster = Roster.of([account("echo", provider=Provider.WEBSOCKET), account("main")])

    assert chosen(roster, Demand("realtime")) == "main"


def test_the_lower_priority_number_is_tried_first() -> None:
    roster = Roster.of([account("last", priority=9), account("first", priority=1)])

    assert chosen(roster) == "first"
    assert chosen(roster, tried=("first",)) == "last"
    assert chosen(roster, tried=("first", "last")) is None


@pytest.mark.parametrize("failure", [FATAL, LIMITED])
def test_an_account_that_is_disabled_or_rests_is_passed_over(failure: Failure) -> None:
    roster = Roster.of([account("first"), account("second", priority=1)])
    fail(roster, "first", failure)

    assert chosen(roster) == "second"


def test_an_account_that_has_rested_is_back() -> None:
    roster = Roster.of([account("first"), account("second", priority=1)])
    fail(roster, "first", LIMITED)

    assert chosen(roster, now=29.9) == "second"
    assert chosen(roster, now=30.0) == "first"


def test_an_account_that_is_switched_off_is_passed_over() -> None:
    assert chosen(Roster.of([account("main", enabled=False)])) is None


def test_an_account_with_an_open_breaker_is_passed_over_until_its_trial() -> None:
    roster = Roster.of([account("first"), account("second", priority=1)])
    fail(roster, "first", LOST, times=5)
    assert chosen(roster, now=0.9) == "second"

    trial = choose(roster, VOICE, now=1.0, random_unit=0.0)

    assert trial is not None
    assert trial.account.name == "first"
    assert chosen(roster, now=1.0) == "second"
    trial.succeed(first_frame_ms=90.0, now=1.1)
    assert chosen(roster, now=1.1) == "first"


def test_a_full_account_is_passed_over_until_a_session_ends() -> None:
    roster = Roster.of([account("first", sessions_max=2), account("second", priority=1)])
    seats = [choose(roster, VOICE, now=0.0, random_unit=0.0) for _ in range(2)]

    assert chosen(roster) == "second"
    assert seats[0] is not None
    seats[0].release()
    assert chosen(roster) == "first"


def test_no_limit_means_no_limit() -> None:
    roster = Roster.of([account("main", sessions_max=0)])

    assert all(choose(roster, VOICE, now=0.0, random_unit=0.0) for _ in range(1000))


def test_passthrough_goes_to_the_account_it_names_and_to_no_other() -> None:
    echo = account("echo", provider=Provider.WEBSOCKET, models=("*",))
    off = attrs.evolve(echo, name="off", enabled=False)
    roster = Roster.of([account("main"), echo, off])

    assert chosen(roster, Demand("passthrough", account="echo")) == "echo"
    for name in ("main", "off", "unknown"):
        assert chosen(roster, Demand("passthrough", account=name)) is None


def test_a_named_account_has_to_serve_the_model() -> None:
    roster = Roster.of([account("main")])

    assert chosen(roster, Demand("realtime", "gpt-x", account="main")) == "main"
    assert chosen(roster, Demand("realtime", "x", account="main")) is None


def test_a_demand_that_makes_no_sense_is_a_mistake_of_the_program() -> None:
    with pytest.raises(AssertionError):
        Demand("passthrough")
    with pytest.raises(AssertionError):
        Demand("smtp")


def test_equal_accounts_share_by_weight() -> None:
    roster = Roster.of([account("heavy", weight=300), account("light", weight=100)])

    counts = drawn(roster)

    assert 0.70 < counts["heavy"] / counts.total() < 0.80


@pytest.mark.parametrize(("name", "value"), [("error_average", 0.9), ("first_frame_ms", 1000.0)])
def test_errors_and_slowness_take_sessions_away_but_not_all(name: str, value: float) -> None:
    roster = Roster.of([account("good"), account("bad")])
    health(roster, "good").first_frame_ms = 100.0
    setattr(health(roster, "bad"), name, value)

    counts = drawn(roster)

    assert 0.05 < counts["bad"] / counts.total() < 0.14


@pytest.mark.parametrize("sessions_max", [0, 100])
def test_load_takes_sessions_away(sessions_max: int) -> None:
    roster = Roster.of([account(name, sessions_max=sessions_max) for name in ("idle", "busy")])
    seats = [Seat(standing(roster, "busy"), 0.0) for _ in range(80)]

    counts = drawn(roster)

    assert counts["busy"] < counts["idle"]
    assert counts["busy"] > 0
    for seat in seats:
        seat.release()


def test_an_account_that_has_not_been_measured_counts_as_the_fastest() -> None:
    roster = Roster.of([account("known"), account("new")])
    health(roster, "known").first_frame_ms = 500.0

    counts = drawn(roster)

    assert 0.45 < counts["new"] / counts.total() < 0.55


UNIT = st.floats(0, 1, exclude_max=True)
DOING = st.fixed_dictionaries(
    {
        "weight": st.integers(1, 10**6),
        "priority": st.integers(0, 3),
        "sessions_max": st.integers(0, 5),
        "in_flight": st.integers(0, 7),
        "error_average": st.floats(0, 1),
        "first_frame_ms": st.none() | st.floats(0, 1e6),
    }
)


@given(st.lists(DOING, min_size=1, max_size=6), UNIT)
def test_every_draw_hits_an_account_of_the_first_priority_that_is_not_full(
    doings: list[dict[str, Any]], random_unit: float
) -> None:
    names = [str(number) for number in range(len(doings))]
    roster = Roster.of(
        account(
            name,
            weight=doing["weight"],
            priority=doing["priority"],
            sessions_max=doing["sessions_max"],
        )
        for name, doing in zip(names, doings, strict=True)
    )
    free = []
    for name, doing in zip(names, doings, strict=True):
        found = standing(roster, name)
        for key in ("error_average", "first_frame_ms"):
            setattr(found.health, key, doing[key])
        found.in_flight = doing["in_flight"]
        if not found.is_full:
            free.append(found)

    picked_name = chosen(roster, random_unit=random_unit)

    if picked_name is None:
        assert not free
        assert why_none(roster, VOICE, now=0.0).code is RefusalCode.ACCOUNT_BUSY
    else:
        first = min(found.account.priority for found in free)
        picked = standing(roster, picked_name)
        assert picked in free
        assert picked.account.priority == first


def refusal(roster: Roster, demand: Demand = VOICE, *, now: float = 0.0) -> Refusal:
    assert choose(roster, demand, now=now, random_unit=0.0) is None
    return why_none(roster, demand, now=now)


def test_busy_is_told_apart_from_having_no_account() -> None:
    roster = Roster.of([account("main", sessions_max=1)])
    with Seat(standing(roster, "main"), 0.0):
        told = refusal(roster)

    assert told.code is RefusalCode.ACCOUNT_BUSY
    assert told.message == "Every account that serves 'gpt-realtime' is busy; try again later."
    assert told.retry_after_s == 1.0


def test_a_model_that_nobody_serves_is_told_with_what_is_served() -> None:
    roster = Roster.of(
        [
            account("main", model_map={"voice": "gpt-realtime"}),
            account("off", models=("hidden",), enabled=False),
            account("echo", models=("elsewhere",), provider=Provider.WEBSOCKET),
        ]
    )

    told = refusal(roster, Demand("realtime", "x"))

    assert told.code is RefusalCode.NO_ACCOUNT
    assert told.message == "No enabled account serves 'x'; accounts serve: gpt-*, voice."
    assert told.retry_after_s is None


def test_only_so_many_models_are_named() -> None:
    roster = Roster.of([account("main", models=tuple(f"m{n}" for n in range(100)))])

    told = refusal(roster)

    assert told.message.endswith("accounts serve: m0, m1, m10, m11, m12, m13, m14, m15, ….")


def test_a_dialect_without_an_account_is_told() -> None:
    told = refusal(Roster.of([account("main", enabled=False)]))

    assert told.message == "No account that speaks realtime is enabled."


@pytest.mark.parametrize(
    ("failure", "times", "words", "retry_after_s"),
    [
        (FATAL, 1, "disabled after its provider refused it", 300.0),
        (LIMITED, 1, "resting after a rate limit", 30.0),
        (LOST, 5, "failing and left alone for a while", 1.0),
    ],
)
def test_what_keeps_an_account_away_is_told_with_when_it_may_be_back(
    failure: Failure, times: int, words: str, retry_after_s: float
) -> None:
    roster = Roster.of([account("main")])
    fail(roster, "main", failure, times)

    told = refusal(roster)

    assert told.code is RefusalCode.NO_ACCOUNT
    assert told.message == f"Every account that serves 'gpt-realtime' is {words}; try again later."
    assert told.retry_after_s == retry_after_s


def test_of_several_reasons_all_are_told_and_the_soonest_time() -> None:
    roster = Roster.of([account("first"), account("second")])
    fail(roster, "first", FATAL)
    fail(roster, "second", LIMITED)

    told = refusal(roster, now=10.0)

    assert "disabled after its provider refused it or resting after a rate limit" in told.message
    assert told.retry_after_s == 20.0


def test_during_a_trial_the_client_may_try_again_in_a_second() -> None:
    roster = Roster.of([account("main")])
    fail(roster, "main", LOST, times=5)
    with Seat(standing(roster, "main"), 1.0):
        assert refusal(roster, now=1.0).retry_after_s == 1.0


def test_accounts_that_were_tried_are_told_of_without_a_time() -> None:
    told = why_none(Roster.of([account("main")]), VOICE, now=0.0, tried=("main",))

    assert told.message.endswith("is not able to serve it just now; try again later.")
    assert told.retry_after_s is None


def test_a_named_account_is_told_of_by_its_name() -> None:
    echo = account("echo", provider=Provider.WEBSOCKET, sessions_max=1)
    roster = Roster.of([echo])
    demand = Demand("passthrough", account="echo")

    with Seat(standing(roster, "echo"), 0.0):
        assert refusal(roster, demand).message == "The account 'echo' is busy; try again later."
    unknown = refusal(roster, Demand("passthrough", account="unknown"))
    assert unknown.message == "The account 'unknown' is not enabled for this."


def test_where_any_account_would_do_the_dialect_is_told() -> None:
    roster = Roster.of([account("main")])
    fail(roster, "main", LIMITED)

    told = refusal(roster, Demand("realtime"))

    assert told.message.startswith("Every account that speaks realtime is resting")


def test_a_key_that_was_pasted_as_a_model_is_not_repeated() -> None:
    key = "sk-abcdefghijklmnop"

    told = refusal(Roster.of([account("main")]), Demand("realtime", key + "\r\n" + "x" * 9000))

    assert key not in told.message
    assert "\n" not in told.message
    assert len(told.message) < 200
