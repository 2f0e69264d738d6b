"""Sockets that are opened before anybody asks."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable
from typing import Final

import attrs
import trio

from relayd.config.snapshot import Account
from relayd.pool.claims import TOKEN_BYTES, Claim
from relayd.pool.events import Broken, PoolEvent, PoolEventKind
from relayd.pool.identity import Identity
from relayd.pool.opening import Opening
from relayd.pool.slots import Slot
from relayd.pool.wire import Noticed
from relayd.transport.endpoint import Endpoint

FAILURES_MAX: Final = 2
SUPPRESSED_S: Final = 30.0
"""After that many failures in a row nothing is opened ahead of need for this long."""

Foresight = Callable[[Account], Identity | None]
"""The identity whose sockets will be wanted at an account; ``None`` where nobody knows."""


def no_foresight(account: Account) -> Identity | None:
    """Nobody knows."""
    return None


@attrs.define
class _Record:
    """How it goes at one account."""

    opening: int = 0
    failures: int = 0  # in a row
    not_before: float = -math.inf


class Prewarmer:
    """Keeps ``pool.prewarm`` unused sockets ready where somebody knows their identity.

    It takes free places only: nobody waits, and nothing is let go, for what may be wanted.

    Args:
        opening: Opens sockets.
        foresight: Says which.
        watch: What is to be called with the event that ends an unused socket.
    """

    def __init__(
        self,
        opening: Opening,
        foresight: Foresight,
        watch: Callable[[Slot[Endpoint]], Noticed],
    ) -> None:
        self._opening = opening
        self._foresight = foresight
        self._watch = watch
        self._accounts: tuple[Account, ...] = ()
        self._records: dict[str, _Record] = {}

    def apply(self, accounts: Iterable[Account]) -> None:
        """These are the accounts from now on; what is known of others is forgotten."""
        self._accounts = tuple(accounts)
        names = {account.name for account in self._accounts}
        self._records = {name: record for name, record in self._records.items() if name in names}

    def look(self, nursery: trio.Nursery, now: float) -> float:
        """Begin to open what is missing, in ``nursery``; returns when to look again."""
        settings = self._opening.book.settings
        wanted = min(settings.prewarm, settings.idle_max)
        next_at = math.inf
        if not wanted:
            return next_at
        for account in self._accounts:
            identity = self._foresight(account)
            if identity is None:
                continue
            record = self._records.setdefault(account.name, _Record())
            if now < record.not_before:
                next_at = min(next_at, record.not_before)
                continue
            shelf = self._opening.book.shelf(account.name)
            while shelf.unused_of(identity) + record.opening < wanted:
                claim: Claim[Endpoint] = Claim(
                    owner=secrets.token_hex(TOKEN_BYTES), identity=identity, since=now
                )
                if not shelf.warm(claim, record.opening):
                    break
                record.opening += 1
                nursery.start_soon(self._open, account, claim, record)
        return next_at

    async def _open(self, account: Account, claim: Claim[Endpoint], record: _Record) -> None:
        """Open one. Its failure is told and counted; it ends nothing else."""
        opening, slot = self._opening, claim.slot
        assert slot is not None, "it was given a place"
        number, generation = slot.number, slot.generation
        shelf = opening.book.shelf(account.name)
        try:
            await opening.fill(account, claim, math.inf)
            now = trio.current_time()
            if slot.socket is not None and opening.wire.keep(slot.socket, self._watch(slot), now):
                record.failures = 0
            else:
                self._note_failure(record, now)
                shelf.broke(claim, Broken.UNCLEAN, now)
        except Exception as error:  # noqa: BLE001 - the boundary of this task: an upstream that cannot be reached ends no pool
            now = trio.current_time()
            self._note_failure(record, now)
            opening.tell(
                PoolEvent(
                    PoolEventKind.SLOT_BROKEN,
                    account.name,
                    number,
                    generation,
                    Broken.DIAL_FAILED,
                    now - claim.since,
                    error,
                )
            )
        finally:
            record.opening -= 1
            shelf.give_back(claim, trio.current_time())
            opening.janitor.sweep(trio.current_time())
            opening.janitor.ring()

    def _note_failure(self, record: _Record, now: float) -> None:
        record.failures += 1
        if record.failures >= FAILURES_MAX:
            record.not_before = now + SUPPRESSED_S
