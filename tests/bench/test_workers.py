from __future__ import annotations

import os
import signal
from array import array

import pytest

from bench.failures import RunFailed
from bench.workers import Worker, watch

CPUS = frozenset(os.sched_getaffinity(0))


class Reporting:
    def run(self) -> array[int]:
        return array("q", [1, 2, 3])


class Failing:
    def run(self) -> array[int]:
        raise RunFailed("no 101 but HTTP/1.1 401 Unauthorized")


class Dying:
    def run(self) -> array[int]:
        os._exit(1)


class Waiting:
    def run(self) -> array[int]:
        signal.pause()
        return array("q")


def test_a_load_process_hands_its_report_over() -> None:
    with Worker(Reporting, cpus=CPUS) as worker:
        assert worker.report() == array("q", [1, 2, 3])


def test_a_failed_load_fails_the_run_in_its_own_words() -> None:
    with Worker(Failing, cpus=CPUS) as worker, pytest.raises(RunFailed, match="401 Unauthorized"):
        watch([worker], 30.0)


def test_a_dead_load_process_fails_the_run() -> None:
    with Worker(Dying, cpus=CPUS) as worker, pytest.raises(RunFailed, match="died"):
        worker.report()


def test_a_load_that_ends_too_early_fails_the_run() -> None:
    with Worker(Reporting, cpus=CPUS) as worker, pytest.raises(RunFailed, match="too early"):
        watch([worker], 30.0)


def test_leaving_ends_and_reaps_the_process() -> None:
    with Worker(Waiting, cpus=CPUS) as worker:
        pid = worker.pid
        os.kill(pid, 0)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
