"""What the admin API answers: each shape once, encoded by it and described by it.

Names are those of the log. Times are RFC 3339 in UTC, durations end in their unit, what is not
known is null.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from relayd.config.keys import BudgetPeriod
from relayd.config.providers import Dialect, Provider
from relayd.observe.metrics_labels import AccountState

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
"""Items in one page."""

Moment: TypeAlias = Annotated[datetime.datetime, Meta(tz=True)]


class Shape(msgspec.Struct):
    """An object of the API."""


class Live(Shape):
    """relayd runs: its event loop turns."""

    live: bool


class Check(Shape):
    """One thing that was looked at."""

    name: str
    ok: bool
    required: Annotated[bool, Meta(description="Whether relayd is not ready while it is not ok.")]
    message: Annotated[str, Meta(description="What was found.")]
    remedy: Annotated[str | None, Meta(description="What helps, where it is not ok.")] = None


class Ready(Shape):
    """Whether new connections are welcome, and why not; with `verbose` each check."""

    ready: bool
    draining: bool
    overloaded: bool
    ledger_failing: bool
    checks: tuple[Check, ...] | msgspec.UnsetType = msgspec.UNSET


class SessionView(Shape):
    """A running session."""

    session_id: str
    dialect: Dialect
    key: str
    tenant: str
    account: Annotated[
        str | None, Meta(description="Null in the responses dialect: each turn has its own.")
    ]
    model: Annotated[
        str | None,
        Meta(description="The model the client asked for; null where each turn asks for its own."),
    ]
    client_address: str
    since: Annotated[Moment, Meta(description="When its 101 was written.")]
    duration_s: float
    turns: Annotated[int, Meta(description="Turns that have ended.")]
    busy: Annotated[bool, Meta(description="Whether a turn is asked for or runs.")]
    messages_up: int
    messages_down: int
    bytes_up: int
    bytes_down: int
    tokens_in: int
    tokens_out: int
    cost_usd: Annotated[Decimal | None, Meta(description="Null where something has no price.")]
    leaving: Annotated[
        str | None,
        Meta(description="The reason for which it ends as soon as no turn runs, or is ending."),
    ]


class SessionPage(Shape):
    """Running sessions, the oldest first."""

    sessions: tuple[SessionView, ...]
    total: Annotated[int, Meta(description="All that run, whatever the filters are.")]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null at the end.")]


class Killed(Shape):
    """The session was told to end: both sides hear a Close within a second."""

    session_id: str
    reason: str


class AccountView(Shape):
    """An account, and how it is doing."""

    name: str
    provider: Provider
    dialects: tuple[Dialect, ...]
    base_url: Annotated[str | None, Meta(description="Null: a simulated upstream, not started.")]
    state: Annotated[AccountState, Meta(description="What it is good for; as in the metrics.")]
    takes_sessions: Annotated[bool, Meta(description="Whether it would be given one now.")]
    overridden: Annotated[
        bool,
        Meta(description="Enabled or disabled over this API: until the next reload or restart."),
    ]
    sessions: Annotated[
        int, Meta(description="Those that go there, and running turns of the responses dialect.")
    ]
    sessions_max: Annotated[int, Meta(description="0: no limit.")]
    priority: int
    weight: int
    error_average: Annotated[float, Meta(description="0 to 1: the share of late failures.")]
    first_frame_ms: Annotated[float | None, Meta(description="From its 101, on average.")]
    reason: Annotated[str | None, Meta(description="The word for why it is disabled.")]
    message: Annotated[str | None, Meta(description="The same for people.")]
    retry_at: Annotated[
        Moment | None,
        Meta(description="When it is tried again, where it takes no sessions and time helps."),
    ]


class AccountPage(Shape):
    """Accounts, in the order of the configuration."""

    accounts: tuple[AccountView, ...]
    total: int
    next_cursor: Annotated[str | None, Meta(description="For the next page; null at the end.")]


class Probe(Shape):
    """What became of dialling an account at once."""

    ok: bool
    reason: Annotated[str | None, Meta(description="The word for why it failed.")] = None
    message: str | None = None
    connect_ms: float | None = None
    first_frame_ms: float | None = None


class AccountChanged(Shape):
    """An account as it is now, after an operator's word on it."""

    account: AccountView
    message: Annotated[str, Meta(description="What it means, and for how long.")]
    probe: Annotated[Probe | None, Meta(description="Null where it was not dialled.")] = None


class PoolView(Shape):
    """The sockets kept to one account, and who uses them, in the words of PgBouncer."""

    account: str
    cl_active: Annotated[int, Meta(description="Leases that are held: one for one or more turns.")]
    cl_waiting: Annotated[int, Meta(description="Turns that wait for a socket.")]
    sv_active: Annotated[int, Meta(description="Sockets that are leased.")]
    sv_idle: Annotated[int, Meta(description="Sockets that nobody uses.")]
    sv_tested: Annotated[
        int, Meta(description="Sockets that must answer a ping before they are leased.")
    ]
    sv_login: Annotated[int, Meta(description="Sockets that are being opened.")]
    maxwait_s: Annotated[
        float, Meta(description="How long the first of those who wait has waited.")
    ]
    slots_max: Annotated[int, Meta(description="How many sockets there may be.")]
    leases: Annotated[int, Meta(description="Given so far.")]
    reused: Annotated[int, Meta(description="Of these, on a socket that had served another.")]


class PoolPage(Shape):
    """Pools of the accounts that speak the responses dialect, by the account's name."""

    pools: tuple[PoolView, ...]
    total: int
    next_cursor: Annotated[str | None, Meta(description="For the next page; null at the end.")]


class KeyView(Shape):
    """A client's key: what it may do, and what it does. The key itself is not known."""

    name: str
    tenant: str
    enabled: bool
    expires: Moment | None
    models: tuple[str, ...]
    dialects: tuple[str, ...]
    allowed_ips: Annotated[tuple[str, ...], Meta(description="Empty: from anywhere.")]
    sessions: Annotated[int, Meta(description="Open.")]
    sessions_max: Annotated[int, Meta(description="0: no limit, here and below.")]
    requests_per_minute: int
    requests_left: Annotated[
        float | None,
        Meta(description="Turns that may begin at once; null without a limit, or if not known."),
    ]
    tokens_per_minute: int
    tokens_left: Annotated[
        float | None, Meta(description="Likewise tokens; negative where too many were used.")
    ]
    budget_usd: Decimal
    budget_period: BudgetPeriod
    price_factor: Decimal
    spent_usd: Annotated[
        Decimal | None,
        Meta(description="In this period; null without a budget, or if it is not known."),
    ]
    reserved_usd: Annotated[Decimal | None, Meta(description="Set aside for turns that run.")]
    left_usd: Annotated[Decimal | None, Meta(description="Neither spent nor set aside.")]
    renewed_at: Annotated[
        Moment | None, Meta(description="When the next period begins; null: never.")
    ]


class KeyPage(Shape):
    """Clients' keys, in the order of the configuration."""

    keys: tuple[KeyView, ...]
    total: int
    next_cursor: Annotated[str | None, Meta(description="For the next page; null at the end.")]


class ConfigView(Shape):
    """The configuration in force, defaults included; what may be a secret is `**`."""

    path: Annotated[str | None, Meta(description="The file it was read from.")]
    loaded_at: Moment
    settings: Annotated[
        dict[str, msgspec.Raw], Meta(description="As in docs/configuration.md, one member a table.")
    ]


class Draining(Shape):
    """relayd accepts nothing new; it exits when its sessions have ended."""

    draining: bool
    sessions: Annotated[int, Meta(description="That still run.")]
    drain_s: Annotated[float, Meta(description="How long they get, from the beginning.")]


class Changed(Shape):
    """Names of keys or accounts that a reload has changed; the disabled ones are not there."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class ReloadDone(Shape):
    """The configuration was read again, and is in force."""

    applied: bool
    keys: Changed
    accounts: Changed
    listeners_added: tuple[str, ...]
    listeners_removed: tuple[str, ...]
    postponed: Annotated[
        tuple[str, ...], Meta(description="Settings that differ, and take a restart.")
    ]
    duration_ms: float


class MistakeView(Shape):
    """A mistake in the configuration."""

    path: Annotated[str, Meta(description="Which setting; empty: the file as a whole.")]
    message: str
    file: Annotated[str | None, Meta(description="Where it is not in the configuration itself.")]


class Error(Shape):
    """Why a request was not answered, in OpenAI's shape."""

    message: Annotated[str, Meta(description="The cause, then the remedy.")]
    type: str
    param: str | None
    code: str


class RpcError(Shape):
    """A JSON-RPC error, as a device has it, or relayd for a device that is silent."""

    code: Annotated[
        int | None, Meta(description="-32001: no answer came in time. Null: the device gave none.")
    ]
    message: str


class ErrorAnswer(Shape):
    """An error; after a reload that was refused, with each mistake."""

    error: Error
    mistakes: tuple[MistakeView, ...] | msgspec.UnsetType = msgspec.UNSET
    rpc: Annotated[
        RpcError | msgspec.UnsetType, Meta(description="Of a call that a device did not answer.")
    ] = msgspec.UNSET


ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
"""Numbers of money are written in decimals, exactly, as in the log."""


def dollars(usd: Decimal) -> Decimal:
    """The same amount without zeros at its end, and so in as few digits as it takes."""
    text = f"{usd:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def moment(wall: float) -> datetime.datetime:
    """Seconds since the epoch as UTC, to the millisecond as in the log."""
    return datetime.datetime.fromtimestamp(round(wall, 3), datetime.UTC)
