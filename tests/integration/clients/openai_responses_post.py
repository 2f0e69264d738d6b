"""The real openai SDK asks the Responses API by POST. Prints one JSON object.

Usage: openai_responses_post.py BASE_URL KEY chain | stream | tools | fault | refused | leave |
many COUNT
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from openai import APIError, APIStatusError, AsyncOpenAI
from openai.types.responses import (
    FunctionToolParam,
    Response,
    ResponseFunctionToolCall,
    ResponseInputParam,
)

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


def told(response: Response) -> dict[str, Any]:
    """What of a response is worth comparing."""
    assert response.usage is not None
    return {
        "id": response.id,
        "text": response.output_text,
        "status": response.status,
        "tokens_in": response.usage.input_tokens,
        "tokens_out": response.usage.output_tokens,
    }


async def chain(client: AsyncOpenAI) -> list[dict[str, Any]]:
    """Three turns, each going on from the one before, none of them stored."""
    responses: list[Response] = []
    for text in ("one", "two", "three"):
        previous = responses[-1].id if responses else None
        response = await client.responses.create(
            model=MODEL, input=text, store=False, previous_response_id=previous
        )
        responses.append(response)
    return [told(response) for response in responses]


async def stream(client: AsyncOpenAI) -> dict[str, Any]:
    """One turn, event by event."""
    types: list[str] = []
    text = ""
    events = await client.responses.create(model=MODEL, input="hi", store=False, stream=True)
    async for event in events:
        types.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            assert told(event.response)["text"] == text
    return {"types": types, "text": text}


async def tools(client: AsyncOpenAI) -> dict[str, Any]:
    """A turn that calls a tool, and one that brings its output, both as streams."""
    asked: ResponseInputParam = [{"role": "user", "content": "run `echo hello` and tell me"}]
    called = await _streamed(client, asked, None)
    (call,) = called.output
    assert isinstance(call, ResponseFunctionToolCall)
    output: ResponseInputParam = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "hello"}
    ]
    answer = await _streamed(client, output, called.id)
    return {"command": json.loads(call.arguments)["command"], **told(answer)}


async def _streamed(
    client: AsyncOpenAI, items: ResponseInputParam, previous: str | None
) -> Response:
    async with client.responses.stream(
        model=MODEL, input=items, tools=[SHELL], store=False, previous_response_id=previous
    ) as events:
        async for event in events:
            if event.type == "response.completed":
                return event.response
    raise AssertionError("no response was completed")


async def fault(client: AsyncOpenAI) -> dict[str, Any]:
    """A turn that goes wrong, as a document and as a stream, and then a sound one."""
    document = await _ending(_document(client))
    events = await _ending(_events(client))
    sound = await client.responses.create(model=MODEL, input="hi", store=False)
    return {"document": document, "stream": events, "next": sound.output_text}


async def refused(client: AsyncOpenAI) -> list[object]:
    """How one turn ends."""
    return await _ending(_document(client))


async def _document(client: AsyncOpenAI) -> str | None:
    return (await client.responses.create(model=MODEL, input="hi", store=False)).status


async def _events(client: AsyncOpenAI) -> str:
    last = ""
    async for event in await client.responses.create(
        model=MODEL, input="hi", store=False, stream=True
    ):
        last = event.type
    return last


async def _ending(answer: Awaitable[str | None]) -> list[object]:
    try:
        return [await answer]
    except APIStatusError as error:
        return [error.status_code, error.code]
    except APIError as error:
        return ["in the stream", error.code]


async def leave(client: AsyncOpenAI) -> str:
    """A stream that is left behind its first event."""
    events = await client.responses.create(model=MODEL, input="hi", store=False, stream=True)
    async with events:
        async for event in events:
            return event.type
    raise AssertionError("no event came")


async def many(client: AsyncOpenAI, count: int) -> list[str]:
    """So many at once."""
    responses = await asyncio.gather(
        *(
            client.responses.create(model=MODEL, input=f"number {number}", store=False)
            for number in range(count)
        )
    )
    return [response.output_text for response in responses]


async def main(base_url: str, key: str, mode: str, *arguments: str) -> None:
    client = AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)
    modes: dict[str, Callable[[], Awaitable[object]]] = {
        "chain": lambda: chain(client),
        "stream": lambda: stream(client),
        "tools": lambda: tools(client),
        "fault": lambda: fault(client),
        "refused": lambda: refused(client),
        "leave": lambda: leave(client),
        "many": lambda: many(client, int(arguments[0])),
    }
    print(json.dumps(await modes[mode]()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
