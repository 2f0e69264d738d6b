"""The command: which rows, how often, against what, and what is printed and kept."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click

from bench import devices, hub_run, machine, relays, results, rows, table
from bench.failures import RunFailed
from bench.processes import raise_descriptor_limit
from bench.progress import Progress
from bench.relays import RelayKind
from bench.rows import ROWS, Row, Traffic
from bench.run import Setting, measure, share_cpus

if TYPE_CHECKING:
    from types import FrameType

EX_UNAVAILABLE: Final = 69
QUICK_SECONDS: Final = 0.5
DESCRIPTORS_KEPT: Final = 256  # as relayd does, for everything that is no session

_MEASURED_BY: Final = {Traffic.EVENTS: hub_run.measure, Traffic.DEVICES: devices.measure}
"""Traffic that is not measured as all other is."""


@click.command()
@click.argument("names", metavar="[ROW]...", nargs=-1, type=click.Choice(["all", "table", *ROWS]))
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=2.0, show_default=True, type=click.FloatRange(0.1, 600))
@click.option("--quick", is_flag=True, help="One short run of smaller rows: does it work?")
@click.option(
    "--relay",
    "kinds",
    multiple=True,
    type=click.Choice(RelayKind, case_sensitive=False),
    help="What to measure; may be repeated. Default: relayd and what the row compares it with, "
    "by turns. bare: a Trio relay that copies bytes. direct: none, the generator's own ceiling.",
)
@click.option(
    "--relayd",
    default=relays.default_relayd(),
    type=click.Path(path_type=Path),
    help="The relayd command. Default: the one beside this interpreter.",
)
@click.option(
    "--results",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the JSON files are. Default: bench/results; "
    "quick runs and runs without relayd are kept only where this is given.",
)
def main(
    *,
    names: tuple[str, ...],
    runs: int,
    seconds: float,
    quick: bool,
    kinds: tuple[RelayKind, ...],
    relayd: Path,
    directory: Path | None,
) -> None:
    """Measure relayd, and HAProxy or a bare relay beside it in the same run.

    A ROW is one kind of traffic, "all" is every row and the default, "table" prints the kept
    results as Markdown. Exits with 69 if a row could not be measured.
    """
    if "table" in names:
        click.echo(table.markdown(results.read_all(directory or results.DIRECTORY)))
        return
    wanted = list(ROWS.values()) if not names or "all" in names else [ROWS[n] for n in names]
    if directory is None and not quick and (not kinds or RelayKind.RELAYD in kinds):
        directory = results.DIRECTORY
    signal.signal(signal.SIGTERM, _leave)
    relay_cpus, load_cpus = share_cpus()
    _check_machine(wanted, relay_cpus, load_cpus)
    plan = _Plan(
        setting=Setting(
            seconds=QUICK_SECONDS if quick else seconds,
            relay_cpus=relay_cpus,
            load_cpus=load_cpus,
            relayd=relayd.absolute(),
        ),
        kinds=kinds,
        runs=1 if quick else runs,
        directory=directory,
    )
    failed = False
    for row in wanted:
        failed |= not plan.carry_out(rows.quick(row) if quick else row)
    if directory is not None and len(wanted) > 1:
        click.echo(table.markdown(results.read_all(directory)))
    sys.exit(EX_UNAVAILABLE if failed else 0)


@attrs.frozen(kw_only=True)
class _Plan:
    setting: Setting
    kinds: Sequence[RelayKind]  # empty: what each row compares
    runs: int
    directory: Path | None
    progress: Progress = attrs.field(factory=Progress)
    facts: dict[str, str] = attrs.field(factory=machine.facts)

    def carry_out(self, row: Row) -> bool:
        """Measure ``row``, print its figures and keep them; whether that was possible."""
        kinds = _available(row, self.kinds or row.compared)
        if not kinds:
            return True
        try:
            measured = self._interleaved(row, kinds)
        except RunFailed as failure:
            self.progress.clear()
            click.echo(f"{row.name}: {failure}", err=True)
            return False
        self.progress.clear()
        result = results.summarise(row, measured, seconds=self.setting.seconds, facts=self.facts)
        if self.directory is not None:
            results.write(result, self.directory)
        click.echo(table.figures_of(result) + "\n")
        return True

    def _interleaved(self, row: Row, kinds: Sequence[RelayKind]) -> list[results.Run]:
        measured = []
        for number in range(1, self.runs + 1):
            for kind in kinds:
                self.progress.show(f"{row.name}: run {number} of {self.runs}, {kind.value}")
                run_once = _MEASURED_BY.get(row.traffic, measure)
                measured.append(run_once(row, kind, self.setting))
        return measured


def _available(row: Row, kinds: Sequence[RelayKind]) -> list[RelayKind]:
    """``kinds`` without those that cannot be measured in ``row``, or are not there."""
    available = []
    for kind in kinds:
        if kind not in row.measurable:
            click.echo(f"{row.name}: {kind.value} is skipped, it cannot carry this row", err=True)
        elif kind is RelayKind.HAPROXY and relays.haproxy_command() is None:
            click.echo(f"{row.name}: haproxy is skipped, it is not on PATH", err=True)
        else:
            available.append(kind)
    return available


def _check_machine(
    wanted: Sequence[Row], relay_cpus: frozenset[int], load_cpus: frozenset[int]
) -> None:
    """Say beforehand what will spoil the figures."""
    if relay_cpus == load_cpus:
        click.echo("one CPU only: relay and generator share it, the figures mean little", err=True)
    descriptors = raise_descriptor_limit()
    for row in wanted:
        if descriptors < (needed := row.descriptors + DESCRIPTORS_KEPT):
            click.echo(
                f"{row.name}: only {descriptors} descriptors (ulimit -Hn): "
                f"its {row.sessions} {row.noun} need {needed} in one process",
                err=True,
            )


def _leave(signum: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + signum)  # on the way out, every process of the run is ended
