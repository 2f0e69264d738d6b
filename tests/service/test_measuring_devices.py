"""Devices in the metrics."""

from __future__ import annotations

import attrs
import pytest

from relayd.dialect.xiaozhi_actions import Loss
from relayd.observe.device_events import (
    DeviceCommand,
    DeviceCommanded,
    DeviceContextLost,
    DeviceEnded,
    DeviceGreeted,
    DeviceToolCalled,
    DeviceTurnEnded,
)
from relayd.observe.metrics_labels import DEVICE_LOSS
from tests.service.measured import FACTS, World, shown

DEVICE = attrs.evolve(FACTS, dialect="xiaozhi", model=None)
TURN = DeviceTurnEnded(
    session=DEVICE,
    reason="completed",
    audio_in_s=1.5,
    audio_out_s=2.5,
    stt_ms=300.0,
    first_audio_ms=400.0,
    speaking_ms=2500.0,
    gaps=0,
    calls=0,
)
ENDED = DeviceEnded(
    session=DEVICE,
    hello_ms=20.0,
    losses=1,
    turns=1,
    aborts=0,
    calls=0,
    audio_in_s=1.5,
    audio_out_s=2.5,
    packets_in=25,
    packets_out=40,
    dropped_in=3,
    dropped_out=4,
    gaps_in=0,
    gaps_out=0,
)
LOST = DeviceContextLost(
    session=DEVICE, lost=1, cause="connection", close_code=None, speaking=True, calls_failed=0
)


def test_the_causes_are_those_of_the_dialect() -> None:
    assert set(DEVICE_LOSS.values) == set(Loss)


async def test_what_happens_to_a_device_is_counted_by_its_account() -> None:
    measuring = World().measuring()
    for event in (
        DeviceGreeted(session=DEVICE, hello_ms=20.0),
        TURN,
        LOST,
        DeviceCommanded(session=DEVICE, device_id="d", command=DeviceCommand.KICK),
        ENDED,
    ):
        measuring.hear(event)

    hellos = await shown(measuring, "relayd_device_hello_seconds_sum")
    assert hellos == {'{account="main"}': 0.02}
    assert await shown(measuring, "relayd_device_stt_seconds_sum") == {'{account="main"}': 0.3}
    assert await shown(measuring, "relayd_device_audio_seconds_total") == {
        '{account="main",direction="in"}': 1.5,
        '{account="main",direction="out"}': 2.5,
    }
    assert await shown(measuring, "relayd_device_servers_lost_total") == {
        '{account="main",cause="connection"}': 1
    }
    assert await shown(measuring, "relayd_device_packets_dropped_total") == {
        '{account="main",direction="in"}': 3,
        '{account="main",direction="out"}': 4,
    }


async def test_a_turn_that_was_not_understood_has_no_time_to_its_text() -> None:
    measuring = World().measuring()
    measuring.hear(attrs.evolve(TURN, stt_ms=None))

    assert await shown(measuring, "relayd_device_stt_seconds_sum") == {}


async def test_calls_of_servers_and_of_operators_are_timed() -> None:
    measuring = World().measuring()
    called = DeviceToolCalled(
        session=DEVICE, device_id="aa", tool="t", outcome="answered", duration_ms=2000.0
    )
    for event in (
        attrs.evolve(TURN, calls=3, calls_ms=(150.0, 250.0)),
        called,
        attrs.evolve(called, outcome="timed_out", duration_ms=10_000.0),
        attrs.evolve(called, outcome="refused", duration_ms=0.0),
        attrs.evolve(called, outcome="abandoned", duration_ms=50.0),
    ):
        measuring.hear(event)

    sums = await shown(measuring, "relayd_device_call_seconds_sum")
    counts = await shown(measuring, "relayd_device_call_seconds_count")
    assert sums == {'{account="main"}': pytest.approx(12.4)}
    assert counts == {'{account="main"}': 4}
