"""The client of ``relayd demo``: what an application would be, in each dialect."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import attrs
import click
import httpx
import msgspec
import trio
from rich.console import Console
from rich.text import Text
from trio_websocket import WebSocketConnection, wrap_client_stream

from relayd.config.providers import Dialect
from relayd.sim.realtime.audio import silence, tone

MESSAGE_MAX_BYTES: Final = 4 * 1024 * 1024
MODEL: Final = "gpt-realtime"
TEXT_MODEL: Final = "gpt-5"
CHAT_MODEL: Final = "xunfei-spark-max"
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
        async with self.connected(f"/v1/realtime?model={MODEL}") as socket:
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
        async with self.connected("/v1/responses") as socket:
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

    async def chat(self) -> None:
        """A chat completion over HTTP, answered by a provider that speaks WebSocket alone."""
        who = Dialect.CHAT.value
        question = "Hello from the demo"
        request = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": question}]}
        async with httpx.AsyncClient(base_url=f"http://{self.address}", trust_env=False) as http:
            response = await http.post(
                "/v1/chat/completions",
                json=request,
                headers={"Authorization": f"Bearer {self.key}"},
            )
        if response.status_code != HTTPStatus.OK:
            raise DemoError(f"the relay answered with {response.status_code}: {response.text}")
        answer = msgspec.json.decode(response.content, type=_Completion)
        words = answer.choices[0].message.content
        self.narrator.tell(who, f'asked {CHAT_MODEL} over HTTP; answered: "{words}"')

    async def send_and_receive(self) -> None:
        """A WebSocket of any other kind: text and bytes, there and back."""
        who = Dialect.PASSTHROUGH.value
        payload = secrets.token_bytes(BINARY_BYTES)
        async with self.connected(f"/relay/{ECHO}/any/path") as socket:
            for sent in ("a text", payload):
                await socket.send_message(sent)
                if await socket.get_message() != sent:
                    raise DemoError("what came back is not what was sent")
        self.narrator.tell(
            who, f'sent "a text" and {len(payload):,} random bytes; the same came back'
        )

    @asynccontextmanager
    async def connected(self, path: str) -> AsyncIterator[WebSocketConnection]:
        """A WebSocket at ``path`` of the relay, closed afterwards."""
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


class _Message(msgspec.Struct):
    content: str


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    """A chat completion, as far as it is shown."""

    choices: tuple[_Choice, ...]


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
