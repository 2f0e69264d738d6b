"""Conversations held by openai-agents over the Responses WebSocket, with a tool.

Prints one JSON object. Usage: openai_agents_responses.py BASE_URL KEY, with a Python that has the
openai-agents package.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from agents import (  # type: ignore[import-not-found]  # in its own environment
    Agent,
    function_tool,
    responses_websocket_session,
    set_tracing_disabled,
)

TURN_S = 20.0


@function_tool  # type: ignore[untyped-decorator]  # as the import
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def main(base_url: str, key: str) -> dict[str, Any]:
    set_tracing_disabled(True)
    agent = Agent(name="guide", instructions="Be brief.", model="gpt-test", tools=[weather])
    async with (
        asyncio.timeout(TURN_S),
        responses_websocket_session(api_key=key, base_url=base_url) as session,
    ):
        first = await session.run(agent, "use the tool weather")
        second = session.run_streamed(
            agent, "and what else", previous_response_id=first.last_response_id
        )
        types = [event.type async for event in second.stream_events()]
        others = await asyncio.gather(
            *(session.run(agent, f"number {number}") for number in range(4))
        )
    return {
        "first": first.final_output,
        "second": second.final_output,
        "types": sorted(set(types)),
        "others": [other.final_output for other in others],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
