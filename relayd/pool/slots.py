"""Slots, the lists they are in, and the one place where they change lists.

A state is a list, so that counting is taking a length and choosing is taking an end: nothing is
ever searched.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Final, Generic, TypeVar

import attrs

from relayd.pool.delays import Delay
from relayd.pool.events import PoolEventKind, Rotated
from relayd.pool.identity import Identity, SlotRef

S = TypeVar("S")

LANES_MAX: Final = 32
"""Distinct ``stream_id`` names that one socket takes in its life; the default lane is not counted.
(OpenAI, WebSocket mode: closing a lane does not give its name back.)"""


class State(enum.StrEnum):
    """Where a slot is, in PgBouncer's words. Every slot is in exactly one of these lists."""

    LOGIN = "login"  # a socket is being opened; there is none yet
    IDLE = "idle"  # sound, in nobody's use
    TESTED = "tested"  # taken by an acquirer, who waits for its answer to a ping
    ACTIVE = "active"  # leased
    CLOSED = "closed"  # in no list any more


_NEXT: Final[dict[State, frozenset[State]]] = {
    State.LOGIN: frozenset({State.LOGIN, State.ACTIVE, State.CLOSED}),
    State.IDLE: frozenset({State.ACTIVE, State.LOGIN, State.CLOSED}),
    State.TESTED: frozenset({State.ACTIVE, State.IDLE, State.LOGIN, State.CLOSED}),
    State.ACTIVE: frozenset({State.ACTIVE, State.TESTED, State.IDLE, State.LOGIN, State.CLOSED}),
    State.CLOSED: frozenset(),
}


@attrs.frozen(eq=False)
class Ping(Generic[S]):
    """A ping that was sent on an unused socket, and which socket that was."""

    slot: Slot[S]
    generation: int
    sent_at: float


@attrs.define(eq=False)
class Slot(Generic[S]):
    """A place for one socket. Only its shelf and the lists change it.

    Attributes:
        account: The account's name.
        number: Unique in the process, never used again.
        generation: Grows with each socket that is opened here.
        identity: What the socket was, or is being, opened with.
        state: The list it is in.
        owner: The random token of whoever may lease, test or dial here; empty: nobody.
        socket: ``None`` exactly in ``LOGIN`` and ``CLOSED``.
        opened_at: When the socket was opened.
        ping: One that is outstanding.
        lanes: Names that were used on the socket.
        lost: Why the socket is of no more use, found while it had an owner who has not looked yet.
        error: The bug behind that, if it was one.
        leases: How many the socket has served.
        leaving: Why it is closed when its lease is over.
    """

    account: str
    number: int
    generation: int
    identity: Identity
    state: State = State.LOGIN
    owner: str = ""
    socket: S | None = None
    opened_at: float = 0.0
    ping: Ping[S] | None = None
    lanes: set[str] = attrs.Factory(set)
    lost: str | None = None
    error: Exception | None = None
    leases: int = 0
    leaving: Rotated | None = None

    @property
    def ref(self) -> SlotRef:
        """This socket and no later one."""
        return SlotRef(self.number, self.generation)

    def takes_lane(self, name: str | None) -> bool:
        """Whether ``name`` may be used on the socket: it was before, or there is room for it."""
        return name is None or name in self.lanes or len(self.lanes) < LANES_MAX

    def use_lane(self, name: str | None) -> bool:
        """Note that ``name`` is used; ``False``, and no note, where it would be one too many."""
        if name is None or name in self.lanes:
            return True
        if len(self.lanes) >= LANES_MAX:
            return False
        self.lanes.add(name)
        return True


@attrs.frozen
class Closing(Generic[S]):
    """A socket that is to be closed, and why.

    Attributes:
        kind: ``SLOT_BROKEN``: at once; else in good order, with a Close of 1000.
        error: A bug that broke it.
    """

    socket: S
    kind: PoolEventKind
    account: str
    slot: int
    generation: int
    reason: str
    opened_at: float
    error: Exception | None = None


@attrs.define
class Timers(Generic[S]):
    """What becomes due by itself. An unused slot waits for its end, its age and one ping.

    Attributes:
        aging: Since the socket was opened; until it is too old.
        unused: Since the last lease; until it is not worth keeping.
        fresh: Since the last lease; until the first ping.
        answered: Since it was found alive; until the next ping.
        pinged: Since a ping was sent; until the verdict.
    """

    aging: Delay[Slot[S]] = attrs.Factory(Delay)
    unused: Delay[Slot[S]] = attrs.Factory(Delay)
    fresh: Delay[Slot[S]] = attrs.Factory(Delay)
    answered: Delay[Slot[S]] = attrs.Factory(Delay)
    pinged: Delay[Slot[S]] = attrs.Factory(Delay)

    def rest(self, slot: Slot[S], now: float) -> None:
        """The slot is unused from now on."""
        self.unused.put(slot, now)
        if slot.ping is None:
            self.fresh.put(slot, now)
        else:
            self.pinged.put(slot, now)

    def disturb(self, slot: Slot[S]) -> None:
        """The slot is unused no longer: neither is it pinged, nor is a ping judged."""
        self.unused.drop(slot)
        self.fresh.drop(slot)
        self.answered.drop(slot)
        self.pinged.drop(slot)


class Lists(Generic[S]):
    """The slots of one account by state; the unused ones also by identity, each by last use."""

    def __init__(self, timers: Timers[S], index: dict[int, Slot[S]]) -> None:
        """Begin empty; ``index`` holds the slots of all accounts by number."""
        self._index = index
        self._by_state: dict[State, OrderedDict[int, Slot[S]]] = {
            state: OrderedDict() for state in State if state is not State.CLOSED
        }
        self._unused: dict[Identity, OrderedDict[int, Slot[S]]] = {}
        self._timers = timers

    def __len__(self) -> int:
        return sum(map(len, self._by_state.values()))

    def count(self, state: State) -> int:
        """How many slots are in ``state``."""
        return len(self._by_state[state])

    def count_unused(self, identity: Identity) -> int:
        """How many unused slots of ``identity`` there are."""
        return len(self._unused.get(identity, ()))

    def last_used(self, identity: Identity) -> Slot[S] | None:
        """Of the unused slots of ``identity`` the one that was used last: the surest to live."""
        for slot in reversed(self._unused.get(identity, {}).values()):
            return slot
        return None

    def least_used(self) -> Slot[S] | None:
        """Of all unused slots the one whose last use is longest ago."""
        for slot in self._by_state[State.IDLE].values():
            return slot
        return None

    def unused(self) -> list[Slot[S]]:
        """All unused slots, for what concerns all: a reload, the end."""
        return list(self._by_state[State.IDLE].values())

    def add(self, slot: Slot[S]) -> None:
        """A new slot, in ``LOGIN``."""
        assert slot.state is State.LOGIN, "a slot begins without a socket"
        self._index[slot.number] = slot
        self._by_state[State.LOGIN][slot.number] = slot

    def move(self, slot: Slot[S], to: State, now: float) -> None:
        """The one mover. An impossible move changes nothing and is a bug."""
        assert to in _NEXT[slot.state], f"a slot goes from {slot.state} to {to}"
        assert (slot.socket is None) == (to in {State.LOGIN, State.CLOSED}), "lists tell of sockets"
        number = slot.number
        del self._by_state[slot.state][number]
        if slot.state is State.IDLE:
            mine = self._unused[slot.identity]
            del mine[number]
            if not mine:
                del self._unused[slot.identity]
            self._timers.disturb(slot)
        slot.state = to
        if to is State.CLOSED:
            del self._index[number]
            return
        self._by_state[to][number] = slot
        if to is State.IDLE:
            mine = self._unused.get(slot.identity) or self._unused.setdefault(
                slot.identity, OrderedDict()
            )
            mine[number] = slot
            self._timers.rest(slot, now)
