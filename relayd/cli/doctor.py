"""``relayd doctor``: does each account work, and if not, what helps?"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
import click
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relayd.cli.admin_client import json_option
from relayd.cli.doctor_checks import Examination, Examiner, Finding, Result, Step
from relayd.cli.listing import Column, drawable, plain, printable, write_lines
from relayd.cli.simulated import with_simulators
from relayd.config.load import ConfigError, find_config, load
from relayd.config.rules import nearest
from relayd.config.snapshot import Account, Snapshot
from relayd.transport.resolve import Resolver

AT_ONCE_MAX: Final = 8
"""Accounts that are examined at the same time."""

_MARKS: Final = {
    Result.OK: ("✓", "green"),
    Result.WARNED: ("!", "yellow"),
    Result.FAILED: ("✗", "red"),
    Result.SKIPPED: ("·", "dim"),
}
_ASCII: Final = {Result.OK: "+", Result.WARNED: "!", Result.FAILED: "x", Result.SKIPPED: "-"}
_LABELS: Final = {step: step.value.replace("_", " ") for step in Step}


@click.command("doctor")
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT]...")
@click.option(
    "--config",
    "given",
    type=click.Path(path_type=Path),
    help="The file. Default: $RELAYD_CONFIG, /etc/relayd/relayd.toml, etc/relayd.toml.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    accounts: tuple[str, ...],
    given: Path | None,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Try each enabled account, or those named: name, dial, TLS, clock, key, first frame.

    Works without a running relayd, from this host and with this configuration's keys. Exits 0 if
    all of them work, else 69.
    """
    try:
        path = find_config(given, environ=os.environ)
        snapshot = Snapshot.of(load(path, environ=os.environ), directory=path.parent)
    except ConfigError as error:
        for line in error.lines():
            click.echo(line, err=True)
        ctx.exit(os.EX_CONFIG)
    chosen = _chosen(snapshot, accounts)
    if not chosen:
        click.echo("no account is enabled", err=True)
        ctx.exit(os.EX_UNAVAILABLE)
    examinations = _run(attrs.evolve(snapshot, accounts=chosen))
    if as_json:
        write_lines(map(_object, examinations))
    elif sys.stdout.isatty():
        _print(Console(), examinations)
    else:
        write_lines(_plain(examinations))
    ctx.exit(os.EX_OK if all(each.ok for each in examinations) else os.EX_UNAVAILABLE)


def _chosen(snapshot: Snapshot, names: Sequence[str]) -> tuple[Account, ...]:
    """The accounts to examine; one that is named counts as enabled."""
    if not names:
        return tuple(account for account in snapshot.accounts if account.enabled)
    known = tuple(account.name for account in snapshot.accounts)
    for name in names:
        if name not in known:
            hint = nearest(name, known) or f"known: {', '.join(known) or 'none'}"
            message = f"there is no account {printable(name)}; {hint}"
            raise click.BadParameter(message, param_hint="ACCOUNT")
    return tuple(
        attrs.evolve(account, enabled=True)
        for account in snapshot.accounts
        if account.name in names
    )


def _run(snapshot: Snapshot) -> list[Examination]:
    """Examine them all; a person is told that it takes a moment."""
    if not sys.stderr.isatty():
        return trio.run(_examine, snapshot, strict_exception_groups=True)
    count = len(snapshot.accounts)
    with Console(stderr=True).status(f"Trying {count} account{'s' * (count != 1)}"):
        return trio.run(_examine, snapshot, strict_exception_groups=True)


async def _examine(snapshot: Snapshot) -> list[Examination]:
    """Examine the accounts of ``snapshot``, several at a time; in their order."""
    found: dict[str, Examination] = {}
    turn = trio.CapacityLimiter(AT_ONCE_MAX)

    async def examine(account: Account, resolver: Resolver) -> None:
        async with turn:
            found[account.name] = await Examiner(account, resolver, time.time).run()

    async with trio.open_nursery() as upstreams:
        ready = await with_simulators(snapshot, upstreams)
        async with trio.open_nursery() as lookups:
            resolver = Resolver(lookups)
            async with trio.open_nursery() as nursery:
                for account in ready.accounts:
                    nursery.start_soon(examine, account, resolver)
            lookups.cancel_scope.cancel(reason="done")
        upstreams.cancel_scope.cancel(reason="done")
    return [found[account.name] for account in snapshot.accounts]


# -- showing


def _object(examination: Examination) -> str:
    steps = [attrs.asdict(finding) for finding in examination.findings]
    said = {"account": examination.account, "address": examination.address, "ok": examination.ok}
    return json.dumps(said | {"steps": steps})


def _plain(examinations: Sequence[Examination]) -> Iterator[str]:
    rows = [(each, finding) for each in examinations for finding in each.findings]
    columns = (
        Column[tuple[Examination, Finding]]("account", lambda row: row[0].account),
        Column[tuple[Examination, Finding]]("step", lambda row: row[1].step),
        Column[tuple[Examination, Finding]]("result", lambda row: row[1].result),
        Column[tuple[Examination, Finding]]("time", lambda row: _time(row[1]), right=True),
        Column[tuple[Examination, Finding]]("found", lambda row: _sentence(row[1])),
    )
    return plain(columns, rows)


def _print(console: Console, examinations: Sequence[Examination]) -> None:
    is_ascii = console.options.ascii_only
    for number, examination in enumerate(examinations):
        if number:
            console.print()
        console.print(
            Text.assemble((examination.account, "bold"), "  ", (examination.address, "dim")),
            highlight=False,
        )
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=3)
        grid.add_column(width=max(map(len, _LABELS.values())))
        grid.add_column(justify="right", width=len("10,000 ms"))
        grid.add_column(ratio=1, overflow="fold")
        for finding in examination.findings:
            mark, style = _MARKS[finding.result]
            message = drawable(finding.message, ascii_only=is_ascii)
            found = Text(message, "dim" if style == "dim" else "")
            if finding.remedy is not None:
                found.append(f"\n{'->' if is_ascii else '→'} {finding.remedy}", "yellow")
            grid.add_row(
                Text(f"  {_ASCII[finding.result] if is_ascii else mark}", style),
                _LABELS[finding.step],
                Text(_time(finding), "dim"),
                found,
            )
        console.print(grid, highlight=False)


def _sentence(finding: Finding) -> str:
    return finding.message if finding.remedy is None else f"{finding.message}; {finding.remedy}"


def _time(finding: Finding) -> str:
    return "" if finding.duration_ms is None else f"{finding.duration_ms:,.0f} ms"
