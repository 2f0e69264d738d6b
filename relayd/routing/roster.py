"""The accounts as they are now: who is busy with how much, and how each one is doing.

The roster is told about every attempt and tells nothing to anybody: what an operator should
read is returned as values, and the caller logs them. Everything is synchronous, so a decision
and the change that follows from it are one step for all other tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import attrs

from relayd.config.snapshot import Account
from relayd.routing.breaker import BreakerState
from relayd.routing.health import AccountEnabled, BreakerClosed, Health

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from relayd.routing.classify import Failure
    from relayd.routing.health import Change

SERVED_MAX: Final = 1024
"""Models whose accounts are remembered. The names come from clients, so there is no end of them."""


@attrs.frozen(kw_only=True)
class AccountStatistics:
    """One account at one moment, for people and metrics.

    Attributes:
        enabled: Whether it is used, by the configuration or by who overrode it.
        overridden: Whether that is not the configuration's word; see :meth:`Roster.override`.
        retry_at: When it is tried again, or was last; see :attr:`Health.retry_at`.
    """

    name: str
    enabled: bool
    in_flight: int
    sessions_max: int
    breaker: BreakerState
    cooled_until: float
    disabled_by: str | None
    error_average: float
    first_frame_ms: float | None
    overridden: bool = False
    disabled_message: str | None = None
    retry_at: float | None = None


@attrs.define(eq=False)
class Standing:
    """One account and what is known of it. Only the roster and its seats change it.

    Attributes:
        overridden: Whether ``account.enabled`` is somebody else's word than the configuration's.
    """

    account: Account
    health: Health
    in_flight: int = 0
    overridden: bool = False

    @property
    def is_full(self) -> bool:
        """Whether it has as many sessions as the configuration allows; 0 allows any number."""
        return 0 < self.account.sessions_max <= self.in_flight


class Seat:
    """The right to one session at one account: a context manager, released exactly once.

    It remembers which health, and which generation of its breaker, the session belongs to, so
    that a verdict which comes late judges what it is about and nothing newer.
    """

    __slots__ = ("_generation", "_health", "_held", "_standing", "account")

    def __init__(self, standing: Standing, now: float) -> None:
        self.account: Final = standing.account
        self._standing = standing
        self._health = standing.health
        self._generation = standing.health.breaker.admit(now)
        self._held = True
        standing.in_flight += 1

    def __repr__(self) -> str:
        return f"<Seat {self.account.name} {'held' if self._held else 'released'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the seat back. A second time does nothing.

        A trial that was released without a verdict leaves the next session to be the trial.
        """
        if not self._held:
            return
        self._held = False
        self._standing.in_flight -= 1
        self._health.breaker.void(self._generation)

    def succeed(self, *, first_frame_ms: float | None, now: float) -> tuple[Change, ...]:
        """The first frame was a good one.

        Args:
            first_frame_ms: From the upstream's 101 to its first message; ``None`` where the
                dialect waits for none.
            now: Seconds.
        """
        return self._health.succeed(self._generation, first_frame_ms, now)

    def fail(self, failure: Failure, now: float, *, jitter: float = 0.0) -> tuple[Change, ...]:
        """The attempt failed, or the session did later, by the upstream's fault.

        Args:
            failure: What happened; its kind decides what follows.
            now: Seconds.
            jitter: 0 to 1, see :meth:`relayd.routing.breaker.Breaker.fail`.
        """
        return self._health.fail(self._generation, failure, now, jitter=jitter)


class Roster:
    """The live state of all accounts, by name."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}
        self._leaving: dict[str, Standing] = {}
        self._served: dict[tuple[str, str | None], tuple[Standing, ...]] = {}

    @classmethod
    def of(cls, accounts: Iterable[Account]) -> Self:
        """A roster of ``accounts``, all of them closed, rested and free."""
        roster = cls()
        roster.update(accounts)
        return roster

    def __repr__(self) -> str:
        in_flight = sum(standing.in_flight for standing in self._standings.values())
        return f"<Roster accounts={len(self._standings)} in_flight={in_flight}>"

    def update(self, accounts: Iterable[Account]) -> None:
        """Take over a new configuration and keep what is still true.

        An account that keeps its name keeps its sessions, even if it was away in between. It
        keeps its health too, unless its address or its credentials changed.
        """
        known = self._leaving | self._standings
        self._standings = {account.name: _renewed(known, account) for account in accounts}
        self._leaving = {
            name: standing
            for name, standing in known.items()
            if name not in self._standings and standing.in_flight
        }
        self._served.clear()

    def standing(self, name: str) -> Standing | None:
        """What is known of the account ``name``."""
        return self._standings.get(name)

    def serving(self, dialect: str, model: str | None) -> tuple[Standing, ...]:
        """The enabled accounts that speak ``dialect`` and serve ``model`` (``None``: any)."""
        key = dialect, model
        served = self._served.get(key)
        if served is None:
            served = tuple(
                standing
                for standing in self.speaking(dialect)
                if standing.account.enabled and (model is None or standing.account.serves(model))
            )
            if len(self._served) >= SERVED_MAX:
                del self._served[next(iter(self._served))]
            self._served[key] = served
        return served

    def speaking(self, dialect: str) -> tuple[Standing, ...]:
        """All accounts whose provider speaks ``dialect``, the switched off among them."""
        return tuple(s for s in self._standings.values() if s.account.speaks(dialect))

    def due_probes(self, now: float) -> tuple[Account, ...]:
        """The disabled accounts to be dialled now. For each a :class:`Seat` can be taken.

        Each is named once: it is due again a whole interval later, however long its probe takes.
        """
        return tuple(
            standing.account
            for standing in self._standings.values()
            if standing.account.enabled and standing.health.claim_probe(now)
        )

    def enable(self, name: str) -> tuple[Change, ...]:
        """The account ``name`` is in order again: its probe succeeded, or an operator says so."""
        standing = self._standings.get(name)
        return standing.health.enable() if standing else ()

    def override(self, name: str, *, enabled: bool) -> None:
        """Use the account ``name``, or use it no more, whatever the configuration says.

        It holds until the next :meth:`update`. Sessions under way go on.
        """
        standing = self._standings.get(name)
        if standing is not None and standing.account.enabled is not enabled:
            standing.account = attrs.evolve(standing.account, enabled=enabled)
            standing.overridden = not standing.overridden
            self._served.clear()

    def forgive(self, name: str) -> tuple[Change, ...]:
        """Forget what stands against the account ``name``: an operator says that it is in order.

        Disablement, rest and breaker go; the verdicts of sessions under way go to its old health,
        unseen.
        """
        standing = self._standings.get(name)
        if standing is None:
            return ()
        before = standing.health
        standing.health = Health(name, first_frame_ms=before.first_frame_ms)
        enabled = (AccountEnabled(name),) if before.disabled is not None else ()
        closed = before.breaker.state is not BreakerState.CLOSED
        return (*enabled, *((BreakerClosed(name),) if closed else ()))

    def statistics(self) -> tuple[AccountStatistics, ...]:
        """All accounts at this moment, in the order of the configuration."""
        return tuple(map(statistics_of, self._standings.values()))

    def standings(self) -> tuple[Standing, ...]:
        """Likewise what they are taken from, for whoever cannot take them all in one go."""
        return tuple(self._standings.values())


def _renewed(known: dict[str, Standing], account: Account) -> Standing:
    standing = known.get(account.name)
    if standing is None:
        return Standing(account, Health(account.name))
    if _identity(standing.account) != _identity(account):
        standing.health = Health(account.name)
    standing.account, standing.overridden = account, False
    return standing


def _identity(account: Account) -> tuple[object, ...]:
    """What an account's health is about: where it goes, and as whom."""
    return (
        account.provider,
        account.base_url,
        account.api_key,
        dict(account.headers),
        account.tls_ca,
        account.xiaozhi.auth_key,
    )


def statistics_of(standing: Standing) -> AccountStatistics:
    """One account at this moment."""
    account, health = standing.account, standing.health
    return AccountStatistics(
        name=account.name,
        enabled=account.enabled,
        in_flight=standing.in_flight,
        sessions_max=account.sessions_max,
        breaker=health.breaker.state,
        cooled_until=health.cooled_until,
        disabled_by=health.disabled.code if health.disabled else None,
        error_average=health.error_average,
        first_frame_ms=health.first_frame_ms,
        overridden=standing.overridden,
        disabled_message=health.disabled.message if health.disabled else None,
        retry_at=health.retry_at,
    )
