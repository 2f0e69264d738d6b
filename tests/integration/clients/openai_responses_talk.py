"""An application on the real openai SDK that goes on talking whatever happens. Prints JSON lines.

It keeps the conversation, so that it can send all of it when a connection, or what it went on from,
is gone.
Usage: openai_responses_talk.py BASE_URL KEY exchange | mistakes | refused | paused |
drained | interrupted | killed
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from openai import AsyncOpenAI
from openai.resources.responses.responses import AsyncResponsesConnection
from openai.types.responses import (
    FunctionToolParam,
    Response,
    ResponseFunctionToolCall,
    ResponsesServerEvent,
)
from openai.types.shared_params import Metadata
from openai.types.websocket_reconnection import ReconnectingEvent
from websockets.exceptions import ConnectionClosed

MODEL: Final = "gpt-test"
SHELL: Final[FunctionToolParam] = {
    "type": "function",
    "name": "shell",
    "description": "Runs a command.",
    "parameters": {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
        "additionalProperties": False,
    },
    "strict": True,
}
TERMINALS: Final = {"response.completed", "response.failed", "response.incomplete"}
SLOWLY: Final[Metadata] = {"sim": "slow", "sim_words": "30"}
SPENT: Final = (400, "websocket_connection_limit_reached")
"""A connection that is told so is about to be closed."""

ATTEMPTS_MAX: Final = 5
EVENT_S: Final = 30.0


class Lost(Exception):
    """The connection was replaced while an answer was awaited."""


class Refused(Exception):
    """The answer is an error event."""


def report(value: object) -> None:
    print(json.dumps(value), flush=True)


class Talk:
    """One conversation.

    Attributes:
        recoveries: What it had to begin anew for.
        closes: With which codes its connections were closed.
        created: How often it has seen ``response.created``.
        ended: How often a response's end, or an error.
    """

    connection: AsyncResponsesConnection

    def __init__(self, client: AsyncOpenAI) -> None:
        self.recoveries: list[object] = []
        self.closes: list[int] = []
        self.created = self.ended = 0
        self._client = client
        self._history: list[dict[str, Any]] = []
        self._previous: str | None = None
        self._events: asyncio.Queue[ResponsesServerEvent | None] = asyncio.Queue()

    async def open(self) -> None:
        """Connect."""
        self.connection = await self._client.responses.connect(
            on_reconnecting=self._reconnecting, max_retries=40, initial_delay=0.1, max_delay=0.5
        ).enter()

    async def read(self) -> None:
        """Take what comes. The SDK reconnects but for a connection that was closed with 1000."""
        while True:
            async for event in self.connection:
                await self._events.put(event)
            await self.open()
            self._lost(1000)

    def _reconnecting(self, event: ReconnectingEvent) -> None:
        if event.attempt == 1:
            self._lost(event.close_code)

    def _lost(self, code: int) -> None:
        self.closes.append(code)
        self._events.put_nowait(None)

    async def until_reconnecting(self) -> None:
        """Wait until the connection is lost."""
        while await asyncio.wait_for(self._events.get(), EVENT_S) is not None:
            pass
        self._previous = None

    async def exchange(
        self, text: str, pause: Callable[[], Awaitable[None]] | None = None
    ) -> dict[str, Any]:
        """Ask for a command to be run, say what it printed, and hear of that."""
        asked: dict[str, Any] = {"type": "message", "role": "user", "content": text}
        called = await self._ask([asked])
        if pause is not None:
            await pause()
        (call,) = called.output
        assert isinstance(call, ResponseFunctionToolCall), called
        command = json.loads(call.arguments)["command"]
        printed = command.removeprefix("echo ")
        output = {"type": "function_call_output", "call_id": call.call_id, "output": printed}
        answer = await self._ask([output])
        return {"command": command, "answer": answer.output_text}

    async def say_once(self, text: str) -> None:
        """Say something, and hear how that ends."""
        await self._create([{"type": "message", "role": "user", "content": text}], None)
        await self.hear_end()

    async def hear_end(self) -> None:
        """Hear how the one turn ends that was asked for."""
        try:
            await self._answer(None)
        except Refused as refused:
            self.recoveries.append(refused.args)

    async def say_slowly(self, text: str, begun: Callable[[], None]) -> str:
        """Say something, and hear the answer, whose first words are noted."""
        asked: dict[str, Any] = {"type": "message", "role": "user", "content": text}
        return (await self._ask([asked], SLOWLY, begun)).output_text

    async def _ask(
        self,
        items: list[dict[str, Any]],
        metadata: Metadata | None = None,
        begun: Callable[[], None] | None = None,
    ) -> Response:
        for _ in range(ATTEMPTS_MAX):
            try:
                await self._create(items, metadata)
                response = await self._answer(begun)
            except Lost:
                self.recoveries.append("lost")
            except Refused as refused:
                self.recoveries.append(refused.args)
                if refused.args == SPENT:
                    await self.until_reconnecting()
            else:
                output = [item.to_dict() for item in response.output]
                self._history += [*items, *output]
                self._previous = response.id
                return response
            self._previous = begun = None
        raise AssertionError(self.recoveries)

    async def _create(self, items: list[dict[str, Any]], metadata: Metadata | None) -> None:
        told: Any = items if self._previous else [*self._history, *items]
        with suppress(ConnectionClosed):  # the SDK is about to say so
            await self.connection.response.create(
                model=MODEL,
                input=told,
                tools=[SHELL],
                store=False,
                metadata=metadata,
                previous_response_id=self._previous,
            )

    async def _answer(self, begun: Callable[[], None] | None) -> Response:
        while True:
            event = await asyncio.wait_for(self._events.get(), EVENT_S)
            if event is None:
                raise Lost
            self.created += event.type == "response.created"
            if event.type == "error":
                self.ended += 1
                raise Refused(event.status, event.error.code)
            if event.type == "response.output_text.delta" and begun is not None:
                begun()
                begun = None
            if event.type in TERMINALS:
                self.ended += 1
                response = getattr(event, "response", None)
                assert isinstance(response, Response)
                if response.status != "completed":
                    raise Refused(response.status, None)
                return response

    def result(self, **more: object) -> dict[str, Any]:
        """What came of it."""
        return {
            "recoveries": self.recoveries,
            "closes": self.closes,
            "created": self.created,
            "ended": self.ended,
            **more,
        }


async def exchange(talk: Talk) -> dict[str, Any]:
    """Two turns: a call, and an answer to its output."""
    return talk.result(exchange=await talk.exchange("run `echo hello` and tell me"))


MISTAKES: Final[list[dict[str, Any]]] = [
    {"type": "response.create", "model": "no-such-model", "input": "hi"},
    {"type": "response.create", "model": MODEL, "input": "hi", "stream_id": ""},
    {"type": "response.create", "model": MODEL, "input": "hi", "stream_id": "x" * 257},
    {"type": "response.create", "input": "hi", "stream_id": "without-model"},
    {"type": "response.append", "input": "hi"},
    {"type": "response.steer", "previous_response_id": "resp_unknown", "input": "hi"},
    {
        "type": "response.create",
        "model": MODEL,
        "input": "hi",
        "store": False,
        "previous_response_id": "resp_unknown",
    },
]


async def mistakes(talk: Talk) -> dict[str, Any]:
    """What a client may get wrong, and a turn behind each."""
    answers = []
    for mistake in MISTAKES:
        await talk.connection.send_raw(json.dumps(mistake))
        await talk.hear_end()
        answers.append((await talk.exchange("run `echo hello` and tell me"))["command"])
    return talk.result(answers=answers)


async def refused(talk: Talk) -> dict[str, Any]:
    """One turn, tried once."""
    await talk.say_once("hello")
    return talk.result()


async def paused(talk: Talk) -> dict[str, Any]:
    """The same; in between the client waits for SIGUSR1."""
    go_on = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, go_on.set)

    async def pause() -> None:
        report("waiting")
        await asyncio.wait_for(go_on.wait(), EVENT_S)

    told = await talk.exchange("run `echo hello` and tell me", pause)
    return talk.result(exchange=told)


async def drained(talk: Talk) -> dict[str, Any]:
    """relayd is replaced while nothing runs."""
    before = await talk.exchange("run `echo before` and tell me")
    report("idle")
    await talk.until_reconnecting()
    after = await talk.exchange("run `echo after` and tell me")
    return talk.result(exchanges=[before, after])


async def interrupted(talk: Talk) -> dict[str, Any]:
    """relayd is told to end while a response runs, which it lets end first."""
    before = await talk.exchange("run `echo before` and tell me")
    slow = await talk.say_slowly("slowly", lambda: report("busy"))
    await talk.until_reconnecting()
    after = await talk.exchange("run `echo after` and tell me")
    return talk.result(exchanges=[before, after], slow=slow)


async def killed(talk: Talk) -> dict[str, Any]:
    """relayd is killed while a response runs."""
    before = await talk.exchange("run `echo before` and tell me")
    slow = await talk.say_slowly("slowly", lambda: report("busy"))
    return talk.result(exchanges=[before], slow=slow)


async def main(base_url: str, key: str, mode: str) -> None:
    talk = Talk(AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0))
    modes: dict[str, Callable[[Talk], Awaitable[object]]] = {
        "exchange": exchange,
        "mistakes": mistakes,
        "refused": refused,
        "paused": paused,
        "drained": drained,
        "interrupted": interrupted,
        "killed": killed,
    }
    await talk.open()
    reading = asyncio.create_task(talk.read())
    report(await modes[mode](talk))
    reading.cancel()
    await talk.connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
