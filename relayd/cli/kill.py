"""``relayd kill``: end one session."""

from __future__ import annotations

from pathlib import Path

import click

from relayd.cli.admin_client import admin_options, client_for, path_of, telling
from relayd.service.admin.shapes import Killed


@click.command("kill")
@click.argument("session")
@admin_options
@telling
def command(session: str, config: Path | None, admin: str | None) -> None:
    """End SESSION at once; its client gets a Close with code 1008."""
    done = client_for(config, admin).post(path_of("sessions", session, "kill"), Killed)
    click.echo(f"{done.session_id} ends as {done.reason}")
