"""``relayd sim``: one simulated upstream, for trying and for tests by other programs."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

import click
import trio

from relayd.config.address import TcpAddress, parse_address
from relayd.sim.registry import SIMULATORS, Simulator, serve_simulator


class Unavailable(click.ClickException):
    """The address cannot be listened on."""

    exit_code = os.EX_UNAVAILABLE


def _address(_: click.Context, __: click.Parameter, value: str) -> TcpAddress:
    """``--listen``, parsed; what is wrong with it is a mistake of usage."""
    try:
        address = parse_address(value)
    except ValueError as mistake:
        raise click.BadParameter(str(mistake)) from None
    if not isinstance(address, TcpAddress):
        raise click.BadParameter("a simulated upstream listens on TCP only")
    return address


def _listed(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  # click
    """``--list``: every dialect with its scenarios, and nothing else."""
    if not wanted:
        return
    for simulator in SIMULATORS.values():
        click.echo(f"{simulator.dialect}: {simulator.summary}")
        width = max(map(len, simulator.scenarios))
        for name, summary in simulator.scenarios.items():
            click.echo(f"  {name:<{width}}  {summary}")
    ctx.exit()


@click.command("sim")
@click.argument("dialect", type=click.Choice(sorted(SIMULATORS)))
@click.option(
    "--listen",
    metavar="HOST:PORT",
    callback=_address,
    default="127.0.0.1:0",
    show_default=True,
    help="Where to listen. Port 0 takes a free one.",
)
@click.option("--scenario", default="normal", show_default=True, help="What to play; see --list.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_listed,
    help="Show every dialect with its scenarios, and exit.",
)
def command(dialect: str, listen: TcpAddress, scenario: str) -> None:
    """Run one simulated upstream.

    Prints the address it listens on, on one line, and serves until SIGINT or SIGTERM.
    """
    simulator = SIMULATORS[dialect]
    if scenario not in simulator.scenarios:
        names = ", ".join(simulator.scenarios)
        raise click.BadParameter(f"{dialect} can play: {names}", param_hint="--scenario")
    failures: tuple[BaseException, ...] = ()
    try:
        trio.run(_serve, simulator, listen, scenario)
    except* OSError as group:
        failures = group.exceptions
    for failure in failures:
        raise Unavailable(f"cannot listen on {listen}: {failure}")


async def _serve(simulator: Simulator, listen: TcpAddress, scenario: str) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_simulator, scenario=scenario, host=listen.host, port=listen.port)
            server = await nursery.start(serve, simulator.dialect)
            click.echo(server.address)
            if sys.stderr.isatty():
                hint = f"{simulator.summary}; an account's base_url: {server.base_url}"
                click.echo(click.style(hint, dim=True), err=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                return
