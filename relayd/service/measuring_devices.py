"""What happens to devices, in the metrics."""

from __future__ import annotations

from typing import Final

from relayd.observe.device_events import (
    DeviceContextLost,
    DeviceEnded,
    DeviceEvent,
    DeviceGreeted,
    DeviceToolCalled,
    DeviceTurnEnded,
)
from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import NO_ACCOUNT
from relayd.observe.metrics_values import Registry

_TIMED: Final = frozenset({"answered", "failed", "timed_out"})
"""Calls of operators that the device was given its time for."""


def count_device(event: DeviceEvent, registry: Registry) -> None:
    """Take note of ``event``."""
    account = event.session.account or NO_ACCOUNT
    match event:
        case DeviceGreeted():
            hello = registry.histogram(Metric.DEVICE_HELLO_SECONDS)
            hello.observe(event.hello_ms / 1000, account=account)
        case DeviceTurnEnded():
            audio = registry.numbers(Metric.DEVICE_AUDIO_SECONDS_TOTAL)
            audio.add(event.audio_in_s, account=account, direction="in")
            audio.add(event.audio_out_s, account=account, direction="out")
            if event.stt_ms is not None:
                stt = registry.histogram(Metric.DEVICE_STT_SECONDS)
                stt.observe(event.stt_ms / 1000, account=account)
            calls = registry.histogram(Metric.DEVICE_CALL_SECONDS)
            for call_ms in event.calls_ms:
                calls.observe(call_ms / 1000, account=account)
        case DeviceToolCalled() if event.outcome in _TIMED:
            calls = registry.histogram(Metric.DEVICE_CALL_SECONDS)
            calls.observe(event.duration_ms / 1000, account=account)
        case DeviceContextLost():
            lost = registry.numbers(Metric.DEVICE_SERVERS_LOST_TOTAL)
            lost.add(1, account=account, cause=event.cause)
        case DeviceEnded():
            dropped = registry.numbers(Metric.DEVICE_PACKETS_DROPPED_TOTAL)
            dropped.add(event.dropped_in, account=account, direction="in")
            dropped.add(event.dropped_out, account=account, direction="out")
        case _:
            pass  # operators' words are lines of the log
