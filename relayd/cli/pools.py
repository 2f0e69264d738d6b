"""``relayd pools``: sockets that are kept to upstreams."""

from __future__ import annotations

from pathlib import Path

import click

from relayd.cli.admin_client import admin_options, client_for, json_option, path_of, telling
from relayd.service.admin.shapes import PoolPage


@click.command("pools")
@admin_options
@json_option
@telling
def command(
    config: Path | None,
    admin: str | None,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Show the sockets that are kept to upstreams between sessions."""
    page = client_for(config, admin).get(path_of("pools"), PoolPage)
    # Not where a program reads objects.
    click.echo(page.message, err=as_json)
