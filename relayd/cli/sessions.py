"""``relayd sessions``: what runs."""

from __future__ import annotations

from collections.abc import Iterator
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
from relayd.cli.listing import Column, duration, or_nothing, show, write_objects
from relayd.cli.usage_lines import human
from relayd.config.providers import Dialect
from relayd.service.admin.shapes import LIMIT_MAX, SessionPage, SessionView

SHOWN_DEFAULT: Final = 200


def _state(session: SessionView) -> str:
    if session.leaving is not None:
        return session.leaving
    return "busy" if session.busy else "idle"


def _state_style(session: SessionView) -> str:
    if session.leaving is not None:
        return "yellow"
    return "green" if session.busy else "dim"


def _cost(session: SessionView) -> str:
    return "unpriced" if session.cost_usd is None else f"${session.cost_usd:,.4f}"


_COLUMNS: Final = (
    Column[SessionView]("session", lambda each: each.session_id),
    Column[SessionView]("dialect", lambda each: each.dialect, 8),
    Column[SessionView]("key", lambda each: each.key, can_be_cut=True),
    Column[SessionView]("tenant", lambda each: each.tenant, 12),
    Column[SessionView]("account", lambda each: or_nothing(each.account), can_be_cut=True),
    Column[SessionView]("model", lambda each: or_nothing(each.model), 4, can_be_cut=True),
    Column[SessionView]("client", lambda each: each.client_address, 7),
    Column[SessionView]("age", lambda each: duration(each.duration_s), right=True),
    Column[SessionView]("turns", lambda each: f"{each.turns:,}", 1, right=True),
    Column[SessionView]("state", _state, 0, style=_state_style),
    Column[SessionView]("msgs up", lambda each: human(each.messages_up), 10, right=True),
    Column[SessionView]("down", lambda each: human(each.messages_down), 9, right=True),
    Column[SessionView]("bytes up", lambda each: human(each.bytes_up), 11, right=True),
    Column[SessionView]("down", lambda each: human(each.bytes_down), 11, right=True),
    Column[SessionView]("tokens in", lambda each: human(each.tokens_in), 6, right=True),
    Column[SessionView]("out", lambda each: human(each.tokens_out), 5, right=True),
    Column[SessionView]("cost", _cost, 3, right=True, style=lambda each: "green"),
)


@click.command("sessions")
@admin_options
@click.option("--key", metavar="NAME", help="Only those of this key.")
@click.option("--account", metavar="NAME", help="Only those at this account.")
@click.option("--dialect", type=click.Choice(tuple(map(str, Dialect))), help="Only this dialect.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=SHOWN_DEFAULT,
    show_default=True,
    help="How many at most, the oldest first; 0 for all.",
)
@json_option
@telling
def command(
    config: Path | None,
    admin: str | None,
    key: str | None,
    account: str | None,
    dialect: str | None,
    limit: int,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Show the running sessions."""
    client = client_for(config, admin)
    filters = {"key": key, "account": account, "dialect": dialect}
    asked = {name: value for name, value in filters.items() if value is not None}
    pages = _pages(client, asked, limit)
    if as_json:
        write_objects(session for page in pages for session in page.sessions)
        return
    seen = tuple(pages)
    sessions = [session for page in seen for session in page.sessions]
    if not sessions:
        total = seen[0].total
        click.echo(f"no session fits, of {total:,}" if total else "no session runs")
        return
    more = seen[-1].next_cursor is not None
    note = f"the first {len(sessions):,}; {seen[-1].total:,} run in all: --limit 0 shows them"
    show(_COLUMNS, sessions, [note] if more else [])


def _pages(client: AdminClient, filters: dict[str, str], limit: int) -> Iterator[SessionPage]:
    """Pages until ``limit`` sessions, or all of them, were seen; at least one page."""
    left = limit or None
    cursor: str | None = None
    while True:
        size = LIMIT_MAX if left is None else min(left, LIMIT_MAX)
        query = filters | {"limit": str(size)} | ({"cursor": cursor} if cursor else {})
        page = client.get(path_of("sessions"), SessionPage, query)
        yield page
        cursor = page.next_cursor
        if left is not None:
            left -= len(page.sessions)
        if cursor is None or left == 0:
            return
