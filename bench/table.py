"""The results as a Markdown table, and one row's figures for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.handshake import Dialect
from bench.relays import RelayKind
from bench.rows import ROWS
from bench.target import Target
from bench.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.results import RowResult

_ABSENT: Final = "–"
_TABLES: Final = (
    (Dialect.REALTIME, RelayKind.HAPROXY, "HAProxy"),
    (Dialect.RESPONSES, RelayKind.BARE, "bare relay"),
    (Dialect.CHAT, RelayKind.BARE, "bare relay"),
    (Dialect.CHAT, RelayKind.COLD, "none ready"),
    (Dialect.HUB, RelayKind.BARE, "bare broadcaster"),
    (Dialect.XIAOZHI, RelayKind.DIRECT, "no relay"),
)


def markdown(results: Mapping[str, RowResult]) -> str:
    """Every target with what was measured for it, the machine, and what to know besides.

    A table for each dialect, and for each that relayd is compared with in it. What is compared with
    nothing stands beside the bare relay.
    """
    lines: list[str] = []
    for dialect, beside, name in _TABLES:
        targets = [
            target
            for target in TARGETS
            if ROWS[target.row].dialect is dialect and (_beside(target) or RelayKind.BARE) is beside
        ]
        lines += [""] if lines else []
        lines.append(f"| | relayd | {name} | ratio | first | then | reached |")
        lines.append("| --- | --- | --- | --- | --- | --- | --- |")
        lines += [_line(target, results.get(target.row)) for target in targets]
    for heading in dict.fromkeys(_machine(result) for result in results.values()):
        lines += ["", heading]
    notes = [note for result in results.values() for note in result.notes()]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines)


def figures_of(result: RowResult) -> str:
    """All figures of one row: a line per figure, a column per relay, the ratio last."""
    kinds = [kind for kind in RelayKind if kind in result.medians]
    names = dict.fromkeys(name for kind in kinds for name in result.medians[kind])
    noun = next(noun for noun in ("sessions", "slots") if noun in result.parameters)
    lines = [
        f"{result.row}, {number(result.parameters[noun])} {noun}: {result.summary}",
        "  " + " " * 24 + "".join(f"{kind.value:>14}" for kind in kinds) + f"{'ratio':>10}",
    ]
    for name in names:
        columns = (number(result.medians[kind].get(name)) for kind in kinds)
        ratio = number(result.ratios.get(name))
        lines.append(f"  {name:<24}" + "".join(f"{text:>14}" for text in columns) + f"{ratio:>10}")
    return "\n".join([*lines, *(f"  note: {note}" for note in result.notes())])


def number(value: float | None) -> str:
    """Three significant digits, and every digit before the point."""
    if value is None:
        return _ABSENT
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _line(target: Target, result: RowResult | None) -> str:
    ours = _median(result, RelayKind.RELAYD, target)
    beside = _beside(target)
    theirs = None if beside is None else _median(result, beside, target)
    ratio = result.ratios.get(target.figure) if result else None
    judged = ours if target.absolute else ratio
    doubt = " ?" if result and result.is_doubtful() else ""
    cells = (
        target.label,
        _with_unit(ours, target.unit),
        _with_unit(theirs, target.unit),
        _with_unit(ratio, "×"),
        _bound(target, target.first),
        _bound(target, target.then),
        _judgement(target, judged, doubt),
    )
    return f"| {' | '.join(cells)} |"


def _beside(target: Target) -> RelayKind | None:
    return ROWS[target.row].beside


def _judgement(target: Target, judged: float | None, doubt: str) -> str:
    reached = None if judged is None else target.reached(judged)
    return _ABSENT if reached is None else reached + doubt


def _median(result: RowResult | None, kind: RelayKind, target: Target) -> float | None:
    return result.medians.get(kind, {}).get(target.figure) if result else None


def _bound(target: Target, bound: float | None) -> str:
    if bound is None:
        return _ABSENT
    unit = target.unit if target.absolute else "×"
    return f"{target.better.value} {_with_unit(bound, unit)}"


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return _ABSENT
    return f"{number(value)}{unit}" if unit == "/s" else f"{number(value)} {unit}"


def _machine(result: RowResult) -> str:
    facts = result.facts
    return (
        f"{result.measured_at[:10]}, revision {facts['revision']}: {facts['cpus']} × "
        f"{facts['cpu']}, Linux {facts['kernel']}, Python {facts['python']}, "
        f"{facts['openssl']}, HAProxy {facts['haproxy']}."
    )
