"""The devices that are here, and what an operator does with them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from relayd.session.closing import CLOSE_GRACE_S
from relayd.session.xiaozhi.asking import DeviceBusy
from relayd.session.xiaozhi.desk import MAKES_WAY_S, NoSuchDevice, SeveralDevices
from tests.session.xiaozhi.stage import HELLO, MAC, Stage


async def test_alerts_and_reboots_reach_the_device(autojump_clock: MockClock, stage: Stage) -> None:
    device, _ = await stage.talking(await stage.server())

    stage.desk.alert(MAC, status="Info", message="hi", emotion="happy")
    stage.desk.reboot(MAC)
    told = stage.desk.alert_all(status="Info", message="all", emotion="happy")

    assert [(await device.text())["type"] for _ in range(3)] == ["alert", "system", "alert"]
    assert told == (1, 0)
    assert stage.desk.alert_all(status="", message="", emotion="", tenant="other") == (0, 0)


async def test_a_kicked_device_is_gone(autojump_clock: MockClock, stage: Stage) -> None:
    device, server = await stage.talking(await stage.server())

    stage.desk.kick(MAC)

    with pytest.raises(DeviceBusy):
        stage.desk.reboot(MAC)
    assert await device.closes() == 1008
    assert await server.closes() == 1001
    assert await device.ended() == "killed"
    with pytest.raises(NoSuchDevice):
        stage.desk.kick(MAC)


async def test_devices_are_listed_as_they_are(autojump_clock: MockClock, stage: Stage) -> None:
    one = await stage.server()
    await stage.talking(one)
    other = await stage.device(device_id="browser-1", version=3)
    await other.say(HELLO)
    assert (await (await stage.accept(one)).text())["type"] == "hello"

    first, second = stage.desk.devices()

    assert (first.device_id, first.account, first.phase, first.has_tools) == (
        MAC,
        "one",
        "talking",
        True,
    )
    assert (second.device_id, second.phase, second.version) == ("browser-1", "greeting", 3)


async def test_a_device_that_comes_back_waits_until_its_dead_socket_has_made_room(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, _ = await stage.talking(await stage.server())
    granted = device.session.granted
    first = await stage.desk.make_way(granted)
    assert await device.ended() == "device_replaced"
    began = trio.current_time()
    ways = []

    async def come_back() -> None:
        ways.append(await stage.desk.make_way(granted))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_back)
        await trio.sleep(1.0)
        assert ways == []
        first()

    assert trio.current_time() - began == 1.0
    (second,) = ways
    first()  # it is nobody's any more
    third = await stage.desk.make_way(granted)  # the second one never goes
    assert trio.current_time() - began == 1.0 + MAKES_WAY_S
    second()
    third()
    (await stage.desk.make_way(granted))()
    assert trio.current_time() - began == 1.0 + MAKES_WAY_S


async def test_a_socket_that_was_replaced_and_answers_nothing_takes_a_second(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, _ = await stage.talking(await stage.server())
    began = trio.current_time()

    await stage.desk.make_way(device.session.granted)

    assert await device.ended() == "device_replaced"
    assert trio.current_time() - began < CLOSE_GRACE_S + 0.5


async def test_a_device_of_two_tenants_has_to_be_named_with_one(
    autojump_clock: MockClock, stage: Stage
) -> None:
    one = await stage.server()
    device, _ = await stage.talking(one)
    stage.tenant = "another"
    second, _ = await stage.talking(one)

    with pytest.raises(SeveralDevices):
        stage.desk.find(MAC)
    assert stage.desk.find(MAC, "another") is second.session
    assert device.session.verdict.reason is None
