"""Simulated accounts get an upstream of their own inside the process."""

from __future__ import annotations

import pytest
import trio

from relayd.cli.simulated import SIMULATED_KEY, with_simulators
from relayd.config.accounts import AccountSettings
from relayd.config.schema import Settings
from relayd.config.secret import Secret
from relayd.config.snapshot import Snapshot
from tests.faults.wire import SOON_S, Wire

SNAPSHOT = Snapshot.of(
    Settings(
        accounts=(
            AccountSettings(name="real", provider="openai", api_key=Secret("own")),
            AccountSettings(name="talk", provider="sim:realtime"),
            AccountSettings(name="echo", provider="sim:passthrough", api_key=Secret("own")),
            AccountSettings(name="off", provider="sim:realtime", enabled=False),
        )
    )
)


async def test_every_enabled_simulated_account_is_given_an_address_that_listens(
    nursery: trio.Nursery,
) -> None:
    ready = await with_simulators(SNAPSHOT, nursery)

    assert [account.name for account in ready.accounts] == ["real", "talk", "echo", "off"]
    real, talk, echo, off = ready.accounts
    assert (real, off) == (SNAPSHOT.accounts[0], SNAPSHOT.accounts[3])
    for account in (talk, echo):
        assert account.base_url is not None
        assert account.base_url.is_literal
        with trio.fail_after(SOON_S):
            (await Wire.to(account.base_url.authority)).close()
        assert ready.account_named(account.name) is account
    assert talk.base_url != echo.base_url


async def test_an_account_keeps_its_own_key_and_gets_one_where_it_has_none(
    nursery: trio.Nursery,
) -> None:
    ready = await with_simulators(SNAPSHOT, nursery)

    assert [account.api_key for account in ready.accounts] == [
        Secret("own"),
        SIMULATED_KEY,
        Secret("own"),
        None,
    ]


async def test_cancelling_the_nursery_ends_the_upstreams() -> None:
    async with trio.open_nursery() as simulators:
        ready = await with_simulators(SNAPSHOT, simulators)
        simulators.cancel_scope.cancel()

    url = ready.accounts[1].base_url
    assert url is not None
    with pytest.raises(ConnectionRefusedError):
        await Wire.to(url.authority)
