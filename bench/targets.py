"""What relayd is to reach in each row: a first target, and one that follows it."""

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
        first: The first target; ``None``: the figure is only shown.
        then: The one that follows, where one is set.
        absolute: The targets speak of relayd's own figure, not of its ratio to another's.
    """

    row: str
    label: str
    figure: str
    unit: str
    better: Better
    first: float | None = None
    then: float | None = None
    absolute: bool = False

    def reached(self, value: float) -> str | None:
        """Which target ``value`` reaches: ``then``, ``first`` or ``no``; ``None`` without any."""
        if self.first is None:
            return None
        for name, bound in (("then", self.then), ("first", self.first)):
            if bound is None:
                continue
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
    Target(
        row="turn",
        label="delay that is added to a turn of 20 events at once, p50",
        figure="added_p50_ms",
        unit="ms",
        better=Better.LESS,
        first=0.5,
        absolute=True,
    ),
    Target(
        row="turn",
        label="delay that is added to a turn of 20 events at once, p99",
        figure="added_p99_ms",
        unit="ms",
        better=Better.LESS,
        absolute=True,
    ),
    Target(
        row="turn",
        label="CPU per turn of 20 events at once",
        figure="cpu_us_per_turn",
        unit="µs",
        better=Better.LESS,
        first=600,
        absolute=True,
    ),
    Target(
        row="turn-paced",
        label="delay that is added to a turn of 20 events, one every 2 ms, p50",
        figure="added_p50_ms",
        unit="ms",
        better=Better.LESS,
        first=0.5,
        absolute=True,
    ),
    Target(
        row="turn-paced",
        label="delay that is added to a turn of 20 events, one every 2 ms, p99",
        figure="added_p99_ms",
        unit="ms",
        better=Better.LESS,
        absolute=True,
    ),
    Target(
        row="turn-paced",
        label="CPU per turn of 20 events, one every 2 ms",
        figure="cpu_us_per_turn",
        unit="µs",
        better=Better.LESS,
        absolute=True,
    ),
    Target(
        row="pool",
        label="CPU to acquire and yield a socket of 10,000",
        figure="cpu_us_per_lease",
        unit="µs",
        better=Better.LESS,
        first=50,
        absolute=True,
    ),
    Target(
        row="book",
        label="of that, the pool's decisions",
        figure="cpu_us_per_lease",
        unit="µs",
        better=Better.LESS,
        absolute=True,
    ),
    Target(
        row="idle-responses",
        label="memory per idle Responses session, after one turn",
        figure="kb_per_session",
        unit="KB",
        better=Better.LESS,
        absolute=True,
    ),
    Target(
        row="chat-chunk",
        label="CPU per chunk, 500 streams as fast as they go",
        figure="cpu_us_per_chunk",
        unit="µs",
        better=Better.LESS,
        first=100,
        absolute=True,
    ),
    Target(
        row="chat-paced",
        label="CPU per chunk, 500 streams of 10 chunks a second",
        figure="cpu_us_per_chunk",
        unit="µs",
        better=Better.LESS,
        first=100,
        absolute=True,
    ),
    Target(
        row="chat-paced",
        label="delay of a chunk, 500 streams of 10 chunks a second, p99",
        figure="delay_p99_ms",
        unit="ms",
        better=Better.LESS,
    ),
    Target(
        row="chat-first",
        label="time to the first chunk, TLS upstream 20 ms away, p50",
        figure="delay_p50_ms",
        unit="ms",
        better=Better.LESS,
    ),
    Target(
        row="chat-first",
        label="time to the first chunk, TLS upstream 20 ms away, p99",
        figure="delay_p99_ms",
        unit="ms",
        better=Better.LESS,
    ),
    Target(
        row="hub-fan-10",
        label="delay of an event, 2,000 on one topic, 10 events/s, p99",
        figure="delay_p99_ms",
        unit="ms",
        better=Better.LESS,
        first=100,
        absolute=True,
    ),
    Target(
        row="hub-fan-10",
        label="CPU per delivery, 2,000 on one topic, 10 events/s",
        figure="cpu_us_per_delivery",
        unit="µs",
        better=Better.LESS,
    ),
    Target(
        row="hub-fan-50",
        label="delay of an event, 2,000 on one topic, 50 events/s, p99",
        figure="delay_p99_ms",
        unit="ms",
        better=Better.LESS,
        first=100,
        absolute=True,
    ),
    Target(
        row="hub-fan-50",
        label="deliveries, 2,000 on one topic, 50 events/s",
        figure="deliveries_per_s",
        unit="/s",
        better=Better.MORE,
    ),
    Target(
        row="hub-fan-50",
        label="CPU per delivery, 2,000 on one topic, 50 events/s",
        figure="cpu_us_per_delivery",
        unit="µs",
        better=Better.LESS,
    ),
    Target(
        row="hub-topics",
        label="delay of an event, 50 topics × 40, 40 events/s each, p99",
        figure="delay_p99_ms",
        unit="ms",
        better=Better.LESS,
        first=100,
        absolute=True,
    ),
    Target(
        row="hub-topics",
        label="deliveries, 50 topics × 40, 40 events/s each",
        figure="deliveries_per_s",
        unit="/s",
        better=Better.MORE,
        first=79_200,
        absolute=True,
    ),
    Target(
        row="hub-topics",
        label="CPU per delivery, 50 topics × 40, 40 events/s each",
        figure="cpu_us_per_delivery",
        unit="µs",
        better=Better.LESS,
    ),
    Target(
        row="hub-stopped",
        label="publisher's delay while one of 2,000 has stopped, to that before, p50",
        figure="publish_stopped_p50_ratio",
        unit="×",
        better=Better.LESS,
        first=1.1,
        absolute=True,
    ),
    Target(
        row="hub-stopped",
        label="publisher's delay while one of 2,000 has stopped, to that before, p99",
        figure="publish_stopped_p99_ratio",
        unit="×",
        better=Better.LESS,
        first=1.5,
        absolute=True,
    ),
)
