"""What relayd is to reach in each row: a first target, and the one that follows it."""

from __future__ import annotations

import enum
from typing import Final

import attrs


class Better(enum.Enum):
    """Which way a figure improves."""

    LESS = "≤"
    MORE = "≥"


@attrs.frozen(kw_only=True)
class Target:
    """One line of the table.

    Attributes:
        row: The row that measures it.
        label: What it is, in words.
        figure: Which of the row's figures.
        unit: The figure's unit, for the table.
        better: Which way it improves.
        first: The first target.
        then: The one that follows.
        absolute: The targets speak of relayd's own figure, not of its ratio to HAProxy's.
    """

    row: str
    label: str
    figure: str
    unit: str
    better: Better
    first: float
    then: float
    absolute: bool = False

    def reached(self, value: float) -> str:
        """Which target ``value`` reaches: ``then``, ``first`` or ``no``."""
        for name, bound in (("then", self.then), ("first", self.first)):
            if value <= bound if self.better is Better.LESS else value >= bound:
                return name
        return "no"


TARGETS: Final = (
    Target(
        row="paced",
        label="CPU per relayed message, 400 × 50 msg/s of 1 KiB",
        figure="cpu_us_per_message",
        unit="µs",
        better=Better.LESS,
        first=2.2,
        then=1.7,
    ),
    Target(
        row="append",
        label="CPU per message upstream-bound, back-to-back 1 KiB appends",
        figure="cpu_us_per_message",
        unit="µs",
        better=Better.LESS,
        first=4,
        then=3,
    ),
    Target(
        row="burst",
        label="burst throughput of one worker, messages per CPU second",
        figure="messages_per_cpu_s",
        unit="/s",
        better=Better.MORE,
        first=0.45,
        then=0.65,
    ),
    Target(
        row="paced",
        label="p99 delay at the paced load",
        figure="delay_p99_ms",
        unit="ms",
        better=Better.LESS,
        first=1,
        then=0.7,
    ),
    Target(
        row="tls",
        label="CPU per message with TLS upstream, paced",
        figure="cpu_us_per_message",
        unit="µs",
        better=Better.LESS,
        first=2.5,
        then=1.8,
    ),
    Target(
        row="tls-burst",
        label="CPU per message with TLS upstream, burst",
        figure="cpu_us_per_message",
        unit="µs",
        better=Better.LESS,
        first=2.5,
        then=1.8,
    ),
    Target(
        row="idle",
        label="memory per idle session",
        figure="kb_per_session",
        unit="KB",
        better=Better.LESS,
        first=24,
        then=16,
        absolute=True,
    ),
    Target(
        row="idle-tls",
        label="memory per idle session, TLS upstream",
        figure="kb_per_session",
        unit="KB",
        better=Better.LESS,
        first=44,
        then=36,
        absolute=True,
    ),
    Target(
        row="sessions",
        label="new sessions per CPU second",
        figure="sessions_per_cpu_s",
        unit="/s",
        better=Better.MORE,
        first=0.08,
        then=0.1,
    ),
    Target(
        row="sessions-tls",
        label="new sessions per CPU second, TLS upstream, no resumption",
        figure="sessions_per_cpu_s",
        unit="/s",
        better=Better.MORE,
        first=350,
        then=700,
        absolute=True,
    ),
)
