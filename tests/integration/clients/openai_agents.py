"""A conversation held by openai-agents, with a tool. Prints one JSON object.

Usage: openai_agents.py WS_URL KEY, with a Python that has the openai-agents package.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from agents import function_tool  # type: ignore[import-not-found]  # in its own environment
from agents.realtime import (  # type: ignore[import-not-found]  # in its own environment
    RealtimeAgent,
    RealtimeRunner,
)

TURN_S = 20.0


@function_tool  # type: ignore[untyped-decorator]  # as the import
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def main(url: str, key: str) -> dict[str, Any]:
    agent = RealtimeAgent(name="guide", instructions="Be brief.", tools=[weather])
    runner = RealtimeRunner(
        agent, config={"model_settings": {"model_name": "gpt-realtime", "modalities": ["audio"]}}
    )
    result: dict[str, Any] = {"types": [], "errors": [], "tool_outputs": [], "audio_bytes": 0}
    ended = 0
    async with await runner.run(model_config={"url": url, "api_key": key}) as session:
        await session.send_message("what weather today")
        async with asyncio.timeout(TURN_S):
            async for event in session:
                result["types"].append(event.type)
                match event.type:
                    case "error":
                        result["errors"].append(str(event.error))
                    case "tool_end":
                        result["tool_outputs"].append(event.output)
                    case "audio":
                        result["audio_bytes"] += len(event.audio.data)
                    case "agent_end":
                        ended += 1
                        if ended == 2:  # one for the call, one for the answer
                            break
    return result


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
