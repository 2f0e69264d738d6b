"""What happens in a pool, as values for the log and the metrics.

They are told in the task that acts, never in the reactor's pass. The words are bounded, but for
the reason of a socket that its lease broke: that is the session's own word.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs


class PoolEventKind(enum.StrEnum):
    """The name of the log event."""

    SLOT_OPENED = "slot.opened"
    SLOT_BROKEN = "slot.broken"
    SLOT_ROTATED = "slot.rotated"
    SLOT_EVICTED = "slot.evicted"
    LEASE_WAITED = "lease.waited"
    LEASE_REFUSED = "lease.refused"
    LEASE_RELEASED = "lease.released"


class Broken(enum.StrEnum):
    """Why a socket is of no more use, where the pool found that out."""

    PEER_CLOSED = "peer_closed"  # a Close came while nobody used it
    PEER_GONE = "peer_gone"  # its bytes ended, or the connection broke, while nobody used it
    STRAY_EVENT = "stray_event"  # it said something that nobody had asked for
    PING_TIMEOUT = "ping_timeout"
    PREFLIGHT_TIMEOUT = "preflight_timeout"
    UNCLEAN = "unclean"  # it had more to say, or to be told, when its lease was over
    ABANDONED = "abandoned"  # its lease was left without a word
    DIAL_FAILED = "dial_failed"  # it could not be opened ahead of need
    CRASHED = "crashed"  # a bug


class Rotated(enum.StrEnum):
    """Why a sound socket was closed: never while it was leased."""

    AGE_MAX = "age_max"
    IDLE_TTL = "idle_ttl"
    IDLE_MAX = "idle_max"
    SLOTS_MAX = "slots_max"
    LANES_MAX = "lanes_max"
    ACCOUNT_CHANGED = "account_changed"
    DRAIN = "drain"
    OTHER_IDENTITY = "other_identity"  # this one is told as evicted


class Refused(enum.StrEnum):
    """Why an acquirer got nothing."""

    ACQUIRE_TIMEOUT = "acquire_timeout"
    PINNED_GONE = "pinned_gone"
    POOL_CLOSED = "pool_closed"
    DIAL_FAILED = "dial_failed"


class Outcome(enum.StrEnum):
    """What became of a slot when its lease was over."""

    YIELDED = "yielded"  # it is idle
    HANDED_OVER = "handed_over"  # whoever waited has it: the socket, or the place for another
    BROKEN = "broken"
    ROTATED = "rotated"  # it was sound and had to go


@attrs.frozen
class PoolEvent:
    """Something that has happened.

    Attributes:
        account: The account's name.
        slot: ``None`` where none was given; likewise ``generation``.
        reason: A word of the enums above, or the session's for a socket that it broke; empty
            where the kind says it all.
        seconds: How long it took to open, had lived, was waited for, or was leased, as the kind
            has it.
        error: What was raised where a socket could not be opened ahead of need, or a bug.
    """

    kind: PoolEventKind
    account: str
    slot: int | None
    generation: int | None
    reason: str
    seconds: float
    error: Exception | None = None


PoolEvents = Callable[[PoolEvent], None]
"""Is told of every event; it must not raise and not wait."""
