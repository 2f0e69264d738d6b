"""What the bus is told of an operator's message to devices."""

from __future__ import annotations

import attrs
import pytest
from trio.testing import MockClock

from relayd.observe.bus import DeviceCommand, DeviceCommanded
from relayd.session.xiaozhi.asking import DeviceBusy
from tests.session.xiaozhi.stage import MAC, Stage

WORDS = {"status": "Info", "message": "canary: dinner", "emotion": "happy"}


async def test_a_message_for_all_is_told_of_each_device_with_its_tenant(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.server()
    devices = []
    for tenant, device_id in [("team", MAC), ("team", "browser-1"), ("other", MAC)]:
        stage.tenant = tenant
        devices.append(await stage.device(device_id=device_id))
    with_its_own = stage.desk.alert_all(**WORDS, tenant="team")
    told = stage.of(DeviceCommanded)
    stage.desk.alert_all(**WORDS)

    assert with_its_own == (2, 0)
    assert [(each.device_id, each.session.session_id) for each in told] == [
        (MAC, "sess_1"),
        ("browser-1", "sess_2"),
    ]
    assert {(each.command, each.session.tenant) for each in told} == {(DeviceCommand.ALERT, "team")}
    assert [each.session.tenant for each in stage.of(DeviceCommanded)] == [
        *("team", "team"),
        *("team", "team", "other"),
    ]
    assert "canary" not in repr([attrs.asdict(each) for each in stage.of(DeviceCommanded)])
    for device in devices:
        assert (await device.text())["type"] == "alert"


async def test_a_message_that_was_not_sent_is_not_told_of(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, _ = await stage.talking(await stage.server())
    device.session.kill()

    with pytest.raises(DeviceBusy):
        stage.desk.alert(MAC, **WORDS)

    assert stage.desk.alert_all(**WORDS) == (0, 1)
    assert stage.of(DeviceCommanded) == []
    assert await device.closes() == 1008
