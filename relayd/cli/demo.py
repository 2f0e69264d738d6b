"""``relayd demo``: a relay, its simulated upstreams and a client of each dialect, at once."""

from __future__ import annotations

import base64
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import click
import msgspec
import trio
from rich.console import Console
from rich.text import Text
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from relayd.cli.simulated import with_simulators
from relayd.config.accounts import AccountSettings
from relayd.config.providers import Dialect, Provider
from relayd.config.schema import KeySettings, LedgerSettings, ServerSettings, Settings
from relayd.config.secret import KeyDigest
from relayd.config.snapshot import Snapshot
from relayd.observe.bus import Bus, BusEvent, SessionEnded, TurnEnded
from relayd.service import app
from relayd.service.listeners import BindError
from relayd.sim.realtime.audio import silence, tone

DEMO_MAX_S: Final = 30.0
"""The whole demo takes less than a second; this is for a machine on its knees."""
MESSAGE_MAX_BYTES: Final = 4 * 1024 * 1024
MODEL: Final = "gpt-realtime"
TEXT_MODEL: Final = "gpt-5"
AUDIO_FORMAT: Final = "audio/pcm"
CHUNK_BYTES: Final = 4_800
BINARY_BYTES: Final = 65_536
ECHO: Final = "echo"

_WHO_WIDTH: Final = 12

JsonObject = dict[str, object]

TOOL: Final[JsonObject] = {
    "type": "function",
    "name": "look_up",
    "parameters": {"type": "object", "properties": {"question": {"type": "string"}}},
}


class DemoError(click.ClickException):
    """Something could not start, or did not answer as it should."""

    exit_code = os.EX_UNAVAILABLE


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


@attrs.define
class Narrator:
    """Tells what happens: in colours on a terminal, plainly in a pipe."""

    _console: Console = attrs.field(factory=lambda: Console(highlight=False))

    def tell(self, who: str, what: str) -> None:
        """One line."""
        if sys.stdout.isatty():
            self._console.print(Text.assemble((f"{who:<{_WHO_WIDTH}}", "bold cyan"), what))
        else:
            click.echo(f"{who:<{_WHO_WIDTH}}{what}")


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
            keys=(KeySettings(name="demo", secret=KeyDigest.of(key)),),
            accounts=(
                AccountSettings(name="voice", provider=Provider.SIM_REALTIME, models=(MODEL,)),
                AccountSettings(name="code", provider=Provider.SIM_RESPONSES, models=(TEXT_MODEL,)),
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
        await client.send_and_receive()
        running.drain()
    _tell_what_was_used(heard, narrator)


@attrs.define
class Client:
    """What an application would be: it knows the relay's address and its own key, no more.

    Attributes:
        address: The relay, ``host:port``.
        key: What it comes in with.
        narrator: Is told what happens.
    """

    address: str
    key: str = attrs.field(repr=False)
    narrator: Narrator

    async def converse(self) -> None:
        """A Realtime conversation: one question in writing, one aloud."""
        who = Dialect.REALTIME.value
        async with self._connected(f"/v1/realtime?model={MODEL}") as socket:
            created = await _event(socket)
            self.narrator.tell(who, f"connected as {MODEL}; the first event is {created['type']}")
            await _say(socket, "Hello from the demo")
            self.narrator.tell(who, 'asked in writing: "Hello from the demo"')
            await self._hear_answer(socket)
            await _speak(socket, length_ms=1000)
            self.narrator.tell(who, "asked aloud: one second of a tone, then silence")
            await self._hear_answer(socket)

    async def _hear_answer(self, socket: WebSocketConnection) -> None:
        """Tell what the next response says, and what was understood of a question aloud."""
        who = Dialect.REALTIME.value
        words: list[str] = []
        while True:
            match await _event(socket):
                case {"transcript": text, "usage": {"total_tokens": tokens}}:
                    self.narrator.tell(who, f'understood: "{text}", for {tokens} tokens')
                case {"type": "response.output_audio_transcript.delta", "delta": str(word)}:
                    words.append(word)
                case {"type": "response.done"}:
                    self.narrator.tell(who, f'answered aloud: "{"".join(words)}"')
                    return
                case {"type": "error", "error": error}:
                    raise DemoError(f"the upstream answered with an error: {error}")

    async def work(self) -> None:
        """A Responses conversation: a tool is called, its output brought back on the same chain."""
        who = Dialect.RESPONSES.value
        async with self._connected("/v1/responses") as socket:
            request = {"model": TEXT_MODEL, "input": "Please run the tool", "tools": [TOOL]}
            await _send(socket, {"type": "response.create", **request})
            called = await self._completed(socket)
            call = next((item for item in _items(called) if item.type == "function_call"), None)
            if call is None:
                raise DemoError("the upstream called no tool")
            self.narrator.tell(who, f"asked for work; it calls {call.name}({call.arguments})")
            output = {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": "42",
            }
            request = {"model": TEXT_MODEL, "input": [output]}
            chain = {"previous_response_id": called["id"]}
            await _send(socket, {"type": "response.create", **request, **chain})
            answered = await self._completed(socket)
        words = " ".join(part.text for item in _items(answered) for part in item.content)
        self.narrator.tell(who, f'brought the output "42"; answered: "{words}"')

    async def _completed(self, socket: WebSocketConnection) -> JsonObject:
        """The response of the turn that runs."""
        while True:
            match await _event(socket):
                case {"type": "response.completed", "response": dict(response)}:
                    return response
                case {"type": "error" | "response.failed" as kind, **rest}:
                    raise DemoError(f"the upstream answered with {kind}: {rest}")

    async def send_and_receive(self) -> None:
        """A WebSocket of any other kind: text and bytes, there and back."""
        who = Dialect.PASSTHROUGH.value
        payload = secrets.token_bytes(BINARY_BYTES)
        async with self._connected(f"/relay/{ECHO}/any/path") as socket:
            for sent in ("a text", payload):
                await socket.send_message(sent)
                if await socket.get_message() != sent:
                    raise DemoError("what came back is not what was sent")
        self.narrator.tell(
            who, f'sent "a text" and {len(payload):,} random bytes; the same came back'
        )

    @asynccontextmanager
    async def _connected(self, path: str) -> AsyncIterator[WebSocketConnection]:
        host, _, port = self.address.rpartition(":")
        # The stream is opened here because a refused WebSocket would not close one of its own.
        async with (
            await trio.open_tcp_stream(host, int(port)) as stream,
            trio.open_nursery() as nursery,
            await wrap_client_stream(
                nursery,
                stream,
                self.address,
                path,
                extra_headers=[(b"Authorization", f"Bearer {self.key}".encode())],
                max_message_size=MESSAGE_MAX_BYTES,
            ) as socket,
        ):
            yield socket


async def _say(socket: WebSocketConnection, text: str) -> None:
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": text}],
    }
    await _send(socket, {"type": "conversation.item.create", "item": item})
    await _send(socket, {"type": "response.create"})


async def _speak(socket: WebSocketConnection, *, length_ms: int) -> None:
    """Say something; the silence behind it makes the server answer by itself."""
    transcription = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
    session = {"type": "realtime", "audio": transcription}
    await _send(socket, {"type": "session.update", "session": session})
    sound = tone(AUDIO_FORMAT, length_ms) + silence(AUDIO_FORMAT, length_ms)
    for start in range(0, len(sound), CHUNK_BYTES):
        chunk = base64.b64encode(sound[start : start + CHUNK_BYTES]).decode()
        await _send(socket, {"type": "input_audio_buffer.append", "audio": chunk})


async def _send(socket: WebSocketConnection, event: JsonObject) -> None:
    await socket.send_message(msgspec.json.encode(event).decode())


class _Part(msgspec.Struct):
    text: str = ""


class _Item(msgspec.Struct):
    """What a response has put out: a message, or a call of a tool."""

    type: str
    name: str = ""
    arguments: str = ""
    call_id: str = ""
    content: tuple[_Part, ...] = ()


def _items(response: JsonObject) -> list[_Item]:
    return msgspec.convert(response["output"], list[_Item])


async def _event(socket: WebSocketConnection) -> JsonObject:
    return msgspec.json.decode(await socket.get_message(), type=JsonObject)


def _tell_what_was_used(heard: Sequence[BusEvent], narrator: Narrator) -> None:
    """What the relay has counted: each turn, then each session."""
    narrator.tell("usage", "as the relay counted it")
    for event in heard:
        match event:
            case TurnEnded():
                tokens = f"{event.tokens_in} tokens in, {event.tokens_out} out"
                narrator.tell("  turn", f"{event.turn_id}: {tokens}")
            case SessionEnded(session=session):
                tokens = f"{event.tokens_in} tokens in, {event.tokens_out} out"
                what = f"{session.dialect}, {event.turns} turns, {tokens}, {event.duration_s:.3f} s"
                narrator.tell("  session", f"{what}: {event.reason}")


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    """The first reason in ``group``, in words."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio.TooSlowError):
        return f"the demo did not end within {DEMO_MAX_S:.0f} s"
    return str(error) or type(error).__name__
