"""From an admitted client and a ready upstream to a session."""

from __future__ import annotations

import attrs

from relayd.config.snapshot import Snapshot
from relayd.core.hold import HoldBudget
from relayd.observe.bus import Bus, SessionFacts
from relayd.session.accounts import log_changes
from relayd.session.admission import Grant
from relayd.session.books import Books
from relayd.session.connecting import Connected
from relayd.session.dialects import conversation_of, message_max_bytes, priced_model
from relayd.session.metering import SessionMeter
from relayd.session.reporter import Reporter, Timing
from relayd.session.session import Session
from relayd.session.terms import Deadlines, term_of
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
        facts = SessionFacts(
            session_id=session_id,
            dialect=grant.dialect,
            key=grant.key.name,
            tenant=grant.key.tenant,
            account=account.name,
            model=grant.model,
        )
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
        )
        reporter = Reporter(
            facts=facts,
            bus=self.bus,
            meter=meter,
            timing=timing,
            account_failed=lambda failure, at: log_changes(seat.fail(failure, at)),
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
