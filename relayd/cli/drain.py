"""``relayd drain``: let a running relayd come to its end."""

from __future__ import annotations

from pathlib import Path

import click

from relayd.cli.admin_client import admin_options, client_for, path_of, telling
from relayd.service.admin.shapes import Draining


@click.command("drain")
@admin_options
@telling
def command(config: Path | None, admin: str | None) -> None:
    """Accept nothing new, let running responses end, and exit: as SIGTERM.

    Under systemd use `systemctl stop` instead, which knows that it is meant.
    """
    state = client_for(config, admin).post(path_of("drain"), Draining)
    if not state.sessions:
        click.echo("relayd drains; no session runs, so it exits now")
        return
    sessions = "1 session has" if state.sessions == 1 else f"{state.sessions:,} sessions have"
    click.echo(f"relayd drains; it exits when {sessions} ended, in {state.drain_s:g} s at most")
