"""What a metric is, and the labels that metrics have.

A label is bounded where it is defined: it knows its values, or they come from the configuration.
Nothing that a peer chose becomes one.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from relayd.config.providers import Dialect
from relayd.core.endings import Fault, Reason
from relayd.core.refusals import STATUS, RefusalCode

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
        values: All that there are, besides ``other``; none where they come from the configuration.
    """

    name: str
    meaning: str
    values: tuple[str, ...] = ()

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


DIALECT: Final = Label("dialect", "what the client speaks", (*Dialect, "unknown"))
ACCOUNT: Final = Label("account", "name of the account in the configuration")
MODEL: Final = Label(
    "model",
    "the account's name for the model, where the configuration or the prices name it exactly",
)
FAULT: Final = Label("fault", "who is to blame", tuple(Fault))
STATUS_SENT: Final = Label(
    "status", "the HTTP status, 0 if none was sent", tuple(map(str, sorted(set(STATUS.values()))))
)
UP_DOWN: Final = Label("direction", "to the upstream or to the client", ("up", "down"))
IN_OUT: Final = Label("direction", "input or output of the model", ("in", "out"))
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
TURN_REASON: Final = Label(
    "reason",
    "the response's status (`completed`, `cancelled`, `incomplete`, `failed`), or the ending of the"
    " session that cut it short",
    ("completed", "cancelled", "incomplete", "failed", *Reason),
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
