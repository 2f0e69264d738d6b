"""Where a request goes: an account that serves its model, takes it, and is free."""

from __future__ import annotations

import random

import attrs
import trio

from relayd.config.snapshot import Account, Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.behind import Fault
from relayd.dialect.chat_values import ChatRequest
from relayd.routing.roster import Seat
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
                return self._nobody(demand, tried, now)
            fault = self._untaken_by(seat.account)
            if fault is None:
                return seat
            seat.release()
            self.tried.add(seat.account.name)
            self._untaken = fault

    def leave(self, account: str, fault: Fault) -> None:
        """An account has failed the request, and others may not."""
        self.tried.add(account)
        self._stuck = fault

    def _untaken_by(self, account: Account) -> Fault | None:
        if over_http.goes_over_http(self.request, account):
            return None
        return provider_of(account).takes(self.request, account)

    def _nobody(self, demand: Demand, tried: set[str], now: float) -> Fault:
        """Why nobody is left: what the last one said, else what is known of them all."""
        if (fault := self._stuck or self._untaken) is not None:
            return fault
        roster, model = self.shared.connector.roster, self.request.model
        refusal = why_none(roster, demand, now=now, tried=tried)
        standings = roster.serving(NAME, model)
        if not standings:
            return verdicts.unknown_model(refusal.message)
        known = self.shared.bars.why(standings, model, now)
        if known is not None and refusal.code is RefusalCode.NO_ACCOUNT:
            return known
        return verdicts.of_refusal(refusal)
