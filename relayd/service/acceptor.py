"""Accepting connections: bounded, fair to other tasks, able to outlive a lack of descriptors."""

from __future__ import annotations

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
from relayd.protocol.upgrade import refusal_response

log = get_logger()

BATCH_MAX: Final = 64
"""Connections accepted before other tasks run."""

PAUSE_S: Final = 0.1
"""Rest between attempts while no descriptor is free."""

LOOK_EVERY_S: Final = 0.05
"""Slow heads of a crowded address are not looked at more often."""

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Handler = Callable[[socket.socket, str, int], Awaitable[None]]


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
        handler: Gets the connection, which it owns, the peer's address without its port, and a
            number that grows with each connection: their tasks start in no order.
        nursery: Where handlers run. They catch what their peers do; see the handler.
    """

    listener: socket.socket
    where: str
    handler: Handler
    nursery: trio.Nursery
    reserve: Reserve
    _paused_at: float | None = None
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)

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
                self.nursery.start_soon(self.handler, sock, _host(address), next(self._numbers))
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


@attrs.frozen
class _Head:
    number: int
    scope: trio.CancelScope
    slow_at: float


class SlowHeads:
    """Requests whose head is not complete, by address, oldest first.

    Most are complete at once and only pass through. Where an address has too many that are
    slow, :meth:`watch` ends the oldest.

    Attributes:
        per_address_max: How many slow ones an address may have.
    """

    def __init__(self, per_address_max: int) -> None:
        self.per_address_max = per_address_max
        self._heads: dict[str, dict[int, _Head]] = {}
        self._crowded: set[str] = set()
        self._crowd = trio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._heads.values()))

    def add(
        self,
        address: str,
        token: int,
        scope: trio.CancelScope,
        *,
        slow_at: float,
        number: int = 0,
    ) -> None:
        """One more begins; ``scope`` is cancelled when it has to go.

        Args:
            address: Whose it is.
            token: Names it for :meth:`remove`.
            scope: What it runs in.
            slow_at: From when on it counts as slow.
            number: Lower is older.
        """
        heads = self._heads.setdefault(address, {})
        heads[token] = _Head(number, scope, slow_at)
        if len(heads) > self.per_address_max:
            self._crowded.add(address)
            self._crowd.set()

    def remove(self, address: str, token: int) -> None:
        """It has finished, either way. Removing one that was told to go is fine."""
        heads = self._heads.get(address)
        if heads is None:
            return
        heads.pop(token, None)
        if not heads:
            del self._heads[address]

    def hasten(self, deadline: float) -> None:
        """Let none take longer than until ``deadline``."""
        for heads in self._heads.values():
            for head in heads.values():
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

    def _thin_out(self, address: str, now: float) -> float:
        """End as many of ``address`` as are too many; when that has to be looked at again."""
        heads = self._heads.get(address, {})
        oldest_first = sorted(heads, key=lambda token: heads[token].number)
        slow = [token for token in oldest_first if heads[token].slow_at <= now]
        for token in slow[: max(0, len(slow) - self.per_address_max)]:
            heads.pop(token).scope.cancel(reason=RefusalCode.HEAD_TIMEOUT.value)
        left = [token for token in oldest_first if token in heads]
        if len(left) > self.per_address_max:
            return heads[left[self.per_address_max]].slow_at
        self._crowded.discard(address)
        return math.inf


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
