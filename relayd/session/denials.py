"""What a client is told when a limit is reached: before the 101 as a refusal, later as an event.

Every message names the cause, the remedy and, where there is one, the time.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

import attrs

from relayd.config.snapshot import Key
from relayd.core.money import usd_of
from relayd.core.refusals import Refusal, RefusalCode, error_type
from relayd.dialect.meter import Refuse

INSUFFICIENT_QUOTA: Final = "insufficient_quota"
"""``error.type`` and ``error.code`` of a budget that is used up, as OpenAI has them."""

SESSION_RETRY_S: Final = 1.0
"""When to try again where nobody can say: a session may end at any time."""

AWAY_RETRY_S: Final = 5.0
"""When to try again while relayd itself lacks something."""

_NO_RETRY: Final = (("x-should-retry", "false"),)
"""The OpenAI SDKs obey it. They would else try twice again, against a budget that is gone."""


@attrs.frozen
class Denial:
    """A limit that stands against a session or a turn.

    Attributes:
        code: The code word in both shapes.
        message: For a person.
        retry_after_s: When trying again makes sense, if ever.
    """

    code: RefusalCode
    message: str
    retry_after_s: float | None = None

    def refusal(self) -> Refusal:
        """As the answer to an upgrade."""
        headers = _NO_RETRY if self.code is RefusalCode.INSUFFICIENT_QUOTA else ()
        return Refusal(self.code, self.message, retry_after_s=self.retry_after_s, headers=headers)

    def refuse(self) -> Refuse:
        """As the answer to a message of a session."""
        kind = error_type(self.refusal().status)
        if self.code is RefusalCode.INSUFFICIENT_QUOTA:
            kind = INSUFFICIENT_QUOTA
        return Refuse(kind, self.code, self.message, self.retry_after_s)


OVERLOADED: Final = Denial(
    RefusalCode.OVERLOAD,
    "The relay has as many sessions as it may; try again shortly.",
    SESSION_RETRY_S,
)
STORE_AWAY: Final = Denial(
    RefusalCode.OVERLOAD,
    "relayd cannot check this key's limits just now, and is set to let nothing through then; try"
    " again shortly.",
    AWAY_RETRY_S,
)
LEDGER_AWAY: Final = Denial(
    RefusalCode.LEDGER_UNAVAILABLE,
    "relayd cannot read what this key has spent just now, so it starts nothing new; try again"
    " shortly.",
    AWAY_RETRY_S,
)


def too_many_sessions(key: Key) -> Denial:
    """The key has ``sessions_max`` open."""
    message = (
        f"This key has {key.sessions_max} sessions open, as many as it may. Close one, or try again"
        " when one has ended."
    )
    return Denial(RefusalCode.SESSION_LIMIT_REACHED, message, SESSION_RETRY_S)


def out_of_money(key: Key, renewed_at: int | None, wall: float) -> Denial:
    """The key's budget is spent, or what is left does not bear another turn.

    Args:
        key: Whose budget it is.
        renewed_at: When the next period begins, in seconds since the epoch; ``None``: never.
        wall: What time it is.
    """
    budget = f"This key's budget of {_budget_usd(key)} US dollars"
    gone = "is used up, or does not bear another turn"
    remedy = "the operator of this relay can raise it."
    code = RefusalCode.INSUFFICIENT_QUOTA
    if renewed_at is None:
        return Denial(code, f"{budget} {gone}. It does not begin anew; {remedy}")
    anew = datetime.fromtimestamp(renewed_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = f"{budget} a {key.budget_period} {gone}. It begins anew at {anew}; {remedy}"
    return Denial(code, message, renewed_at - wall)


def money_set_aside(key: Key) -> Denial:
    """The budget would bear the turn, were it not for those that run."""
    message = (
        f"The rest of this key's budget of {_budget_usd(key)} US dollars is set aside for running"
        " responses. Please try again when one has ended."
    )
    return Denial(RefusalCode.RATE_LIMIT_EXCEEDED, message, SESSION_RETRY_S)


def too_fast(unit: str, per_minute: int, retry_after_s: float) -> Denial:
    """A rate is used up; the wait is worded as the OpenAI API does, and rounded up."""
    wait_s = math.ceil(retry_after_s * 1000) / 1000
    message = (
        f"This key's limit of {per_minute} {unit} a minute is reached. Please try again in"
        f" {wait_s:.12g}s."
    )
    return Denial(RefusalCode.RATE_LIMIT_EXCEEDED, message, retry_after_s)


def _budget_usd(key: Key) -> str:
    return f"{usd_of(key.budget_nano).normalize():f}"
