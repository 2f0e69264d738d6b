"""``relayd demo``: a relay, its simulated upstreams and a client of each dialect, at once."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio
from trio_websocket import ConnectionClosed, HandshakeError

from relayd.cli.demo_client import (
    CHAT_MODEL,
    ECHO,
    MODEL,
    TEXT_MODEL,
    Client,
    DemoError,
    Narrator,
)
from relayd.cli.demo_device import talk
from relayd.cli.demo_hub import Follower
from relayd.cli.simulated import with_simulators
from relayd.config.accounts import AccountSettings
from relayd.config.keys import Role
from relayd.config.providers import Provider
from relayd.config.schema import KeySettings, LedgerSettings, ServerSettings, Settings
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Snapshot
from relayd.config.spark import SparkSettings
from relayd.observe.bus import (
    Bus,
    BusEvent,
    DeviceEnded,
    DeviceTurnEnded,
    SessionEnded,
    TurnEnded,
)
from relayd.service import app
from relayd.service.listeners import BindError

DEMO_MAX_S: Final = 30.0
"""The whole demo takes about a second; this is for a machine on its knees."""


FAILURES: Final = (
    DemoError,
    BindError,
    OSError,
    HandshakeError,
    ConnectionClosed,
    trio.TooSlowError,
)
"""How a demo can fail without being wrong itself."""


@click.command("demo")
def command() -> None:
    """Play one conversation of each dialect through a relay, and say what happened.

    The relay and its simulated upstreams listen on free ports of this host; nothing leaves it.
    """
    failure: str | None = None
    try:
        trio.run(_demo, Narrator(), strict_exception_groups=True)
    except* FAILURES as group:
        failure = _first(group)
    if failure is not None:
        raise DemoError(failure)


async def _demo(narrator: Narrator) -> None:
    with trio.fail_after(DEMO_MAX_S), tempfile.TemporaryDirectory(prefix="relayd-demo-") as where:
        key = f"rk_{secrets.token_hex(16)}"
        async with trio.open_nursery() as simulators:
            snapshot = await with_simulators(_configuration(key, Path(where)), simulators)
            for account in snapshot.accounts:
                at = account.base_url.authority if account.base_url else "nowhere"
                narrator.tell("upstream", f"{account.provider.value} listens on {at}")
            await _play(snapshot, key, narrator)
            simulators.cancel_scope.cancel(reason="the demo is over")


def _configuration(key: str, directory: Path) -> Snapshot:
    """A configuration as a file would give it: one client, and an account of each dialect."""
    return Snapshot.of(
        Settings(
            server=ServerSettings(
                listen=("127.0.0.1:0",), admin=f"unix:{directory / 'admin.sock'}", drain_s=1.0
            ),
            ledger=LedgerSettings(url="sqlite::memory:"),
            keys=(KeySettings(name="demo", secret=KeyDigest.of(key), role=Role.PUBLISHER),),
            accounts=(
                AccountSettings(name="voice", provider=Provider.SIM_REALTIME, models=(MODEL,)),
                AccountSettings(name="code", provider=Provider.SIM_RESPONSES, models=(TEXT_MODEL,)),
                AccountSettings(
                    name="chat",
                    provider=Provider.SIM_SPARK,
                    models=(CHAT_MODEL,),
                    spark=SparkSettings(
                        app_id="simspark", api_secret=Secret("simulated"), api_version="v3.5"
                    ),
                ),
                AccountSettings(name="kitchen", provider=Provider.SIM_XIAOZHI),
                AccountSettings(name=ECHO, provider=Provider.SIM_PASSTHROUGH),
            ),
        )
    )


async def _play(snapshot: Snapshot, key: str, narrator: Narrator) -> None:
    bus = Bus()
    heard: list[BusEvent] = []
    bus.subscribe(heard.append)
    serve = partial(app.serve, snapshot, environ={}, bus=bus)
    async with trio.open_nursery() as nursery:
        running: app.Running = await nursery.start(serve)
        narrator.tell("relay", f"listens on {running.addresses[0]}")
        client = Client(running.addresses[0], key, narrator)
        await client.converse()
        await client.work()
        await client.chat()
        await talk(running.addresses[0], key, narrator)
        await client.send_and_receive()
        await Follower(client).follow()
        running.drain()
    _tell_what_was_used(heard, narrator)


def _tell_what_was_used(heard: Sequence[BusEvent], narrator: Narrator) -> None:
    """What the relay has counted: each turn, then each session."""
    narrator.tell("usage", "as the relay counted it")
    for event in heard:
        match event:
            case TurnEnded(turn_id=str(turn_id)):
                tokens = f"{event.tokens_in} tokens in, {event.tokens_out} out"
                narrator.tell("  turn", f"{turn_id}: {tokens}")
            case DeviceTurnEnded():
                narrator.tell("  turn", f"of the device: {_seconds(event)}")
            case DeviceEnded():
                narrator.tell("  device", f"{event.turns} turns, {_seconds(event)}")
            case SessionEnded(session=session):
                tokens = f"{event.tokens_in} tokens in, {event.tokens_out} out"
                what = f"{session.dialect}, {event.turns} turns, {tokens}, {event.duration_s:.3f} s"
                narrator.tell("  session", f"{what}: {event.reason}")


def _seconds(used: DeviceTurnEnded | DeviceEnded) -> str:
    return f"{used.audio_in_s:.2f} s of audio in, {used.audio_out_s:.2f} s out"


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    """The first reason in ``group``, in words."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio.TooSlowError):
        return f"the demo did not end within {DEMO_MAX_S:.0f} s"
    return str(error) or type(error).__name__
