"""Where a turn's request has to go: the socket its chain lives on, or an account of its choice."""

from __future__ import annotations

import random
from typing import Final

import attrs
import trio

from relayd.config.keys import Recovery
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect import responses
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_client import Create
from relayd.dialect.responses_errors import previous_response_text
from relayd.dialect.responses_turns import Terminal
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.pool.identity import SlotRef
from relayd.pool.lease import Lease
from relayd.routing.roster import Seat
from relayd.routing.scheduler import Demand, choose, why_none
from relayd.session.dialects import priced_among
from relayd.session.responses.chains import Chain
from relayd.session.responses.desk import Desk
from relayd.session.responses.faults import Aborted, refused_by

log = get_logger()

REST_MAX_S: Final = 5.0
"""How long a turn waits for an account that rests after a rate limit or a failure. Most rest for a
second; a client that is refused meanwhile sends the same request again."""


@attrs.define(eq=False, kw_only=True)
class Way:
    """The way of one request.

    Attributes:
        previous_id: The response it goes on from: the client's word, or found for it.
        tried: Accounts that have failed it.
        pinned: The only socket that will do.
    """

    desk: Desk
    create: Create
    previous_id: str | None = attrs.field(default=None, init=False)
    tried: set[str] = attrs.field(factory=set, init=False)
    pinned: SlotRef | None = attrs.field(default=None, init=False)
    _chain: Chain | None = attrs.field(default=None, init=False)

    @property
    def may_move(self) -> bool:
        """Whether another socket will do as well."""
        return self._chain is None or self._chain.stored

    @property
    def may_move_elsewhere(self) -> bool:
        """Whether another account will."""
        return self._chain is None

    async def find(self) -> None:
        """Look up what the request goes on from. Raises :class:`Aborted`."""
        create, key = self.create, self.desk.grant.key
        if not self.desk.permits(create.model):
            message = "This key may not use the requested model."
            raise Aborted(Abort.REFUSED, message, code="model_not_allowed", param="model")
        chains, pool = self.desk.shared.chains, self.desk.shared.pool
        self.previous_id = create.previous_response_id
        injects = key.recovery is Recovery.INJECT_PREVIOUS_ID
        if self.previous_id is None and create.tool_outputs and injects:
            self.previous_id = await chains.asked_by(key.tenant, create.tool_outputs)
        if self.previous_id is None:
            return
        chain = await chains.find(key.tenant, self.previous_id)
        if chain is None:
            # Its service may have it; unless it was made for somebody else.
            if not create.store or await chains.is_anothers(key.tenant, self.previous_id):
                raise self.not_found("unknown")
            return
        if not chain.stored:
            ref = chain.ref
            if chain.worker != chains.worker or not pool.alive(ref):
                raise self.not_found("socket_gone", chain.account)
            self.pinned = ref
        self._chain = chain

    def not_found(self, reason: str, account: str | None = None) -> Aborted:
        """What a client is told whose response lives nowhere any more."""
        log.info(
            LogEvent.AFFINITY_MISSED,
            session_id=self.desk.session_id,
            key=self.desk.grant.key.name,
            account=account,
            reason=reason,
        )
        message = previous_response_text(self.previous_id or "")
        return Aborted(Abort.PREVIOUS_RESPONSE_NOT_FOUND, message)

    async def seat(self, stuck: Aborted | None) -> Seat:
        """At the account to try: the chain's, else the one that served the session, else any.

        Where all of them rest for a moment, the turn waits for the first.

        Args:
            stuck: Why the attempt before came to nothing, if there was one.

        Raises:
            Aborted: There is none, for that reason or another.
        """
        now = trio.current_time()
        until = now + REST_MAX_S
        while True:
            found = await self._seat_now(now)
            if isinstance(found, Seat):
                return found
            if stuck is not None:
                raise stuck
            wait_s = found.retry_after_s
            busy = found.code is RefusalCode.ACCOUNT_BUSY  # nobody knows for how long
            if busy or wait_s is None or now + wait_s > until:
                raise self._nobody(found)
            await trio.sleep(wait_s)
            now = trio.current_time()

    async def _seat_now(self, now: float) -> Seat | Refusal:
        desk, model = self.desk, self.create.model
        roster, key = desk.shared.connector.roster, desk.grant.key
        among = priced_among(key, responses.NAME, model, roster, desk.snapshot.prices)
        if isinstance(among, Refusal):
            raise refused_by(among)
        only = None if self._chain is None else self._chain.account
        if only is None and (name := desk.session_name) is not None:
            last = await desk.shared.chains.account_of(key.tenant, name)
            if last is not None and (among is None or last in among):
                seat = self._choose(Demand(responses.NAME, model=model, account=last), now)
                if seat is not None:
                    return seat
        demand = Demand(responses.NAME, model=model, account=only, among=among)
        seat = self._choose(demand, now)
        if seat is not None:
            return seat
        if only is not None and not self._could_serve(only):
            raise self.not_found("account_gone", only)
        return why_none(roster, demand, now=now, tried=self.tried)

    def _nobody(self, refusal: Refusal) -> Aborted:
        """How the client is told that no account will do."""
        serving = self.desk.shared.connector.roster.serving(responses.NAME, self.create.model)
        if refusal.code is RefusalCode.NO_ACCOUNT and not serving:
            return Aborted(Abort.MODEL_NOT_FOUND, refusal.message)
        return Aborted(Abort.GATEWAY_BUSY, refusal.message)

    def _could_serve(self, name: str) -> bool:
        """Whether an account may be asked for the model at all, now or later."""
        standing = self.desk.shared.connector.roster.standing(name)
        if standing is None or not standing.account.enabled:
            return False
        return standing.account.serves(self.create.model)

    def _choose(self, demand: Demand, now: float) -> Seat | None:
        return choose(
            self.desk.shared.connector.roster,
            demand,
            now=now,
            random_unit=random.random(),
            tried=self.tried,
        )

    async def remember(self, end: Terminal, lease: Lease) -> None:
        """Keep where a response lives, for the request that goes on from it."""
        if end.status == "failed":
            await self.forget_parent()
            return
        desk, running = self.desk, end.running
        chains, tenant = desk.shared.chains, desk.grant.key.tenant
        if self.create.tool_outputs:
            await chains.answered(tenant, self.create.tool_outputs)
        if running.response_id is None:
            return
        chain = Chain(
            account=lease.account.name,
            worker=chains.worker,
            slot=lease.slot,
            generation=lease.generation,
            lane=self.create.stream_id,
            stored=self.create.store,
        )
        await chains.note(tenant, running.response_id, chain, running.tool_calls, end.at)
        if (name := desk.session_name) is not None:
            await chains.served_by(tenant, name, lease.account.name, end.at)

    async def forget_parent(self) -> None:
        """A turn that failed evicts the response it went on from, where that was not stored."""
        if self.previous_id is not None and not self.may_move:
            await self.desk.shared.chains.forget(self.desk.grant.key.tenant, self.previous_id)
