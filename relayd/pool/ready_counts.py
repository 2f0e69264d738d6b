"""What became of sockets that are opened ahead, for people and metrics."""

from __future__ import annotations

import attrs


@attrs.define
class Counts:
    """What happened at one account so far.

    Attributes:
        taken: Requests that found one.
        missed: Requests that found none.
        opened: Sockets.
        failed: Sockets that could not be opened.
        lost: Sockets that ended, or said something, before they were used.
        aged: Sockets that were closed because nobody used them in time.
    """

    taken: int = 0
    missed: int = 0
    opened: int = 0
    failed: int = 0
    lost: int = 0
    aged: int = 0


@attrs.define
class AccountReady:
    """One account at one moment; a copy.

    Attributes:
        counts: What happened.
        ready: Sockets that wait to be used.
        opening: Sockets that are being opened.
    """

    account: str
    counts: Counts
    ready: int = 0
    opening: int = 0
