"""What the kernel knows of this process: CPU time, memory, descriptors."""

from __future__ import annotations

import os
import resource
from typing import Final

import trio

from relayd.observe.metrics import Metric
from relayd.observe.metrics_values import Registry

_PAGE_BYTES: Final = resource.getpagesize()
_DESCRIPTORS: Final = "/proc/self/fd"
_ENTRIES_AT_ONCE: Final = 512


async def sample_process(registry: Registry) -> None:
    """Set the metrics of the process. Where ``/proc`` is missing, some keep what they had."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    registry.numbers(Metric.PROCESS_CPU_SECONDS_TOTAL).set(used.ru_utime + used.ru_stime)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    registry.numbers(Metric.PROCESS_MAX_FDS).set(soft)
    try:
        resident = registry.numbers(Metric.PROCESS_RESIDENT_MEMORY_BYTES)
        resident.set(_resident_bytes())
        registry.numbers(Metric.PROCESS_OPEN_FDS).set(await open_descriptors())
    except OSError:
        return  # no /proc, or no descriptor left to read it with


async def open_descriptors() -> int:
    """How many descriptors are open. Raises ``OSError`` where the kernel does not tell.

    Since Linux 6.2 the directory's size says it; before, its entries are counted, which for ten
    thousands of them takes long enough to let others run meanwhile.
    """
    size = os.stat(_DESCRIPTORS).st_size
    return size or await count_entries(_DESCRIPTORS)


async def count_entries(directory: str) -> int:
    """How many entries ``directory`` has, in slices. Raises ``OSError``."""
    count = 0
    with os.scandir(directory) as entries:
        for _ in entries:
            count += 1
            if count % _ENTRIES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
    return count


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * _PAGE_BYTES
