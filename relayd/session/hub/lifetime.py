"""For how long a client of the hub stays: its age, its silence, and what a reload leaves it."""

from __future__ import annotations

from typing import Final, TypeAlias

import attrs

from relayd.config.dialects import HubKeepalive
from relayd.config.hub import HubSettings
from relayd.config.providers import Dialect
from relayd.config.schema import LimitSettings, Timeouts
from relayd.config.secret import Secret
from relayd.config.snapshot import Key, Snapshot
from relayd.core.endings import Reason
from relayd.dialect.meter import Refuse
from relayd.hub.shared import Wire
from relayd.session.admission import check_key
from relayd.session.hub.identity import Identity
from relayd.session.hub.tokens import LEEWAY_S
from relayd.session.terms import TOO_OLD, Deadlines, Term, removed

WRITE_S: Final = 10.0
"""A client that has taken no byte for this long is too slow, or sooner by ``limits.stall_s``: what
it has not taken is to be in the topics' memory yet when it comes back."""

TokenTerms: TypeAlias = tuple[Secret | str | None, ...]
"""What tokens are verified with; two of them are compared and nothing else."""

EXPIRED = Refuse(
    "permission_error",
    Reason.KEY_EXPIRED.value,
    "What this client came with has expired; come back with another.",
)


def deadlines_of(
    wire: Wire, limits: LimitSettings, keepalive: HubKeepalive, term: Term
) -> Deadlines:
    """What the clock of a session goes by.

    A client of the Centrifuge protocol counts its server's pings, which are messages there, so the
    session sends them whatever is heard, and the clock sends none.
    """
    gone_s = keepalive.keepalive_s + keepalive.pong_s
    ping_s = gone_s if wire is Wire.CENTRIFUGE else keepalive.keepalive_s
    timed = attrs.evolve(
        limits,
        keepalive_s=ping_s,
        keepalive_timeout_s=gone_s,
        stall_s=min(limits.stall_s, WRITE_S),
    )
    return Deadlines(timed, Timeouts(), term)


def term_of(identity: Identity | None, *, ends_at: float, now: float, wall: float) -> Term:
    """When a session ends by itself: by its age, or sooner, when its client is nobody any more.

    A token may be out of date by as much as it could be when it was shown: who is told to bring
    another, and asks for it when the old one has expired, has that long for it.

    Args:
        identity: Who its client is; ``None`` while that is not known.
        ends_at: When it is too old, by ``trio.current_time()``.
        now: Likewise.
        wall: The same moment in seconds since the epoch. A clock that is set later moves nothing.
    """
    by_age = Term(ends_at, Reason.SESSION_MAX_AGE, TOO_OLD)
    if identity is None or identity.expires_at is None:
        return by_age
    leeway_s = LEEWAY_S if identity.key is None else 0.0
    at = now + identity.expires_at + leeway_s - wall
    return by_age if at >= by_age.at else Term(at, Reason.KEY_EXPIRED, EXPIRED)


def ttl_of(identity: Identity, wall: float) -> int | None:
    """In how many seconds a client of the Centrifuge protocol is to send another token.

    Returns:
        At least 1; ``None`` for who came with a key, which no client can renew.
    """
    if identity.key is not None or identity.expires_at is None:
        return None
    return max(1, int(identity.expires_at - wall))


def still(key: Key, client_address: str, snapshot: Snapshot, wall: float) -> Identity | None:
    """Who comes with ``key`` by another configuration than the one that let it in.

    Args:
        key: As that one had it.
        client_address: Where the client is.
        snapshot: The configuration in force now.
        wall: Seconds since the epoch.

    Returns:
        ``None`` where nobody is let in with it any more.
    """
    current = snapshot.keys.get(key.digest)
    if current is None or removed(key, snapshot) or not current.permits_dialect(Dialect.HUB):
        return None
    refusal = check_key(current, client_address, wall)
    return Identity.of_key(current) if refusal is None else None


def token_terms(settings: HubSettings) -> TokenTerms:
    """What tokens are verified with; where it changes, who came with one has to show it again."""
    keys = settings.jwt_hs256_secret, settings.jwt_rs256_public_key
    return (*keys, settings.jwt_issuer, settings.jwt_audience, settings.jwt_tenant)
