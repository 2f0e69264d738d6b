"""What a look at sessions and accounts says of them."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from relayd.config.accounts import UpstreamMode
from relayd.config.providers import Dialect
from relayd.observe.metrics_labels import AccountState
from relayd.routing.breaker import DEFAULT_POLICY, BreakerState
from relayd.routing.classify import Failure, FailureKind
from relayd.routing.roster import Roster, Seat
from relayd.routing.scheduler import Demand, choose
from relayd.service.measuring_samples import SESSIONS_AT_ONCE, account_state, is_up
from tests.service.measured import ECHO, MAIN, World, shown, snapshot_of, statistics_of


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, AccountState.READY),
        ({"breaker": BreakerState.PROBATION}, AccountState.PROBATION),
        ({"breaker": BreakerState.OPEN}, AccountState.OPEN),
        ({"cooled_until": 10.5}, AccountState.COOLED),
        ({"cooled_until": 10.0}, AccountState.READY),
        ({"disabled_by": "invalid_api_key"}, AccountState.DISABLED),
        ({"enabled": False}, AccountState.OFF),
        ({"breaker": BreakerState.OPEN, "cooled_until": 11.0}, AccountState.COOLED),
        ({"cooled_until": 11.0, "disabled_by": "x"}, AccountState.DISABLED),
        ({"enabled": False, "disabled_by": "x"}, AccountState.OFF),
    ],
)
def test_an_account_is_in_one_state(changes: dict[str, object], state: AccountState) -> None:
    assert account_state(statistics_of(**changes), now=10.0) is state


@pytest.mark.parametrize("breaker", BreakerState)
def test_every_state_of_a_breaker_is_one_of_an_account(breaker: BreakerState) -> None:
    assert account_state(statistics_of(breaker=breaker), now=10.0) in AccountState


@pytest.mark.parametrize(
    ("changes", "up"),
    [
        ({}, True),
        ({"breaker": BreakerState.OPEN, "retry_at": 10.5}, False),
        ({"breaker": BreakerState.OPEN, "retry_at": 10.0}, True),
        ({"breaker": BreakerState.OPEN, "retry_at": 10.5, "cooled_until": 10.5}, False),
        ({"breaker": BreakerState.PROBATION, "retry_at": 9.0}, False),
        ({"cooled_until": 10.5, "retry_at": 10.5}, False),
        ({"cooled_until": 10.0, "retry_at": 10.0}, True),
        ({"disabled_by": "invalid_api_key", "retry_at": 9.0}, False),
        ({"enabled": False}, False),
        ({"in_flight": 2, "sessions_max": 2}, True),
    ],
)
def test_an_account_is_up_as_soon_as_it_would_be_tried(
    changes: dict[str, object], *, up: bool
) -> None:
    assert is_up(statistics_of(**changes), now=10.0) is up


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.5, 1.0, 2.0, 9.0, 10.0, 61.0]),
            st.sampled_from([*FailureKind, "good", "silent", "running"]),
        ),
        max_size=40,
    )
)
def test_an_account_is_up_when_the_scheduler_gives_it_a_session(
    visits: list[tuple[float, str]],
) -> None:
    roster, now, running = Roster.of((MAIN,)), 0.0, list[Seat]()
    for elapsed_s, verdict in visits:
        now += elapsed_s
        (account,) = roster.statistics()
        seat = choose(roster, Demand(Dialect.REALTIME, "gpt-realtime"), now=now, random_unit=0.0)
        assert is_up(account, now) is (seat is not None)
        if seat is None:
            roster.enable(MAIN.name)
            while running:
                running.pop().release()
        elif verdict == "running":
            running.append(seat)
        else:
            with seat:
                if verdict == "good":
                    seat.succeed(first_frame_ms=1.0, now=now)
                elif verdict != "silent":
                    for _ in range(DEFAULT_POLICY.failures_in_a_row_max):
                        seat.fail(Failure(FailureKind(verdict), "word", "A sentence."), now)


async def test_an_idle_relay_s_account_is_up_again_when_its_breaker_would_try_it(
    autojump_clock: MockClock,
) -> None:
    roster, world = Roster.of((MAIN,)), World()
    measuring = world.measuring()
    unreachable = Failure(FailureKind.UNREACHABLE, "connect_timeout", "It does not answer.")
    while roster.statistics()[0].breaker is BreakerState.CLOSED:
        with Seat(roster.standings()[0], trio.current_time()) as seat:
            seat.fail(unreachable, trio.current_time())

    seen = list[float]()
    for wait_s in (0.0, 0.9, 0.2):
        await trio.sleep(wait_s)
        world.accounts = roster.statistics()
        seen += (await shown(measuring, "relayd_account_up")).values()
    states = await shown(measuring, "relayd_account_state")

    assert seen == [0, 0, 1]
    assert states['{account="main",state="open"}'] == 1


async def test_an_account_s_state_is_the_series_that_is_1(autojump_clock: MockClock) -> None:
    world = World()
    measuring = world.measuring()
    world.accounts = (
        statistics_of("main", in_flight=3, sessions_max=5),
        statistics_of("echo", cooled_until=60.0),
        statistics_of("spare", enabled=False),
    )

    states = await shown(measuring, "relayd_account_state")

    assert len(states) == 3 * len(AccountState)
    assert {labels for labels, value in states.items() if value == 1} == {
        '{account="main",state="ready"}',
        '{account="echo",state="cooled"}',
        '{account="spare",state="off"}',
    }
    assert await shown(measuring, "relayd_account_up") == {
        '{account="main"}': 1,
        '{account="echo"}': 0,
    }
    assert (await shown(measuring, "relayd_account_in_flight"))['{account="main"}'] == 3
    assert (await shown(measuring, "relayd_account_sessions_max"))['{account="main"}'] == 5


async def test_an_account_that_is_removed_leaves_no_series() -> None:
    world = World(accounts=(statistics_of("main"), statistics_of("old")))
    measuring = world.measuring()
    await shown(measuring, "relayd_account_up")

    world.accounts = (statistics_of("main"),)

    assert await shown(measuring, "relayd_account_up") == {'{account="main"}': 1}


async def test_open_sessions_are_counted_by_account_also_where_there_are_none() -> None:
    world = World(snapshot=snapshot_of(MAIN, ECHO, attrs.evolve(MAIN, name="idle")))
    measuring = world.measuring()
    for number in range(3):
        world.open(f"s{number}")
    world.open("t", dialect="responses", account="")
    world.open("p", dialect="passthrough", account="echo")
    world.open("r", account="removed")

    assert await shown(measuring, "relayd_sessions_open") == {
        '{account="main",dialect="realtime"}': 3,
        '{account="echo",dialect="passthrough"}': 1,
        '{account="idle",dialect="realtime"}': 0,
        '{account="removed",dialect="realtime"}': 1,
        '{account="-",dialect="responses"}': 1,
    }


async def test_a_dialect_that_no_account_speaks_has_no_series() -> None:
    off = attrs.evolve(MAIN, websocket=UpstreamMode.OFF)
    world = World(snapshot=snapshot_of(off))

    assert await shown(world.measuring(), "relayd_sessions_open") == {
        '{account="main",dialect="realtime"}': 0
    }


async def test_what_a_session_without_an_account_relays_counts_too() -> None:
    world = World()
    measuring = world.measuring()
    session = world.open("t", dialect="responses", account="")
    session.relay(up=(1, 10), down=(3, 70))

    await shown(measuring, "relayd_bytes_total")
    measuring.hear(session.ended())
    world.sessions.clear()

    where = 'account="-",dialect="responses"'
    assert await shown(measuring, "relayd_bytes_total") == {
        f'{{{where},direction="up"}}': 10,
        f'{{{where},direction="down"}}': 70,
    }
    assert await shown(measuring, "relayd_sessions_total") == {
        f'{{{where},fault="none",reason="client_closed"}}': 1
    }


async def test_sessions_that_end_during_a_look_count_once() -> None:
    world = World()
    measuring = world.measuring()
    sessions = [world.open(f"s{number}") for number in range(SESSIONS_AT_ONCE * 4)]
    for session in sessions:
        session.relay(up=(1, 10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(measuring._sampler.sample)
        for _ in range(2):  # by now it has looked at some and not at all
            await trio.lowlevel.checkpoint()
        for session in sessions[1:]:
            session.relay(up=(1, 10))
            measuring.hear(session.ended())
            del world.sessions[session.reporter.facts.session_id]

    up = '{account="main",dialect="realtime",direction="up"}'
    assert world.sessions.keys() == {"s0"}
    assert (await shown(measuring, "relayd_bytes_total"))[up] == 10 + 20 * (len(sessions) - 1)
    assert (await shown(measuring, "relayd_messages_total"))[up] == 1 + 2 * (len(sessions) - 1)


async def test_a_session_that_is_gone_without_a_word_is_forgotten() -> None:
    world = World()
    measuring = world.measuring()
    up = '{account="main",dialect="realtime",direction="up"}'
    for _ in range(2):
        world.open("s1").relay(up=(1, 10))
        assert (await shown(measuring, "relayd_messages_total"))[up] > 0
        world.sessions.clear()
        await shown(measuring, "relayd_messages_total")

    assert (await shown(measuring, "relayd_messages_total"))[up] == 2


async def test_many_sessions_are_looked_at_in_slices() -> None:
    world = World()
    measuring = world.measuring()
    for number in range(SESSIONS_AT_ONCE * 8):
        world.open(f"s{number}")
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            await trio.lowlevel.checkpoint()
            steps += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await measuring._sampler.sample()
        nursery.cancel_scope.cancel()

    assert steps >= 6


async def test_two_scrapes_at_once_count_once() -> None:
    world = World()
    measuring = world.measuring()
    for number in range(SESSIONS_AT_ONCE * 2):
        world.open(f"s{number}").relay(down=(1, 7))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shown, measuring, "relayd_bytes_total")
        nursery.start_soon(shown, measuring, "relayd_bytes_total")

    down = '{account="main",dialect="realtime",direction="down"}'
    assert (await shown(measuring, "relayd_bytes_total"))[down] == 7 * SESSIONS_AT_ONCE * 2
    assert (await shown(measuring, "relayd_sessions_open"))[
        '{account="main",dialect="realtime"}'
    ] == SESSIONS_AT_ONCE * 2
