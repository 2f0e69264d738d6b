"""``relayd check``: is this configuration fit to serve, and if not, why?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relayd.cli.check_notes import notes
from relayd.config.load import ConfigError, find_config, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relayd.config.schema import Settings

NAMES_SHOWN_MAX: Final = 8
"""Names listed in the summary; the others are counted."""


@click.command
@click.option(
    "--config",
    "given",
    type=click.Path(path_type=Path),
    help="The file. Default: $RELAYD_CONFIG, /etc/relayd/relayd.toml, etc/relayd.toml.",
)
@click.pass_context
def command(ctx: click.Context, given: Path | None) -> None:
    """Validate the configuration.

    Prints every mistake with its path and exits 78, or a summary and exits 0.
    """
    try:
        path = find_config(given, environ=os.environ)
        settings = load(path, environ=os.environ)
    except ConfigError as error:
        _print_mistakes(error)
        ctx.exit(os.EX_CONFIG)
    _print_summary(path, summary(settings))


def summary(settings: Settings) -> list[tuple[str, str]]:
    """What a configuration amounts to, as lines of a word and a text, without any secret."""
    keys = [key.name for key in settings.keys if key.enabled]
    accounts = [account for account in settings.accounts if account.enabled]
    dialects = {str(dialect) for each in accounts for dialect in each.provider.dialects}
    return [
        ("listen", ", ".join(settings.server.listen) + (" (TLS)" if settings.server.tls else "")),
        ("admin", settings.server.admin),
        ("keys", _listed(keys, len(settings.keys)) or "none: nobody can come in"),
        (
            "accounts",
            _listed([account.name for account in accounts], len(settings.accounts))
            or "none: there is nowhere to go",
        ),
        ("dialects", ", ".join(sorted(dialects)) or "none"),
        ("ledger", settings.ledger.url),
        ("prices", _prices(settings)),
        *(("note", note) for note in notes(settings)),
    ]


def _prices(settings: Settings) -> str:
    """``12 (/etc/relayd/prices.toml)``."""
    if settings.ledger.prices is None:
        return "none: no cost is known"
    return f"{len(settings.prices.prices)} ({settings.ledger.prices})"


def _listed(names: Sequence[str], total: int) -> str:
    """``3 (a, b, c), 1 disabled``; empty if there are none at all."""
    if not total:
        return ""
    shown = ", ".join(names[:NAMES_SHOWN_MAX])
    more = f", and {len(names) - NAMES_SHOWN_MAX} more" * (len(names) > NAMES_SHOWN_MAX)
    disabled = f", {total - len(names)} disabled" * (total > len(names))
    return f"{len(names)}" + (f" ({shown}{more})" if names else "") + disabled


def _print_mistakes(error: ConfigError) -> None:
    if not sys.stdout.isatty():
        for line in error.lines():
            click.echo(line)
        return
    console = Console()
    for mistake in error.mistakes:
        path = (mistake.path, "bold red"), (": " if mistake.path else "", "")
        file = f"{mistake.file or error.file}: "
        console.print(Text.assemble((file, "dim"), *path, mistake.message))


def _print_summary(path: Path, lines: Sequence[tuple[str, str]]) -> None:
    if not sys.stdout.isatty():
        click.echo(f"{path}: no mistakes")
        for word, text in lines:
            click.echo(f"{word:<9} {text}")
        return
    grid = Table.grid(padding=(0, 2))
    for word, text in lines:
        grid.add_row(Text(word, "bold"), Text(text))
    console = Console()
    console.print(Text.assemble((f"{path}: ", "dim"), ("no mistakes", "green")))
    console.print(grid)
