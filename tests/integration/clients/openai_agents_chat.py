"""Conversations held by openai-agents over chat completions, with a tool.

Prints one JSON object. Usage: openai_agents_chat.py BASE_URL KEY MODEL, with a Python that has the
openai-agents package.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from agents import (  # type: ignore[import-not-found]  # in its own environment
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

TURN_S = 20.0


@function_tool  # type: ignore[untyped-decorator]  # as the import
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def main(base_url: str, key: str, model: str) -> dict[str, Any]:
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=base_url, api_key=key)
    agent = Agent(
        name="guide",
        instructions="Be brief.",
        model=OpenAIChatCompletionsModel(model=model, openai_client=client),
        model_settings=ModelSettings(include_usage=True),
        tools=[weather],
    )
    async with asyncio.timeout(TURN_S):
        first = await Runner.run(agent, "use the tool weather")
        streamed = Runner.run_streamed(agent, "use the tool weather")
        types = [event.type async for event in streamed.stream_events()]
        history = [*first.to_input_list(), {"role": "user", "content": "and what else"}]
        second = await Runner.run(agent, history)
        others = await asyncio.gather(
            *(Runner.run(agent, f"number {number}") for number in range(4))
        )
    usage = streamed.context_wrapper.usage
    return {
        "first": first.final_output,
        "streamed": streamed.final_output,
        "types": sorted(set(types)),
        "usage": [usage.requests, usage.input_tokens > 0, usage.output_tokens > 0],
        "second": second.final_output,
        "others": [other.final_output for other in others],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
