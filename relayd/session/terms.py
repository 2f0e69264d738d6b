"""For how long a session may go on: its age, its key's expiry, its key's removal."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.config.schema import LimitSettings, Timeouts
from relayd.config.snapshot import Key, Snapshot
from relayd.core.endings import Reason
from relayd.dialect.meter import Refuse

TOO_OLD: Final = Refuse(
    "server_error",
    Reason.SESSION_MAX_AGE.value,
    "The session has reached its maximum duration; reconnect to ask for another response.",
)
KEY_REMOVED: Final = Refuse(
    "authentication_error", Reason.KEY_REMOVED.value, "This key has been removed or disabled."
)
ACCOUNT_REMOVED: Final = Refuse(
    "server_error",
    Reason.ACCOUNT_REMOVED.value,
    "relayd was reconfigured; reconnect to ask for another response.",
)


@attrs.frozen
class Term:
    """When a session ends by itself, once no response runs.

    Attributes:
        at: By ``trio.current_time()``.
        reason: The ending.
        refuse: What a client hears that asks for another response from then on.
    """

    at: float
    reason: Reason
    refuse: Refuse


@attrs.frozen
class Deadlines:
    """What one session's clock goes by.

    Attributes:
        limits: ``keepalive_s``, ``keepalive_timeout_s`` and ``stall_s``.
        timeouts: The account's ``idle_s`` and ``total_s``, which run while a turn does.
        term: When the session ends by itself.
    """

    limits: LimitSettings
    timeouts: Timeouts
    term: Term


def term_of(key: Key, started: float, session_max_s: float, wall: float) -> Term:
    """When a session ends by itself: by its age, or sooner, when its key expires.

    Args:
        key: Whose session it is.
        started: Now, by ``trio.current_time()``.
        session_max_s: The age at which it ends.
        wall: Now, in seconds since the epoch. A clock that is set later moves no expiry of a
            session that has begun.
    """
    by_age = Term(started + session_max_s, Reason.SESSION_MAX_AGE, TOO_OLD)
    if key.expires is None:
        return by_age
    at = started + key.expires.timestamp() - wall
    if at >= by_age.at:
        return by_age
    message = f"This key expired at {key.expires.isoformat()}; ask the operator for another."
    refuse = Refuse("permission_error", Reason.KEY_EXPIRED.value, message)
    return Term(at, Reason.KEY_EXPIRED, refuse)


def removed(key: Key, snapshot: Snapshot) -> bool:
    """Whether ``key`` opens nothing any more: it is gone, disabled, or has another secret."""
    current = snapshot.keys.get(key.digest)
    return current is None or not current.enabled or current.name != key.name


def account_removed(name: str, snapshot: Snapshot) -> bool:
    """Whether the account ``name`` takes no sessions any more: it is gone or disabled."""
    current = snapshot.account_named(name)
    return current is None or not current.enabled
