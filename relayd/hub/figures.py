"""Live figures of what relayd does, for each tenant and for all: counted from the bus alone.

Each event costs the same few additions, whatever has been before. Nothing of it is kept over a
restart; what has to be exact and to last is in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from relayd.config.providers import Dialect
from relayd.core.endings import ENDINGS, Fault
from relayd.core.money import nano_of
from relayd.dialect.hub_envelope import timestamp
from relayd.dialect.responses_aborts import CONSEQUENCES
from relayd.hub.figures_rows import Rows
from relayd.hub.figures_series import STEP_S, Series
from relayd.observe.bus import BusEvent, SessionEnded, SessionOpened, TurnEnded, UsageCharged
from relayd.observe.metrics_labels import OTHER, TURN_REASON

TENANTS_MAX: Final = 1000
"""Tenants whose figures are kept, some 30 kB each; of more, those that did something last."""

NAME_MAX_CHARS: Final = 128
"""Of a model's name, which a client may choose."""

UNKNOWN: Final = "(unknown)"
"""A model that nobody has named."""

_BLAME: Final = {
    word.value: follows.fault
    for table in (ENDINGS, CONSEQUENCES)  # a turn that its upstream closed upon has failed
    for word, follows in table.items()
}
_NO_FAILURES: Final = frozenset(
    (
        *("completed", "incomplete", "cancelled"),
        *("invalid_value", "content_filter", "context_length_exceeded", "model_not_found"),
        *(word for word, fault in _BLAME.items() if fault in {Fault.NONE, Fault.CLIENT}),
    )
)
"""How a turn ends that did what it was to do, or was ended by its client."""

_REASONS: Final = frozenset(TURN_REASON.values)


@attrs.define(eq=False)
class _Scope:
    """The figures of one tenant, or of all."""

    series: Series
    keys: Rows[tuple[str, str]] = attrs.field(factory=Rows[tuple[str, str]])  # tenant and key
    models: Rows[str] = attrs.field(factory=Rows[str])
    reasons: dict[str, int] = attrs.field(factory=dict)
    heard_at: float = 0.0

    def turn_ended(self, event: TurnEnded, now: float) -> None:
        reason = event.reason
        word = reason if reason in _REASONS else OTHER
        self.reasons[word] = self.reasons.get(word, 0) + 1
        self.series.turn(now, failed=reason not in _NO_FAILURES, ttft_ms=event.ttft_ms)

    def used(self, event: UsageCharged, now: float, cost_nano: int) -> None:
        tokens_in, tokens_out = event.tokens_in, event.tokens_out
        facts, turns = event.session, int(event.source == "response")
        model = (event.upstream_model or facts.model or UNKNOWN)[:NAME_MAX_CHARS]
        self.series.used(now, tokens_in, tokens_out, cost_nano)
        self.keys.of((facts.tenant, facts.key)).add(turns, tokens_in, tokens_out, cost_nano)
        self.models.of(model).add(turns, tokens_in, tokens_out, cost_nano)


@attrs.define(eq=False)
class Figures:
    """See the module's text. Every ``now`` is in seconds since the epoch.

    Attributes:
        began_at: When relayd started.
        tenants_max: Tenants whose figures are kept.
    """

    began_at: float
    tenants_max: int = TENANTS_MAX
    _all: _Scope = attrs.field(init=False)
    _tenants: dict[str, _Scope] = attrs.field(factory=dict, init=False)
    _open: dict[str, int] = attrs.field(factory=dict, init=False)  # sessions by dialect
    _open_by_tenant: dict[str, dict[str, int]] = attrs.field(factory=dict, init=False)
    _forgot: bool = attrs.field(default=False, init=False)  # some tenant, to make room

    def __attrs_post_init__(self) -> None:
        self._all = _Scope(Series(self.began_at))

    def hear(self, event: BusEvent, now: float) -> None:
        """Take note of an event. Sessions of the hub are its clients, and count nowhere."""
        match event:
            case UsageCharged(session=facts):
                # A settled turn without usage costs 0; what has no price is not a sum of money.
                cost_nano = 0 if event.cost_usd is None else nano_of(event.cost_usd)
                self._all.used(event, now, cost_nano)
                self._tenant(facts.tenant, now).used(event, now, cost_nano)
            case TurnEnded(session=facts):
                self._all.turn_ended(event, now)
                self._tenant(facts.tenant, now).turn_ended(event, now)
            case SessionOpened(session=facts) if facts.dialect != Dialect.HUB:
                self._count(facts.tenant, facts.dialect, 1)
            case SessionEnded(session=facts) if facts.dialect != Dialect.HUB:
                self._count(facts.tenant, facts.dialect, -1)
            case _:
                pass  # for those who want to hear of it

    @property
    def tenants(self) -> tuple[str, ...]:
        """Those that have figures, or sessions."""
        return tuple(self._tenants.keys() | self._open_by_tenant.keys())

    def overview(self, tenant: str | None, now: float) -> dict[str, object]:
        """Everything, as JSON has it; some half a millisecond.

        What was long ago is forgotten together with a tenant's figures where there are too many
        tenants: ``since`` says from when on they count.

        Args:
            tenant: Whose; ``None`` for all of them together.
            now: The time.
        """
        scope = self._scope(tenant, now)
        series = scope.series
        reasons = sorted(scope.reasons.items(), key=lambda item: item[1], reverse=True)
        return {
            "since": timestamp(series.began_at),
            "now": self._now(tenant, scope, now),
            "series": {"step_s": STEP_S, "ends_at": series.ends_at, **series.finished(now)},
            "keys": [_key_row(name) | row.shown() for name, row in scope.keys.shown()],
            "models": [
                {"model": name or OTHER} | row.shown() for name, row in scope.models.shown()
            ],
            "reasons": dict(reasons),
        }

    def stats(self, tenant: str | None, now: float) -> dict[str, object]:
        """What has changed of it since a moment ago: ``now``, and the last step that is over."""
        scope = self._scope(tenant, now)
        series = scope.series
        return {
            "now": self._now(tenant, scope, now),
            "step": {"step_s": STEP_S, "ends_at": series.ends_at, **series.last(now)},
        }

    # -- what they share

    def _now(self, tenant: str | None, scope: _Scope, now: float) -> dict[str, object]:
        by_dialect: Mapping[str, int] = self._open
        if tenant is not None:
            by_dialect = self._open_by_tenant.get(tenant, {})
        return {
            "sessions": sum(by_dialect.values()),
            "by_dialect": dict(by_dialect),
            **scope.series.now(now),
        }

    def _scope(self, tenant: str | None, now: float) -> _Scope:
        """Of a tenant that has done nothing yet a blank one, which is not kept."""
        scope = self._all if tenant is None else self._tenants.get(tenant) or self._blank(now)
        scope.series.turn_to(now)
        return scope

    def _tenant(self, name: str, now: float) -> _Scope:
        scope = self._tenants.get(name)
        if scope is None:
            if len(self._tenants) >= self.tenants_max:
                del self._tenants[min(self._tenants, key=self._heard_at)]
                self._forgot = True
            scope = self._tenants[name] = self._blank(now)
        scope.heard_at = now
        return scope

    def _blank(self, now: float) -> _Scope:
        """Of a tenant that has done nothing, as far as is known."""
        return _Scope(Series(now if self._forgot else self.began_at))

    def _heard_at(self, tenant: str) -> float:
        return self._tenants[tenant].heard_at

    def _count(self, tenant: str, dialect: str, change: int) -> None:
        ours = self._open_by_tenant.setdefault(tenant, {})
        for counts in (self._open, ours):
            counts[dialect] = counts.get(dialect, 0) + change
            if counts[dialect] <= 0:
                del counts[dialect]
        if not ours:
            del self._open_by_tenant[tenant]


def _key_row(name: tuple[str, str] | None) -> dict[str, object]:
    tenant, key = (None, OTHER) if name is None else name
    return {"key": key, "tenant": tenant}


def _model_row(name: str | None) -> dict[str, object]:
    return {"model": OTHER if name is None else name}
