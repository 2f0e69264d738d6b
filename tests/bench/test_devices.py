from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from bench import devices
from bench.relays import RelayKind, default_relayd
from bench.rows import ROWS, quick


@attrs.frozen
class Here:
    """Conditions of a short run on whatever there is."""

    seconds: float = 0.3
    relay_cpus: frozenset[int] = attrs.field(factory=lambda: frozenset(os.sched_getaffinity(0)))
    load_cpus: frozenset[int] = attrs.field(factory=lambda: frozenset(os.sched_getaffinity(0)))
    relayd: Path = attrs.field(factory=default_relayd)


@pytest.mark.slow
def test_a_short_run_without_a_relay_loses_nothing() -> None:
    row = attrs.evolve(quick(ROWS["devices"]), sessions=4)
    run = devices.measure(row, RelayKind.DIRECT, Here())

    assert run.figures["packets_lost"] == 0
    assert run.figures["packets"] > 0
    assert 0 < run.figures["delay_p50_ms"] <= run.figures["delay_p99_ms"]
    assert run.figures["packet_p50_ms"] > 0
    assert "kb_per_device" not in run.figures


def test_a_relay_s_memory_without_devices_is_read_once_it_has_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[object] = []
    monkeypatch.setattr(devices, "watch", lambda workers, seconds: done.append(seconds))

    def resident_bytes(pid: int) -> int:
        done.append(pid)
        return 9_000

    monkeypatch.setattr(devices, "resident_bytes", resident_bytes)

    assert devices._resident_at_rest(7, []) == 9_000
    assert done == [devices.LISTENING_S, 7]
