"""What time it is at each account's upstream, as far as it has said that this host's is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from relayd.config.snapshot import Account
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger

log = get_logger()

SAME_S: Final = 5.0
"""Offsets that differ by less are one: a Date header has whole seconds, and took some time."""


@attrs.define(eq=False)
class Clocks:
    """One per process; as many entries as there are accounts.

    Attributes:
        wall: This host's clock, in seconds since the epoch.
    """

    wall: Callable[[], float]
    _offsets: dict[str, float] = attrs.field(factory=dict, init=False)

    def offset_of(self, account: str) -> float:
        """How far the clock of an account's upstream is ahead of this host's."""
        return self._offsets.get(account, 0.0)

    def time_at(self, account: str) -> float:
        """What time it is there, in seconds since the epoch."""
        return self.wall() + self.offset_of(account)

    def skewed(self, account: str, offset_s: float) -> None:
        """Its upstream's clock is so far ahead. Logged where that is news."""
        is_news = abs(offset_s - self.offset_of(account)) > SAME_S
        self._offsets[account] = offset_s
        if is_news:
            log.warning(LogEvent.CLOCK_SKEWED, account=account, offset_s=round(offset_s, 1))

    def apply(self, accounts: Iterable[Account]) -> None:
        """Go by another configuration: forget accounts that are gone."""
        names = {account.name for account in accounts}
        self._offsets = {name: off for name, off in self._offsets.items() if name in names}
