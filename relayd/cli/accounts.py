"""``relayd accounts``: how the accounts are doing, and using them or not."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from relayd.cli.admin_client import (
    AdminClient,
    Refused,
    admin_options,
    client_for,
    json_option,
    path_of,
    telling,
)
from relayd.cli.listing import (
    NOTHING,
    Column,
    duration,
    or_nothing,
    printable,
    show,
    write_objects,
)
from relayd.config.rules import nearest
from relayd.core.refusals import RefusalCode
from relayd.observe.metrics_labels import AccountState
from relayd.service.admin.shapes import LIMIT_MAX, AccountChanged, AccountPage, AccountView

_STYLES: Final = {
    AccountState.READY: "green",
    AccountState.PROBATION: "yellow",
    AccountState.OPEN: "red",
    AccountState.COOLED: "yellow",
    AccountState.DISABLED: "red",
    AccountState.OFF: "dim",
}


def _sessions(account: AccountView) -> str:
    limit = f"/{account.sessions_max}" if account.sessions_max else ""
    return f"{account.sessions}{limit}"


def _state(account: AccountView) -> str:
    full = account.state is AccountState.READY and not account.takes_sessions
    return "full" if full else f"{account.state}{'*' * account.overridden}"


def _retry(account: AccountView) -> str:
    if account.retry_at is None:
        return "-"
    left = account.retry_at - datetime.datetime.now(datetime.UTC)
    return duration(left.total_seconds())


_COLUMNS: Final = (
    Column[AccountView]("account", lambda each: each.name, can_be_cut=True),
    Column[AccountView]("provider", lambda each: each.provider, 3),
    Column[AccountView]("state", _state, style=lambda each: _STYLES[each.state]),
    Column[AccountView]("sessions", _sessions, right=True),
    Column[AccountView]("errors", lambda each: f"{each.error_average:.0%}", 2, right=True),
    Column[AccountView](
        "first frame", lambda each: _milliseconds(each.first_frame_ms), 4, right=True
    ),
    Column[AccountView]("priority", lambda each: str(each.priority), 6, right=True),
    Column[AccountView]("weight", lambda each: str(each.weight), 7, right=True),
    Column[AccountView]("again in", _retry, 1, right=True),
    Column[AccountView]("dialects", lambda each: ", ".join(each.dialects) or NOTHING, 8),
    Column[AccountView]("address", lambda each: or_nothing(each.base_url), 5, can_be_cut=True),
)


@click.group("accounts", invoke_without_command=True)
@admin_options
@json_option
@click.pass_context
@telling
def command(
    ctx: click.Context,
    config: Path | None,
    admin: str | None,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Show the accounts and how each is doing; enable or disable one.

    What is changed here lasts until the next reload or restart.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = config, admin
        return
    accounts = _all(client_for(config, admin))
    if as_json:
        write_objects(accounts)
    elif accounts:
        show(_COLUMNS, accounts, _notes(accounts))
    else:
        click.echo("no account is configured")


@command.command
@click.argument("name")
@admin_options
@click.pass_context
@telling
def enable(ctx: click.Context, name: str, config: Path | None, admin: str | None) -> None:
    """Use the account NAME, forget what stood against it, and try it at once."""
    client = _client(ctx, config, admin)
    if sys.stderr.isatty():
        with Console(stderr=True).status(f"Dialling {printable(name)}"):
            done = _change(client, name, "enable")
    else:
        done = _change(client, name, "enable")
    _say(done)
    probe = done.probe
    if probe is not None and not probe.ok:
        click.echo(f"its probe failed: {printable(f'{probe.reason}: {probe.message}')}", err=True)
        ctx.exit(69)
    if probe is not None:
        first_frame = ""
        if probe.first_frame_ms is not None:
            first_frame = f", its first frame took {_milliseconds(probe.first_frame_ms)} more"
        click.echo(f"connected in {_milliseconds(probe.connect_ms)}{first_frame}")


@command.command
@click.argument("name")
@admin_options
@click.pass_context
@telling
def disable(ctx: click.Context, name: str, config: Path | None, admin: str | None) -> None:
    """Give the account NAME no new session."""
    _say(_change(_client(ctx, config, admin), name, "disable"))


def _client(ctx: click.Context, config: Path | None, admin: str | None) -> AdminClient:
    """The options may stand before the verb or behind it."""
    before_config, before_admin = ctx.obj
    return client_for(config or before_config, admin or before_admin)


def _change(client: AdminClient, name: str, action: str) -> AccountChanged:
    try:
        return client.post(path_of("accounts", name, action), AccountChanged)
    except Refused as refused:
        if refused.code != RefusalCode.NOT_FOUND:
            raise
    names = tuple(account.name for account in _all(client))
    hint = nearest(name, names) or f"known: {', '.join(names) or 'none'}"
    raise click.BadParameter(f"there is no account {printable(name)}; {hint}", param_hint="NAME")


def _say(done: AccountChanged) -> None:
    account = done.account
    if sys.stdout.isatty():
        state = Text(_state(account), _STYLES[account.state])
        Console().print(Text.assemble((account.name, "bold"), " ", state, f": {done.message}"))
    else:
        click.echo(f"{account.name} {_state(account)}: {done.message}")


def _all(client: AdminClient) -> list[AccountView]:
    accounts: list[AccountView] = []
    query = {"limit": str(LIMIT_MAX)}
    while True:
        page = client.get(path_of("accounts"), AccountPage, query)
        accounts += page.accounts
        if page.next_cursor is None:
            return accounts
        query["cursor"] = page.next_cursor


def _notes(accounts: list[AccountView]) -> list[str]:
    """Why accounts are out of use, and what the marks mean."""
    notes = [
        printable(f"{account.name}: {account.reason}: {account.message}")
        for account in accounts
        if account.state is AccountState.DISABLED
    ]
    if notes:
        notes.append("`relayd doctor NAME` says what helps, `relayd accounts enable NAME` retries")
    if any(account.overridden for account in accounts):
        notes.append("* by an operator's word, until the next reload or restart")
    return notes


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms"
