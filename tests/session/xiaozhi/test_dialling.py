"""What relayd presents to a server for a device."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from relayd.config.secret import Secret
from relayd.config.snapshot import Account
from relayd.config.xiaozhi import DeviceServerSettings
from relayd.dialect.xiaozhi_build import UNKNOWN, Build
from relayd.dialect.xiaozhi_identity import Identity
from relayd.observe.bus import AccountFailed, UpstreamConnected
from relayd.observe.events import LogEvent
from relayd.state.store import StoreError
from tests.conftest import LogLines
from tests.session.xiaozhi.stage import CLIENT, HELLO, MAC, UPSTREAM_KEY, Stage

DEVICE = Identity(MAC, CLIENT)
ASKS = DeviceServerSettings(ota_url="http://127.0.0.1:1/ota/")


def account(stage: Stage) -> Account:
    (found,) = stage.snapshot.accounts
    return found


async def test_what_a_server_gave_goes_before_the_accounts_key(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.server(xiaozhi=ASKS)
    means = stage.desk.means

    before = await means.credential(account(stage), DEVICE)
    await means.tokens.keep("one", DEVICE, "given", ttl_s=60.0)
    after = await means.credential(account(stage), DEVICE)
    await means.tokens.keep("one", DEVICE, "", ttl_s=60.0)
    nothing = await means.credential(account(stage), DEVICE)

    assert (before.token, before.accounts_own) == (UPSTREAM_KEY, True)
    assert (after.token, after.accounts_own) == ("given", False)
    assert (nothing.token, nothing.accounts_own) == (None, False)
    assert "given" not in repr(after)


async def test_nothing_at_all_is_not_the_accounts_own(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.server(xiaozhi=ASKS, api_key=None)

    found = await stage.desk.means.credential(account(stage), DEVICE)

    assert (found.token, found.accounts_own) == (None, False)


async def test_a_token_that_can_be_made_is_made(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.server(xiaozhi=DeviceServerSettings(auth_key=Secret("canary-of-server")))

    found = await stage.desk.means.credential(account(stage), DEVICE)

    assert found.token is not None
    assert found.token.endswith(".1795000000")
    assert found.accounts_own


async def test_a_store_that_is_away_is_not_the_accounts_fault(
    autojump_clock: MockClock,
    stage: Stage,
    log_lines: LogLines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await stage.server(xiaozhi=ASKS)

    async def away(key: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        raise StoreError("away")

    monkeypatch.setattr(stage.store, "get", away)
    device = await stage.device()
    await device.say(HELLO)

    assert await device.closes() == 1011
    await device.ended()
    (line,) = log_lines.of(LogEvent.UPSTREAM_FAILED)
    assert line["reason"] == "state_failed"
    (statistics,) = stage.desk.means.connector.roster.statistics()
    assert statistics.error_average == 0.0
    assert len(stage.of(AccountFailed)) == 1


async def test_each_server_that_is_connected_is_told(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.talking(await stage.server())

    (told,) = stage.of(UpstreamConnected)
    assert told.session.account == "one"


async def test_a_device_goes_to_the_server_of_its_board(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.server()
    boxes = await stage.server("two", DeviceServerSettings(boards=("esp-box",)), priority=-1)
    await stage.desk.tokens.keep_build(DEVICE, Build(("esp-box",)), ttl_s=60.0)

    device, _ = await stage.talking(boxes)

    assert device.session.presence(trio.current_time()).account == "two"


async def test_while_the_store_is_away_nothing_is_known_of_a_device(
    autojump_clock: MockClock,
    stage: Stage,
    log_lines: LogLines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = await stage.server()
    await stage.server("two", DeviceServerSettings(boards=("esp-box",)), priority=-1)

    async def away(key: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        raise StoreError("away")

    monkeypatch.setattr(stage.store, "get", away)

    await stage.talking(one)

    (line,) = log_lines.of(LogEvent.STATE_FAILED)
    assert line["message"] == "away"


async def test_the_store_is_not_asked_where_no_server_looks_at_it(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.server()
    await stage.desk.tokens.keep_build(DEVICE, Build(("esp-box",)), ttl_s=60.0)

    assert await stage.desk.means.build(DEVICE) == UNKNOWN
