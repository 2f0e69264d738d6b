"""How long a device's session waits for what, how often it tries, and what ends it."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.core.endings import Reason
from relayd.dialect.xiaozhi_actions import Hangup, Loss

HELLO_RESEND_S: Final = 2.0
HELLO_RESENDS_MAX: Final = 3
"""A server drops what comes before it has loaded its device's settings, hello included. One that
has not answered that long after the last is given up."""

DELAY_STEP_S: Final = 2.0
DELAY_MAX_S: Final = 30.0
"""Before the n-th new server: ``min(2·n, 30)`` seconds."""

DIALS_MAX: Final = 16
"""Servers tried for one hello without a delay between: routing has fewer, or none left."""

RECONNECTING_CODES: Final = frozenset({1006, 1011, 1012, 1013})
"""Close codes by which a server says that it is in trouble; any other is its last word."""

HANGUP_REASONS: Final = {
    Hangup.REFUSED: Reason.UPSTREAM_REFUSED,
    Hangup.BAD_HELLO: Reason.UPSTREAM_REFUSED,
    Hangup.NO_HELLO: Reason.FIRST_FRAME_TIMEOUT,
    Hangup.LOST: Reason.UPSTREAM_LOST,
}
"""What a session ends with whose last server was given up so, before any said hello."""


@attrs.frozen(kw_only=True)
class MachineSettings:
    """What a session may do.

    Attributes:
        reconnects_max: New servers after the first was lost, each dial counted.
        hello_s: From the beginning to the device's hello; from there to the first server's; and
            from a later dial to that server's.
        device_version: The framing that the device speaks.
        texts_per_s: How many texts it may send; 0 is no limit.
        texts_at_once: Those that may come in a burst.
    """

    reconnects_max: int = 2
    hello_s: float = 10.0
    device_version: int = 1
    texts_per_s: int = 50
    texts_at_once: int = 200


def delay_s(number: int) -> float:
    """How long to wait before the ``number``-th new server, counted from 1."""
    return min(DELAY_STEP_S * number, DELAY_MAX_S)


def may_reconnect(loss: Loss, code: int | None) -> bool:
    """Whether another server may take over from one that went so.

    A Close with any other code, or with none, is its decision about this session.
    """
    return loss is not Loss.CLOSED or code in RECONNECTING_CODES
