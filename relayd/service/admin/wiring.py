"""The admin listener of a running relayd: what it looks at and acts on."""

from __future__ import annotations

from functools import partial

from relayd.service.admin.access import own_addresses
from relayd.service.admin.listener import Admin
from relayd.service.admin.readiness import Readiness
from relayd.service.admin.state import Operations
from relayd.service.parts import Parts
from relayd.service.pooling import pools_of
from relayd.service.reload import Reloader


def admin_of(parts: Parts, reloader: Reloader) -> Admin:
    """The listener that shows ``parts`` and acts on them."""
    door, books, listener = parts.door, parts.ground.books, parts.listeners.admin
    return Admin(
        token=parts.snapshot.settings.server.admin_token,
        own=own_addresses(listener.where, listener.address),
        readiness=lambda: Readiness(
            draining=door.draining,
            overloaded=door.hold.full,
            ledger_failing=books.ledger.failing,
            state_failing=books.limits.store_away,
            state_closed=books.limits.on_failure == "closed",
        ),
        operations=Operations(
            snapshot=lambda: parts.snapshot,
            path=parts.started_with.file,
            loaded_at=lambda: parts.loaded_at,
            sessions=door.sessions,
            connector=parts.connector,
            pools=lambda: pools_of(parts.responses.pool, parts.snapshot),
            limits=books.limits,
            spent=books.limits.budgets.look,
            metrics=parts.measuring.scrape,
            draining=parts.draining.is_set,
            drain=parts.draining.set,
            reload=reloader.reload,
            wall=books.wall,
            devices=parts.devices.desk,
        ),
        on_request=partial(parts.measuring.request_ended, listener="admin"),
        on_crash=parts.measuring.crashed,
    )
