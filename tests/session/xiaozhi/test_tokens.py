"""The tokens that servers gave for devices."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from relayd.dialect.xiaozhi_build import UNKNOWN, Build
from relayd.dialect.xiaozhi_identity import Identity
from relayd.session.xiaozhi.tokens import ServerTokens
from relayd.state.memory import MemoryStore

DEVICE = Identity("aa:bb:cc:dd:ee:01", "c-1")


async def test_a_token_is_one_devices_at_one_account_for_its_time(
    autojump_clock: MockClock,
) -> None:
    tokens = ServerTokens(MemoryStore(trio.current_time))
    await tokens.keep("one", DEVICE, "secret", ttl_s=10.0)

    assert await tokens.find("one", DEVICE) == "secret"
    assert await tokens.find("two", DEVICE) is None
    assert await tokens.find("one", Identity(DEVICE.device_id, "c-2")) is None
    await trio.sleep(19.0)
    assert await tokens.find("one", DEVICE) == "secret"
    await trio.sleep(21.0)
    assert await tokens.find("one", DEVICE) is None


async def test_what_no_device_has_come_for_is_gone_after_its_time(
    autojump_clock: MockClock,
) -> None:
    tokens = ServerTokens(MemoryStore(trio.current_time))
    await tokens.keep("one", DEVICE, "secret", ttl_s=10.0)

    await trio.sleep(11.0)
    assert await tokens.find("one", DEVICE) is None


@pytest.mark.parametrize("asks_again", [False, True])
async def test_made_up_ids_do_not_crowd_out_a_device_that_has_come(
    autojump_clock: MockClock, asks_again: bool
) -> None:
    store = MemoryStore(trio.current_time, entries_max=100, forgets=True)
    tokens = ServerTokens(store)
    await tokens.keep("one", DEVICE, "secret", ttl_s=100.0)
    assert await tokens.find("one", DEVICE) == "secret"
    if asks_again:
        await tokens.keep("one", DEVICE, "newer", ttl_s=100.0)
    await trio.sleep(50.0)

    for number in range(200):
        await tokens.keep("one", Identity(f"made-up-{number}", "c"), "x", ttl_s=100.0)

    assert await tokens.find("one", DEVICE) == ("newer" if asks_again else "secret")
    assert len(store) == 100


async def test_a_token_may_have_spaces_in_it(autojump_clock: MockClock) -> None:
    tokens = ServerTokens(MemoryStore(trio.current_time))
    await tokens.keep("one", DEVICE, " a b ", ttl_s=10.0)

    assert await tokens.find("one", DEVICE) == " a b "


async def test_a_server_that_wants_none_is_remembered_as_that() -> None:
    tokens = ServerTokens(MemoryStore(trio.current_time))
    await tokens.keep("one", DEVICE, "", ttl_s=10.0)

    assert await tokens.find("one", DEVICE) == ""


async def test_what_a_device_is_is_kept_like_its_token_and_beside_it(
    autojump_clock: MockClock,
) -> None:
    tokens, build = ServerTokens(MemoryStore(trio.current_time)), Build(("a board", "b"), "2.0 x")
    await tokens.keep("one", DEVICE, "secret", ttl_s=10.0)
    await tokens.keep_build(DEVICE, build, ttl_s=10.0)

    assert await tokens.find_build(DEVICE) == build
    assert await tokens.find_build(Identity(DEVICE.device_id, "c-2")) == UNKNOWN
    await trio.sleep(19.0)
    await tokens.keep_build(DEVICE, UNKNOWN, ttl_s=10.0)  # it has said nothing this time
    assert await tokens.find_build(DEVICE) == build
    await trio.sleep(21.0)
    assert await tokens.find_build(DEVICE) == UNKNOWN
