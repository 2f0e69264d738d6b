"""The demo's device, at a simulated server without a relay between."""

from __future__ import annotations

import pytest
import trio

from relayd.cli.demo_client import DemoError, Narrator
from relayd.cli.demo_device import talk
from relayd.sim.server import serve
from relayd.sim.xiaozhi.scenario import Scenario
from relayd.sim.xiaozhi.upstream import XiaozhiUpstream


async def test_a_device_speaks_and_is_asked_for_its_tools(
    nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await nursery.start(serve, XiaozhiUpstream(name="sim"))

    await talk(server.address, "key", Narrator())

    said = capsys.readouterr().out
    assert 'was understood: "5 packets"' in said
    assert "heard 20 packets in answer" in said
    assert "it called self.get_device_status" in said


@pytest.mark.parametrize("scenario", [Scenario.CLOSE_1012, Scenario.TOKEN_REFUSED])
async def test_a_device_that_is_left_alone_says_so(
    scenario: Scenario, nursery: trio.Nursery
) -> None:
    server = await nursery.start(serve, XiaozhiUpstream(scenario))

    with pytest.raises(BaseException) as failed:  # noqa: PT011  # a group, or what is in it
        await talk(server.address, "key", Narrator())

    error: BaseException = failed.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, DemoError)
    assert "the device was left alone: closed" in str(error)
