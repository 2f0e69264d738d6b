"""What of an upstream's errors counts against its account.

An account rests, or is given up, for all of its clients. So an error counts only where it can be
about nothing but the account: not behind output, since the account worked; not where the client
brought an organization or a project of its own; and a limit that follows a request from one account
to the next is about the request.
"""

from __future__ import annotations

import random
from typing import Final

from relayd.dialect import responses
from relayd.dialect.responses_faults import TurnError
from relayd.dialect.responses_turns import Terminal
from relayd.observe.bus import AccountFailed
from relayd.routing.classify import Failure, FailureKind
from relayd.routing.roster import Seat
from relayd.session.accounts import tell_changes
from relayd.session.responses.faults import failure_of
from relayd.session.responses.shared import Shared
from relayd.session.travelling import names_organization

_OF_THE_REQUEST: Final = "request too large"
"""How OpenAI begins a 429 for one request that no minute has room for."""


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
