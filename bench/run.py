"""One run: an upstream, a relay and clients, started, measured for some seconds, and ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from bench import certificates, frames, leases, openings, relays, spark_frames
from bench.board import Board, Counter, Phase
from bench.clients import OPENING_MAX, Clients
from bench.failures import RunFailed
from bench.processes import busy_seconds, cpu_seconds, resident_bytes
from bench.relays import RelayKind, Running, Wiring
from bench.results import Run
from bench.rows import Row, Traffic
from bench.upstream import Upstream
from bench.window import Limit, Sample, delay_figures, limit_of, traffic_figures
from bench.workers import Worker, watch

if TYPE_CHECKING:
    from array import array

ESTABLISH_S: Final = 60.0
"""How long opening a row's sessions may take."""
WARM_UP_S: Final = 0.5
SETTLE_S: Final = 1.0
"""How long idle sessions rest before the relay's memory is read."""
DRAIN_S: Final = 3.0
"""How long messages under way at the end may take to arrive."""
REST_S: Final = 0.2
"""How long every process has to see that traffic is over, and to end what it has begun."""
WORKERS_MAX: Final = 4
"""Load processes on each side."""
_WATCH_S: Final = 0.05
_NOUNS: Final = {Traffic.TURNS: "turns", Traffic.FIRST: "answers", Traffic.CHUNKS: "chunks"}
"""What is counted as lost; messages where nothing is said."""


@attrs.frozen(kw_only=True)
class Setting:
    """What is the same for every run.

    Attributes:
        seconds: How long traffic is measured.
        relay_cpus: Where the relay runs.
        load_cpus: Where the load processes run.
        relayd: The relayd command.
    """

    seconds: float
    relay_cpus: frozenset[int]
    load_cpus: frozenset[int]
    relayd: Path

    @property
    def workers(self) -> int:
        """Load processes on each side: as many as have a CPU."""
        return max(1, min(len(self.load_cpus) // 2, WORKERS_MAX))


def share_cpus() -> tuple[frozenset[int], frozenset[int]]:
    """The relay's CPU, and the load's: all others; the same one where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return frozenset(usable[:1]), frozenset(usable[1:] or usable)


def measure(row: Row, kind: RelayKind, setting: Setting) -> Run:
    """Run ``row`` once through a relay of that kind.

    Everything started here has ended when this returns or raises.

    Raises:
        RunFailed: A process did not start, or a session was refused or lost.
    """
    if row.traffic in {Traffic.LEASES, Traffic.CLAIMS}:
        return _measure_pool(row, setting)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relayd-bench-")))
        tls, trusted = certificates.make(directory) if row.tls else (None, None)
        upstream = stack.enter_context(listening())
        front = stack.enter_context(listening())
        lifetime_s = 2 * ESTABLISH_S + WARM_UP_S + setting.seconds + DRAIN_S
        board = Board(2 * setting.workers, lifetime_s=lifetime_s)
        upstreams = [
            stack.enter_context(
                Worker(
                    partial(Upstream, row, upstream, tls, board=board, tally=board.tally(slot)),
                    cpus=setting.load_cpus,
                )
            )
            for slot in range(setting.workers)
        ]
        wiring = Wiring(
            directory=directory,
            upstream=address_of(upstream),
            trusted=trusted,
            secret=f"bench-{secrets.token_hex(16)}",
            cpus=setting.relay_cpus,
            relayd=setting.relayd,
            dialect=row.dialect,
            ready=row.ready,
        )
        relay = stack.enter_context(relays.start(kind, wiring, front))
        openings.probe(relay.address, wiring.secret, row.dialect)
        resident_before = resident_bytes(relay.pid) if relay.pid else 0
        clients = [
            stack.enter_context(_client_worker(row, relay, wiring, setting, board, index))
            for index in range(setting.workers)
        ]
        bench = _Bench(row, setting, board, relay, upstreams, clients)
        if row.traffic is Traffic.IDLE:
            return Run(kind, bench.memory(resident_before), Limit.NOTHING)
        figures = bench.traffic()
        planned_per_s = row.rate_per_s * row.sessions
        return Run(kind, figures, limit_of(figures, planned_per_s=planned_per_s))


def _measure_pool(row: Row, setting: Setting) -> Run:
    """Run a row of the pool once: a process in the relay's place is the pool and who asks it."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(listening())
        board = Board(2, lifetime_s=2 * ESTABLISH_S + WARM_UP_S + setting.seconds)
        holder = Worker(partial(leases.Holder, upstream, board=board), cpus=setting.load_cpus)
        asker = Worker(
            partial(
                leases.Asker if row.traffic is Traffic.LEASES else leases.Bookkeeper,
                row.sessions,
                address_of(upstream),
                board=board,
                tally=board.tally(1),
            ),
            cpus=setting.relay_cpus,
        )
        workers = [stack.enter_context(worker) for worker in (holder, asker)]
        relay = Running(address_of(upstream), asker.pid)
        figures = _Bench(row, setting, board, relay, workers[:1], workers[1:]).traffic()
        return Run(RelayKind.RELAYD, figures, limit_of(figures, planned_per_s=0.0))


def _client_worker(
    row: Row, relay: Running, wiring: Wiring, setting: Setting, board: Board, index: int
) -> Worker:
    """The clients' process ``index``, with its share of the row's sessions."""
    workers = setting.workers
    clients = partial(
        Clients,
        row,
        relay.address,
        wiring.secret,
        sessions=row.sessions // workers + (index < row.sessions % workers),
        opening_max=max(OPENING_MAX // workers, 1),
        board=board,
        tally=board.tally(workers + index),
    )
    return Worker(clients, cpus=setting.load_cpus)


@attrs.frozen
class _Bench:
    """A run whose processes all stand."""

    row: Row
    setting: Setting
    board: Board
    relay: Running
    upstreams: Sequence[Worker]
    clients: Sequence[Worker]

    @property
    def workers(self) -> list[Worker]:
        return [*self.upstreams, *self.clients]

    def memory(self, resident_before: int) -> dict[str, float]:
        """What the row's sessions add to the relay's memory, in units of 1,000 bytes."""
        self._establish()
        watch(self.workers, SETTLE_S)
        if self.relay.pid is None:
            return {}
        resident = resident_bytes(self.relay.pid)
        per_session = (resident - resident_before) / self.row.sessions
        return {
            "sessions": self.row.sessions,
            "resident_empty_kb": resident_before / 1000,
            "resident_full_kb": resident / 1000,
            "kb_per_session": per_session / 1000,
        }

    def traffic(self) -> dict[str, float]:
        """Let the row's traffic run, and look twice; set-up and end are outside of the window."""
        if self.row.traffic is not Traffic.CHURN:
            self._establish()
        self.board.advance(Phase.TRAFFIC)
        watch(self.workers, WARM_UP_S)
        self.board.advance(Phase.RECORD)
        before = self._sample()
        watch(self.workers, self.setting.seconds)
        after = self._sample()
        self.board.advance(Phase.DRAIN)
        watch(self.workers, REST_S)
        lost = self._drain() if self.row.rate_per_s else None
        self.board.advance(Phase.END)
        lateness_ns, delays_ns = _joined(self.upstreams), _joined(self.clients)
        figures = traffic_figures(
            before, after, self.row.traffic, load_cpus=len(self.setting.load_cpus)
        )
        figures |= delay_figures(delays_ns, lateness_ns)
        if lost is not None:
            noun = _NOUNS.get(self.row.traffic, "messages")
            figures[f"{noun}_lost"] = lost
            figures[f"{noun}_blocked"] = self.board.total(Counter.BLOCKED)
        if self.row.traffic is Traffic.TURNS:
            figures["sockets_opened"] = after.accepted - before.accepted
        return figures

    def _establish(self) -> None:
        deadline = time.monotonic() + ESTABLISH_S
        while (standing := self.board.total(Counter.ESTABLISHED)) < self.row.sessions:
            if time.monotonic() > deadline:
                raise RunFailed(f"only {standing} sessions stand after {ESTABLISH_S:.0f} s")
            watch(self.workers, _WATCH_S)

    def _drain(self) -> int:
        """Wait for what is under way; how much of it never came."""
        deadline = time.monotonic() + DRAIN_S
        while True:
            missing = self._missing()
            if missing <= 0 or time.monotonic() > deadline:
                return missing
            watch(self.workers, _WATCH_S)

    def _missing(self) -> int:
        total = self.board.total
        if self.row.traffic in {Traffic.TURNS, Traffic.FIRST}:
            return total(Counter.BEGUN) - total(Counter.COMPLETED)
        if self.row.traffic is Traffic.CHUNKS:
            sent = total(Counter.SENT_BYTES) // spark_frames.PIECE_FRAME_BYTES
            return sent - total(Counter.COMPLETED)
        missing_bytes = total(Counter.SENT_BYTES) - total(Counter.RECEIVED_BYTES)
        return missing_bytes // frames.DELTA_FRAME_BYTES

    def _sample(self) -> Sample:
        return sample(self.board, self.relay, self.setting.relay_cpus, self.workers)


def sample(
    board: Board, relay: Running, relay_cpus: frozenset[int], workers: Sequence[Worker]
) -> Sample:
    """Look at a run: at its processes, and at what its board has counted."""
    pid = relay.pid
    return Sample(
        at_s=time.monotonic(),
        relay_cpu_s=cpu_seconds(pid) if pid else 0.0,
        load_cpu_s=tuple(cpu_seconds(worker.pid) for worker in workers),
        relay_busy_s=busy_seconds(relay_cpus) if pid else 0.0,
        received_bytes=board.total(Counter.RECEIVED_BYTES),
        completed=board.total(Counter.COMPLETED),
        accepted=board.total(Counter.ACCEPTED),
    )


def _joined(workers: Sequence[Worker]) -> array[int]:
    first, *others = [worker.report() for worker in workers]
    for report in others:
        first.extend(report)
    return first


def listening() -> socket.socket:
    """A non-blocking socket that listens on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.settimeout(0)
    return listener


def address_of(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()
    return host, port
