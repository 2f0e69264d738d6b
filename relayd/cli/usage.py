"""``relayd usage``: what was used, and what it cost."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from relayd.cli import moments
from relayd.cli.usage_lines import Usage, json_lines, plain
from relayd.cli.usage_table import print_table
from relayd.config.keys import BudgetPeriod
from relayd.config.load import ConfigError, find_config, load_ledger
from relayd.config.rules import nearest
from relayd.config.storage import PRICES_FILE
from relayd.ledger.database import open_read_only
from relayd.ledger.errors import LedgerError
from relayd.ledger.location import ledger_path
from relayd.ledger.periods import period_start
from relayd.ledger.report import By, newest, summarize, total, unchanging

BY_DEFAULT: Final = "key,model"


class Unavailable(click.ClickException):
    """There is no ledger that can be read."""

    exit_code = os.EX_UNAVAILABLE


def _by(_: click.Context, __: click.Parameter, value: str) -> tuple[By, ...]:
    """``--by``, parsed; each word at most once."""
    words = [word.strip() for word in value.split(",")]
    for word in words:
        if word not in set(By):
            hint = nearest(word, tuple(By)) or f"known: {', '.join(By)}"
            raise click.BadParameter(f'"{word}" is no column; {hint}')
        if words.count(word) > 1:
            raise click.BadParameter(f'"{word}" is there more than once')
    return tuple(map(By, words))


@click.command("usage")
@click.option(
    "--config",
    "given",
    type=click.Path(path_type=Path),
    help="The file. Default: $RELAYD_CONFIG, /etc/relayd/relayd.toml, etc/relayd.toml.",
)
@click.option(
    "--ledger",
    "ledger",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The ledger's file; no configuration is read. Default: what ledger.url names.",
)
@click.option("--since", metavar="WHEN", help="From when on. Default: when the month began.")
@click.option("--until", metavar="WHEN", help="Up to when. Default: all that is there.")
@click.option(
    "--by",
    metavar="COLUMNS",
    default=BY_DEFAULT,
    show_default=True,
    callback=_by,
    help=f"What to group by: some of {','.join(By)}.",
)
@click.option("--json", "as_json", is_flag=True, help="One object a line, for programs.")
@click.pass_context
def command(
    ctx: click.Context,
    given: Path | None,
    ledger: Path | None,
    since: str | None,
    until: str | None,
    by: tuple[By, ...],
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Show what was used and what it cost.

    WHEN is a date (2026-11-01), a date and time (2026-11-01T12:00Z), a time back from now (30m,
    24h, 7d, 4w) or today. Where no zone is given it is UTC, and so are days. A day given to
    --until is included.
    """
    first, end = _range(since, until, time.time())
    path, prices = ledger, PRICES_FILE
    if ledger is None:
        try:
            settings = load_ledger(find_config(given, environ=os.environ), environ=os.environ)
        except ConfigError as error:
            for line in error.lines():
                click.echo(line, err=True)
            ctx.exit(os.EX_CONFIG)
        path = ledger_path(settings.url, os.environ)
        prices = Path(settings.prices or PRICES_FILE).name
    try:
        usage, last = _read(path, first, end, by, prices)
    except LedgerError as error:
        raise Unavailable(str(error)) from None
    if not usage.total.rows:
        # Not where a program reads objects.
        click.echo(_nothing(path, first, end, last), err=as_json)
    elif as_json:
        _print(json_lines(usage))
    elif sys.stdout.isatty():
        title = f"Tokens and cost {moments.shown(first, end)}"
        print_table(Console(), usage, title)
    else:
        _print(plain(usage))


def _range(since: str | None, until: str | None, now: float) -> tuple[float, float]:
    """The first moment and the one after the last; the default is a month up to then."""
    end = math.inf if until is None else _moment("--until", until, now, is_end=True)
    if since is None:
        last = min(now, math.nextafter(end, 0))
        return period_start(BudgetPeriod.MONTH, last), end
    first = _moment("--since", since, now, is_end=False)
    if first > min(now, end):
        later = "now" if end > now else "--until"
        raise click.BadParameter(f"{since} is later than {later}", param_hint="--since")
    return first, end


def _moment(option: str, text: str, now: float, *, is_end: bool) -> float:
    try:
        return moments.parse(text, now, is_end=is_end)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def _read(
    path: Path | None, first: float, end: float, by: tuple[By, ...], prices: str
) -> tuple[Usage, float | None]:
    """What was used, and when anything last was. Raises :class:`LedgerError`."""
    if path is None:
        raise LedgerError("the ledger is kept in memory (ledger.url): only relayd itself has it")
    if not path.exists():
        raise LedgerError(
            f"there is no ledger at {path.absolute()}: relayd has not been started yet, or with"
            " another $STATE_DIRECTORY or working directory; --ledger names the file itself"
        )
    with (
        contextlib.closing(open_read_only(path)) as connection,
        _progress(path),
        unchanging(connection),
    ):
        usage = Usage(
            by=by,
            lines=summarize(connection, since=first, until=end, by=by),
            total=total(connection, since=first, until=end),
            prices=prices,
        )
        return usage, newest(connection)


def _progress(path: Path) -> AbstractContextManager[object]:
    """A large ledger takes a while to read; a person is told so."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    return Console(stderr=True).status(f"Reading {path}")


def _nothing(path: Path | None, first: float, end: float, last: float | None) -> str:
    if last is None:
        return f"{path}: nothing is recorded yet"
    asked = moments.shown(first, end)
    return f"{path}: nothing was used {asked}; the newest row is of {moments.day(last)}"


def _print(lines: Iterable[str]) -> None:
    """Print ``lines`` as long as somebody reads them."""
    try:
        for line in lines:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and would complain.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
