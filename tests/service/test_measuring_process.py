from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from relayd.observe.metrics import Metric
from relayd.observe.metrics_values import Registry
from relayd.service import measuring_process
from relayd.service.measuring_process import count_entries, open_descriptors, sample_process


async def test_the_process_is_told_as_the_kernel_has_it() -> None:
    registry = Registry()

    await sample_process(registry)

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert registry.numbers(Metric.PROCESS_MAX_FDS).value() == soft
    assert 0 < registry.numbers(Metric.PROCESS_OPEN_FDS).value() <= soft
    assert registry.numbers(Metric.PROCESS_CPU_SECONDS_TOTAL).value() > 0
    assert registry.numbers(Metric.PROCESS_RESIDENT_MEMORY_BYTES).value() > 1 << 20


async def test_an_open_descriptor_is_one_more() -> None:
    before = await open_descriptors()

    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        assert await open_descriptors() == before + 1
    finally:
        os.close(descriptor)


async def test_entries_are_counted_where_the_size_does_not_say_it(tmp_path: Path) -> None:
    for number in range(1100):
        (tmp_path / str(number)).touch()

    assert await count_entries(str(tmp_path)) == 1100


async def test_where_there_is_no_proc_the_rest_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measuring_process, "_DESCRIPTORS", str(tmp_path / "missing"))
    registry = Registry()

    await sample_process(registry)

    assert registry.numbers(Metric.PROCESS_OPEN_FDS).value() == 0
    assert registry.numbers(Metric.PROCESS_CPU_SECONDS_TOTAL).value() > 0
