"""Where a request goes: an account that serves its model, takes it, and is free."""

from __future__ import annotations

import random
from collections.abc import Sequence

import attrs
import trio

from relayd.config.snapshot import Account, Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.behind import Fault
from relayd.dialect.chat_values import ChatRequest
from relayd.routing.health import Health
from relayd.routing.roster import Seat, Standing
from relayd.routing.scheduler import Demand, choose, why_none
from relayd.session.chat import over_http, verdicts
from relayd.session.chat.opening import NAME
from relayd.session.chat.providers import provider_of
from relayd.session.chat.shared import ChatShared
from relayd.session.dialects import priced_among


@attrs.define(eq=False, kw_only=True)
class Way:
    """The way of one request.

    Attributes:
        tried: Accounts that have failed it, or do not take it.
    """

    shared: ChatShared
    key: Key
    snapshot: Snapshot
    request: ChatRequest
    tried: set[str] = attrs.field(factory=set, init=False)
    _health: Health | None = attrs.field(default=None, init=False)
    _stuck: Fault | None = attrs.field(default=None, init=False)
    _untaken: Fault | None = attrs.field(default=None, init=False)

    def seat(self) -> Seat | Fault:
        """A seat at the account to try next, which the caller releases; or why there is none."""
        roster, model = self.shared.connector.roster, self.request.model
        among = priced_among(self.key, NAME, model, roster, self.snapshot.prices)
        if isinstance(among, Refusal):
            return verdicts.of_refusal(among)
        demand, now = Demand(NAME, model=model, among=among), trio.current_time()
        closed = self.shared.bars.barred(roster.serving(NAME, model), model, now)
        while True:
            tried = self.tried | closed
            seat = choose(roster, demand, now=now, random_unit=random.random(), tried=tried)
            if seat is None:
                return self._nobody(demand, closed, now)
            if self._takes(seat.account):
                standing = roster.standing(seat.account.name)
                assert standing is not None, "it was chosen in this step"
                self._health = standing.health
                return seat
            seat.release()
            self.tried.add(seat.account.name)

    def leave(self, account: str, fault: Fault) -> None:
        """An account has failed the request, and others may not."""
        self.tried.add(account)
        self._stuck = fault

    def note(self, account: Account, fault: Fault, now: float, wall: float) -> None:
        """The upstream of the account that was seated last has said ``fault``."""
        assert self._health is not None, "a seat was given"
        model = account.upstream_model(self.request.model)
        self.shared.bars.note(account, self._health, model, fault, now, wall)

    def _takes(self, account: Account) -> bool:
        if over_http.goes_over_http(self.request, account):
            return True
        fault = provider_of(account).takes(self.request, account)
        self._untaken = fault or self._untaken
        return fault is None

    # -- why there is none

    def _nobody(self, demand: Demand, closed: set[str], now: float) -> Fault:
        """Why nobody is left to be asked.

        Where an account would take the request and is only not free, that is why: an account that
        does not take it has no say. What one that was tried has said goes before that, unless it
        was that asking again is of no use, and at another account it is.
        """
        roster, model = self.shared.connector.roster, self.request.model
        serving = roster.serving(NAME, model)
        able = [each for each in serving if self._may_take(each.account, demand)]
        if not able:
            refusal = why_none(roster, demand, now=now, tried=self.tried)
            return self._stuck or self._untaken or verdicts.unknown_model(refusal.message)
        if self._stuck is not None and self._stuck.should_retry is not False:
            return self._stuck
        waiting = self._waiting(able, demand, closed, now)
        return waiting if self._stuck is None or waiting.should_retry is None else self._stuck

    def _may_take(self, account: Account, demand: Demand) -> bool:
        if account.name in self.tried:
            return False
        return (demand.among is None or account.name in demand.among) and self._takes(account)

    def _waiting(
        self, able: Sequence[Standing], demand: Demand, closed: set[str], now: float
    ) -> Fault:
        """What has to be waited for, of accounts that take the request."""
        bars, model = self.shared.bars, self.request.model
        known = bars.why(able, model, now)
        others = bars.without(able, model, now)
        refusal = self._refusal(able, demand, closed, now)
        if known is None or refusal.code is not RefusalCode.NO_ACCOUNT:
            return verdicts.of_refusal(refusal)
        if known.should_retry is False and others:
            # An upstream has said that it is of no use, but others may be back soon.
            return verdicts.of_refusal(self._refusal(others, demand, closed, now))
        return known

    def _refusal(
        self, standings: Sequence[Standing], demand: Demand, closed: set[str], now: float
    ) -> Refusal:
        names = frozenset(each.account.name for each in standings)
        among = attrs.evolve(demand, among=names)
        return why_none(self.shared.connector.roster, among, now=now, tried=self.tried | closed)
