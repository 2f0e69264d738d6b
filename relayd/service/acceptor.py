"""Accepting connections: bounded, fair to other tasks, able to outlive a lack of descriptors."""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import attrs
import trio

from relayd.core.refusals import Refusal, RefusalCode
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.protocol.head import HeadError
from relayd.protocol.upgrade import refusal_response

log = get_logger()

BATCH_MAX: Final = 64
"""Connections accepted before other tasks run."""

PAUSE_S: Final = 0.1
"""Rest between attempts while no descriptor is free."""

SLOW_AFTER_S: Final = 1.0
"""A head that is not complete after this counts against its address."""

LOOK_EVERY_S: Final = 0.05
"""Slow heads of a crowded address are not looked at more often."""

ORDER: Final = itertools.count()
"""Numbers connections and later requests as they come, over all listeners: lower is older."""

RESTARTING: Final = "relayd is restarting; connect again."

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Handler = Callable[[socket.socket, str, int], Awaitable[None]]

Reading = Callable[[float], contextlib.AbstractContextManager[None]]
"""What a request's head is read within: so many seconds, then ``HeadError`` with a 408."""


class Reserve:
    """A descriptor kept back, so that a connection can be turned away when none is left."""

    def __init__(self) -> None:
        self._fd: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def lend(self) -> None:
        """Free it for one accept."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def restore(self) -> None:
        """Take it back; where even that fails, the next call tries again."""
        if self._fd is None:
            try:
                self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._fd = None

    def close(self) -> None:
        """Give it up for good."""
        self.lend()


@attrs.define
class Acceptor:
    """Accepts from one listening socket and starts a task for each connection.

    Attributes:
        listener: Non-blocking and listening; the caller closes it.
        where: Its address, for the log.
        handler: Gets the connection, which it owns, the peer's address without its port, and its
            place in :data:`ORDER`: tasks start in no order.
        nursery: Where handlers run. They catch what their peers do; see the handler.
    """

    listener: socket.socket
    where: str
    handler: Handler
    nursery: trio.Nursery
    reserve: Reserve
    _paused_at: float | None = None

    async def run(self) -> None:
        """Accept until cancelled. Nothing that a peer or the kernel does ends it."""
        while True:
            await trio.lowlevel.wait_readable(self.listener)
            for _ in range(BATCH_MAX):
                try:
                    sock, address = self.listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _EXHAUSTED:
                        await self._shed(error)
                    break  # otherwise the peer left before it was accepted
                self._resume()
                sock.setblocking(False)
                self.nursery.start_soon(self.handler, sock, _host(address), next(ORDER))
            await trio.lowlevel.checkpoint()

    async def _shed(self, error: OSError) -> None:
        """No descriptor is left: turn one connection away with the reserve, then rest."""
        if self._paused_at is None:
            self._paused_at = trio.current_time()
            message = f"{os.strerror(error.errno or 0)}; raise LimitNOFILE or lower sessions_max"
            log.error(LogEvent.ACCEPT_PAUSED, listen=self.where, message=message)
        self.reserve.lend()
        try:
            sock, _ = self.listener.accept()
        except OSError:
            pass  # it left, or somebody else took the descriptor; the rest below is due anyway
        else:
            _turn_away(sock)
        self.reserve.restore()
        await trio.sleep(PAUSE_S)

    def _resume(self) -> None:
        if self._paused_at is not None:
            duration_s = round(trio.current_time() - self._paused_at, 3)
            self._paused_at = None
            log.info(LogEvent.ACCEPT_RESUMED, listen=self.where, duration_s=duration_s)


@contextlib.contextmanager
def read_within(limit_s: float) -> Iterator[None]:
    """Read a head within this where nobody counts slow ones. Raises ``HeadError``."""
    with trio.move_on_after(limit_s) as scope:
        yield
    if scope.cancelled_caught:
        raise HeadError(Refusal(RefusalCode.HEAD_TIMEOUT, _too_late(limit_s)))


@attrs.define(eq=False)
class _Head:
    """One that is being read."""

    scope: trio.CancelScope
    slow_at: float
    number: int
    crowded_out: bool = False


class SlowHeads:
    """Requests whose head is not complete, by address, oldest first.

    Most are complete at once and only pass through. Where an address has too many that are
    slow, :meth:`watch` ends the oldest.

    Attributes:
        per_address_max: How many slow ones an address may have.
    """

    def __init__(self, per_address_max: int) -> None:
        self.per_address_max = per_address_max
        self._heads: dict[str | None, set[_Head]] = {}
        self._crowded: set[str] = set()
        self._crowd = trio.Event()
        self._end_by = math.inf

    def __len__(self) -> int:
        return sum(map(len, self._heads.values()))

    @contextlib.contextmanager
    def reading(
        self,
        address: str | None,
        limit_s: float,
        *,
        begun_at: float | None = None,
        number: int | None = None,
    ) -> Iterator[None]:
        """Read one within this. It counts as slow :data:`SLOW_AFTER_S` after it began.

        Args:
            address: Whom it counts against; ``None`` for nobody, so that it never has to go.
            limit_s: When it has to be complete, after it began.
            begun_at: When that was; now, if it is not said.
            number: Its :data:`ORDER`; the next, if it is not said.

        Raises:
            HeadError: 408: it was not complete in time, or was the oldest of too many.
        """
        if begun_at is None:
            begun_at = trio.current_time()
        if number is None:
            number = next(ORDER)
        deadline = min(begun_at + limit_s, self._end_by)
        head = _Head(trio.CancelScope(deadline=deadline), begun_at + SLOW_AFTER_S, number)
        self._add(address, head)
        try:
            with head.scope:
                yield
        finally:
            self._remove(address, head)
        if head.scope.cancelled_caught:
            raise HeadError(self._refusal(head, begun_at, limit_s))

    def hasten(self, deadline: float) -> None:
        """Let none take longer than until ``deadline``, and none that begins later."""
        self._end_by = min(self._end_by, deadline)
        for heads in self._heads.values():
            for head in heads:
                head.scope.deadline = min(head.scope.deadline, deadline)

    async def watch(self) -> None:
        """End the oldest where an address has too many slow ones, until cancelled."""
        while True:
            await self._crowd.wait()
            now = trio.current_time()
            next_at = min(self._thin_out(address, now) for address in tuple(self._crowded))
            if self._crowded:
                await trio.sleep_until(max(next_at, now + LOOK_EVERY_S))
            else:
                self._crowd = trio.Event()

    def _add(self, address: str | None, head: _Head) -> None:
        heads = self._heads.setdefault(address, set())
        heads.add(head)
        if address is not None and len(heads) > self.per_address_max:
            self._crowded.add(address)
            self._crowd.set()

    def _remove(self, address: str | None, head: _Head) -> None:
        """One that was crowded out is gone already, and perhaps its address with it."""
        heads = self._heads.get(address, set())
        heads.discard(head)
        if not heads:
            self._heads.pop(address, None)

    def _thin_out(self, address: str, now: float) -> float:
        """End as many of ``address`` as are too many; when that has to be looked at again."""
        heads = self._heads.get(address, set())
        oldest_first = sorted(heads, key=lambda head: head.number)
        slow = [head for head in oldest_first if head.slow_at <= now]
        for head in slow[: max(0, len(slow) - self.per_address_max)]:
            heads.remove(head)
            head.crowded_out = True
            head.scope.cancel(reason=RefusalCode.HEAD_TIMEOUT.value)
        left = [head for head in oldest_first if head in heads]
        if len(left) > self.per_address_max:
            return left[self.per_address_max].slow_at
        self._crowded.discard(address)
        return math.inf

    def _refusal(self, head: _Head, begun_at: float, limit_s: float) -> Refusal:
        """Why ``head`` was given up."""
        if head.crowded_out:
            message = "Too many requests of this address are unfinished; this was the oldest."
        elif self._end_by < begun_at + limit_s:
            message = RESTARTING
        else:
            message = _too_late(limit_s)
        return Refusal(RefusalCode.HEAD_TIMEOUT, message)


def _too_late(limit_s: float) -> str:
    return f"The request's head did not arrive within {limit_s:g} s."


def _turn_away(sock: socket.socket) -> None:
    refusal = Refusal(RefusalCode.OVERLOAD, "relayd has no descriptor left.", retry_after_s=1.0)
    with sock:
        sock.setblocking(False)
        try:
            sock.send(refusal_response(refusal))
        except OSError:
            pass  # it left; there is nobody to tell


def _host(address: object) -> str:
    """The peer's address without its port; a unix socket's peer has none."""
    return str(address[0]) if isinstance(address, tuple) else "unix"
