"""A device's upgrade on its way to a session."""

from __future__ import annotations

import socket

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.xiaozhi import XiaozhiSettings
from relayd.core.refusals import RefusalCode
from relayd.protocol.head import parse_head
from relayd.protocol.upgrade import check_upgrade
from relayd.service.entries.xiaozhi import XiaozhiOpening
from relayd.service.visit import Refused, Visit
from relayd.session.admission import Quota
from relayd.transport.endpoint import Endpoint
from tests.conftest import LogLines
from tests.faults.wire import upgrade
from tests.session.xiaozhi.stage import MAC, staged

REQUEST = check_upgrade(parse_head(upgrade("/xiaozhi/v1/")))


@attrs.frozen
class House:
    """A door that is open."""

    quota: Quota
    draining: bool = False
    accepts_turns: bool = True

    def client(self, visit: Visit) -> Endpoint:
        raise AssertionError("nobody is let in")


async def test_a_device_that_has_used_what_it_may_is_told_when_to_come_again(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    async with staged() as stage:
        stage.settings = XiaozhiSettings(device_turns_per_minute=1)
        await stage.server()
        device = await stage.device()
        granted = device.session.granted
        stage.desk.allowances.use_of(granted.grant.key.tenant, MAC, stage.settings).turn_begun()
        await wait_all_tasks_blocked()
        opening = XiaozhiOpening(stage.desk, granted, REQUEST, stage.snapshot)
        with socket.socket() as sock:
            visit = Visit(sock, "192.0.2.1", 1, trio.current_time(), "sess_9")

            with pytest.raises(Refused) as raised:
                await opening.open(visit, House(stage.limits))

        refusal = raised.value.refusal
        assert refusal.code is RefusalCode.RATE_LIMIT_EXCEEDED
        assert refusal.retry_after_s == pytest.approx(60.0)
        assert (visit.holdings, visit.settled) == ([], False)
        assert not device.over.is_set(), "its talk of now goes on"
