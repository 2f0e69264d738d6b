"""What happened between two looks at the same run, as figures, and what held it back."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import attrs

from bench.figures import percentile
from bench.frames import APPEND_FRAME_BYTES, DELTA_FRAME_BYTES
from bench.rows import Traffic

if TYPE_CHECKING:
    from array import array

FULL_SHARE: Final = 0.9
"""A process that uses this share of its CPU has nothing left to give."""
LATENESS_MAX_MS: Final = 2.0
"""A timetable whose 99th percentile is later than this was not held."""
_COMPLETED: Final = {
    Traffic.CHURN: ("session", "ms", 1e3),
    Traffic.TURNS: ("turn", "us", 1e6),
    Traffic.LEASES: ("lease", "us", 1e6),
    Traffic.CLAIMS: ("lease", "us", 1e6),
    Traffic.CHUNKS: ("chunk", "us", 1e6),
    Traffic.FIRST: ("answer", "us", 1e6),
    Traffic.EVENTS: ("delivery", "us", 1e6),
    Traffic.DEVICES: ("packet", "us", 1e6),
}
"""Traffic that is counted in what was completed: its noun, and the unit of CPU for each."""
_PLURALS: Final = {"delivery": "deliveries"}  # of the others, with an s
_PLANNED: Final = (
    "messages_per_s",
    "turns_per_s",
    "chunks_per_s",
    "answers_per_s",
    "deliveries_per_s",
    "packets_per_s",
)
"""What a timetable asks for, by the row's noun."""
HELD_SHARE: Final = 0.99
"""A timetable of which this share arrived in time was held."""


class Limit(enum.StrEnum):
    """What kept a run from being faster."""

    RELAY = "the relay's CPU"
    GENERATOR = "the generator's CPU"
    TIMETABLE = "the generator's timetable slipped"
    NOTHING = "nothing that was full"


@attrs.frozen(kw_only=True)
class Sample:
    """One look at a run.

    Attributes:
        at_s: When, by the monotonic clock.
        relay_cpu_s: What the relay's process has used; 0 where there is none.
        load_cpu_s: What each load process has used.
        relay_busy_s: How long the relay's CPUs have been busy, with whatever.
        received_bytes: What the receiving side has received.
        completed: Sessions that were opened and closed; turns, answers or leases that ended;
            pieces of answers, events or packets that were received.
        accepted: Sessions that the upstream has accepted.
    """

    at_s: float
    relay_cpu_s: float
    load_cpu_s: tuple[float, ...]
    relay_busy_s: float
    received_bytes: int
    completed: int
    accepted: int = 0


def traffic_figures(
    before: Sample, after: Sample, traffic: Traffic, *, load_cpus: int
) -> dict[str, float]:
    """The figures of a window: per message, session, turn and so on, per second, and CPU shares.

    Where nothing arrived, the figures per message are left out.
    """
    elapsed_s = after.at_s - before.at_s
    relay_cpu_s = after.relay_cpu_s - before.relay_cpu_s
    used_s = [now - then for then, now in zip(before.load_cpu_s, after.load_cpu_s, strict=True)]
    others_s = after.relay_busy_s - before.relay_busy_s - relay_cpu_s
    figures = {
        "elapsed_s": elapsed_s,
        "relay_cpu_share": relay_cpu_s / elapsed_s,
        "generator_cpu_share": max(*used_s, sum(used_s) / load_cpus) / elapsed_s,
        "others_cpu_share": max(others_s, 0.0) / elapsed_s,
    }
    if traffic in _COMPLETED:
        count = after.completed - before.completed
        noun, unit, scale = _COMPLETED[traffic]
    else:
        frame_bytes = APPEND_FRAME_BYTES if traffic is Traffic.APPEND else DELTA_FRAME_BYTES
        count = (after.received_bytes - before.received_bytes) // frame_bytes
        noun, unit, scale = "message", "us", 1e6
    nouns = _PLURALS.get(noun, f"{noun}s")
    figures[nouns] = count
    figures[f"{nouns}_per_s"] = count / elapsed_s
    if count and relay_cpu_s > 0:
        figures[f"cpu_{unit}_per_{noun}"] = relay_cpu_s / count * scale
        figures[f"{nouns}_per_cpu_s"] = count / relay_cpu_s
    return figures


def delay_figures(delays_ns: array[int], lateness_ns: array[int]) -> dict[str, float]:
    """Percentiles of a paced row: how long messages took, and how late they were sent."""
    figures: dict[str, float] = {}
    for noun, samples in (("delay", sorted(delays_ns)), ("lateness", sorted(lateness_ns))):
        if samples:
            figures[f"{noun}_p50_ms"] = percentile(samples, 50) / 1e6
            figures[f"{noun}_p99_ms"] = percentile(samples, 99) / 1e6
            figures[f"{noun}_max_ms"] = samples[-1] / 1e6
    return figures


def limit_of(figures: dict[str, float], *, planned_per_s: float) -> Limit:
    """What held the run back.

    Args:
        figures: The run's.
        planned_per_s: What a timetable asks for a second, 0 where there is none.

    A timetable that was held leaves nothing to blame, whoever was busy. Otherwise a relay is the
    limit when it took all that other programs left of its CPU.
    """
    if figures.get("lateness_p99_ms", 0.0) > LATENESS_MAX_MS:
        return Limit.TIMETABLE
    carried_per_s = next((figures[name] for name in _PLANNED if name in figures), 0.0)
    if planned_per_s and carried_per_s >= HELD_SHARE * planned_per_s:
        return Limit.NOTHING
    left_share = 1.0 - min(figures["others_cpu_share"], 1.0)
    if figures["relay_cpu_share"] >= FULL_SHARE * left_share > 0:
        return Limit.RELAY
    if figures["generator_cpu_share"] >= FULL_SHARE:
        return Limit.GENERATOR
    return Limit.NOTHING
