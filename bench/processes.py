"""What the kernel tells about a process and a CPU: time used, memory held."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CPUCLOCK_SCHED: Final = 2
_RSS: Final = re.compile(r"^Rss:\s+(\d+) kB$", re.MULTILINE)
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process and all its threads have used so far, in seconds.

    The process's CPU clock counts nanoseconds where ``/proc/<pid>/stat`` counts ticks of 10 ms;
    its number is what clock_getcpuclockid(3) computes.

    Raises:
        OSError: There is no such process.
    """
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def resident_bytes(pid: int) -> int:
    """Memory that a process holds, summed over its pages rather than read from lazy counters.

    Raises:
        OSError: There is no such process.
    """
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = _RSS.search(rollup)
    assert found is not None
    return int(found[1]) * 1024


def busy_seconds(cpus: frozenset[int]) -> float:
    """Time that ``cpus`` have spent on anything at all, and been kept from by a hypervisor."""
    names = {f"cpu{cpu}" for cpu in cpus}
    busy_ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            busy_ticks += user + nice + system + irq + softirq + steal
    return busy_ticks / _TICKS_PER_S


@contextlib.contextmanager
def pinned(cpus: frozenset[int]) -> Iterator[None]:
    """Run the block, and whatever is started in it, on ``cpus`` only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one, for children too; the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
