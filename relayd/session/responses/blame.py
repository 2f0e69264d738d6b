"""What of an upstream's errors and losses counts against its account.

An account rests, or is given up, for all of its clients. So an error counts only where it can be
about nothing but the account: not behind output, since the account worked; not where the client
brought an organization or a project of its own; and a limit that follows a request from one account
to the next is about the request.

A socket that is lost counts where nothing had begun on it for the request, and the upstream did not
take its leave: a Close that says that it rotates or restarts is no failure. Of one request the
first loss alone counts; what takes one socket down after the other may be the request.
"""

from __future__ import annotations

import random
from typing import Final

import attrs
import trio

from relayd.dialect import responses
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_faults import TurnError
from relayd.dialect.responses_turns import Terminal
from relayd.observe.bus import AccountFailed
from relayd.protocol.outcomes import EndOfStream, Event, PeerClosed
from relayd.routing.classify import Failure, FailureKind, from_close
from relayd.routing.roster import Seat
from relayd.session.accounts import tell_changes
from relayd.session.responses.desk import Desk
from relayd.session.responses.faults import failure_of
from relayd.session.responses.holder import Run
from relayd.session.responses.shared import Shared
from relayd.session.travelling import names_organization

_OF_THE_REQUEST: Final = "request too large"
"""How OpenAI begins a 429 for one request that no minute has room for."""

_LEAVES: Final = frozenset({None, 1000, 1001, 1009, 1012, 1013})
"""Close codes that tell of no failure: an empty Close, an end, a restart, and 1009, which is about
a message (RFC 6455 section 7.4.1 and its registry)."""


@attrs.define(eq=False)
class Blame:
    """What the attempts of one request say of the accounts that they went to."""

    _desk: Desk
    _limited: bool = attrs.field(default=False, init=False)
    _lost: bool = attrs.field(default=False, init=False)

    def failed(self, end: Terminal, error: TurnError, run: Run, seat: Seat) -> None:
        """The upstream ended ``run`` with an error that may concern the account of ``seat``."""
        headers, wall = self._desk.grant.forward_headers, self._desk.shared.books.wall()
        before, self._limited = self._limited, error.abort is Abort.UPSTREAM_LIMIT
        self._count(blamed_for(end, error, headers, wall, limited_before=before), run, seat)

    def lost(self, run: Run, seat: Seat) -> None:
        """The socket of ``run`` is gone."""
        before, self._lost = self._lost, True
        if not before and not run.running.created_seen:
            self._count(blamed_for_loss(run.holder.lost_by), run, seat)

    def _count(self, failure: Failure | None, run: Run, seat: Seat) -> None:
        """Judge the account, once for all turns that one event has ended."""
        if failure is not None and not run.holder.blamed:
            run.holder.blamed = True
            judge(self._desk.shared, seat, failure, trio.current_time())


def blamed_for(
    end: Terminal,
    error: TurnError,
    headers: tuple[tuple[str, str], ...],
    wall: float,
    *,
    limited_before: bool,
) -> Failure | None:
    """What an error says of the account; ``None`` where it may be about the request.

    Args:
        end: How the turn ended with it.
        error: The upstream's.
        headers: The client's that travelled on.
        wall: Seconds since the epoch.
        limited_before: Whether another account has refused the same request for a limit.
    """
    if not error.concerns_account or end.running.first_output_at is not None:
        return None
    if error.message.lower().startswith(_OF_THE_REQUEST):
        return None
    failure = failure_of(error, wall)
    if failure.kind is FailureKind.FATAL and names_organization(headers):
        return None
    if failure.kind is FailureKind.RATE_LIMITED and limited_before:
        return None
    return failure


def blamed_for_loss(event: Event | None) -> Failure | None:
    """What the end of a socket's bytes says of the account; ``None`` where that is nothing.

    Args:
        event: How they ended; ``None`` where relayd closed the socket.
    """
    match event:
        case EndOfStream():
            return from_close(None, "")
        case PeerClosed(code, text) if code not in _LEAVES:
            failure = from_close(code, text)
            return failure if failure.kind is FailureKind.UNREACHABLE else None
        case _:
            return None


def judge(shared: Shared, seat: Seat, failure: Failure, now: float) -> None:
    """Count a failure against the account of ``seat``."""
    shared.bus.publish(
        AccountFailed(account=seat.account.name, dialect=responses.NAME, reason=failure.code)
    )
    changes = seat.fail(failure, now, jitter=random.random())
    tell_changes(changes, shared.connector.roster, shared.bus)


def trust(shared: Shared, seat: Seat, latency_ms: float, now: float) -> None:
    """A response began at the account of ``seat``, so long after its request: it works."""
    changes = seat.succeed(first_frame_ms=latency_ms, now=now)
    tell_changes(changes, shared.connector.roster, shared.bus)
