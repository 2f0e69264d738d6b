"""The accounts' live state: seats, what a new configuration keeps, who is due for a probe."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.providers import Provider
from relayd.config.secret import Secret
from relayd.config.snapshot import Account
from relayd.config.url import parse_base_url
from relayd.config.xiaozhi import DeviceServerSettings
from relayd.routing.breaker import BreakerState, IllegalEventError
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.routing.health import AccountDisabled, AccountEnabled, BreakerClosed, BreakerOpened
from relayd.routing.roster import SERVED_MAX, Roster, Seat, Standing

FATAL = Failure(FailureKind.FATAL, "invalid_api_key", "the key is wrong")
LOST = unreachable("connect_timeout", "no answer")

MAIN = Account(
    name="main",
    provider=Provider.OPENAI,
    base_url=parse_base_url("https://api.test/v1"),
    api_key=Secret("first-key"),
    models=("gpt-*",),
)
SPARE = Account(name="spare", provider=Provider.COMPATIBLE, models=("other",))
ECHO = Account(name="echo", provider=Provider.WEBSOCKET)


def standing(roster: Roster, name: str = "main") -> Standing:
    found = roster.standing(name)
    assert found is not None
    return found


def seat(roster: Roster, name: str = "main", now: float = 0.0) -> Seat:
    return Seat(standing(roster, name), now)


def test_a_seat_counts_as_in_flight_until_it_is_released() -> None:
    roster = Roster.of([MAIN])

    with seat(roster) as taken:
        assert taken.account is MAIN
        assert standing(roster).in_flight == 1
        assert repr(taken) == "<Seat main held>"
        assert repr(roster) == "<Roster accounts=1 in_flight=1>"

    assert standing(roster).in_flight == 0
    assert repr(taken) == "<Seat main released>"


def test_releasing_twice_counts_once() -> None:
    roster = Roster.of([MAIN])
    first, second = seat(roster), seat(roster)

    first.release()
    first.release()

    assert standing(roster).in_flight == 1
    second.release()


def test_a_seat_is_released_when_its_session_raises() -> None:
    roster = Roster.of([MAIN])

    with pytest.raises(ZeroDivisionError), seat(roster):
        _ = 1 / 0

    assert standing(roster).in_flight == 0


def test_a_seat_that_the_breaker_refuses_is_not_counted() -> None:
    roster = Roster.of([MAIN])
    open_breaker(roster)

    with pytest.raises(IllegalEventError):
        seat(roster, now=0.5)

    assert standing(roster).in_flight == 0


def open_breaker(roster: Roster) -> None:
    with seat(roster) as taken:
        changes = [taken.fail(LOST, 0.0) for _ in range(5)]
    assert changes[-1] == (BreakerOpened("main", "connect_timeout", 1.0),)


def test_a_trial_that_ends_without_a_verdict_lets_the_next_session_be_the_trial() -> None:
    roster = Roster.of([MAIN])
    open_breaker(roster)

    seat(roster, now=1.0).release()

    assert standing(roster).health.breaker.admits(1.0)


def test_a_session_from_before_the_breaker_opened_cannot_spoil_the_trial() -> None:
    roster = Roster.of([MAIN])
    early = seat(roster)
    open_breaker(roster)
    trial = seat(roster, now=1.0)

    assert early.fail(LOST, 1.5) == ()
    early.release()

    assert standing(roster).health.breaker.state is BreakerState.PROBATION
    trial.succeed(first_frame_ms=80.0, now=2.0)
    assert standing(roster).health.breaker.state is BreakerState.CLOSED


def test_an_update_keeps_sessions_and_health() -> None:
    roster = Roster.of([MAIN, SPARE])
    held = seat(roster)
    held.fail(FATAL, 0.0)

    roster.update([attrs.evolve(MAIN, weight=7), ECHO])

    assert standing(roster).account.weight == 7
    assert standing(roster).in_flight == 1
    assert standing(roster).health.disabled is not None
    assert roster.standing("spare") is None
    assert standing(roster, "echo").in_flight == 0


@pytest.mark.parametrize(
    "mended",
    [
        attrs.evolve(MAIN, api_key=Secret("second-key")),
        attrs.evolve(MAIN, base_url=parse_base_url("https://other.test/v1")),
        attrs.evolve(MAIN, headers={"OpenAI-Organization": "org"}),
        attrs.evolve(MAIN, tls_ca="/etc/ca.pem"),
        attrs.evolve(MAIN, xiaozhi=DeviceServerSettings(auth_key=Secret("another"))),
        attrs.evolve(MAIN, provider=Provider.COMPATIBLE),
    ],
)
def test_a_new_address_or_credential_starts_with_a_clean_slate(mended: Account) -> None:
    roster = Roster.of([MAIN])
    held = seat(roster)
    held.fail(FATAL, 0.0)

    roster.update([mended])

    assert standing(roster).health.disabled is None
    assert standing(roster).in_flight == 1
    assert held.fail(FATAL, 1.0) == ()
    assert standing(roster).health.disabled is None


def test_the_same_credential_read_again_changes_nothing() -> None:
    roster = Roster.of([MAIN])
    seat(roster).fail(FATAL, 0.0)

    roster.update([attrs.evolve(MAIN, api_key=Secret("first-key"))])

    assert standing(roster).health.disabled is not None


def test_an_account_that_was_away_finds_its_sessions_again() -> None:
    roster = Roster.of([MAIN])
    held = seat(roster)

    roster.update([])
    roster.update([SPARE])
    roster.update([MAIN])

    assert standing(roster).in_flight == 1
    held.release()
    assert standing(roster).in_flight == 0


def test_serving_names_the_enabled_accounts_of_the_dialect_that_serve_the_model() -> None:
    off = attrs.evolve(MAIN, name="off", enabled=False)
    roster = Roster.of([MAIN, off, SPARE, ECHO])

    def names(dialect: str, model: str | None) -> list[str]:
        return [served.account.name for served in roster.serving(dialect, model)]

    assert names("realtime", "gpt-realtime") == ["main"]
    assert names("realtime", "other") == ["spare"]
    assert names("realtime", "nothing") == []
    assert names("realtime", None) == ["main", "spare"]
    assert names("passthrough", None) == ["echo"]


def test_what_is_served_follows_an_update() -> None:
    roster = Roster.of([MAIN])
    assert roster.serving("realtime", "other") == ()

    roster.update([MAIN, SPARE])

    assert [served.account for served in roster.serving("realtime", "other")] == [SPARE]


def test_the_memory_of_who_serves_what_is_bounded() -> None:
    roster = Roster.of([MAIN])

    for number in range(SERVED_MAX + 10):
        roster.serving("realtime", f"gpt-{number}")

    assert len(roster._served) == SERVED_MAX
    assert [s.account for s in roster.serving("realtime", "gpt-0")] == [MAIN]


def test_due_probes_names_each_disabled_account_once_an_interval() -> None:
    off = attrs.evolve(MAIN, name="off")
    roster = Roster.of([MAIN, off, SPARE])
    for name in ("main", "off"):
        with seat(roster, name) as taken:
            assert taken.fail(FATAL, 0.0) == (AccountDisabled(name, FATAL.code, FATAL.message),)
    roster.update([MAIN, attrs.evolve(off, enabled=False), SPARE])

    assert roster.due_probes(299.0) == ()
    assert roster.due_probes(300.0) == (MAIN,)
    assert roster.due_probes(300.0) == ()
    assert roster.due_probes(600.0) == (MAIN,)


def test_enabling_is_told_once_and_an_unknown_name_changes_nothing() -> None:
    roster = Roster.of([MAIN])
    seat(roster).fail(FATAL, 0.0)

    assert roster.enable("unknown") == ()
    assert roster.enable("main") == (AccountEnabled("main"),)
    assert roster.enable("main") == ()


def test_statistics_show_each_account_in_the_configurations_order() -> None:
    roster = Roster.of([SPARE, MAIN])
    taken = seat(roster)
    taken.succeed(first_frame_ms=80.0, now=0.0)
    taken.fail(FATAL, 0.0)

    spare, main = roster.statistics()

    assert (spare.name, spare.in_flight, spare.disabled_by) == ("spare", 0, None)
    assert attrs.asdict(main) == {
        "name": "main",
        "enabled": True,
        "in_flight": 1,
        "sessions_max": 0,
        "breaker": BreakerState.CLOSED,
        "cooled_until": -math.inf,
        "disabled_by": "invalid_api_key",
        "error_average": 0.0,
        "first_frame_ms": 80.0,
        "overridden": False,
        "disabled_message": "the key is wrong",
        "retry_at": 300.0,
    }
    assert [each.account for each in roster.standings()] == [SPARE, MAIN]


def test_an_override_holds_until_the_next_configuration() -> None:
    roster = Roster.of([MAIN, SPARE])
    assert [each.account.name for each in roster.serving("realtime", "gpt-5")] == ["main"]

    with seat(roster):
        roster.override("main", enabled=False)

        assert roster.serving("realtime", "gpt-5") == ()
        assert standing(roster).in_flight == 1, "sessions under way go on"
    assert (standing(roster).account.enabled, standing(roster).overridden) == (False, True)
    roster.override("main", enabled=False)
    assert standing(roster).overridden
    roster.override("main", enabled=True)
    assert (standing(roster).account, standing(roster).overridden) == (MAIN, False)
    roster.override("main", enabled=False)
    roster.update([MAIN, SPARE])
    assert (standing(roster).account, standing(roster).overridden) == (MAIN, False)
    assert len(roster.serving("realtime", "gpt-5")) == 1
    roster.override("unknown", enabled=False)


def test_an_overridden_account_that_is_disabled_is_not_probed() -> None:
    roster = Roster.of([MAIN])
    seat(roster).fail(FATAL, 0.0)
    roster.override("main", enabled=False)

    assert roster.due_probes(300.0) == ()


def test_what_is_forgiven_is_forgotten_and_told() -> None:
    roster = Roster.of([MAIN, SPARE])
    early = seat(roster)
    early.succeed(first_frame_ms=80.0, now=0.0)
    for _ in range(5):
        seat(roster).fail(LOST, 0.0)
    early.fail(FATAL, 0.0)

    assert roster.forgive("main") == (AccountEnabled("main"), BreakerClosed("main"))

    health = standing(roster).health
    assert (health.disabled, health.error_average, health.first_frame_ms) == (None, 0.0, 80.0)
    assert health.breaker.state is BreakerState.CLOSED
    assert early.fail(FATAL, 0.0) == (), "a late verdict is the old health's"
    assert standing(roster).health.disabled is None
    assert roster.forgive("main") == ()
    assert roster.forgive("unknown") == ()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from(["main", "spare"])),
        st.tuples(st.just("release"), st.integers(0, 20)),
        st.tuples(st.just("update"), st.sampled_from(["", "main", "spare", "main spare"])),
    ),
    max_size=60,
)


@given(STEPS)
def test_in_flight_is_the_number_of_seats_held_whatever_happens(
    steps: list[tuple[str, str | int]],
) -> None:
    accounts = {"main": MAIN, "spare": SPARE}
    roster = Roster.of(accounts.values())
    taken: list[Seat] = []
    released: set[int] = set()
    for verb, what in steps:
        match verb, what:
            case "take", str(name) if roster.standing(name) is not None:
                taken.append(seat(roster, name))
            case "release", int(number) if number < len(taken):
                taken[number].release()
                released.add(number)
            case "update", str(names):
                roster.update(accounts[name] for name in names.split())
        held = [s.account.name for number, s in enumerate(taken) if number not in released]
        for name in accounts:
            found = roster.standing(name)
            assert found is None or found.in_flight == held.count(name)
