"""What is measured: one row is one kind of traffic, with its sessions, rate and upstream."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from bench.handshake import Dialect
from bench.relays import RelayKind


class Traffic(enum.Enum):
    """What the sessions of a row carry."""

    PACED = "paced"  # upstream to client, every session by a timetable
    BURST = "burst"  # upstream to client, as fast as it goes
    APPEND = "append"  # client to upstream, as fast as it goes
    IDLE = "idle"  # nothing, after session.created
    CHURN = "churn"  # nothing, and each session is closed as soon as it stands
    TURNS = "turns"  # requests, by a timetable, and twenty events in answer to each
    LEASES = "leases"  # none: within the process, a pool's sockets are acquired and yielded
    CLAIMS = "claims"  # the same of a pool's book, whose sockets are numbers
    CHUNKS = "chunks"  # upstream to client, pieces of one long answer each
    DEVICES = "devices"  # packets of speech, to the server and back, by a timetable
    FIRST = "first"  # requests, by a timetable, each with an upstream socket of its own
    EVENTS = "events"  # published by a timetable, and delivered to all who follow their topic


@attrs.frozen(kw_only=True)
class Row:
    """One row of the comparison.

    Attributes:
        name: Its name on the command line and of its results file.
        summary: One sentence for the help text and the README.
        traffic: What its sessions carry.
        sessions: How many there are; for ``CHURN``, how many are under way at once; for ``LEASES``
            and ``CLAIMS``, slots of the pool; for ``EVENTS``, subscribers of all topics together,
            as many for each.
        rate_per_s: Messages or turns per session and second, where traffic is paced; events per
            topic and second.
        gap_ms: Between two events of a turn; 0: they come at once.
        round_trip_ms: How far away the upstream seems to be, on sockets of ``FIRST``.
        ready: Sockets that relayd opens ahead of need.
        topics: Of the hub.
        publishers: Programs that publish in them, each in as many.
        stops: Whether one subscriber stops reading, is cut off and comes back.
        tls: Whether the upstream speaks TLS 1.3.
        dialect: What the sessions speak.
        beside: What relayd's figures are divided by; ``None``: nothing does the same.
    """

    name: str
    summary: str
    traffic: Traffic
    sessions: int
    rate_per_s: float = 0.0
    gap_ms: float = 0.0
    round_trip_ms: float = 0.0
    ready: int = 0
    topics: int = 0
    publishers: int = 0
    stops: bool = False
    tls: bool = False
    dialect: Dialect = Dialect.REALTIME
    beside: RelayKind | None = RelayKind.HAPROXY

    @property
    def compared(self) -> tuple[RelayKind, ...]:
        """What is measured where nobody says, by turns."""
        if self.beside is None:
            return (RelayKind.RELAYD,)
        if self.traffic is Traffic.TURNS:  # its delays are told as what a relay adds to none
            return (RelayKind.RELAYD, self.beside, RelayKind.DIRECT)
        return (RelayKind.RELAYD, self.beside)

    @property
    def measurable(self) -> frozenset[RelayKind]:
        """What can be measured at all."""
        if self.beside is None:
            return frozenset({RelayKind.RELAYD})
        if self.dialect in {Dialect.CHAT, Dialect.HUB, Dialect.XIAOZHI}:  # nothing else does that
            return frozenset(self.compared)
        no_tls = {RelayKind.BARE, RelayKind.DIRECT}
        return frozenset(RelayKind) - {RelayKind.COLD} - (no_tls if self.tls else set())

    @property
    def noun(self) -> str:
        """What there are so many of."""
        return "slots" if self.traffic in {Traffic.LEASES, Traffic.CLAIMS} else "sessions"

    @property
    def descriptors(self) -> int:
        """How many the process needs that has the most of them, for what there are many of."""
        match self.traffic:
            case Traffic.CLAIMS:
                return 0
            case Traffic.LEASES:
                return self.sessions
            case Traffic.EVENTS:
                return self.sessions + self.publishers
            case _:
                return 2 * self.sessions


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
    Row(
        name="turn",
        summary="turns on warm upstream sockets, the 20 events of each sent at once",
        traffic=Traffic.TURNS,
        sessions=32,
        rate_per_s=10.0,
        dialect=Dialect.RESPONSES,
        beside=RelayKind.BARE,
    ),
    Row(
        name="turn-paced",
        summary="turns on warm upstream sockets, 2 ms between the 20 events of each",
        traffic=Traffic.TURNS,
        sessions=32,
        rate_per_s=10.0,
        gap_ms=2.0,
        dialect=Dialect.RESPONSES,
        beside=RelayKind.BARE,
    ),
    Row(
        name="turn-busy",
        summary="turns on warm upstream sockets, so many that relayd is never idle for long",
        traffic=Traffic.TURNS,
        sessions=32,
        rate_per_s=40.0,
        dialect=Dialect.RESPONSES,
        beside=RelayKind.BARE,
    ),
    Row(
        name="pool",
        summary="a socket of the pool acquired and yielded, over real sockets",
        traffic=Traffic.LEASES,
        sessions=10_000,
        dialect=Dialect.RESPONSES,
        beside=None,
    ),
    Row(
        name="book",
        summary="the decisions of the pool row alone, its sockets being numbers",
        traffic=Traffic.CLAIMS,
        sessions=10_000,
        dialect=Dialect.RESPONSES,
        beside=None,
    ),
    Row(
        name="idle-responses",
        summary="memory of Responses sessions that stand idle after one turn",
        traffic=Traffic.IDLE,
        sessions=3000,
        dialect=Dialect.RESPONSES,
        beside=RelayKind.BARE,
    ),
    Row(
        name="chat-chunk",
        summary="pieces of answers out of Spark's frames into events, as fast as they go",
        traffic=Traffic.CHUNKS,
        sessions=500,
        dialect=Dialect.CHAT,
        beside=RelayKind.BARE,
    ),
    Row(
        name="chat-paced",
        summary="the same with 10 pieces a second for each stream, so that each comes alone",
        traffic=Traffic.CHUNKS,
        sessions=500,
        rate_per_s=10.0,
        dialect=Dialect.CHAT,
        beside=RelayKind.BARE,
    ),
    Row(
        name="chat-first",
        summary="first chunks from a TLS 1.3 upstream 20 ms away, sockets opened ahead or not",
        traffic=Traffic.FIRST,
        sessions=16,
        rate_per_s=2.0,
        round_trip_ms=20.0,
        ready=16,
        tls=True,
        dialect=Dialect.CHAT,
        beside=RelayKind.COLD,
    ),
    Row(
        name="hub-fan-10",
        summary="events of one topic to 2,000 subscribers, 10 a second",
        traffic=Traffic.EVENTS,
        sessions=2000,
        rate_per_s=10.0,
        topics=1,
        publishers=1,
        dialect=Dialect.HUB,
        beside=RelayKind.BARE,
    ),
    Row(
        name="hub-fan-50",
        summary="events of one topic to 2,000 subscribers, 50 a second",
        traffic=Traffic.EVENTS,
        sessions=2000,
        rate_per_s=50.0,
        topics=1,
        publishers=1,
        dialect=Dialect.HUB,
        beside=RelayKind.BARE,
    ),
    Row(
        name="hub-topics",
        summary="events of 50 topics, 40 a second each, to 40 subscribers of each",
        traffic=Traffic.EVENTS,
        sessions=2000,
        rate_per_s=40.0,
        topics=50,
        publishers=5,
        dialect=Dialect.HUB,
        beside=RelayKind.BARE,
    ),
    Row(
        name="hub-stopped",
        summary="one topic to 2,000 subscribers, of whom one stops reading for a while",
        traffic=Traffic.EVENTS,
        sessions=2000,
        rate_per_s=50.0,
        topics=1,
        publishers=1,
        stops=True,
        dialect=Dialect.HUB,
        beside=None,
    ),
    Row(
        name="devices",
        summary="devices over two servers: hellos, then packets of 60 ms to the server and back",
        traffic=Traffic.DEVICES,
        sessions=400,
        rate_per_s=1000 / 60,
        dialect=Dialect.XIAOZHI,
        beside=RelayKind.DIRECT,
    ),
)
ROWS: Final = {row.name: row for row in _ROWS}


def quick(row: Row) -> Row:
    """A smaller ``row`` that shows whether everything works; its figures mean little."""
    return attrs.evolve(row, sessions=max(row.sessions // 10, 4))
