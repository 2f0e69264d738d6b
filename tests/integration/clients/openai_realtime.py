"""Conversations held by the real openai SDK. Prints one JSON object for each conversation.

Usage: openai_realtime.py BASE_URL KEY one | audio | many COUNT | reconnect
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import ResponseDoneEvent
from openai.types.websocket_reconnection import ReconnectingEvent

MODEL = "gpt-realtime"
TONE = bytes([0x00, 0x40, 0x00, 0xC0]) * 12_000  # 1 s of 16 bit at 24 kHz, loud
SILENCE = bytes(24_000 * 2)


async def say(connection: AsyncRealtimeConnection, text: str) -> None:
    await connection.conversation.item.create(
        item={
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        }
    )
    await connection.response.create()


async def answer(connection: AsyncRealtimeConnection) -> dict[str, Any]:
    """What the next response says and has used, with the types of all events before its end."""
    types: list[str] = []
    transcript = ""
    while True:
        event = await connection.recv()
        types.append(event.type)
        if event.type == "response.output_audio_transcript.delta":
            transcript += event.delta
        if isinstance(event, ResponseDoneEvent):
            usage = event.response.usage
            assert usage is not None
            return {
                "types": types,
                "transcript": transcript,
                "tokens_in": usage.input_tokens,
                "tokens_out": usage.output_tokens,
            }


async def one(client: AsyncOpenAI, number: int = 0) -> dict[str, Any]:
    """One conversation in writing, of two turns."""
    async with client.realtime.connect(model=MODEL) as connection:
        created = await connection.recv()
        await connection.session.update(session={"type": "realtime", "instructions": "Be kind."})
        await say(connection, f"number {number}")
        first = await answer(connection)
        await say(connection, f"again {number}")
        second = await answer(connection)
    return {"first_event": created.type, "number": number, "turns": [first, second]}


async def audio(client: AsyncOpenAI) -> dict[str, Any]:
    """One conversation aloud: the server hears when the user has finished."""
    async with client.realtime.connect(model=MODEL) as connection:
        await connection.recv()
        await connection.session.update(
            session={
                "type": "realtime",
                "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}},
            }
        )
        for sound in (TONE, SILENCE):
            for start in range(0, len(sound), 4800):
                chunk = base64.b64encode(sound[start : start + 4800]).decode()
                await connection.input_audio_buffer.append(audio=chunk)
        return await answer(connection)


async def many(client: AsyncOpenAI, count: int) -> list[dict[str, Any]]:
    """``count`` conversations at once, all open before the first one speaks."""
    everybody = asyncio.Barrier(count)

    async def wait_and_speak(number: int) -> dict[str, Any]:
        async with client.realtime.connect(model=MODEL) as connection:
            await connection.recv()
            await everybody.wait()
            await say(connection, f"number {number}")
            return {"number": number, **await answer(connection)}

    return list(await asyncio.gather(*map(wait_and_speak, range(count))))


async def reconnect(client: AsyncOpenAI, report: Callable[[object], None]) -> dict[str, Any]:
    """A conversation that goes on, on a new connection, when the server is replaced."""
    codes: set[int] = set()
    transcripts: list[str] = []

    def reconnecting(event: ReconnectingEvent) -> None:
        codes.add(event.close_code)

    async with client.realtime.connect(
        model=MODEL, on_reconnecting=reconnecting, max_retries=20, max_delay=1.0
    ) as connection:
        async for event in connection:
            if event.type == "session.created":
                await say(connection, "after" if transcripts else "before")
            elif event.type == "response.output_audio_transcript.done":
                transcripts.append(event.transcript)
            elif event.type == "response.done":
                if len(transcripts) > 1:
                    break
                report({"transcript": transcripts[0]})
    return {"codes": sorted(codes), "transcript": transcripts[-1]}


def report(result: object) -> None:
    print(json.dumps(result), flush=True)


async def main(base_url: str, key: str, mode: str, *arguments: str) -> None:
    client = AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)
    modes: dict[str, Callable[[], Awaitable[object]]] = {
        "one": lambda: one(client),
        "audio": lambda: audio(client),
        "many": lambda: many(client, int(arguments[0])),
        "reconnect": lambda: reconnect(client, report),
    }
    report(await modes[mode]())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
