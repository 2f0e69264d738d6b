"""``relayd serve``: the daemon."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import click
import trio

from relayd.cli.simulated import with_simulators
from relayd.cli.welcome import what_to_try
from relayd.config.load import find_config, load
from relayd.config.mistakes import ConfigError, Mistake
from relayd.config.snapshot import Snapshot
from relayd.ledger.errors import LedgerError
from relayd.observe import logs
from relayd.observe.events import LogEvent
from relayd.service import app, process
from relayd.service.listeners import BindError
from relayd.transport.tls import TlsFileError

EX_UNAVAILABLE: Final = 69
EX_CONFIG: Final = 78

LAST_LINES_S: Final = 1.0
"""How long the reader of standard output may take over the last lines."""


@click.command(name="serve")
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file.")
@click.option(
    "--welcome/--no-welcome",
    default=None,
    help="Say on stderr what to try. Default: on a terminal.",
)
def command(config: Path | None, welcome: bool | None) -> None:  # noqa: FBT001 - click's way
    """Serve until SIGTERM, which drains; a second one ends every session at once."""
    shown = sys.stderr.isatty() if welcome is None else welcome
    try:
        status = _serve(config, welcome=shown)
    finally:
        logs.close(within_s=LAST_LINES_S)
    sys.exit(status)


def _serve(config: Path | None, *, welcome: bool) -> int:
    logs.configure("json", "info", sys.stdout.buffer)
    try:
        path = find_config(config, environ=os.environ)
        settings = load(path, environ=os.environ)
    except ConfigError as error:
        for mistake in error.mistakes:
            logs.get_logger().error(
                LogEvent.CONFIG_REFUSED, path=_place(mistake), message=mistake.message
            )
        return EX_CONFIG
    logs.configure(settings.log.format, settings.log.level, sys.stdout.buffer)
    process.raise_descriptor_limit()
    snapshot = Snapshot.of(settings, directory=path.parent)
    status = 0
    try:
        trio.run(_run, snapshot, welcome, strict_exception_groups=True)
    except* (BindError, LedgerError) as group:
        status = _say(group, EX_UNAVAILABLE)
    except* TlsFileError as group:
        status = _say(group, EX_CONFIG)
    return status


async def _run(snapshot: Snapshot, welcome: bool) -> None:  # noqa: FBT001 - trio.run passes by position
    async with trio.open_nursery() as simulators:
        ready = await with_simulators(snapshot, simulators)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_serve_to_the_end, ready, signals, nursery, welcome)
        simulators.cancel_scope.cancel(reason="stopped")


async def _serve_to_the_end(
    snapshot: Snapshot,
    signals: AsyncIterator[int],
    nursery: trio.Nursery,
    welcome: bool,  # noqa: FBT001 - start_soon passes by position
) -> None:
    async with trio.open_nursery() as serving:
        running: app.Running = await serving.start(_serve_app, snapshot)
        process.settle_garbage_collector()
        if welcome:
            click.echo(what_to_try(snapshot, running), err=True)
        nursery.start_soon(_obey, signals, running)
    nursery.cancel_scope.cancel(reason="stopped")


async def _serve_app(snapshot: Snapshot, *, task_status: trio.TaskStatus[app.Running]) -> None:
    await app.serve(snapshot, environ=os.environ, task_status=task_status)


async def _obey(signals: AsyncIterator[int], running: app.Running) -> None:
    """The first signal drains, the second stops; further ones change nothing."""
    drained = False
    async for _ in signals:
        if drained:
            running.stop()
        running.drain()
        drained = True


def _place(mistake: Mistake) -> str:
    return mistake.path if mistake.file is None else f"{mistake.file}: {mistake.path}"


def _say(group: BaseExceptionGroup[BaseException], status: int) -> int:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            _say(error, status)
        else:
            click.echo(f"relayd: {error}", err=True)
    return status
