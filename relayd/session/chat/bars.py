"""Which account is of no use for which model, and what its upstream said when it came to that.

The health of an account knows whether it rests or is disabled as a whole. Here is what a client is
told of it who comes later, and what stands against one model of an account alone. All of it is
about one health: an account that is forgiven by an operator, or has other credentials, gets another
one, and nothing stands against it here any more either.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import attrs

from relayd.config.snapshot import Account
from relayd.dialect.behind import Effect, Fault
from relayd.routing.health import PROBE_EVERY_S, Health
from relayd.routing.roster import Standing

RESTS: Final = "The upstream has refused this model, or sets a limit. Try again later."

BARS_MAX: Final = 1024
"""Accounts and models that are remembered; the names of models come from clients."""

BARRED_S: Final = PROBE_EVERY_S
"""How long an account is not asked for a model that it cannot serve; then it is, once more."""

_ANY: Final = ""


@attrs.frozen
class _Bar:
    account: Account
    health: Health
    fault: Fault
    until: float


@attrs.define(eq=False)
class Bars:
    """One per process. Times are by ``trio.current_time()``."""

    _bars: OrderedDict[tuple[str, str], _Bar] = attrs.field(factory=OrderedDict, init=False)

    def note(
        self, account: Account, health: Health, model: str, fault: Fault, now: float, wall: float
    ) -> None:
        """An account's upstream has said ``fault`` of a model.

        Args:
            health: The account's, when it was asked.
            model: By the account's name for it.
        """
        match fault.effect:
            case Effect.DISABLE_MODEL:
                until = now + BARRED_S
            case Effect.COOL:
                model, until = _ANY, now + fault.cooling_s(wall)
            case Effect.DISABLE:
                model, until = _ANY, math.inf
            case Effect.NONE | Effect.UNREACHABLE:
                return
        key = account.name, model
        self._bars[key] = _Bar(account, health, fault, until)
        self._bars.move_to_end(key)
        if len(self._bars) > BARS_MAX:
            self._bars.popitem(last=False)

    def barred(self, standings: Iterable[Standing], model: str, now: float) -> set[str]:
        """The accounts that are not to be asked for ``model``, as the client names it."""
        return {
            standing.account.name
            for standing in standings
            if self._of_model(standing, model, now) is not None
        }

    def without(
        self, standings: Iterable[Standing], model: str, now: float
    ) -> tuple[Standing, ...]:
        """Those of the accounts against which nothing stands here, for ``model``."""
        return tuple(each for each in standings if self._of(each, model, now) is None)

    def why(self, standings: Iterable[Standing], model: str, now: float) -> Fault | None:
        """What a client is told where none of these accounts can be asked for ``model``.

        It is what the upstream of the account said that will be of use soonest; ``None`` where
        nothing of that kind stands against any, so that another reason has to be told.
        """
        bars = [bar for each in standings if (bar := self._of(each, model, now)) is not None]
        if not bars:
            return None
        first = min(bars, key=lambda bar: bar.until)
        # What was said was said to another client, about its request.
        fault = attrs.evolve(first.fault, message=RESTS, detail="", upstream_id=None)
        if fault.retry_after_s is None:
            return fault
        return attrs.evolve(fault, retry_after_s=max(first.until - now, 0.0))

    def _of(self, standing: Standing, model: str, now: float) -> _Bar | None:
        health = standing.health
        barred = self._of_model(standing, model, now)
        if barred is not None or (health.disabled is None and now >= health.cooled_until):
            return barred
        return self._find(standing, _ANY, now)

    def _of_model(self, standing: Standing, model: str, now: float) -> _Bar | None:
        return self._find(standing, standing.account.upstream_model(model), now)

    def _find(self, standing: Standing, model: str, now: float) -> _Bar | None:
        """What stands against an account as it is configured, and in the health it is in, now."""
        bar = self._bars.get((standing.account.name, model))
        if bar is None or now >= bar.until:
            return None
        is_same = bar.account == standing.account and bar.health is standing.health
        return bar if is_same else None
