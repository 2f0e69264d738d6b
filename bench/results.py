"""What a row gave, as a JSON file with the machine's facts beside the figures."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping  # msgspec reads the annotations below
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from bench.figures import medians, ratios
from bench.relays import RelayKind
from bench.window import Limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rows import Row

DIRECTORY: Final = Path(__file__).resolve().parent / "results"
OTHERS_MAX_SHARE: Final = 0.05
"""Of the relay's CPU. Where other programs used more, a note says so."""


@attrs.frozen
class Run:
    """What one run gave.

    Attributes:
        relay: What was measured.
        figures: By name, the unit in the name.
        limit: What kept it from being faster.
    """

    relay: RelayKind
    figures: Mapping[str, float]
    limit: Limit


@attrs.frozen(kw_only=True)
class RowResult:
    """All runs of one row, in the order in which they were made.

    Attributes:
        row: Its name.
        summary: What it measures.
        measured_at: RFC 3339, UTC.
        facts: The machine's.
        parameters: What the runs were made with.
        medians: By relay, the median of each figure over its runs.
        ratios: relayd's medians divided by those of what stood beside it.
        runs: One by one.
    """

    row: str
    summary: str
    measured_at: str
    facts: Mapping[str, str]
    parameters: Mapping[str, float]
    medians: Mapping[str, Mapping[str, float]]
    ratios: Mapping[str, float]
    runs: tuple[Run, ...]

    def is_doubtful(self) -> bool:
        """Whether the runs were disturbed: by other programs, or by a timetable that slipped."""
        crowded = any(
            figures.get("others_cpu_share", 0.0) > OTHERS_MAX_SHARE
            for figures in self.medians.values()
        )
        slipped = sum(run.limit is Limit.TIMETABLE for run in self.runs)
        return crowded or 2 * slipped > len(self.runs)

    def notes(self) -> list[str]:
        """What a reader must know before believing the figures."""
        notes = []
        for kind in RelayKind:
            runs = [run for run in self.runs if run.relay is kind]
            for limit in (Limit.GENERATOR, Limit.TIMETABLE):
                count = sum(run.limit is limit for run in runs)
                if count and kind is not RelayKind.DIRECT:
                    notes.append(
                        f"{self.row}: {limit.value}, not {kind.value}, was the limit "
                        f"in {count} of {len(runs)} runs"
                    )
            others = self.medians.get(kind, {}).get("others_cpu_share", 0.0)
            if others > OTHERS_MAX_SHARE:
                notes.append(
                    f"{self.row}: other programs used {others:.0%} of {kind.value}'s CPU meanwhile"
                )
            opened = self.medians.get(kind, {}).get("sockets_opened", 0)
            if opened:
                notes.append(
                    f"{self.row}: {kind.value} opened {opened:.0f} upstream sockets meanwhile, "
                    "so not every turn had a warm one"
                )
        return notes


def summarise(
    row: Row, runs: Sequence[Run], *, seconds: float, facts: Mapping[str, str]
) -> RowResult:
    """The row's result, measured now."""
    by_relay = {
        kind.value: medians([run.figures for run in runs if run.relay is kind])
        for kind in RelayKind
        if any(run.relay is kind for run in runs)
    }
    direct = by_relay.get(RelayKind.DIRECT)
    if direct is not None:
        by_relay = {name: figures | added(figures, direct) for name, figures in by_relay.items()}
    ours, theirs = by_relay.get(RelayKind.RELAYD, {}), by_relay.get(row.beside or "", {})
    now = datetime.datetime.now(datetime.UTC)
    return RowResult(
        row=row.name,
        summary=row.summary,
        measured_at=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        facts=facts,
        parameters={
            row.noun: row.sessions,
            "rate_per_s": row.rate_per_s,
            "gap_ms": row.gap_ms,
            "round_trip_ms": row.round_trip_ms,
            "ready": row.ready,
            "topics": row.topics,
            "publishers": row.publishers,
            "seconds": seconds,
            "runs": max(sum(run.relay is kind for run in runs) for kind in RelayKind),
        },
        medians=by_relay,
        ratios=ratios(ours, theirs),
        runs=tuple(runs),
    )


def added(figures: Mapping[str, float], direct: Mapping[str, float]) -> dict[str, float]:
    """What a relay adds to the delays that there are without one, in the same run."""
    if figures is direct:
        return {}
    names = {name: f"delay_{name}_ms" for name in ("p50", "p99")}
    return {
        f"added_{name}_ms": figures[delay] - direct[delay]
        for name, delay in names.items()
        if delay in figures and delay in direct
    }


def write(result: RowResult, directory: Path) -> Path:
    """Write the row's file, whole or not at all; its path.

    Raises:
        OSError: It cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.row}.json"
    draft = path.with_suffix(".tmp")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    os.replace(draft, path)
    return path


def read_all(directory: Path) -> dict[str, RowResult]:
    """Every row's result that the directory holds, by the row's name.

    Raises:
        msgspec.DecodeError: A file is something else.
    """
    found = (
        msgspec.json.decode(path.read_bytes(), type=RowResult)
        for path in sorted(directory.glob("*.json"))
    )
    return {result.row: result for result in found}
