"""What a look at sessions and accounts says of them."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relayd.observe.metrics_labels import AccountState
from relayd.routing.breaker import BreakerState
from relayd.service.measuring_samples import SESSIONS_AT_ONCE, account_state
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
    world.open("p", dialect="passthrough", account="echo")
    world.open("r", account="removed")

    assert await shown(measuring, "relayd_sessions_open") == {
        '{account="main",dialect="realtime"}': 3,
        '{account="echo",dialect="passthrough"}': 1,
        '{account="idle",dialect="realtime"}': 0,
        '{account="removed",dialect="realtime"}': 1,
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
