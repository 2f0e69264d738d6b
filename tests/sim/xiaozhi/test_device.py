"""The simulated device at the simulated server."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from relayd.sim.xiaozhi.device import HELLO_S, SILENCE_S
from relayd.sim.xiaozhi.heard import ChannelClosed, DeviceError
from relayd.sim.xiaozhi.mcp import TOOLS, Toolset
from relayd.sim.xiaozhi.scenario import Scenario
from relayd.sim.xiaozhi.upstream import XiaozhiUpstream
from tests.sim.xiaozhi.stage import device_at, identity


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_spoken_turn(version: int, autojump_clock: MockClock) -> None:
    upstream = XiaozhiUpstream(name="sim")
    async with device_at(upstream, identity(version=version, frame_ms=20)) as device:
        await device.greet()
        turn = await device.speak(30)

    assert turn.heard == "30 packets"
    assert turn.sentences[0] == "sim heard: 30 packets"
    assert (turn.packets, turn.is_over) == (20, True)
    assert turn.heard_at is not None
    assert turn.sounded_at is not None
    assert device.stopped_at is not None
    assert device.stopped_at <= turn.heard_at <= turn.sounded_at
    assert (device.ear.lost, device.ear.foreign, device.frames_wrong) == (0, 0, 0)
    (record,) = upstream.statistics().records
    assert (record.packets_in, record.packets_lost, record.close_code) == (30, 0, 1000)


async def test_speech_takes_as_long_as_it_sounds(autojump_clock: MockClock) -> None:
    async with device_at(XiaozhiUpstream()) as device:
        await device.greet()
        await device.start_listening()
        began = trio.current_time()
        await device.sound(10)

    assert trio.current_time() - began == pytest.approx(0.6)
    assert device.packets_spoken == 10


async def test_words_and_an_abort(autojump_clock: MockClock) -> None:
    async with device_at(XiaozhiUpstream(name="sim")) as device:
        await device.greet()
        assert (await device.write("hello")).sentences[0] == "sim heard: hello"
        await device.start_listening("auto")
        await device.sound(25)
        await device.abort()
        assert (await device.answer()).packets < 20


async def test_tools_are_listed_and_called(autojump_clock: MockClock) -> None:
    toolset = Toolset(call_s=3.0)
    async with device_at(XiaozhiUpstream(), toolset=toolset) as device:
        await device.greet()
        began = trio.current_time()
        turn = await device.write("[sim:tool_call]")
        await device.until_called(1)

    assert trio.current_time() - began == pytest.approx(3.0)
    assert toolset.calls == [next(iter(TOOLS))]
    assert '"isError":false' in turn.sentences[0]
    assert device.requests_dropped == 0


async def test_what_is_wrong_with_messages_is_counted(autojump_clock: MockClock) -> None:
    async with device_at(XiaozhiUpstream(), identity(version=3)) as device:
        await device.greet()
        await device.write("[sim:wrong_size words=20]")
        await device.write("[sim:strange]")

    assert device.frames_wrong == 2
    assert device.texts_wrong == 3
    assert (device.ear.packets, device.ear.lost) == (20, 0)


@pytest.mark.parametrize(
    ("name", "words"),
    [("silent_hello", "no hello within"), ("no_transport", "without its transport")],
)
async def test_hellos_that_a_device_does_not_take(
    name: str, words: str, autojump_clock: MockClock
) -> None:
    async with device_at(XiaozhiUpstream(), identity(client_id=f"sim-{name}")) as device:
        with pytest.raises(DeviceError, match=words):
            await device.greet()

    assert trio.current_time() <= HELLO_S + 1


async def test_a_refusal_ends_the_wait_for_a_hello(autojump_clock: MockClock) -> None:
    async with device_at(XiaozhiUpstream(Scenario.TOKEN_REFUSED)) as device:
        with pytest.raises(ChannelClosed) as closed:
            await device.greet()

    assert closed.value.code == 1000
    assert device.texts_wrong == 1


async def test_a_lost_server_ends_the_wait_for_an_answer(autojump_clock: MockClock) -> None:
    async with device_at(XiaozhiUpstream(Scenario.CLOSE_1012)) as device:
        await device.greet()
        with pytest.raises(ChannelClosed) as closed:
            await device.speak(2)
        again = await device.until_closed()

    assert (closed.value.code, closed.value.reason) == (1012, "service restart")
    assert again.code == 1012


async def test_a_silent_channel_is_dead(autojump_clock: MockClock) -> None:
    async with device_at(XiaozhiUpstream(Scenario.SILENT, idle_s=1000)) as device:
        await device.greet()
        began = trio.current_time()
        with pytest.raises(DeviceError, match="nothing for 120 s"):
            await device.write("hello?")

    assert trio.current_time() - began == pytest.approx(SILENCE_S, abs=1)
