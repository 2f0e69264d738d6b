"""The real openai SDK asks for chat completions. Prints one JSON value a line.

Usage: openai_chat.py BASE_URL KEY MODE ARGUMENT...; the modes are the functions at the end.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

from openai import APIError, APIStatusError, AsyncOpenAI, AsyncStream
from openai.types.chat import (
    ChatCompletionChunk,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
)

MODEL: Final = "xunfei-spark-max"

SHELL: Final[ChatCompletionFunctionToolParam] = {
    "type": "function",
    "function": {
        "name": "shell",
        "description": "Runs a command.",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string"}},
            "required": ["command"],
        },
    },
}


def tell(value: object) -> None:
    """Print one line."""
    print(json.dumps(value), flush=True)


def of_user(text: str) -> ChatCompletionMessageParam:
    """A message."""
    return {"role": "user", "content": text}


# -- what is worth comparing of an answer, and of an error


async def document(client: AsyncOpenAI, text: str, model: str, **more: object) -> dict[str, Any]:
    """An answer as one object."""
    raw = await client.chat.completions.with_raw_response.create(
        model=model, messages=[of_user(text)], extra_body=more
    )
    answer = raw.parse()
    (choice,) = answer.choices
    assert answer.object == "chat.completion"
    assert choice.message.role == "assistant"
    return {
        "id": answer.id,
        "model": answer.model,
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "usage": None if answer.usage is None else answer.usage.to_dict(),
        "ignored": raw.headers.get("x-relayd-ignored"),
        "sid": raw.headers.get("x-upstream-sid"),
        "retries": raw.retries_taken,
    }


async def streamed(client: AsyncOpenAI, text: str, model: str, **more: object) -> dict[str, Any]:
    """An answer as a stream: its chunks, and what may be said of all of them."""
    chunks = [chunk async for chunk in await begun(client, text, model, **more)]
    choices = [choice for chunk in chunks for choice in chunk.choices]
    return {
        "ids": len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}),
        "model": chunks[0].model,
        "first": choices[0].delta.to_dict(),
        "pieces": [choice.delta.content for choice in choices if choice.delta.content],
        "last": [choices[-1].delta.to_dict(), choices[-1].finish_reason],
        "finishes": sum(choice.finish_reason is not None for choice in choices),
        "usages": [None if chunk.usage is None else chunk.usage.to_dict() for chunk in chunks],
        "without_choices": [not chunk.choices for chunk in chunks],
    }


async def begun(
    client: AsyncOpenAI, text: str, model: str, **more: object
) -> AsyncStream[ChatCompletionChunk]:
    """A stream of which nothing has been read."""
    stream: AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(
        model=model, messages=[of_user(text)], stream=True, extra_body=more
    )
    return stream


async def ending(answer: Awaitable[object]) -> dict[str, Any]:
    """How an answer that is asked for ends: with what it says, or with which error."""
    began = time.monotonic()
    try:
        return {"told": await answer}
    except APIStatusError as error:
        return {
            "raised": [type(error).__name__, error.status_code, error.type, error.code],
            "message": error.message,
            "param": error.param,
            "members": sorted(error.body) if isinstance(error.body, dict) else None,
            "requests": 1 + int(error.request.headers["x-stainless-retry-count"]),
            "retry_after": error.response.headers.get("retry-after"),
            "should_retry": error.response.headers.get("x-should-retry"),
            "sid": error.response.headers.get("x-upstream-sid"),
            "took_s": time.monotonic() - began,
        }
    except APIError as error:
        return {
            "raised": [type(error).__name__, None, error.type, error.code],
            "message": error.message,
        }


async def text_in(client: AsyncOpenAI, text: str, model: str) -> str:
    """The text of a stream that is read to its end."""
    said = ""
    async for chunk in await begun(client, text, model):
        said += "".join(choice.delta.content or "" for choice in chunk.choices)
    return said


async def cut(client: AsyncOpenAI, text: str, model: str) -> dict[str, Any]:
    """A stream that ends badly: what came before, and how it did."""
    pieces: list[str] = []

    async def read() -> str | None:
        finish = None
        async for chunk in await begun(client, text, model):
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                finish = choice.finish_reason or finish
        return finish

    return {**await ending(read()), "before": "".join(pieces)}


# -- modes


async def documents(client: AsyncOpenAI, questions: str, more: str = "{}") -> list[object]:
    """Answers to ``[model, text]``, one after the other; each as a document or an error."""
    options = json.loads(more)
    return [
        await ending(document(client, text, model, **options))
        for model, text in json.loads(questions)
    ]


async def stream(client: AsyncOpenAI, model: str, text: str, more: str = "{}") -> object:
    """One stream that goes well."""
    return await streamed(client, text, model, **json.loads(more))


async def faults(client: AsyncOpenAI, questions: str, retries: str = "2") -> dict[str, Any]:
    """All questions at once, ``name: [model, text]``, as documents."""
    asked, client = json.loads(questions), client.with_options(max_retries=int(retries))
    told = await asyncio.gather(
        *(ending(document(client, text, model)) for model, text in asked.values())
    )
    return dict(zip(asked, told, strict=True))


async def cuts(client: AsyncOpenAI, questions: str) -> dict[str, Any]:
    """All questions at once, ``name: [model, text]``, as streams."""
    asked = json.loads(questions)
    told = await asyncio.gather(*(cut(client, text, model) for model, text in asked.values()))
    return dict(zip(asked, told, strict=True))


async def tools(client: AsyncOpenAI, model: str) -> dict[str, Any]:
    """A call of a tool and an answer to its output, as documents and as streams."""
    asked = of_user("run `echo hello` and tell me")
    answer = await client.chat.completions.create(model=model, messages=[asked], tools=[SHELL])
    message = answer.choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    history: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        asked,
        {
            "role": "assistant",
            "content": message.content,
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": call.function.arguments},
                }
            ],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "hello"},
    ]
    after = await client.chat.completions.create(model=model, messages=history, tools=[SHELL])
    async with client.chat.completions.stream(
        model=model, messages=[asked], tools=[SHELL]
    ) as events:
        kinds = [event.type async for event in events]
        whole = await events.get_final_completion()
    calls = whole.choices[0].message.tool_calls
    assert calls is not None
    (second,) = calls
    return {
        "name": call.function.name,
        "arguments": json.loads(call.function.arguments),
        "finish": answer.choices[0].finish_reason,
        "content": message.content,
        "answer": after.choices[0].message.content,
        "answered": after.choices[0].finish_reason,
        "streamed": [second.function.name, json.loads(second.function.arguments)],
        "streamed_finish": whole.choices[0].finish_reason,
        "kinds": sorted(set(kinds)),
        "ids": len({call.id, second.id}),
    }


async def models(client: AsyncOpenAI) -> list[str]:
    """The models there are."""
    return sorted([model.id async for model in client.models.list()])


async def mistakes(client: AsyncOpenAI, requests: str) -> dict[str, Any]:
    """Requests that are wrong: a file of ``name: members``."""
    asked = json.loads(await asyncio.to_thread(Path(requests).read_text))
    return {
        name: await ending(
            client.chat.completions.create(
                model=MODEL, messages=[of_user("hi")], extra_body=members
            )
        )
        for name, members in asked.items()
    }


async def leave(client: AsyncOpenAI, how: str, model: str, text: str) -> None:
    """Leave an answer on SIGUSR1: behind its first word, or while it is awaited; then stay."""
    told_to = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told_to.set)
    ask = document if how == "document" else _first_word
    asked = asyncio.ensure_future(ask(client, text, model))
    opened = await asked if how == "stream" else None
    tell("begun")
    await told_to.wait()
    tell(time.monotonic())
    if isinstance(opened, AsyncStream):
        await opened.close()
    else:
        assert not asked.done()
        asked.cancel()
        await asyncio.wait([asked])
    await asyncio.Event().wait()  # its process would close its sockets


async def _first_word(
    client: AsyncOpenAI, text: str, model: str
) -> AsyncStream[ChatCompletionChunk]:
    """A stream that has said something."""
    stream = await begun(client, text, model)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            return stream
    raise AssertionError("the stream said nothing")


async def many(client: AsyncOpenAI, count: str, words: str, pace: str) -> dict[str, Any]:
    """So many streams at once, each of so many words; what was not as it should be."""
    numbers: Iterable[int] = range(int(count))
    told = await asyncio.gather(*(_checked(client, number, int(words), pace) for number in numbers))
    return {
        "wrong": [each for each in told if isinstance(each, str)],
        "chunks": sum(each for each in told if isinstance(each, int)),
    }


async def _checked(client: AsyncOpenAI, number: int, words: int, pace: str) -> int | str:
    """The chunks of one stream; or what was wrong with it."""
    said = ["Answer", " 1.", " You", " said:", " number", f" {number}"]
    expected = [*said, *[" word"] * (words - len(said))]
    pieces: list[str] = []
    chunks, finish = 0, None
    try:
        question = f"[sim:{pace} words={words}] number {number}"
        async for chunk in await begun(client, question, MODEL):
            chunks += 1
            for choice in chunk.choices:
                pieces += [choice.delta.content] if choice.delta.content else []
                finish = choice.finish_reason or finish
    except APIError as error:
        return f"{number}: {error!r} behind {len(pieces)} pieces"
    if pieces != expected or finish != "stop":
        return f"{number}: {len(pieces)} of {words} pieces, {finish}"
    return chunks


MODES: Final[dict[str, Callable[..., Awaitable[object]]]] = {
    mode.__name__: mode
    for mode in (documents, stream, faults, cuts, tools, models, mistakes, leave, many)
}


async def main(base_url: str, key: str, mode: str, *arguments: str) -> None:
    retries = 0 if mode == "many" else 2
    async with AsyncOpenAI(base_url=base_url, api_key=key, max_retries=retries) as client:
        told = await MODES[mode](client, *arguments)
    if told is not None:
        tell(told)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
