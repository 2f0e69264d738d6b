from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench import processes

SPIN = """
import time
while time.process_time() < 0.05:
    pass
print(time.process_time(), flush=True)
input()
"""


def test_the_cpu_clock_of_a_child_is_what_the_child_itself_reads() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        own = float(child.stdout.readline())

        assert own <= processes.cpu_seconds(child.pid) < own + 0.5
        child.communicate("\n")


def test_a_process_that_is_gone_has_no_clock() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    with pytest.raises(OSError, match="Invalid argument"):
        processes.cpu_seconds(child.pid)


def test_resident_memory_is_whole_pages() -> None:
    resident = processes.resident_bytes(os.getpid())

    assert resident > 1_000_000
    assert resident % os.sysconf("SC_PAGE_SIZE") == 0


def test_pinning_ends_with_its_block() -> None:
    before = os.sched_getaffinity(0)
    one = frozenset(list(before)[:1])

    with processes.pinned(one):
        assert os.sched_getaffinity(0) == one

    assert os.sched_getaffinity(0) == before
