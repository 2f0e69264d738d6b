"""What a session is made with."""

from __future__ import annotations

from trio.testing import MockClock

from relayd.config.dialects import XiaozhiKeepalive
from relayd.config.schema import LimitSettings
from relayd.config.xiaozhi import TEXTS_AT_ONCE, XiaozhiSettings
from relayd.session.xiaozhi.making import limits_of
from tests.session.xiaozhi.stage import MAC, Stage


def test_silence_is_measured_by_the_dialects_own_times() -> None:
    limits = limits_of(LimitSettings(stall_s=7.0), XiaozhiKeepalive())

    assert (limits.keepalive_s, limits.keepalive_timeout_s, limits.stall_s) == (20.0, 40.0, 7.0)


async def test_a_session_keeps_what_it_was_admitted_by(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.settings = XiaozhiSettings(message_max_bytes=4096)
    await stage.server()

    device = await stage.device(version=3)

    session = device.session
    assert (session.message_max_bytes, session.device.lane.source) == (4096, 3)
    assert (session.reporter.facts.key, session.reporter.facts.account) == ("dev", "")
    assert session.teller.device_id == MAC


async def test_a_device_that_sends_too_many_texts_is_cut_off(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.settings = XiaozhiSettings(device_messages_per_s=1)
    device, server = await stage.talking(await stage.server())
    note = {"type": "note", "session_id": "s-1"}

    for _ in range(TEXTS_AT_ONCE - 1):  # its hello was the first
        await device.say(note)
        assert await server.text() == note
    await device.say(note)

    assert await device.closes() == 1008
    assert await device.ended() == "control_flood"
