"""From an admitted client and a ready upstream to a session."""

from __future__ import annotations

import attrs

from relayd.config.schema import Timeouts
from relayd.config.snapshot import Snapshot
from relayd.core.hold import HoldBudget
from relayd.observe.bus import Bus, SessionFacts
from relayd.routing.classify import Failure
from relayd.session.accounts import tell_changes
from relayd.session.admission import Grant
from relayd.session.books import Books
from relayd.session.connecting import Connected
from relayd.session.dialects import conversation_of, message_max_bytes, priced_model
from relayd.session.metering import SessionMeter
from relayd.session.reporter import Reporter, Timing
from relayd.session.responses.accounting import Purse, Totals
from relayd.session.responses.session import ResponsesSession
from relayd.session.responses.shared import Shared
from relayd.session.session import Session
from relayd.session.terms import Deadlines, term_of
from relayd.session.turn_lines import TurnLines
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor


@attrs.frozen(kw_only=True)
class Workshop:
    """What every session is made with.

    Attributes:
        books: Ledger and limits.
        hold: The process's count of held bytes.
    """

    reactor: Reactor
    books: Books
    bus: Bus
    hold: HoldBudget
    responses: Shared

    def make(
        self,
        grant: Grant,
        snapshot: Snapshot,
        client: Endpoint,
        connected: Connected,
        *,
        session_id: str,
        accepted_at: float,
        now: float,
    ) -> Session:
        """A session whose 101 is written at ``now``. It does not run yet.

        Args:
            grant: What its client may do.
            snapshot: The configuration that it keeps.
            client: Adopted by the reactor.
            connected: Its endpoint is adopted too; the seat stays the caller's to release.
            session_id: Its name.
            accepted_at: When the client's connection was accepted, by ``trio.current_time()``.
            now: Likewise.
        """
        account, seat = connected.seat.account, connected.seat
        roster = self.responses.connector.roster
        facts = facts_of(grant, session_id, account.name)
        meter = SessionMeter(
            books=self.books,
            facts=facts,
            key=grant.key,
            prices=snapshot.prices,
            upstream_model=priced_model(grant, account),
            tag=grant.tag,
        )
        timing = Timing(
            accepted_at=accepted_at,
            started_at=now,
            connect_ms=connected.connect_ms,
            first_frame_ms=connected.first_frame_ms,
            wait_ms=connected.wait_ms,
        )
        reporter = Reporter(
            facts=facts,
            bus=self.bus,
            meter=meter,
            timing=timing,
            account_failed=lambda failure, at: tell_changes(
                seat.fail(failure, at), roster, self.bus
            ),
        )
        limits = snapshot.settings.limits
        term = term_of(grant.key, now, limits.session_max_s, self.books.wall())
        session = Session(
            client=client,
            upstream=connected.endpoint,
            reactor=self.reactor,
            hold=self.hold,
            conversation=conversation_of(grant, account, meter, reporter, meter.may_use),
            reporter=reporter,
            deadlines=Deadlines(limits, account.timeouts, term),
            message_max_bytes=message_max_bytes(grant, limits.message_max_bytes),
            key=grant.key,
            client_address=grant.client_address,
        )
        meter.leave = session.run_out
        meter.charged, meter.refused = reporter.charged, reporter.turn_refused
        return session

    def make_responses(
        self,
        grant: Grant,
        snapshot: Snapshot,
        client: Endpoint,
        *,
        session_id: str,
        accepted_at: float,
        now: float,
    ) -> ResponsesSession:
        """Likewise a session of the responses dialect, whose turns find their own upstreams."""
        facts = facts_of(grant, session_id, "")
        totals = Totals()
        timing = Timing(
            accepted_at=accepted_at, started_at=now, connect_ms=0.0, first_frame_ms=None
        )
        reporter = Reporter(
            facts=facts,
            bus=self.bus,
            meter=totals,
            timing=timing,
            account_failed=_judged_elsewhere,
        )
        purse = purse_of(self.books, grant, snapshot, facts, reporter.lines, totals)
        limits = snapshot.settings.limits
        term = term_of(grant.key, now, limits.session_max_s, self.books.wall())
        session = ResponsesSession(
            client=client,
            reactor=self.reactor,
            hold=self.hold,
            reporter=reporter,
            deadlines=Deadlines(limits, Timeouts(), term),
            message_max_bytes=message_max_bytes(grant, limits.message_max_bytes),
            key=grant.key,
            client_address=grant.client_address,
            shared=self.responses,
            grant=grant,
            snapshot=snapshot,
            purse=purse,
        )
        purse.leave = session.run_out
        return session


def facts_of(grant: Grant, session_id: str, account: str) -> SessionFacts:
    """Who and where, as all events of a session say it."""
    return SessionFacts(
        session_id=session_id,
        dialect=grant.dialect,
        key=grant.key.name,
        tenant=grant.key.tenant,
        account=account,
        model=grant.model,
    )


def purse_of(
    books: Books,
    grant: Grant,
    snapshot: Snapshot,
    facts: SessionFacts,
    lines: TurnLines,
    totals: Totals,
) -> Purse:
    """What the turns of one session, or one HTTP request, are charged to."""
    return Purse(
        books=books,
        base=facts,
        key=grant.key,
        prices=snapshot.prices,
        tag=grant.tag,
        lines=lines,
        totals=totals,
    )


def _judged_elsewhere(failure: Failure, now: float) -> None:
    """Each turn judges its own account."""
