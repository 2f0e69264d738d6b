"""What all sessions of the responses dialect share, and how their sockets are opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from relayd.config.snapshot import Account
from relayd.core.hold import HoldBudget
from relayd.dialect import responses
from relayd.observe.bus import Bus
from relayd.pool.identity import Identity
from relayd.pool.pool import Pool
from relayd.routing.scheduler import Demand
from relayd.session.books import Books
from relayd.session.connecting import Connector, Wish
from relayd.session.responses.chains import Chains
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

RETRY_S: Final = 5.0
"""How long after its request a turn may be tried again, unseen by its client."""


@attrs.frozen(kw_only=True)
class Shared:
    """One per process.

    Attributes:
        hold: The process's count of held bytes.
        connector: Opens sockets, and has the roster of accounts.
        pool: The sockets that are open.
        chains: Which response lives where.
        last_used: By account, what its sockets were last opened with, but for sessions that have
            their own: what to open ahead of need.
    """

    reactor: Reactor
    books: Books
    bus: Bus
    hold: HoldBudget
    connector: Connector
    pool: Pool
    chains: Chains
    last_used: dict[str, Identity] = attrs.field(factory=dict)


def opener_of(connector: Connector) -> Callable[[Account, Identity, float], Awaitable[Endpoint]]:
    """How the pool opens a socket: dial, TLS and upgrade, with the identity's headers.

    What comes out raises :class:`~relayd.session.attempts.AttemptFailed`.
    """

    async def open_socket(account: Account, identity: Identity, deadline: float) -> Endpoint:
        wish = Wish(
            demand=Demand(responses.NAME, account=account.name),
            target=lambda chosen: responses.upstream_target(
                "" if chosen.base_url is None else chosen.base_url.path
            ),
            headers=identity.headers,
            hears_first=False,
        )
        # Of the time that a turn may be tried again an attempt gets half: else an account that
        # hangs would leave none for another.
        deadline = min(deadline, trio.current_time() + RETRY_S)
        return (await connector.open(account, wish, deadline)).endpoint

    return open_socket
