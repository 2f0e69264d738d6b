"""The row of devices: hellos, packets both ways, and memory, over two servers."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from bench import relays
from bench.board import Board, Counter, Phase
from bench.device_ends import OPENINGS_PER_S, Devices, Servers
from bench.failures import RunFailed
from bench.figures import percentile
from bench.processes import resident_bytes
from bench.relays import Running, Wiring
from bench.results import Run
from bench.rows import Row, Traffic
from bench.run import DRAIN_S, ESTABLISH_S, SETTLE_S, WARM_UP_S, address_of, listening, sample
from bench.window import Sample, limit_of, traffic_figures
from bench.workers import Worker, watch

if TYPE_CHECKING:
    from array import array

    from bench.relays import RelayKind

SERVERS: Final = 2
LISTENING_S: Final = 1.0
"""How long a relay that listens is let be: relayd still settles its garbage collector, whose first
collection would count as its devices' memory."""

_WATCH_S: Final = 0.05


class Conditions(Protocol):
    """What is the same for every run: see ``run.Setting``."""

    @property
    def seconds(self) -> float:
        """How long traffic is measured."""

    @property
    def relay_cpus(self) -> frozenset[int]:
        """Where the relay runs."""

    @property
    def load_cpus(self) -> frozenset[int]:
        """Where the load processes run."""

    @property
    def relayd(self) -> Path:
        """The relayd command."""


def measure(row: Row, kind: RelayKind, conditions: Conditions) -> Run:
    """Run the row once through a relay of that kind, or with none.

    Raises:
        RunFailed: A process did not start, or a session was refused or lost.
    """
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relayd-bench-")))
        listeners = [stack.enter_context(listening()) for _ in range(SERVERS)]
        still_s = LISTENING_S + SETTLE_S
        lifetime_s = 2 * ESTABLISH_S + WARM_UP_S + conditions.seconds + still_s + DRAIN_S
        board = Board(SERVERS + 1, lifetime_s=lifetime_s)
        servers = [
            stack.enter_context(
                Worker(
                    partial(Servers, listener, board=board, tally=board.tally(slot)),
                    cpus=conditions.load_cpus,
                )
            )
            for slot, listener in enumerate(listeners)
        ]
        upstreams = tuple(address_of(listener) for listener in listeners)
        secret = f"bench-{secrets.token_hex(16)}"
        wiring = Wiring(
            directory=directory,
            upstream=upstreams[0],
            others=upstreams[1:],
            trusted=None,
            secret=secret,
            cpus=conditions.relay_cpus,
            relayd=conditions.relayd,
            dialect=row.dialect,
        )
        relay = stack.enter_context(relays.start(kind, wiring, listeners[0]))
        resident = _resident_at_rest(relay.pid, servers) if relay.pid else 0
        devices = stack.enter_context(
            Worker(
                partial(
                    Devices,
                    (relay.address,) if relay.pid else upstreams,
                    secret,
                    sessions=row.sessions,
                    board=board,
                    tally=board.tally(SERVERS),
                ),
                cpus=conditions.load_cpus,
            )
        )
        bench = _Bench(row, conditions, board, relay, servers, devices)
        figures = bench.figures(resident)
        return Run(kind, figures, limit_of(figures, planned_per_s=row.rate_per_s * row.sessions))


def _resident_at_rest(pid: int, servers: Sequence[Worker]) -> int:
    """What a relay without devices takes, in bytes, a while after it has begun to listen."""
    watch(servers, LISTENING_S)
    return resident_bytes(pid)


@attrs.frozen
class _Bench:
    """A run whose processes all stand."""

    row: Row
    conditions: Conditions
    board: Board
    relay: Running
    servers: Sequence[Worker]
    devices: Worker

    @property
    def workers(self) -> list[Worker]:
        return [*self.servers, self.devices]

    def figures(self, resident_before: int) -> dict[str, float]:
        """Let the devices come, rest and speak; the figures of it."""
        self._establish()
        watch(self.workers, SETTLE_S)
        memory = self._memory(resident_before)
        self.board.advance(Phase.TRAFFIC)
        watch(self.workers, WARM_UP_S)
        self.board.advance(Phase.RECORD)
        before = self._sample()
        watch(self.workers, self.conditions.seconds)
        after = self._sample()
        self.board.advance(Phase.DRAIN)
        lost = self._drain()
        self.board.advance(Phase.END)
        report = self.devices.report()
        figures = _window(before, after, load_cpus=len(self.conditions.load_cpus))
        return figures | _delays(report) | memory | {"packets_lost": lost}

    def _establish(self) -> None:
        deadline = time.monotonic() + ESTABLISH_S + self.row.sessions / OPENINGS_PER_S
        while (standing := self.board.total(Counter.ESTABLISHED)) < self.row.sessions:
            if time.monotonic() > deadline:
                raise RunFailed(f"only {standing} devices stand")
            watch(self.workers, _WATCH_S)

    def _memory(self, resident_before: int) -> dict[str, float]:
        """What the devices add to the relay's memory, in units of 1,000 bytes."""
        if self.relay.pid is None:
            return {}
        resident = resident_bytes(self.relay.pid)
        return {"kb_per_device": (resident - resident_before) / self.row.sessions / 1000}

    def _sample(self) -> Sample:
        return sample(self.board, self.relay, self.conditions.relay_cpus, self.workers)

    def _drain(self) -> int:
        """Wait for what is on its way; how many packets never came."""
        deadline = time.monotonic() + DRAIN_S
        while True:
            watch(self.workers, _WATCH_S)
            missing = self.board.total(Counter.BEGUN) - self.board.total(Counter.COMPLETED)
            if missing <= 0 or time.monotonic() > deadline:
                return missing


def _window(before: Sample, after: Sample, *, load_cpus: int) -> dict[str, float]:
    """The figures of a window. A packet is relayed twice: to the server, and back."""
    figures = traffic_figures(before, after, Traffic.DEVICES, load_cpus=load_cpus)
    if "cpu_us_per_packet" in figures:
        figures["cpu_us_per_frame"] = figures["cpu_us_per_packet"] / 2
    return figures


def _delays(report: array[int]) -> dict[str, float]:
    """Percentiles: of hellos, under the name that what a relay adds is told by, and of packets."""
    hellos = sorted(report[1 : 1 + report[0]])
    packets = sorted(report[1 + report[0] :])
    figures: dict[str, float] = {}
    for name, samples in (("delay", hellos), ("packet", packets)):
        if samples:
            figures[f"{name}_p50_ms"] = percentile(samples, 50) / 1e6
            figures[f"{name}_p99_ms"] = percentile(samples, 99) / 1e6
            figures[f"{name}_max_ms"] = samples[-1] / 1e6
    return figures
