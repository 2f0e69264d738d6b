"""Whole lines to a descriptor whose reader may be slow or gone, without ever waiting for it."""

from __future__ import annotations

import io
import os
import select
import threading
from collections import deque
from typing import BinaryIO, Final, Protocol

import attrs

BACKLOG_MAX_BYTES: Final = 4 * 1024 * 1024
"""What is kept for a slow reader: some 8,000 ends of sessions."""

_LAST_WAIT_MS: Final = 10
"""How long one wait of :meth:`LineWriter.close` lasts."""


class LineWriter:
    """Lines to a stream, in order, each whole or not at all.

    A log that cannot be written must not stop the daemon that writes it. Lines that the stream
    does not take at once wait in a bounded backlog and go out before the next line; what does
    not fit, or meets an error such as a closed pipe, is lost and counted.

    Attributes:
        lines_lost: How many lines were lost so far.
    """

    def __init__(self, stream: BinaryIO, *, backlog_max_bytes: int = BACKLOG_MAX_BYTES) -> None:
        """Write to ``stream``'s descriptor, or to the stream itself where it has none."""
        self.lines_lost = 0
        self._backlog_max_bytes = backlog_max_bytes
        self._backlog_bytes = 0
        self._backlog: deque[bytes] = deque()
        self._sent_of_first = 0
        self._torn = False
        self._lock = threading.Lock()  # worker threads log as well
        self._outlet = _outlet_of(stream)

    def write(self, line: bytes) -> None:
        """Send ``line``, which ends in a newline, or keep it for later. Raises nothing."""
        with self._lock:
            if self._backlog_bytes + len(line) > self._backlog_max_bytes:
                self._send_backlog()
            if self._backlog_bytes + len(line) > self._backlog_max_bytes:
                self.lines_lost += 1
                return
            self._backlog.append(line)
            self._backlog_bytes += len(line)
            self._send_backlog()

    def flush(self) -> bool:
        """Send what the stream takes now; whether nothing is left. Raises nothing."""
        with self._lock:
            self._send_backlog()
            return not self._backlog

    def close(self, *, within_s: float) -> None:
        """Wait up to ``within_s`` seconds for the reader, then give up what it did not take.

        This blocks the thread: it is for the end of the process. The stream stays open.
        """
        for _ in range(int(within_s * 1000 / _LAST_WAIT_MS)):
            if self.flush():
                return
            self._outlet.wait(_LAST_WAIT_MS)
        with self._lock:
            self._lose_backlog()

    def _send_backlog(self) -> None:
        try:
            while self._backlog and self._send_some(self._backlog[0]):
                pass
        except OSError:
            self._lose_backlog()

    def _send_some(self, line: bytes) -> bool:
        """Send a piece of the first line; whether the stream may take more."""
        if self._torn:
            # The end of an earlier line is lost: what follows must not continue it.
            if self._outlet.send(b"\n") == 0:
                return False
            self._torn = False
        sent = self._outlet.send(line[self._sent_of_first : self._sent_of_first + select.PIPE_BUF])
        self._sent_of_first += sent
        if self._sent_of_first == len(line):
            self._sent_of_first = 0
            self._backlog_bytes -= len(line)
            self._backlog.popleft()
        return sent > 0

    def _lose_backlog(self) -> None:
        self.lines_lost += len(self._backlog)
        self._torn = self._torn or self._sent_of_first > 0
        self._sent_of_first = 0
        self._backlog_bytes = 0
        self._backlog.clear()


class _Outlet(Protocol):
    def send(self, data: bytes) -> int:
        """Send what goes at once; how many bytes that was, 0 if it would block."""

    def wait(self, timeout_ms: int) -> object:
        """Wait until something may go, at most this long."""


@attrs.frozen
class _DescriptorOutlet:
    """The descriptor stays blocking, since others share it: a terminal, standard error.

    After POLLOUT a pipe takes PIPE_BUF bytes without blocking (pipe(7)), a socket more.
    """

    descriptor: int
    readiness: select.poll

    def send(self, data: bytes) -> int:
        if not self.readiness.poll(0):
            return 0
        try:
            return os.write(self.descriptor, data)
        except BlockingIOError:  # somebody made it non-blocking
            return 0

    def wait(self, timeout_ms: int) -> object:
        return self.readiness.poll(timeout_ms)


@attrs.frozen
class _MemoryOutlet:
    stream: BinaryIO

    def send(self, data: bytes) -> int:
        return self.stream.write(data)

    def wait(self, timeout_ms: int) -> object:
        return None


def _outlet_of(stream: BinaryIO) -> _Outlet:
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        return _MemoryOutlet(stream)
    stream.flush()  # what is buffered was written earlier, so it goes out earlier
    readiness = select.poll()
    readiness.register(descriptor, select.POLLOUT)
    return _DescriptorOutlet(descriptor, readiness)
