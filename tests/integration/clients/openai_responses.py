"""Conversations over the Responses WebSocket, held by the real openai SDK.

Prints one JSON object for each. Usage:
openai_responses.py BASE_URL KEY chain | tools | lanes COUNT | steer | errors
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from openai import AsyncOpenAI
from openai.resources.responses.responses import AsyncResponsesConnection
from openai.types.responses import (
    FunctionToolParam,
    Response,
    ResponseFunctionToolCall,
    ResponsesServerEvent,
)

MODEL = "gpt-test"
SHELL: FunctionToolParam = {
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
TERMINALS = {"response.completed", "response.failed", "response.incomplete"}


class Refused(Exception):
    """The turn was answered with an error event."""


def ended(event: ResponsesServerEvent) -> Response | None:
    """The response, if ``event`` is the one that ends it."""
    if event.type == "error":
        raise Refused(event)
    if event.type in TERMINALS:
        response = getattr(event, "response", None)
        assert isinstance(response, Response)
        return response
    return None


async def terminal(connection: AsyncResponsesConnection) -> Response:
    """The next response that ends."""
    while True:
        response = ended(await connection.recv())
        if response is not None:
            return response


def told(response: Response) -> dict[str, Any]:
    """What of a response is worth comparing."""
    assert response.usage is not None
    return {
        "id": response.id,
        "text": response.output_text,
        "status": response.status,
        "tokens_in": response.usage.input_tokens,
        "tokens_cached": response.usage.input_tokens_details.cached_tokens,
        "tokens_out": response.usage.output_tokens,
    }


async def chain(client: AsyncOpenAI) -> list[dict[str, Any]]:
    """Three turns, each going on from the one before, none of them stored."""
    responses: list[Response] = []
    async with client.responses.connect() as connection:
        for text in ("one", "two", "three"):
            await connection.response.create(
                model=MODEL,
                input=text,
                store=False,
                previous_response_id=responses[-1].id if responses else None,
            )
            responses.append(await terminal(connection))
    return [told(response) for response in responses]


async def tools(client: AsyncOpenAI) -> dict[str, Any]:
    """A turn that calls a tool, and one that brings its output."""
    async with client.responses.connect() as connection:
        await connection.response.create(
            model=MODEL, input="run echo hello and tell me", tools=[SHELL], store=False
        )
        called = await terminal(connection)
        (call,) = called.output
        assert isinstance(call, ResponseFunctionToolCall)
        await connection.response.create(
            model=MODEL,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "hello"}],
            tools=[SHELL],
            store=False,
            previous_response_id=called.id,
        )
        answer = await terminal(connection)
    return {"command": json.loads(call.arguments)["command"], **told(answer)}


async def lanes(client: AsyncOpenAI, count: int) -> dict[str, dict[str, Any]]:
    """``count`` lanes of one connection, side by side."""
    answers: dict[str, dict[str, Any]] = {}
    async with client.responses.connect() as connection:
        for number in range(count):
            await connection.response.create(
                model=MODEL, input=f"number {number}", store=False, stream_id=f"lane{number}"
            )
        while len(answers) < count:
            event = await connection.recv()
            response = ended(event)
            if response is not None:
                assert event.stream_id is not None
                answers[event.stream_id] = told(response)
    return answers


async def steer(client: AsyncOpenAI) -> list[dict[str, Any]]:
    """A response that is told something while it runs, and its successor."""
    async with client.responses.connect() as connection:
        await connection.response.create(
            model=MODEL, input="count", metadata={"sim": "slow", "sim_words": "2000"}, store=False
        )
        event = await connection.recv()
        assert event.type == "response.created"
        await connection.response.steer(previous_response_id=event.response.id, input="enough")
        return [told(await terminal(connection)), told(await terminal(connection))]


async def errors(client: AsyncOpenAI) -> dict[str, Any]:
    """A turn that goes on from nothing, and the next one on the same connection."""
    async with client.responses.connect() as connection:
        await connection.response.create(
            model=MODEL, input="hi", previous_response_id="resp_unknown", stream_id="a"
        )
        error = await connection.recv()
        assert error.type == "error"
        await connection.response.create(model=MODEL, input="hi", stream_id="a")
        answer = await terminal(connection)
    return {
        "status": error.status,
        "code": error.error.code,
        "param": error.error.param,
        "lane": error.stream_id,
        "next": told(answer),
    }


async def main(base_url: str, key: str, mode: str, *arguments: str) -> None:
    client = AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)
    modes: dict[str, Callable[[], Awaitable[object]]] = {
        "chain": lambda: chain(client),
        "tools": lambda: tools(client),
        "lanes": lambda: lanes(client, int(arguments[0])),
        "steer": lambda: steer(client),
        "errors": lambda: errors(client),
    }
    print(json.dumps(await modes[mode]()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
