"""What a pool knows and decides, without I/O: the time comes in, values go out.

Everything is synchronous. The pool (``pool.py``) asks, and does afterwards what was decided: it
opens, pings and closes sockets. A socket may be of any type here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from relayd.config.pools import PoolSettings
from relayd.pool.events import Rotated
from relayd.pool.identity import SlotRef
from relayd.pool.places import Common
from relayd.pool.shelf import Shelf
from relayd.pool.slots import Closing, Ping, State
from relayd.pool.statistics import AccountPool

S = TypeVar("S")


class Book(Generic[S]):
    """All accounts' slots, and what becomes due by itself.

    Args:
        settings: Of the pool.
        credentials: By account, what its sockets have to be opened with to be leased again.
    """

    def __init__(self, settings: PoolSettings, credentials: Mapping[str, str]) -> None:
        self._common = Common[S](settings)
        self._shelves: dict[str, Shelf[S]] = {}
        self._credentials = dict(credentials)

    def __repr__(self) -> str:
        return f"<Book slots={len(self._common.index)} accounts={len(self._shelves)}>"

    @property
    def settings(self) -> PoolSettings:
        """Those that it goes by now."""
        return self._common.settings

    @property
    def is_closed(self) -> bool:
        """Whether it has been drained."""
        return self._common.closed

    def shelf(self, account: str) -> Shelf[S]:
        """The slots of one account.

        An account that the configuration does not name has a shelf as well: whoever was sent
        there before it went may end there. None of its sockets is leased twice.
        """
        shelf = self._shelves.get(account)
        if shelf is None:
            shelf = Shelf(account, self._credentials.get(account), self._common)
            self._shelves[account] = shelf
        return shelf

    def is_alive(self, ref: SlotRef, now: float) -> bool:
        """Whether that socket is there, leased or not, and may be leased again."""
        slot = self._common.index.get(ref.slot)
        if slot is None or slot.generation != ref.generation:
            return False
        return self._shelves[slot.account].is_alive(slot, now)

    def statistics(self, now: float) -> tuple[AccountPool, ...]:
        """Each account's pool, by name; of one that is gone, for as long as it has a slot."""
        return tuple(
            shelf.statistics(now)
            for name, shelf in sorted(self._shelves.items())
            if name in self._credentials or not shelf.is_empty
        )

    # -- what is to be done

    def take_closing(self) -> Closing[S] | None:
        """The next socket to be closed, which the caller does."""
        return self._common.closings.popleft() if self._common.closings else None

    @property
    def has_closings(self) -> bool:
        """Whether a socket is to be closed."""
        return bool(self._common.closings)

    def due_at(self) -> float:
        """When something is due next; infinity for never."""
        timers, settings = self._common.timers, self._common.settings
        return min(
            timers.unused.due_at(settings.idle_ttl_s),
            timers.aging.due_at(settings.age_max_s),
            timers.fresh.due_at(settings.ping_after_s),
            timers.answered.due_at(settings.ping_every_s),
            timers.pinged.due_at(settings.ping_timeout_s),
        )

    def expire(self, now: float) -> None:
        """Let go what was unused for too long or is too old."""
        timers, settings = self._common.timers, self._common.settings
        while (slot := timers.aging.take_due(now, settings.age_max_s)) is not None:
            self._shelves[slot.account].retire(slot, Rotated.AGE_MAX, now)
        while (slot := timers.unused.take_due(now, settings.idle_ttl_s)) is not None:
            self._shelves[slot.account].retire(slot, Rotated.IDLE_TTL, now)

    def take_ping(self, now: float) -> Ping[S] | None:
        """The next ping that is due, which the caller sends at once."""
        timers, settings = self._common.timers, self._common.settings
        slot = timers.fresh.take_due(now, settings.ping_after_s) or timers.answered.take_due(
            now, settings.ping_every_s
        )
        if slot is None:
            return None
        assert slot.state is State.IDLE, "a leased slot is never pinged"
        slot.ping = Ping(slot, slot.generation, now)
        timers.pinged.put(slot, now)
        return slot.ping

    def take_verdict(self, now: float) -> Ping[S] | None:
        """The next ping whose time is up; the caller looks and has it judged by the shelf."""
        timers, settings = self._common.timers, self._common.settings
        slot = timers.pinged.take_due(now, settings.ping_timeout_s)
        return None if slot is None else slot.ping

    # -- all at once

    def apply(self, settings: PoolSettings, credentials: Mapping[str, str], now: float) -> None:
        """Go by other settings and accounts from now on.

        Unused sockets that they do not allow are let go; leased ones when their lease is over.
        """
        self._common.settings = settings
        self._credentials = dict(credentials)
        for name, shelf in list(self._shelves.items()):
            shelf.apply(self._credentials.get(name), now)
            if shelf.is_empty and name not in self._credentials:
                del self._shelves[name]

    def drain(self, now: float) -> None:
        """Give no leases any more; let go of what is unused. Doing so again is fine."""
        self._common.closed = True
        for shelf in self._shelves.values():
            shelf.drain(now)
