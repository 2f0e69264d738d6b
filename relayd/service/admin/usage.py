"""What a key uses at one moment, read where its limits stand, and changing nothing there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from relayd.config.snapshot import Key
from relayd.ledger.errors import LedgerError
from relayd.session.bookkeeper import Rate
from relayd.session.limits import Limits
from relayd.state.buckets import Bucket
from relayd.state.store import StoreError

_MICROS: Final = 1_000_000
_MINUTE_US: Final = 60 * _MICROS

Spent = Callable[[Key], Awaitable[tuple[int, int]]]
"""Nano-dollars of the current period: spent, and set aside for turns that run.

Raises :class:`StoreError` and :class:`LedgerError`.
"""


@attrs.frozen(kw_only=True)
class KeyStatistics:
    """What one key uses. ``None``: there is no such limit, or nobody knows just now.

    Attributes:
        sessions: Open.
        requests_left: Turns that may begin at once.
        tokens_left: Tokens that may be used at once; negative where too many were.
        spent_nano: Nano-dollars that the current period has cost.
        reserved_nano: Set aside for turns that run.
        renewed_at: When the next period begins, in seconds since the epoch.
    """

    sessions: int
    requests_left: float | None
    tokens_left: float | None
    spent_nano: int | None
    reserved_nano: int | None
    renewed_at: int | None


async def statistics_of(key: Key, limits: Limits, spent: Spent) -> KeyStatistics:
    """What ``key`` uses at this moment. Waits for the store and, where needed, for the ledger.

    What they do not tell is ``None``; why is in the log, which sessions write into.
    """
    use, money = limits.use_of(key), None
    if key.budget_nano:
        try:
            money = await spent(key)
        except (StoreError, LedgerError):
            pass  # shown as not known
    return KeyStatistics(
        sessions=use.sessions.live,
        requests_left=await _left(limits, use.requests, key.requests_per_minute),
        tokens_left=await _left(limits, use.tokens, key.tokens_per_minute),
        spent_nano=None if money is None else money[0],
        reserved_nano=None if money is None else money[1],
        renewed_at=limits.budgets.renewed_at(key) if key.budget_nano else None,
    )


async def _left(limits: Limits, rate: Rate, per_minute: int) -> float | None:
    """What a bucket holds, less what is owed to it; see :mod:`relayd.state.buckets`."""
    if not per_minute:
        return None
    try:
        written = await limits.store.get(rate.name)
        if written is None:
            return float(per_minute - rate.owed)
        now_us = round(limits.wall() * _MICROS)
        bucket = Bucket.decoded(written, per_minute).at(now_us)
    except StoreError:
        return None
    return per_minute - bucket.lacks_us(per_minute, now_us) * per_minute / _MINUTE_US - rate.owed
