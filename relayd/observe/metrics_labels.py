"""What a metric is, and the labels that metrics have.

A label is bounded where it is defined: it knows its values, or they come from the configuration.
Nothing that a peer chose becomes one.
"""

from __future__ import annotations

import enum
from http import HTTPStatus
from typing import Final

import attrs

from relayd.config.providers import Dialect
from relayd.core.endings import Fault, Reason
from relayd.core.refusals import STATUS, RefusalCode
from relayd.observe.events import LogEvent

OTHER: Final = "other"
"""What stands in a label for everything that has no name of its own there."""


class Kind(enum.StrEnum):
    """How a metric behaves, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class AccountState(enum.StrEnum):
    """What an account is good for; where several are true, the last one here is told."""

    READY = "ready"
    PROBATION = "probation"
    OPEN = "open"
    COOLED = "cooled"
    DISABLED = "disabled"
    OFF = "off"


@attrs.frozen
class Label:
    """One label of a metric.

    Attributes:
        name: As queries name it.
        meaning: Of its values.
        values: All that there are, besides ``other``; none where they come from the configuration,
            or from relayd's own tables of routes.
        listed: Where a reader finds them, should they be too many to be shown.
    """

    name: str
    meaning: str
    values: tuple[str, ...] = ()
    listed: str = "the words are in [events.md](events.md)"

    def bound(self, value: str) -> str:
        """``value``, or ``other`` where it is not one of those that there are."""
        return value if not self.values or value in self.values else OTHER


@attrs.frozen
class Spec:
    """What is known of a metric before it has a value.

    Attributes:
        name: With prefix, unit and, for a counter, ``_total``.
        meaning: One sentence; the ``HELP`` of the exposition.
        normal: What it looks like when all is well.
        remedy: What to do when it does not.
        labels: In the order in which they are shown.
        buckets: Upper bounds of a histogram's, in the metric's unit, without infinity.
    """

    kind: Kind
    name: str
    meaning: str
    normal: str
    remedy: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words)


DIALECT: Final = Label("dialect", "what the client speaks", (*Dialect, "unknown"))
ACCOUNT: Final = Label("account", "name of the account in the configuration")
NO_ACCOUNT: Final = "-"
"""Where there is no account. No account can be called so."""

SESSIONS_ACCOUNT: Final = Label(
    "account",
    f"name of the account in the configuration; `{NO_ACCOUNT}` for sessions of the responses"
    " dialect, each turn of which has its own",
)
MODEL: Final = Label(
    "model",
    "the account's name for the model, where the configuration or the prices name it exactly",
)
FAULT: Final = Label("fault", "who is to blame", tuple(Fault))
STATUS_SENT: Final = Label(
    "status", "the HTTP status, 0 if none was sent", tuple(map(str, sorted(set(STATUS.values()))))
)
LISTENER: Final = Label(
    "listener", "the clients' listeners or the admin listener", ("public", "admin")
)
ROUTE: Final = Label(
    "route",
    "the pattern of the path, as in `request.ended`; `other` where the request was refused before"
    " a route was found",
)
STATUS_ANSWERED: Final = Label(
    "status",
    "the HTTP status, 0 if no response was begun",
    ("0", *(str(status.value) for status in HTTPStatus)),
    listed="those of RFC 9110 and of its registry",
)
REQUEST_OUTCOME: Final = Label(
    "outcome",
    "how it ended, as in `request.ended`",
    ("complete", "client_gone", "client_stalled", "cut_off", "crashed", "stopped"),
)
UP_DOWN: Final = Label("direction", "to the upstream or to the client", ("up", "down"))
IN_OUT: Final = Label(
    "direction",
    "input or output of the model; of a device: what it said, what it heard",
    ("in", "out"),
)
TOKEN_KIND: Final = Label(
    "kind",
    "medium of the token; `cached` ones count there alone, so that the kinds add up",
    ("text", "audio", "image", "cached"),
)
STATE: Final = Label("state", "what the account is good for", tuple(AccountState))
OUTCOME: Final = Label("outcome", "whether the file was used", ("applied", "refused"))
VERSION: Final = Label("version", "relayd's version")

ENDING: Final = Label("reason", "why it ended, as in `session.ended`", tuple(Reason))
REFUSAL: Final = Label("reason", "why, as in `connection.refused`", tuple(RefusalCode))
FAILURE: Final = Label("reason", "why, as in `upstream.failed` where relayd knows the word")
TURN_STATUSES: Final = ("completed", "cancelled", "incomplete", "failed")
TURN_ABORTS: Final = (
    *("invalid_message", "too_many_mistakes", "duplicate_type", "first_message_timeout"),
    *("binary_frame", "message_over_limit", "create_too_big", "queue_full", "stream_limit"),
    *("key_revoked", "quota_exhausted", "rate_limited", "refused", "gateway_busy"),
    *("model_not_found", "previous_response_not_found", "upstream_unreachable"),
    *("upstream_error", "upstream_auth", "upstream_limit", "upstream_restart", "upstream_closed"),
    *("upstream_lost", "upstream_too_big", "upstream_protocol", "connection_limit"),
    *("first_event_timeout", "read_timeout", "preempted", "client_gone", "client_slow"),
    *("client_idle", "drain", "draining", "drain_deadline", "killed"),
    *("internal_lane", "internal_session"),
)
"""Why a turn of the responses dialect ends without its upstream's word, as the dialect has it."""

TURN_FAULTS: Final = (
    *("invalid_value", "content_filter", "context_length_exceeded", "model_not_found"),
    *("rate_limit_exceeded", "insufficient_quota", "daily_quota", "overloaded", "overload"),
    *("no_available_account", "no_account", "account_busy", "internal_error"),
    *("upstream_auth_failed", "upstream_bad_request", "upstream_busy_user"),
    *("upstream_concurrency", "upstream_misconfigured", "upstream_not_entitled"),
    *("upstream_too_big", "upstream_truncated", "upstream_protocol_error", "upstream_timeout"),
)
"""Why a turn of the chat dialect fails, where that is not among the others: ``error.code``."""

TURN_REASON: Final = Label(
    "reason",
    "the response's status (`completed`, `cancelled`, `incomplete`, `failed`), or what cut it"
    " short: the ending of its session or, in the responses and chat dialects, a word for the turn"
    " alone",
    tuple(dict.fromkeys((*TURN_STATUSES, *Reason, *TURN_ABORTS, *TURN_FAULTS))),
    listed="the endings are in [events.md](events.md), the others are"
    f" {_quoted(tuple(dict.fromkeys((*TURN_ABORTS, *TURN_FAULTS))))}",
)
POOL_STATE: Final = Label(
    "state",
    "leased, unused, made to answer before it is leased, or being opened",
    ("active", "idle", "tested", "login"),
)
REUSED: Final = Label("reused", "whether the socket had served another lease", ("true", "false"))
POOL_EVENT: Final = Label(
    "event",
    "as the log names it",
    (
        LogEvent.SLOT_OPENED,
        LogEvent.SLOT_BROKEN,
        LogEvent.SLOT_ROTATED,
        LogEvent.SLOT_EVICTED,
        LogEvent.LEASE_REFUSED,
    ),
)
NO_REASON: Final = "none"
"""Of an event that says it all."""

POOL_WORDS: Final = (
    *("peer_closed", "peer_gone", "stray_event", "ping_timeout", "preflight_timeout"),
    *("unclean", "abandoned", "dial_failed", "crashed"),
    *("age_max", "idle_ttl", "idle_max", "slots_max", "lanes_max", "account_changed", "drain"),
    *("other_identity", "acquire_timeout", "pinned_gone", "pool_closed"),
)
"""The pool's own words: why a socket broke or was closed, and why nothing was leased."""

POOL_REASON: Final = Label(
    "reason",
    f"as in the log; `{NO_REASON}` where the event says it all; of a socket that broke while it was"
    " used what ended its turns",
    tuple(
        dict.fromkeys(
            (
                NO_REASON,
                *POOL_WORDS,
                Reason.PROTOCOL_ERROR_UPSTREAM,
                Reason.BAD_UTF8,
                Reason.TOO_BIG,
                Reason.CONTROL_FLOOD,
                *TURN_ABORTS,
            )
        )
    ),
    listed="the words are in [operating.md](operating.md#the-pool)",
)
READY_STATE: Final = Label("state", "waiting to be used, or being opened", ("ready", "opening"))
READY_EVENT: Final = Label(
    "event",
    "requests: `taken`, those that found one, and `missed`, the others; sockets: `opened`,"
    " `failed` to open, `lost` before they were used, and `aged`, which nobody used in time",
    ("taken", "missed", "opened", "failed", "lost", "aged"),
)
DEVICE_LOSS: Final = Label(
    "cause",
    "the server's Close, its connection, or its silence",
    ("closed", "connection", "timeout"),
)
HUB_EVENT: Final = Label(
    "event",
    "events: `published`, once each, and messages: `delivered`, `coalesced` into later ones,"
    " `dropped`; clients: `overflowed`, which were cut, `recovered` and `lost`, which came back",
    ("published", "delivered", "coalesced", "dropped", "overflowed", "recovered", "lost"),
)
LIMIT: Final = Label(
    "reason",
    "the limit, in the words of refusals",
    (
        RefusalCode.RATE_LIMIT_EXCEEDED,
        RefusalCode.SESSION_LIMIT_REACHED,
        RefusalCode.INSUFFICIENT_QUOTA,
        RefusalCode.MODEL_NOT_PRICED,
    ),
)
