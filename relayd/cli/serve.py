"""``relayd serve``: the daemon."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import attrs
import click
import trio

from relayd.cli.simulated import Simulators
from relayd.cli.welcome import what_to_try
from relayd.config.load import find_config, load
from relayd.config.mistakes import ConfigError
from relayd.config.snapshot import Snapshot
from relayd.ledger.errors import LedgerError
from relayd.observe import logs
from relayd.service import app, process
from relayd.service.listeners import BindError
from relayd.service.reload import NotReadyError, log_mistakes
from relayd.transport.tls import TlsFileError
from relayd.web.files import load_files

EX_UNAVAILABLE: Final = 69
EX_CONFIG: Final = 78

_STANDARD_INPUT: Final = 0

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
    """Serve until SIGTERM, which drains; a second one ends every session at once.

    SIGHUP reads the configuration again and uses it, unless it has a mistake.
    """
    shown = sys.stderr.isatty() if welcome is None else welcome
    try:
        status = _serve(config, welcome=shown)
    finally:
        logs.close(within_s=LAST_LINES_S)
    sys.exit(status)


@attrs.frozen
class _File:
    """The configuration file. See :class:`relayd.service.reload.Source`."""

    path: Path
    simulators: Simulators

    def read(self) -> Snapshot:
        """Read and check it."""
        return _read(self.path)

    async def ready(self, snapshot: Snapshot) -> Snapshot:
        """Start its simulated upstreams."""
        return await self.simulators.ready(snapshot)

    def settle(self, snapshot: Snapshot) -> None:
        """Stop those that it has no use for."""
        self.simulators.settle(snapshot)


def _read(path: Path) -> Snapshot:
    return Snapshot.of(load(path, environ=os.environ), directory=path.parent, file=path)


def _serve(config: Path | None, *, welcome: bool) -> int:
    logs.configure("json", "info", sys.stdout.buffer)
    try:
        path = find_config(config, environ=os.environ)
        snapshot = _read(path)
    except ConfigError as error:
        log_mistakes(error.mistakes)
        return EX_CONFIG
    settings = snapshot.settings
    logs.configure(settings.log.format, settings.log.level, sys.stdout.buffer)
    process.raise_descriptor_limit()
    status = 0
    try:
        trio.run(_run, snapshot, path, welcome, strict_exception_groups=True)
    except* (BindError, LedgerError, NotReadyError) as group:
        status = _say(group, EX_UNAVAILABLE)
    except* TlsFileError as group:
        status = _say(group, EX_CONFIG)
    return status


async def _run(snapshot: Snapshot, path: Path, welcome: bool) -> None:  # noqa: FBT001 - trio.run passes by position
    on_terminal = _on_terminal()
    async with trio.open_nursery() as upstreams:
        source = _File(path, Simulators(upstreams))
        ready = await source.ready(snapshot)
        with (
            trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as stops,
            trio.open_signal_receiver(signal.SIGHUP) as reloads,
        ):
            async with trio.open_nursery() as nursery:
                running: app.Running = await nursery.start(
                    _serve_to_the_end, ready, source, nursery
                )
                process.settle_garbage_collector()
                if welcome:
                    click.echo(what_to_try(ready, running), err=True)
                nursery.start_soon(_stop_when_told, stops, running)
                nursery.start_soon(_reload_when_told, reloads, running, on_terminal)
        upstreams.cancel_scope.cancel(reason="stopped")


async def _serve_to_the_end(
    snapshot: Snapshot,
    source: _File,
    nursery: trio.Nursery,
    *,
    task_status: trio.TaskStatus[app.Running],
) -> None:
    await app.serve(
        snapshot,
        environ=os.environ,
        source=source,
        files=load_files(),
        task_status=task_status,
    )
    nursery.cancel_scope.cancel(reason="stopped")


async def _stop_when_told(signals: AsyncIterator[int], running: app.Running) -> None:
    """The first signal drains, the second stops; further ones change nothing."""
    drained = False
    async for _ in signals:
        if drained:
            running.stop()
        running.drain()
        drained = True


async def _reload_when_told(
    signals: AsyncIterator[int],
    running: app.Running,
    on_terminal: bool,  # noqa: FBT001 - start_soon passes by position
) -> None:
    """Reload at each signal; signals that come during a reload are one more together.

    The kernel sends the same signal when the terminal that relayd was started on is closed. Who
    closed it wants it to end.
    """
    async for _ in signals:
        if on_terminal and not _on_terminal():
            running.drain()
        else:
            await running.reload()


def _on_terminal() -> bool:
    return os.isatty(_STANDARD_INPUT)


def _say(group: BaseExceptionGroup[BaseException], status: int) -> int:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            _say(error, status)
        else:
            click.echo(f"relayd: {error}", err=True)
    return status
