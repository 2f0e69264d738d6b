"""Simulated accounts get an upstream of their own inside the process."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from relayd.cli import simulated
from relayd.cli.simulated import LOOK_EVERY_S, SIMULATED_KEY, Simulators, with_simulators
from relayd.config.accounts import AccountSettings
from relayd.config.schema import Settings
from relayd.config.secret import Secret
from relayd.config.snapshot import Snapshot
from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings
from relayd.service.reload import NotReadyError
from tests.faults.wire import SOON_S, TEXT, Wire, frame, upgrade

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


@pytest.mark.parametrize("public_url", [None, "http://localhost:8765"])
async def test_a_server_of_devices_has_their_settings_where_relayd_can_tell_of_itself(
    public_url: str | None, nursery: trio.Nursery
) -> None:
    settings = XiaozhiSettings(public_url=public_url, token_secret=Secret("x" * 32), key="dev")
    own = DeviceServerSettings(ota_url="http://elsewhere/xiaozhi/ota/")
    accounts = (
        AccountSettings(name="kitchen", provider="sim:xiaozhi"),
        AccountSettings(name="hall", provider="sim:xiaozhi", xiaozhi=own),
        AccountSettings(name="talk", provider="sim:realtime"),
    )
    snapshot = Snapshot.of(Settings(xiaozhi=settings, accounts=accounts))

    kitchen, hall, talk = (await with_simulators(snapshot, nursery)).accounts

    assert kitchen.base_url is not None
    found = f"http://{kitchen.base_url.authority}/xiaozhi/ota/" if public_url else None
    assert kitchen.xiaozhi.ota_url == found
    assert hall.xiaozhi.ota_url == own.ota_url
    assert talk.xiaozhi.ota_url is None


async def test_cancelling_the_nursery_ends_the_upstreams() -> None:
    async with trio.open_nursery() as simulators:
        ready = await with_simulators(SNAPSHOT, simulators)
        simulators.cancel_scope.cancel()

    url = ready.accounts[1].base_url
    assert url is not None
    with pytest.raises(ConnectionRefusedError):
        await Wire.to(url.authority)


# -- as configurations change


def only(*names: str, provider: str = "sim:passthrough", enabled: bool = True) -> Snapshot:
    return Snapshot.of(
        Settings(
            accounts=tuple(
                AccountSettings(name=name, provider=provider, enabled=enabled) for name in names
            )
        )
    )


def addresses(snapshot: Snapshot) -> list[str]:
    return [account.base_url.authority for account in snapshot.accounts if account.base_url]


async def listens(address: str) -> bool:
    try:
        (await Wire.to(address)).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_an_account_that_stays_keeps_its_upstream(nursery: trio.Nursery) -> None:
    simulators = Simulators(nursery)
    before = addresses(await simulators.ready(only("a", "b")))

    after = addresses(await simulators.ready(only("new", "a")))

    assert after[1] == before[0]
    assert after[0] not in before


async def test_an_upstream_stops_when_no_configuration_wants_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.01  # sockets take their time
    simulators = Simulators(nursery)
    both = await simulators.ready(only("a", "b"))
    a, b = addresses(both)

    simulators.settle(both)
    await trio.sleep(2 * LOOK_EVERY_S)
    assert [await listens(a), await listens(b)] == [True, True]

    simulators.settle(await simulators.ready(only("a")))
    assert await listens(b), "a session may be on its way to it"
    await trio.sleep(2 * LOOK_EVERY_S)

    assert [await listens(a), await listens(b)] == [True, False]


async def test_an_upstream_does_not_stop_before_its_sessions_have_ended(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.01
    simulators = Simulators(nursery)
    (address,) = addresses(await simulators.ready(only("a")))
    client = await Wire.to(address)
    await client.send(upgrade("/"))
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")

    simulators.settle(await simulators.ready(only("a", enabled=False)))
    await trio.sleep(10 * LOOK_EVERY_S)
    await client.send(frame(TEXT, b"still here"))
    assert (await client.frame()).payload == b"still here"

    client.close()
    await trio.sleep(2 * LOOK_EVERY_S)
    assert not await listens(address)


async def test_another_dialect_is_another_upstream(nursery: trio.Nursery) -> None:
    simulators = Simulators(nursery)
    before = await simulators.ready(only("a"))

    after = await simulators.ready(only("a", provider="sim:realtime"))

    assert addresses(before) != addresses(after)


async def test_an_upstream_that_cannot_be_started_is_told_by_its_account(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*arguments: object, **more: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(simulated, "serve_simulator", fail)

    with pytest.raises(NotReadyError, match="upstream of a cannot be started: Too many open"):
        await Simulators(nursery).ready(only("a"))
