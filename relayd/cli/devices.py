"""``relayd devices``: which are here, their tools, and words to them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar
from urllib.parse import urlencode

import attrs
import click
import msgspec

from relayd.cli.admin_client import (
    AdminClient,
    Refused,
    admin_options,
    client_for,
    json_option,
    path_of,
    telling,
)
from relayd.cli.admin_json import post_json
from relayd.cli.listing import (
    NOTHING,
    Column,
    duration,
    or_nothing,
    printable,
    show,
    write_lines,
    write_objects,
)
from relayd.config.rules import nearest
from relayd.core.refusals import RefusalCode
from relayd.service.admin.device_shapes import (
    Alert,
    AlertedAll,
    DevicePage,
    DeviceTold,
    DeviceView,
    ToolAnswer,
    ToolCall,
    ToolList,
)
from relayd.service.admin.shapes import LIMIT_MAX

_STYLES: Final = {"listening": "green", "speaking": "green", "reconnecting": "yellow"}

P = ParamSpec("P")
T = TypeVar("T")


class _Tool(msgspec.Struct):
    """One tool, in MCP's shape."""

    name: str
    description: str | None = None


class _Content(msgspec.Struct):
    type: str = ""
    text: str = ""


class _Result(msgspec.Struct):
    """What a tool answered, in MCP's shape."""

    content: list[_Content] = []
    isError: bool = False


@attrs.frozen
class _Said:
    """What was said before the verb."""

    config: Path | None
    admin: str | None
    tenant: str | None


@attrs.frozen
class _Where:
    """Which relayd is asked, and about whose devices."""

    client: AdminClient
    tenant: str | None

    def path(self, *parts: str) -> str:
        query = "" if self.tenant is None else f"?{urlencode({'tenant': self.tenant})}"
        return path_of("devices", *parts) + query


def _state_style(device: DeviceView) -> str:
    return _STYLES.get(device.state, "dim")


_COLUMNS: Final = (
    Column[DeviceView]("device", lambda each: each.device_id),
    Column[DeviceView]("tenant", lambda each: each.tenant, 7, can_be_cut=True),
    Column[DeviceView]("key", lambda each: each.key, 8, can_be_cut=True),
    Column[DeviceView]("account", lambda each: or_nothing(each.account), can_be_cut=True),
    Column[DeviceView]("state", lambda each: each.state, style=_state_style),
    Column[DeviceView]("age", lambda each: duration(each.duration_s), right=True),
    Column[DeviceView]("turns", lambda each: f"{each.turns:,}", 2, right=True),
    Column[DeviceView]("heard", lambda each: f"{each.audio_in_s:,.1f}s", 4, right=True),
    Column[DeviceView]("spoken", lambda each: f"{each.audio_out_s:,.1f}s", 4, right=True),
    Column[DeviceView]("hello", lambda each: _milliseconds(each.hello_ms), 5, right=True),
    Column[DeviceView](
        "lost",
        lambda each: str(each.contexts_lost),
        3,
        right=True,
        style=lambda each: "yellow" if each.contexts_lost else "dim",
    ),
    Column[DeviceView]("tools", lambda each: "yes" if each.has_tools else "no", 6),
    Column[DeviceView]("client", lambda each: each.client_address, 9),
    Column[DeviceView]("session", lambda each: each.session_id, 10),
)

_tenant_option = click.option("--tenant", metavar="NAME", help="Only devices of this tenant.")


@click.group("devices", invoke_without_command=True)
@admin_options
@_tenant_option
@json_option
@click.pass_context
@telling
def command(
    ctx: click.Context,
    config: Path | None,
    admin: str | None,
    tenant: str | None,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Show the devices that are here; call their tools, alert, reboot or kick them."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = _Said(config, admin, tenant)
        return
    devices = _all(_Where(client_for(config, admin), tenant))
    if as_json:
        write_objects(devices)
    elif devices:
        show(_COLUMNS, devices)
    else:
        click.echo("no device is here; they connect when they are spoken to")


def _somewhere(verb: Callable[Concatenate[_Where, P], None]) -> Callable[P, None]:
    """Options that say where relayd is, and whose devices are meant: behind the verb or before."""

    @functools.wraps(verb)
    def placed(*args: P.args, **kwargs: P.kwargs) -> None:
        before: _Said = click.get_current_context().obj
        config, admin, tenant = (kwargs.pop(name) for name in ("config", "admin", "tenant"))
        assert isinstance(config, Path | None), "as click reads it; likewise the others"
        assert isinstance(admin, str | None)
        assert isinstance(tenant, str | None)
        client = client_for(config or before.config, admin or before.admin)
        verb(_Where(client, tenant or before.tenant), *args, **kwargs)

    return admin_options(_tenant_option(telling(placed)))


@command.command
@_somewhere
@click.argument("device")
def kick(where: _Where, device: str) -> None:
    """End the session of DEVICE."""
    done = _of_device(
        where, device, lambda: where.client.post(where.path(device, "kick"), DeviceTold)
    )
    click.echo(f"{printable(done.device_id)}: {done.session_id} ends")


@command.command
@_somewhere
@click.argument("device")
def reboot(where: _Where, device: str) -> None:
    """Let DEVICE start anew."""
    done = _of_device(
        where, device, lambda: where.client.post(where.path(device, "reboot"), DeviceTold)
    )
    click.echo(f"{printable(done.device_id)} was told to start anew")


@command.command
@_somewhere
@click.argument("words", nargs=-1, metavar="[DEVICE] MESSAGE")
@click.option("--all", "everybody", is_flag=True, help="All that are here show it: no DEVICE.")
@click.option("--status", default="Alert", show_default=True, help="What stands above it.")
@click.option("--emotion", default="neutral", show_default=True, help="The face beside it.")
def alert(
    where: _Where,
    words: tuple[str, ...],
    everybody: bool,  # noqa: FBT001 - click's way
    status: str,
    emotion: str,
) -> None:
    """Show MESSAGE on DEVICE, or with --all on every one."""
    match words:
        case [message] if everybody:
            _alert_all(where, Alert(message, status, emotion))
        case [device, message] if not everybody:
            said, path = Alert(message, status, emotion), where.path(device, "alert")
            done = _of_device(
                where, device, lambda: post_json(where.client, path, said, DeviceTold)
            )
            click.echo(f"{printable(done.device_id)} was told")
        case _:
            raise click.UsageError("say either DEVICE MESSAGE or --all MESSAGE, in quotes")


def _alert_all(where: _Where, said: Alert) -> None:
    of_all = post_json(where.client, where.path("alert"), said, AlertedAll)
    count = f"{of_all.told:,} device{'s' * (of_all.told != 1)}"
    busy = f"; {of_all.busy:,} could not be" if of_all.busy else ""
    click.echo(f"{count} told{busy}")


@command.command
@_somewhere
@click.argument("device")
@json_option
def tools(
    where: _Where,
    device: str,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Show the tools of DEVICE."""
    found = _of_device(
        where, device, lambda: where.client.get(where.path(device, "tools"), ToolList)
    )
    if as_json:
        write_lines(bytes(tool).decode() for tool in found.tools)
        return
    known = [_tool(raw) for raw in found.tools]
    if not known:
        click.echo(f"{printable(device)} has no tools")
        return
    width = max(len(printable(each.name)) for each in known)
    write_lines(
        f"{printable(each.name):<{width}}  {_first_line(each.description)}".rstrip()
        for each in known
    )


@command.command
@_somewhere
@click.argument("device")
@click.argument("tool")
@click.argument("arguments", default="{}")
@json_option
def call(
    where: _Where,
    device: str,
    tool: str,
    arguments: str,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Call TOOL of DEVICE with ARGUMENTS, a JSON object, and show what it answers.

    xiaozhi.tools_allowed has to name the tool.
    """
    try:
        given = msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        message = "expected a JSON object, such as '{\"volume\": 40}'"
        raise click.BadParameter(message, param_hint="ARGUMENTS") from None
    path = where.path(device, "tools", tool)
    done = _of_device(
        where, device, lambda: post_json(where.client, path, ToolCall(given), ToolAnswer)
    )
    if as_json:
        write_objects([done])
    if done.error is not None:
        click.echo(f"the device refused it: {printable(done.error.message)}", err=True)
        click.get_current_context().exit(os.EX_UNAVAILABLE)
    result = _result(done.result)
    if not as_json:
        write_lines(_shown(result, done.result))
    if result is not None and result.isError:
        click.echo("the tool says that it failed", err=True)
        click.get_current_context().exit(os.EX_UNAVAILABLE)


def _of_device(where: _Where, device: str, ask: Callable[[], T]) -> T:
    """What is answered about a device; one that is not here is a wrong argument, with a hint."""
    try:
        return ask()
    except Refused as refused:
        if refused.code != RefusalCode.NOT_FOUND:
            raise
    names = tuple(each.device_id for each in _all(where))
    hint = nearest(device, names) or f"here: {', '.join(names) or 'none'}"
    message = f"there is no device {printable(device)}; {printable(hint)}"
    raise click.BadParameter(message, param_hint="DEVICE")


def _all(where: _Where) -> list[DeviceView]:
    devices: list[DeviceView] = []
    query = {"limit": str(LIMIT_MAX)} | ({} if where.tenant is None else {"tenant": where.tenant})
    while True:
        page = where.client.get(path_of("devices"), DevicePage, query)
        devices += page.devices
        if page.next_cursor is None:
            return devices
        query["cursor"] = page.next_cursor


def _tool(raw: msgspec.Raw) -> _Tool:
    try:
        return msgspec.json.decode(raw, type=_Tool)
    except msgspec.DecodeError:
        return _Tool(NOTHING, "cannot be read; see --json")


def _first_line(text: str | None) -> str:
    lines = (text or "").splitlines()
    return printable(lines[0]) if lines else ""


def _result(raw: msgspec.Raw) -> _Result | None:
    try:
        return msgspec.json.decode(raw, type=_Result)
    except msgspec.DecodeError:
        return None


def _shown(result: _Result | None, raw: msgspec.Raw) -> list[str]:
    """The result's texts, a line each; all of it where it has something else."""
    if result is None or any(each.type != "text" for each in result.content):
        return [printable(bytes(raw).decode())]
    return [printable(line) for each in result.content for line in each.text.splitlines()]


def _milliseconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f} ms"
