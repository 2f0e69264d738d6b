"""``relayd reload``: have the configuration read again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from relayd.cli.admin_client import Refused, admin_options, client_for, path_of, telling
from relayd.cli.listing import printable
from relayd.service.admin.shapes import Changed, MistakeView, ReloadDone


@click.command("reload")
@admin_options
@click.pass_context
@telling
def command(ctx: click.Context, config: Path | None, admin: str | None) -> None:
    """Read the configuration again, without ending a session: as SIGHUP.

    A file with a mistake changes nothing: every mistake is printed, and the exit code is 78.
    """
    try:
        done = client_for(config, admin).post(path_of("reload"), ReloadDone)
    except Refused as refused:
        if not refused.mistakes:
            raise
        for mistake in refused.mistakes:
            click.echo(_line(mistake), err=True)
        click.echo("nothing was changed", err=True)
        ctx.exit(os.EX_CONFIG)
    changes = [*_changes("key", done.keys), *_changes("account", done.accounts)]
    changes += [f"listening on {address}" for address in done.listeners_added]
    changes += [f"no longer listening on {address}" for address in done.listeners_removed]
    click.echo(f"reloaded in {done.duration_ms:,.0f} ms")
    for line in changes:
        click.echo(f"  {printable(line)}")
    for path in done.postponed:
        click.echo(f"  {path} has changed; it takes a restart")


def _changes(what: str, changed: Changed) -> Iterator[str]:
    for word in ("added", "changed", "removed"):
        names: tuple[str, ...] = getattr(changed, word)
        if names:
            yield f"{what}{'s' * (len(names) > 1)} {word}: {', '.join(names)}"


def _line(mistake: MistakeView) -> str:
    place = ": ".join(each for each in (mistake.file, mistake.path) if each)
    return printable(f"{place}: {mistake.message}" if place else mistake.message)
