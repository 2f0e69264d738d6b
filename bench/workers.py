"""Load processes: forked, pinned, asked for their report, and always reaped."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import time
from array import array
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from bench.failures import RunFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

REPORT_S: Final = 10.0
"""How long a process may take to report once the run is over."""
_FORK: Final = multiprocessing.get_context("fork")  # the sockets and the board are inherited


class Load(Protocol):
    """What a load process runs."""

    def run(self) -> array[int]:
        """Carry the load until the board says that it is over."""


class Worker:
    """One load process, living in a ``with`` block; leaving it ends the process.

    Args:
        make: Makes the load, inside the process.
        cpus: Where the process may run.
    """

    def __init__(self, make: Callable[[], Load], *, cpus: frozenset[int]) -> None:
        self._reports, self._reporting = _FORK.Pipe(duplex=False)
        self._process = _FORK.Process(
            target=_run, args=(make, self._reporting, cpus), daemon=True, name="bench-load"
        )

    def __enter__(self) -> Worker:
        self._process.start()
        self._reporting.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.join(REPORT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._reports.close()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def reports(self) -> Connection:
        """Readable as soon as the process has reported, failed or died."""
        return self._reports

    def report(self) -> array[int]:
        """What the load returned.

        Raises:
            RunFailed: It failed, died, or said nothing within ``REPORT_S`` seconds.
        """
        if not self._reports.poll(REPORT_S):
            raise RunFailed("a load process does not report")
        try:
            report = self._reports.recv()
        except EOFError:
            raise RunFailed("a load process died; its traceback is above") from None
        if isinstance(report, str):
            raise RunFailed(report)
        assert isinstance(report, array)
        return report


def watch(workers: Sequence[Worker], seconds: float) -> None:
    """Sleep for ``seconds``, unless a load process fails meanwhile.

    Raises:
        RunFailed: One did; its own words.
    """
    deadline = time.monotonic() + seconds
    by_pipe = {worker.reports: worker for worker in workers}
    early = wait(list(by_pipe), timeout=max(deadline - time.monotonic(), 0))
    for pipe in early:
        assert isinstance(pipe, Connection)
        by_pipe[pipe].report()
        raise RunFailed("a load process ended too early")


def _run(make: Callable[[], Load], reporting: Connection, cpus: frozenset[int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the bench ends its processes itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.sched_setaffinity(0, cpus)
    with contextlib.suppress(OSError):  # a sleep ends on time, not up to 50 µs after
        Path("/proc/self/timerslack_ns").write_text("1")
    gc.disable()  # nothing here makes cycles, and a collection would look like a delay
    try:
        report: array[int] | str = make().run()
    except RunFailed as failure:
        report = str(failure)
    reporting.send(report)
