"""Several upstreams that send to one client: whose turn it is, and who waits for what.

The client's sink is locked while it stands inside a message that came from one of them in
fragments: until that is whole, the others are stopped, and start again first come first served.
This is the bookkeeping alone; :class:`~relayd.transport.delivery.Delivery` stops and starts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relayd.transport.endpoint import Endpoint


class Sources:
    """The upstreams attached to one client.

    Attributes:
        holder: The one whose message the client has the beginning of: its sink is locked for it.
        torn: The holder is gone. Nobody can finish that message, so nobody may send another: the
            client is to be closed.
    """

    __slots__ = ("_attached", "_blocked", "_waiting", "holder", "torn")

    def __init__(self) -> None:
        self._attached: dict[Endpoint, None] = {}  # these are sets that keep their order
        self._waiting: dict[Endpoint, None] = {}  # for the lock
        self._blocked: dict[Endpoint, None] = {}  # until the client has taken what they sent
        self.holder: Endpoint | None = None
        self.torn = False

    def add(self, source: Endpoint) -> None:
        """Attach ``source``."""
        self._attached[source] = None

    def remove(self, source: Endpoint) -> None:
        """Detach ``source``, which waits for nothing any more; the lock is not its any more."""
        self._attached.pop(source, None)
        self._waiting.pop(source, None)
        self._blocked.pop(source, None)
        if self.holder is source:
            self.holder = None

    # -- the lock

    def lock(self, source: Endpoint) -> list[Endpoint]:
        """``source`` has begun a message; returns the others that were armed, stopped now."""
        if self.holder is source:
            return []
        assert self.holder is None, "a second message inside an unfinished one"
        self.holder = source
        stopped = [other for other in self._attached if other is not source and other.armed]
        for other in stopped:
            other.armed = False
            self._waiting[other] = None
        return stopped

    def keeps_waiting(self, source: Endpoint) -> bool:
        """Whether ``source``, about to be armed, has to wait for the lock, and does from now on."""
        if not self.torn and self.holder in (None, source):
            self._blocked.pop(source, None)
            return False
        self._waiting[source] = None
        return True

    def next_in_turn(self) -> Endpoint | None:
        """The first of those that wait, if the lock is free; it waits no more."""
        if self.torn or self.holder is not None or not self._waiting:
            return None
        source = next(iter(self._waiting))
        del self._waiting[source]
        return source

    # -- the client's socket

    def block(self, source: Endpoint) -> None:
        """What ``source`` sent is pending: it goes on when the client has taken everything."""
        self._blocked[source] = None

    def take_blocked(self) -> list[Endpoint]:
        """Those that may go on now."""
        blocked = list(self._blocked)
        self._blocked.clear()
        return blocked

    # -- one that stands still

    def goes_on_later(self, source: Endpoint) -> bool:
        """Whether ``source`` is stopped only until its turn comes, or the client reads."""
        return source in self._waiting or source in self._blocked

    def withdraw(self, source: Endpoint) -> None:
        """Its owner has stopped ``source``: it is not started here, though its event is given."""
        self._waiting.pop(source, None)
        if not source.deferred:
            self._blocked.pop(source, None)

    def dismiss(self) -> list[Endpoint]:
        """The client takes nothing more: detach all; returns them."""
        sources = list(self._attached)
        for source in sources:
            source.peer = None
            self.remove(source)
        return sources
