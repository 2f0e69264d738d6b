"""The settings of clients' keys, in the manner of :mod:`relayd.config.schema`, which has more."""

from __future__ import annotations

import datetime
import enum
from decimal import Decimal
from typing import Final

import attrs

from relayd.config import kinds
from relayd.config.about import about
from relayd.config.amounts import Amount
from relayd.config.networks import NETWORKS, Network
from relayd.config.providers import Dialect
from relayd.config.rules import Flag, Integer, Word
from relayd.config.secret import KeyDigest
from relayd.config.times import Moment

COUNT_MAX: Final = 10**9
BUDGET_MAX_USD: Final = Decimal(10**9)
"""In nano-dollars a ninth of what a signed 64-bit integer holds: sums have room."""
FACTOR_MIN: Final = Decimal("0.0001")
FACTOR_MAX: Final = Decimal(10_000)


class BudgetPeriod(enum.StrEnum):
    """How long a budget lasts before it begins anew. Periods begin at 00:00 UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


class Role(enum.StrEnum):
    """What a key may do beside its own sessions."""

    USER = "user"
    PUBLISHER = "publisher"
    OPERATOR = "operator"


class BusyLane(enum.StrEnum):
    """What a request does in a lane of the responses dialect where another one is running."""

    QUEUE = "queue"
    PREEMPT = "preempt"


class Recovery(enum.StrEnum):
    """What relayd may change in a request of the responses dialect to make it succeed."""

    NONE = "none"
    INJECT_PREVIOUS_ID = "inject_previous_id"


@attrs.frozen(kw_only=True)
class KeySettings:
    """``[[keys]]``: who may come in. One table a key."""

    name: str = attrs.field(
        metadata=about(kinds.NAME, "What logs call the key. Unique.", stand_in="unnamed")
    )
    enabled: bool = attrs.field(
        default=True, metadata=about(Flag(), "A disabled key opens nothing.")
    )
    secret: KeyDigest | None = attrs.field(
        default=None,
        metadata=about(
            kinds.ClientKey(),
            "What the client presents: a secret reference of at least 4 characters. Only its"
            " SHA-256 is kept in memory. Required unless the key is disabled.",
            default="none",
        ),
    )
    tenant: str = attrs.field(
        default=attrs.Factory(lambda self: self.name, takes_self=True),
        metadata=about(
            kinds.NAME,
            "Keys of one tenant share what is kept per tenant.",
            default="the key's name",
        ),
    )
    role: Role = attrs.field(
        default=Role.USER,
        converter=Role,
        metadata=about(
            Word(tuple(map(str, Role))),
            "What the key may do in the event hub beside hearing of its tenant: `publisher` also"
            " publishes there; `operator` does too, hears of every tenant and may end sessions.",
        ),
    )
    models: tuple[str, ...] = attrs.field(
        default=("*",),
        metadata=about(
            kinds.MODELS, "The models the key may ask for. `*` stands for any run of characters."
        ),
    )
    dialects: tuple[str, ...] = attrs.field(
        default=("*",),
        metadata=about(
            kinds.DIALECTS,
            f"The dialects the key may speak: {', '.join(f'`{word}`' for word in Dialect)},"
            " or patterns with `*`.",
        ),
    )
    expires: datetime.datetime | None = attrs.field(
        default=None,
        metadata=about(
            Moment(),
            "From then on the key opens nothing, and its sessions end after the running response."
            " A TOML date with time and zone, not in quotes.",
            default="never",
        ),
    )
    allowed_ips: tuple[Network, ...] = attrs.field(
        default=(),
        metadata=about(
            NETWORKS,
            "Where the key may be used from: addresses and networks in CIDR form. Empty: from"
            " anywhere; else a Unix socket's clients, which have no address, are refused. An"
            " IPv4-mapped IPv6 address counts as the IPv4 one.",
        ),
    )
    sessions_max: int = attrs.field(
        default=0,
        metadata=about(Integer(0, COUNT_MAX), "Sessions of the key at once. 0: no limit."),
    )
    requests_per_minute: int = attrs.field(
        default=0,
        metadata=about(Integer(0, COUNT_MAX), "Turns that it may begin in a minute. 0: no limit."),
    )
    tokens_per_minute: int = attrs.field(
        default=0,
        metadata=about(
            Integer(0, COUNT_MAX),
            "Tokens in a minute, input and output together. They are counted when a turn has"
            " ended, so a turn may overdraw; until that is made up for, the next one is refused."
            " 0: no limit.",
        ),
    )
    budget_usd: Decimal = attrs.field(
        default=Decimal(0),
        metadata=about(
            Amount(most=BUDGET_MAX_USD),
            "What it may cost in a period, in US dollars; 0: no limit. What a turn may cost is set"
            " aside when it begins. A model without a price is refused to a key with a budget.",
            default='`"0"`',
        ),
    )
    budget_period: BudgetPeriod = attrs.field(
        default=BudgetPeriod.MONTH,
        converter=BudgetPeriod,
        metadata=about(
            Word(tuple(map(str, BudgetPeriod))),
            "When the budget begins anew, in UTC: each day, each Monday, each first of a month,"
            " or never.",
        ),
    )
    price_factor: Decimal = attrs.field(
        default=Decimal(1),
        metadata=about(
            Amount(least=FACTOR_MIN, most=FACTOR_MAX),
            "What prices are multiplied by for this key.",
            default='`"1"`',
        ),
    )
    websocket: bool = attrs.field(
        default=True,
        metadata=about(
            Flag(),
            "Whether the key may upgrade to a WebSocket in the responses dialect. Where it may"
            " not, upgrades get 426, and clients use `POST /v1/responses`.",
        ),
    )
    busy_lane: BusyLane = attrs.field(
        default=BusyLane.QUEUE,
        converter=BusyLane,
        metadata=about(
            Word(tuple(map(str, BusyLane))),
            "What a request of the responses dialect does where another one is running in its"
            " lane: wait for its end, or end it as `preempted`, and with it the upstream socket."
            " Lanes of a key that preempts have sockets of their own; those that go on from what"
            " lives on one socket share it, and end together.",
        ),
    )
    recovery: Recovery = attrs.field(
        default=Recovery.NONE,
        converter=Recovery,
        metadata=about(
            Word(tuple(map(str, Recovery))),
            "The one change that relayd makes to a request of the responses dialect, where it is"
            " asked to: `inject_previous_id` adds the `previous_response_id` of the lane's last"
            " response to a request that brings outputs of its tool calls and names none.",
        ),
    )
