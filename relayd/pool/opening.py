"""Opening the socket of a place, for whoever was given it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from relayd.config.snapshot import Account
from relayd.pool.book import Book
from relayd.pool.claims import Claim
from relayd.pool.errors import DialTimeout
from relayd.pool.events import PoolEvent, PoolEventKind, PoolEvents
from relayd.pool.identity import Identity
from relayd.pool.janitor import Janitor
from relayd.pool.wire import Wire
from relayd.transport.endpoint import Endpoint

Opener = Callable[[Account, Identity, float], Awaitable[Endpoint]]
"""Dials and upgrades until the given time; the endpoint is not adopted and is the caller's.

What it raises is told to whoever acquires. When it is cancelled it closes what it has opened.
"""


@attrs.frozen(kw_only=True)
class Opening:
    """What is needed to open sockets.

    Attributes:
        open: Does the dialling.
        tell: Hears of every socket that was opened.
    """

    book: Book[Endpoint]
    janitor: Janitor
    wire: Wire
    open: Opener
    tell: PoolEvents

    async def fill(self, account: Account, claim: Claim[Endpoint], deadline: float) -> float:
        """Open the socket of the place that ``claim`` was given; afterwards it is leased.

        The one dial of this slot and generation is this one, since nobody else has the place.

        Args:
            account: Where to.
            claim: Keeps the place whatever happens; its owner gives it back.
            deadline: Until when, and for ``pool.connect_s`` at most.

        Returns:
            How many seconds it took.

        Raises:
            DialTimeout: There was not enough time.

        What the opener raises passes through. Cancelling it leaves no socket open.
        """
        while self.janitor.sweep(trio.current_time()):  # else there would be one too many
            await trio.lowlevel.checkpoint()
        began = trio.current_time()
        until = min(began + self.book.settings.connect_s, deadline)
        endpoint: Endpoint | None = None
        with trio.CancelScope(deadline=until):
            endpoint = await self.open(account, claim.identity, until)
        now = trio.current_time()
        if endpoint is None:
            raise DialTimeout(f"opening a socket took longer than {now - began:.1f} s")
        try:
            self.wire.adopt(endpoint)
        except BaseException:
            endpoint.close()
            raise
        slot = self.book.shelf(account.name).opened(claim, endpoint, now)
        self.janitor.look_at(now + self.book.settings.age_max_s)
        self.tell(
            PoolEvent(
                PoolEventKind.SLOT_OPENED,
                account.name,
                slot.number,
                slot.generation,
                "",
                now - began,
            )
        )
        return now - began
