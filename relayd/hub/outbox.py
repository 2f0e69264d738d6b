"""What waits for one client: a queue that never makes a publisher wait.

Publishing costs an append for each client. Only where that goes beyond the bounds room is made
(:func:`~relayd.hub.relief.relieve`), at most once for every eighth of a bound, so that a client
that has stopped costs the others nothing. Where that is not enough the outbox overflows: it is
emptied, takes nothing any more, and its owner cuts the client with 4008, who comes back and
resumes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import attrs

from relayd.hub.bounds import Bounds
from relayd.hub.relief import Item, length, relieve
from relayd.hub.shared import Shared, Wire
from relayd.hub.waits import Waits


@attrs.define(eq=False)
class Tally:
    """What all outboxes together did; grows only.

    Attributes:
        delivered: Messages that were taken, a session's own ones too.
        coalesced: Publications that were joined into later ones.
        dropped: Publications that were droppable, and dropped.
        overflowed: Clients that were too slow.
        waits: How long publications waited; those that are replayed had their time before.
    """

    delivered: int = 0
    coalesced: int = 0
    dropped: int = 0
    overflowed: int = 0
    waits: Waits = attrs.field(factory=Waits)


class Outbox:
    """See the module's text.

    Attributes:
        wire: How the client is spoken to.
        is_dirty: Whether something waits, as ``on_dirty`` last told or :meth:`take` left it.
        size: Bytes that wait, counted as :func:`~relayd.hub.relief.length` does: at least what
            :meth:`take` will return.
        overflowed: Whether the client is too slow: its owner evicts it, and nothing more is taken
            or offered.
        delivered: Messages that were taken.
        coalesced: Publications that were joined into later ones.
        dropped: Droppable publications that were dropped.
    """

    __slots__ = (
        "_bounds",
        "_bytes_max",
        "_live",
        "_live_size",
        "_messages_max",
        "_moved_at",
        "_on_dirty",
        "_over_since",
        "_relieved",
        "_relieved_size",
        "_replay",
        "_replay_size",
        "_tally",
        "coalesced",
        "delivered",
        "dropped",
        "is_dirty",
        "overflowed",
        "wire",
    )

    def __init__(
        self, wire: Wire, bounds: Bounds, on_dirty: Callable[[], None], tally: Tally | None = None
    ) -> None:
        """An empty one.

        Args:
            wire: How the client is spoken to.
            bounds: Its bounds for good; a reload counts for later clients.
            on_dirty: Called when something waits where nothing did, and when it overflows. It is
                called while the hub publishes: it must be short and not call the hub.
            tally: Counted along; the hub's.
        """
        self.wire = wire
        self.overflowed = False
        self.delivered = 0
        self.coalesced = 0
        self.dropped = 0
        self._bounds = bounds
        self._messages_max = bounds.outbox_messages_max
        self._bytes_max = bounds.outbox_bytes_max
        self._on_dirty = on_dirty
        self._tally = tally or Tally()
        self.is_dirty = False
        # What a client missed goes before what comes, and outside of its bounds: they would be
        # exceeded by a client that was away, and cutting it then would only repeat that.
        self._replay: deque[Item] = deque()
        self._replay_size = 0
        self._live: deque[Item] = deque()
        self._live_size = 0
        self._relieved = 0  # of what waits, how much has been looked at for room already
        self._relieved_size = 0
        self._moved_at = 0.0  # when it was last taken from, or began to fill
        self._over_since: float | None = None

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._replay) + len(self._live)

    @property
    def size(self) -> int:
        """See the class."""
        return self._replay_size + self._live_size

    @property
    def replay_room(self) -> tuple[int, int]:
        """Messages and bytes that :meth:`replay` would still take."""
        bounds = self._bounds
        messages = bounds.replay_messages_max - len(self._replay) - len(self._live)
        return max(0, messages), max(0, bounds.replay_bytes_max - self.size)

    def offer(self, shared: Shared) -> None:
        """Add a publication; what it was published at is taken as the time."""
        if self.overflowed:
            return
        live = self._live
        live.append(shared)
        self._live_size += shared.size
        if not self.is_dirty:
            self._begin(shared.at)
        elif len(live) > self._messages_max or self._live_size > self._bytes_max:
            self._make_room(shared.at)

    def say(self, message: bytes, now: float) -> None:
        """Add a message of the session itself, whole as it is sent: a frame, or an event of SSE."""
        if self.overflowed:
            return
        self._live.append(message)
        self._live_size += len(message)
        if not self.is_dirty:
            self._begin(now)
        elif len(self._live) > self._messages_max or self._live_size > self._bytes_max:
            self._make_room(now)

    def replay(self, items: Iterable[Item], now: float) -> None:
        """Add an answer and what the client missed, behind what waits and before what comes.

        This counts against bounds of its own, ``replay_messages_max`` and ``replay_bytes_max``,
        and so does what waits before it; beyond twice those it overflows. What the hub returns fits
        (:attr:`replay_room`). To be called in the same step as the subscribing.
        """
        if self.overflowed:
            return
        self._replay.extend(self._live)
        self._replay_size += self._live_size
        self._set_live(deque(), 0)
        for item in items:
            self._replay.append(item)
            self._replay_size += length(item)
        bounds = self._bounds
        if (
            len(self._replay) > 2 * bounds.replay_messages_max
            or self._replay_size > 2 * bounds.replay_bytes_max
        ):
            self._overflow()
        elif self._replay and not self.is_dirty:
            self._begin(now)

    def take(self, bytes_max: int, now: float) -> list[bytes]:
        """Remove the oldest messages, and return them as they are sent.

        Args:
            bytes_max: About how much: at least one message, and no more than fit.
            now: The hub's clock.

        Returns:
            Whole messages in order; none where none wait. What is left is for the caller to come
            back for: ``on_dirty`` is called again only after nothing was left.
        """
        if len(self._live) == 1 and not self._replay:
            return [self._take_only(now)]
        taken: list[bytes] = []
        size = self._take_from(self._replay, bytes_max, taken)
        self._replay_size -= size
        if not self._replay:
            live = self._live
            before = len(live)
            oldest = live[0] if live else None
            if isinstance(oldest, Shared):
                self._tally.waits.note(oldest.at, now)
            size = self._take_from(live, bytes_max - size, taken)
            self._live_size -= size
            self._relieved = max(0, self._relieved - before + len(live))
            self._relieved_size = max(0, self._relieved_size - size)
            if len(live) <= self._messages_max and self._live_size <= self._bytes_max:
                self._over_since = None
            self.is_dirty = bool(live)
        if taken:
            self._moved_at = now
            self.delivered += len(taken)
            self._tally.delivered += len(taken)
        return taken

    def clear(self) -> None:
        """Let go of everything that waits."""
        self._replay.clear()
        self._replay_size = 0
        self._set_live(deque(), 0)
        self.is_dirty = False

    # -- room

    def _take_only(self, now: float) -> bytes:
        """What :meth:`take` does where one message waits, as for most clients that keep up."""
        item = self._live.pop()
        self._live_size = self._relieved = self._relieved_size = 0
        self._over_since = None
        self.is_dirty = False
        self._moved_at = now
        self.delivered += 1
        self._tally.delivered += 1
        if isinstance(item, Shared):
            self._tally.waits.note(item.at, now)
            return item.encoded(self.wire)
        return item

    def _take_from(self, queue: deque[Item], room: int, taken: list[bytes]) -> int:
        """Move to ``taken`` what fits, and one in any case; return the bytes it counted as."""
        wire, size = self.wire, 0
        while queue:
            item = queue[0]
            size_after = size + (item.size if isinstance(item, Shared) else len(item))
            if size_after > room and taken:
                break
            taken.append(item.encoded(wire) if isinstance(item, Shared) else item)
            queue.popleft()
            size = size_after
        return size

    def _begin(self, now: float) -> None:
        """Something waits where nothing did."""
        self._moved_at = now
        self.is_dirty = True
        self._on_dirty()
        if self._live_size > self._bytes_max:
            self._make_room(now)

    def _make_room(self, now: float) -> None:
        """The bounds are exceeded."""
        if self._over_since is None:
            self._over_since = now
        count, size = len(self._live), self._live_size
        messages_max, bytes_max = self._messages_max, self._bytes_max
        beyond_grace = count > 2 * messages_max or size > 2 * bytes_max
        if (
            not beyond_grace
            and count - self._relieved <= messages_max >> 3
            and size - self._relieved_size <= bytes_max >> 3
        ):
            return  # little has come since there was none
        relieved = relieve(
            self._live,
            by_topic=self.wire.by_topic,
            messages_max=messages_max,
            bytes_max=bytes_max,
        )
        self.coalesced += relieved.coalesced
        self.dropped += relieved.dropped
        self._tally.coalesced += relieved.coalesced
        self._tally.dropped += relieved.dropped
        over_since = self._over_since
        self._set_live(relieved.waiting, relieved.size)
        if len(relieved.waiting) <= messages_max and relieved.size <= bytes_max:
            return
        if beyond_grace or now - min(over_since, self._moved_at) >= self._bounds.outbox_grace_s:
            self._overflow()
        else:
            self._over_since = over_since

    def _set_live(self, live: deque[Item], size: int) -> None:
        self._live = live
        self._live_size = self._relieved_size = size
        self._relieved = len(live)
        self._over_since = None

    def _overflow(self) -> None:
        self.clear()
        self.overflowed = True
        self._tally.overflowed += 1
        self._on_dirty()
