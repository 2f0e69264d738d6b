"""``relayd pools``: the sockets that are kept to upstreams, in the words of PgBouncer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from relayd.cli.admin_client import (
    AdminClient,
    admin_options,
    client_for,
    json_option,
    path_of,
    telling,
)
from relayd.cli.listing import NOTHING, Column, printable, show, write_objects
from relayd.service.admin.shapes import LIMIT_MAX, PoolPage, PoolView


def _is_full(pool: PoolView) -> bool:
    """Whether a turn of any session would have to wait."""
    taken = pool.sv_active + pool.sv_tested + pool.sv_login
    return taken >= pool.slots_max


def _waiting_style(pool: PoolView) -> str:
    return "yellow" if pool.cl_waiting else "dim"


def _reused(pool: PoolView) -> str:
    return f"{pool.reused / pool.leases:.0%}" if pool.leases else NOTHING


_COLUMNS: Final = (
    Column[PoolView]("account", lambda each: each.account, can_be_cut=True),
    Column[PoolView]("cl_active", lambda each: f"{each.cl_active:,}", 3, right=True),
    Column[PoolView](
        "cl_waiting", lambda each: f"{each.cl_waiting:,}", right=True, style=_waiting_style
    ),
    Column[PoolView](
        "sv_active",
        lambda each: f"{each.sv_active:,}",
        right=True,
        style=lambda each: "yellow" if _is_full(each) else "",
    ),
    Column[PoolView]("sv_idle", lambda each: f"{each.sv_idle:,}", right=True),
    Column[PoolView]("sv_tested", lambda each: f"{each.sv_tested:,}", 6, right=True),
    Column[PoolView]("sv_login", lambda each: f"{each.sv_login:,}", 5, right=True),
    Column[PoolView](
        "maxwait", lambda each: f"{each.maxwait_s:.1f}s", right=True, style=_waiting_style
    ),
    Column[PoolView]("slots_max", lambda each: f"{each.slots_max:,}", 2, right=True),
    Column[PoolView]("leases", lambda each: f"{each.leases:,}", 4, right=True),
    Column[PoolView]("reused", _reused, 1, right=True),
)


@click.command("pools")
@admin_options
@json_option
@telling
def command(
    config: Path | None,
    admin: str | None,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Show the sockets that are kept to upstreams, and who uses them."""
    pools = _all(client_for(config, admin))
    if as_json:
        write_objects(pools)
    elif pools:
        show(_COLUMNS, pools, _notes(pools))
    else:
        click.echo("no account speaks the responses dialect, so no socket is kept")


def _all(client: AdminClient) -> list[PoolView]:
    pools: list[PoolView] = []
    query = {"limit": str(LIMIT_MAX)}
    while True:
        page = client.get(path_of("pools"), PoolPage, query)
        pools += page.pools
        if page.next_cursor is None:
            return pools
        query["cursor"] = page.next_cursor


def _notes(pools: list[PoolView]) -> list[str]:
    """What a number that is too high asks for."""
    waiting = [pool.account for pool in pools if pool.cl_waiting]
    if not waiting:
        return []
    names = printable(", ".join(waiting))
    return [f"turns wait at {names}: if that lasts, raise pool.slots_max, or see what hangs there"]
