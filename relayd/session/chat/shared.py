"""What all requests of the chat dialect share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import trio

from relayd.config.snapshot import Account, Snapshot
from relayd.core.hold import HoldBudget
from relayd.observe.bus import Bus
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.pool.parting import Partings
from relayd.pool.ready import ReadySockets
from relayd.session.books import Books
from relayd.session.chat.bars import Bars
from relayd.session.chat.clocks import Clocks
from relayd.session.chat.line import FRAME_MAX_BYTES
from relayd.session.chat.opening import NAME, Opening, Stopped, open_socket
from relayd.session.chat.over_http import HttpOpening
from relayd.session.connecting import Connector
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

log = get_logger()


@attrs.frozen(kw_only=True)
class ChatShared:
    """One per process. :meth:`run` goes on in a task of its own.

    Attributes:
        books: Ledger and limits.
        connector: Opens sockets, and has the roster of accounts.
        clocks: What time it is at each upstream.
        bars: What stands against accounts.
        ready: The sockets that are opened ahead.
        opening: Gets requests their sockets.
        http: Sends those that go over HTTP.
    """

    books: Books
    bus: Bus
    connector: Connector
    clocks: Clocks
    bars: Bars
    partings: Partings
    ready: ReadySockets
    opening: Opening
    http: HttpOpening

    async def run(self) -> None:
        """Keep sockets ready, and see those that are used up to their end, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.partings.run)
            nursery.start_soon(self.ready.run)

    def apply(self, snapshot: Snapshot) -> None:
        """Go by another configuration, as the roster already does. Requests under way go on."""
        self.clocks.apply(chat_accounts(snapshot))
        self.ready.apply(snapshot.settings.pool.prewarm)

    def drain(self) -> None:
        """Open no more sockets ahead, and close those that are ready."""
        self.ready.apply(0)


def chat_accounts(snapshot: Snapshot) -> tuple[Account, ...]:
    """The accounts of the dialect, the disabled among them."""
    return tuple(account for account in snapshot.accounts if account.speaks(NAME))


def chat_of(
    snapshot: Snapshot,
    *,
    reactor: Reactor,
    books: Books,
    bus: Bus,
    hold: HoldBudget,
    connector: Connector,
    crashed: Callable[[], None],
) -> ChatShared:
    """Put it together; nothing runs yet.

    Args:
        snapshot: The configuration to begin with.
        reactor: Serves the sockets.
        books: Ledger and limits.
        bus: Hears of turns, and of accounts that fail.
        hold: The process's count of held bytes.
        connector: Opens the sockets.
        crashed: Told of each bug.
    """
    clocks = Clocks(books.wall)
    partings = Partings(reactor)

    async def open_ahead(account: Account, model: str, deadline: float) -> Endpoint:
        return await open_socket(connector, clocks, account, model, deadline)

    def in_force(name: str) -> Account | None:
        standing = connector.roster.standing(name)
        return standing.account if standing is not None and standing.account.enabled else None

    ready = ReadySockets(
        wanted=snapshot.settings.pool.prewarm,
        in_force=in_force,
        open=open_ahead,
        failed=partial(_tell, crashed),
        reactor=reactor,
        partings=partings,
        hold=hold,
        message_max_bytes=FRAME_MAX_BYTES,
    )
    return ChatShared(
        books=books,
        bus=bus,
        connector=connector,
        clocks=clocks,
        bars=Bars(),
        partings=partings,
        ready=ready,
        opening=Opening(
            connector=connector, reactor=reactor, clocks=clocks, ready=ready, partings=partings
        ),
        http=HttpOpening(connector),
    )


def _tell(crashed: Callable[[], None], account: Account, error: Exception) -> None:
    """A socket could not be opened ahead of need: for no request, and so for no other line."""
    if isinstance(error, Stopped):
        log.warning(
            LogEvent.UPSTREAM_FAILED,
            session_id=None,
            dialect=NAME,
            account=account.name,
            reason=error.fault.code,
            message=error.fault.detail or error.fault.message,
        )
        return
    crashed()
    log.error(LogEvent.SESSION_CRASHED, session_id=None, dialect=NAME, traceback=error)
