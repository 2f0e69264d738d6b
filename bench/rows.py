"""What is measured: one row is one kind of traffic, with its sessions, rate and upstream."""

from __future__ import annotations

import enum
from typing import Final

import attrs


class Traffic(enum.Enum):
    """What the sessions of a row carry."""

    PACED = "paced"  # upstream to client, every session by a timetable
    BURST = "burst"  # upstream to client, as fast as it goes
    APPEND = "append"  # client to upstream, as fast as it goes
    IDLE = "idle"  # nothing, after session.created
    CHURN = "churn"  # nothing, and each session is closed as soon as it stands


@attrs.frozen(kw_only=True)
class Row:
    """One row of the comparison.

    Attributes:
        name: Its name on the command line and of its results file.
        summary: One sentence for the help text and the README.
        traffic: What its sessions carry.
        sessions: How many there are; for ``CHURN``, how many are under way at once.
        rate_per_s: Messages per session and second, where traffic is paced.
        tls: Whether the upstream speaks TLS 1.3.
    """

    name: str
    summary: str
    traffic: Traffic
    sessions: int
    rate_per_s: float = 0.0
    tls: bool = False


_ROWS: Final = (
    Row(
        name="paced",
        summary="the upstream sends each session 50 messages of 1 KiB a second",
        traffic=Traffic.PACED,
        sessions=400,
        rate_per_s=50.0,
    ),
    Row(
        name="append",
        summary="client to upstream, masked 1 KiB appends back to back",
        traffic=Traffic.APPEND,
        sessions=16,
    ),
    Row(
        name="burst",
        summary="upstream to client, 1 KiB deltas as fast as they go",
        traffic=Traffic.BURST,
        sessions=16,
    ),
    Row(
        name="tls",
        summary="the paced row with a TLS 1.3 upstream",
        traffic=Traffic.PACED,
        sessions=400,
        rate_per_s=50.0,
        tls=True,
    ),
    Row(
        name="tls-burst",
        summary="the burst row with a TLS 1.3 upstream",
        traffic=Traffic.BURST,
        sessions=16,
        tls=True,
    ),
    Row(
        name="idle",
        summary="memory of sessions that stand idle after session.created",
        traffic=Traffic.IDLE,
        sessions=3000,
    ),
    Row(
        name="idle-tls",
        summary="the idle row with a TLS 1.3 upstream",
        traffic=Traffic.IDLE,
        sessions=3000,
        tls=True,
    ),
    Row(
        name="sessions",
        summary="sessions opened and closed: authenticate, dial, first frame, close",
        traffic=Traffic.CHURN,
        sessions=32,
    ),
    Row(
        name="sessions-tls",
        summary="the sessions row with a TLS 1.3 upstream, no resumption",
        traffic=Traffic.CHURN,
        sessions=32,
        tls=True,
    ),
)
ROWS: Final = {row.name: row for row in _ROWS}


def quick(row: Row) -> Row:
    """A smaller ``row`` that shows whether everything works; its figures mean little."""
    return attrs.evolve(row, sessions=max(row.sessions // 10, 4))
