"""One run of a row of the hub: publishers, a relay and subscribers, started and measured."""

from __future__ import annotations

import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from bench import relays
from bench.board import Board, Counter, Phase
from bench.failures import RunFailed
from bench.figures import percentile
from bench.hub_publishers import Publishers
from bench.hub_series import joined
from bench.hub_subscribers import OPENING_MAX, Subscribers
from bench.relays import RelayKind, Running, Wiring
from bench.results import Run
from bench.rows import Row
from bench.run import (
    DRAIN_S,
    ESTABLISH_S,
    REST_S,
    WARM_UP_S,
    Setting,
    address_of,
    listening,
    sample,
)
from bench.window import Sample, delay_figures, limit_of, traffic_figures
from bench.workers import Worker, watch

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

EVICT_S: Final = 60.0
"""How long a subscriber that has stopped may stay. relayd's own bound, ``stall_s``, is 15 s."""
_WATCH_S: Final = 0.2


def measure(row: Row, kind: RelayKind, setting: Setting) -> Run:
    """Run ``row`` once with a relay of that kind. Everything started here has ended afterwards.

    Raises:
        RunFailed: A process did not start, a subscriber was refused or lost, or one that had
            stopped was not cut off or did not catch up.
    """
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relayd-bench-")))
        upstream, front = (stack.enter_context(listening()) for _ in range(2))
        lifetime_s = 2 * ESTABLISH_S + WARM_UP_S + 2 * setting.seconds + EVICT_S + 2 * DRAIN_S
        board = Board(1 + setting.workers, lifetime_s=lifetime_s)
        wiring = Wiring(
            directory=directory,
            upstream=address_of(upstream),
            trusted=None,
            secret=f"bench-{secrets.token_hex(16)}",
            cpus=setting.relay_cpus,
            relayd=setting.relayd,
            dialect=row.dialect,
        )
        relay = stack.enter_context(relays.start(kind, wiring, front))
        places = (row, relay.address, wiring.secret)
        publishers = stack.enter_context(
            Worker(
                partial(Publishers, *places, board=board, tally=board.tally(0)),
                cpus=setting.load_cpus,
            )
        )
        subscribers = [
            stack.enter_context(
                Worker(
                    partial(
                        Subscribers,
                        *places,
                        numbers=range(index, row.sessions, setting.workers),
                        opening_max=max(OPENING_MAX // setting.workers, 1),
                        board=board,
                        tally=board.tally(1 + index),
                    ),
                    cpus=setting.load_cpus,
                )
            )
            for index in range(setting.workers)
        ]
        run = _HubRun(row, setting, board, relay, publishers, subscribers, relays.log_of(wiring))
        figures = run.figures()
        return Run(kind, figures, limit_of(figures, planned_per_s=row.rate_per_s * row.sessions))


@attrs.frozen
class _HubRun:
    """A run whose processes all stand."""

    row: Row
    setting: Setting
    board: Board
    relay: Running
    publishers: Worker
    subscribers: Sequence[Worker]
    log: Path

    @property
    def workers(self) -> list[Worker]:
        return [self.publishers, *self.subscribers]

    def figures(self) -> dict[str, float]:
        """Let the events run, and look twice; set-up and end are outside of the window."""
        self._until(lambda: self._standing() >= self.row.sessions, ESTABLISH_S, "not all stand")
        self.board.advance(Phase.TRAFFIC)
        watch(self.workers, WARM_UP_S)
        self.board.advance(Phase.RECORD)
        before = self._sample()
        watch(self.workers, self.setting.seconds)
        after = self._sample()
        codes = self._stall() if self.row.stops else {}
        self.board.advance(Phase.DRAIN)
        watch(self.workers, REST_S)
        lost = self._drain()
        self.board.advance(Phase.END)
        figures = traffic_figures(
            before, after, self.row.traffic, load_cpus=len(self.setting.load_cpus)
        )
        lateness_ns, asked_ns, later_asked_ns = joined([self.publishers.report()])
        delays_ns, later_ns = joined(worker.report() for worker in self.subscribers)
        figures |= delay_figures(delays_ns, lateness_ns) | spread("publish", asked_ns)
        total = self.board.total
        figures |= {
            "deliveries_lost": lost,
            "deliveries_disordered": total(Counter.DISORDERED),
            "publishes_blocked": total(Counter.BLOCKED),
            "evicted": total(Counter.EVICTED),
        }
        return figures | codes | _compared(figures, asked=later_asked_ns, delays=later_ns)

    def _stall(self) -> dict[str, float]:
        """One subscriber stops: as long again, until it is cut off, is back and has caught up."""
        self.board.advance(Phase.STALL)
        before = self._sample()
        watch(self.workers, self.setting.seconds)
        self._until(self._has_cut, EVICT_S, "who has stopped is not cut")
        self.board.advance(Phase.RESUME)
        self._until(lambda: self.board.total(Counter.RETURNED) > 0, EVICT_S, "it does not return")
        after = self._sample()
        stopped_s = after.at_s - before.at_s
        others_s = after.relay_busy_s - before.relay_busy_s - after.relay_cpu_s + before.relay_cpu_s
        return {
            "stopped_s": stopped_s,
            "stopped_others_cpu_share": max(others_s, 0.0) / stopped_s,
        }

    def _has_cut(self) -> bool:
        return has_cut_slow(self.log.read_text(errors="replace"))

    def _standing(self) -> int:
        return self.board.total(Counter.ESTABLISHED)

    def _until(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise RunFailed(f"{otherwise} after {seconds:.0f} s; {self._standing()} stand")
            watch(self.workers, _WATCH_S)

    def _drain(self) -> int:
        """Wait for what is under way; how much of it never came."""
        deadline = time.monotonic() + DRAIN_S
        each = self.row.sessions // self.row.topics
        while True:
            total = self.board.total
            missing = total(Counter.BEGUN) * each - total(Counter.COMPLETED)
            if missing <= 0 or time.monotonic() > deadline:
                return missing
            watch(self.workers, _WATCH_S)

    def _sample(self) -> Sample:
        return sample(self.board, self.relay, self.setting.relay_cpus, self.workers)


def spread(noun: str, samples_ns: array[int]) -> dict[str, float]:
    """Median, 99th percentile and maximum, in milliseconds; none without samples."""
    if not samples_ns:
        return {}
    ordered = sorted(samples_ns)
    return {
        f"{noun}_p50_ms": percentile(ordered, 50) / 1e6,
        f"{noun}_p99_ms": percentile(ordered, 99) / 1e6,
        f"{noun}_max_ms": ordered[-1] / 1e6,
    }


def _compared(
    figures: dict[str, float], *, asked: array[int], delays: array[int]
) -> dict[str, float]:
    """How it was while one subscriber was stopped, and how many times what it was before."""
    stopped = spread("publish_stopped", asked) | spread("delay_stopped", delays)
    ratios = {
        f"{noun}_stopped_{name}_ratio": stopped[f"{noun}_stopped_{name}_ms"]
        / figures[f"{noun}_{name}_ms"]
        for noun in ("publish", "delay")
        for name in ("p50", "p99")
        if f"{noun}_stopped_{name}_ms" in stopped and f"{noun}_{name}_ms" in figures
    }
    return stopped | ratios


def has_cut_slow(log: str) -> bool:
    """Whether relayd's log has the end of a client that did not take its events.

    One that takes nothing for ten seconds more is not shown its 4008: its socket is full.
    """
    for line in log.splitlines():
        if '"session.ended"' not in line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # still being written
        if entry.get("reason") in {"client_slow", "client_stalled"}:
            return True
    return False
