"""Why nothing was leased. What opening a socket raises passes through beside these."""

from __future__ import annotations

from typing import ClassVar

from relayd.pool.events import Refused


class LeaseRefused(Exception):
    """Nothing was leased. ``word`` is the reason as it is logged."""

    word: ClassVar[Refused]


class AcquireTimeout(LeaseRefused):
    """No slot became free in time."""

    word = Refused.ACQUIRE_TIMEOUT


class DialTimeout(LeaseRefused):
    """There was a place, but opening a socket took longer than ``pool.connect_s``, or than there
    was time for."""

    word = Refused.DIAL_FAILED


class PinnedGone(LeaseRefused):
    """The socket that was asked for is gone, or is not to be leased again."""

    word = Refused.PINNED_GONE


class PoolClosed(LeaseRefused):
    """The pool gives no leases any more: relayd is stopping."""

    word = Refused.POOL_CLOSED
