"""What a pool does by itself: it closes what is to be closed, pings, and lets go what is due.

The reactor's pass finds out that an unused socket is lost, and may neither close it nor write a log
line. It changes the book and rings; the rest is done here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from relayd.pool.book import Book
from relayd.pool.delays import Delay
from relayd.pool.events import PoolEvent, PoolEventKind, PoolEvents
from relayd.pool.slots import Closing
from relayd.pool.wire import Wire
from relayd.protocol.outcomes import Event
from relayd.transport.endpoint import Endpoint

STEPS_MAX: Final = 32
"""Sockets that are closed, pinged or judged before other tasks run."""

PARTING_S: Final = 1.0
"""How long a socket that was told goodbye may take to answer."""

PARTING_MAX: Final = 256
"""Sockets that may do so at once; beyond, they are closed without waiting."""


class Janitor:
    """See the module's text.

    Args:
        book: What is due, and what is to be closed.
        wire: Does it.
        tell: Hears of every socket that is closed.
    """

    def __init__(self, book: Book[Endpoint], wire: Wire, tell: PoolEvents) -> None:
        self._book = book
        self._wire = wire
        self._tell = tell
        self._parting = Delay[Endpoint]()
        self._parted: deque[Endpoint] = deque()  # those that have answered
        self._scope = trio.CancelScope()
        self._wakes_at = -math.inf  # -inf: it looks before it sleeps
        self._runs = False

    async def run(self, more: Callable[[float], float]) -> None:
        """Look after the pool until cancelled, then close what nobody uses.

        Args:
            more: Called with the time whenever something may have changed; says when it wants to
                be called again.
        """
        self._runs = True
        try:
            while True:
                self._wakes_at = -math.inf
                now = trio.current_time()
                if self._work(now):
                    await trio.lowlevel.checkpoint()
                    continue
                self._wakes_at = min(
                    self._book.due_at(), self._parting.due_at(PARTING_S), more(now)
                )
                self._scope = trio.CancelScope(deadline=self._wakes_at)
                with self._scope:
                    await trio.sleep_forever()
        finally:
            self._runs = False
            self._finish(trio.current_time())

    def ring(self) -> None:
        """Look now. May be called in the pass."""
        self.look_at(-math.inf)

    def look_at(self, when: float) -> None:
        """Look at ``when``, if that is sooner than planned."""
        if when < self._wakes_at:
            self._wakes_at = when
            self._scope.deadline = when

    def sweep(self, now: float) -> bool:
        """Close what the book has let go; whether more is left. Never called in the pass."""
        for _ in range(STEPS_MAX):
            closing = self._book.take_closing()
            if closing is None:
                return False
            self._close(closing, now)
        if self._book.has_closings:
            self.ring()
        return self._book.has_closings

    def _work(self, now: float) -> bool:
        """Do some of what is due; whether more may be."""
        self._book.expire(now)
        more = self.sweep(now)
        for _ in range(STEPS_MAX):
            if not self._judge_one(now) and not self._ping_one(now) and not self._part_one(now):
                return more or self._book.has_closings
        return True

    def _judge_one(self, now: float) -> bool:
        ping = self._book.take_verdict(now)
        if ping is None:
            return False
        slot = ping.slot
        assert slot.socket is not None, "a pinged slot has a socket"
        alive = self._wire.heard_at(slot.socket) >= ping.sent_at  # any byte is life
        self._book.shelf(slot.account).judge(ping, now, alive=alive)
        return True

    def _ping_one(self, now: float) -> bool:
        ping = self._book.take_ping(now)
        if ping is None:
            return False
        assert ping.slot.socket is not None, "an unused slot has a socket"
        self._wire.ping(ping.slot.socket, now)
        return True

    def _part_one(self, now: float) -> bool:
        """Close one socket that has answered the goodbye, or has had the time to."""
        endpoint = self._parted.popleft() if self._parted else None
        if endpoint is None:
            endpoint = self._parting.take_due(now, PARTING_S)
        if endpoint is None:
            return False
        self._wire.cut(endpoint, now)
        return True

    def _close(self, closing: Closing[Endpoint], now: float) -> None:
        endpoint = closing.socket
        if closing.kind is PoolEventKind.SLOT_BROKEN:
            self._wire.cut(endpoint, now)
        elif not self._runs or len(self._parting) >= PARTING_MAX:
            self._wire.part(endpoint, _ignore, now)
            self._wire.cut(endpoint, now)
        else:
            self._parting.put(endpoint, now)
            self._wire.part(endpoint, lambda _: self._has_answered(endpoint), now)
            self.look_at(now + PARTING_S)
        self._tell(
            PoolEvent(
                closing.kind,
                closing.account,
                closing.slot,
                closing.generation,
                closing.reason,
                now - closing.opened_at,
                closing.error,
            )
        )

    def _has_answered(self, endpoint: Endpoint) -> None:
        if endpoint in self._parting:
            self._parting.drop(endpoint)
            self._parted.append(endpoint)
            self.ring()

    def _finish(self, now: float) -> None:
        """Nobody looks any more: close at once what is left to close."""
        self._book.drain(now)
        while self.sweep(now):
            pass
        while self._parted or len(self._parting):
            self._part_one(math.inf)


def _ignore(event: Event) -> None:
    """What a socket says that is closed in the next moment."""
