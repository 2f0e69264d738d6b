"""Conversations held by langchain-openai's chat model, with a tool. Prints one JSON object.

Usage: langchain_chat.py BASE_URL KEY MODEL, with a Python that has the langchain-openai package.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import openai
from langchain_core.messages import (  # type: ignore[import-not-found]  # in its own environment
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool  # type: ignore[import-not-found]  # as above
from langchain_openai import ChatOpenAI  # type: ignore[import-not-found]  # as above


@tool  # type: ignore[untyped-decorator]  # as the import
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def main(base_url: str, key: str, model: str) -> dict[str, Any]:
    chat = ChatOpenAI(base_url=base_url, api_key=key, model=model, stream_usage=True)
    whole = await chat.ainvoke([SystemMessage("Be brief."), HumanMessage("hi")])
    chunks = [chunk async for chunk in chat.astream("hi")]
    summed = chunks[0]
    for chunk in chunks[1:]:
        summed += chunk
    asked = [HumanMessage("use the tool weather")]
    with_tool = chat.bind_tools([weather])
    called = await with_tool.ainvoke(asked)
    (call,) = called.tool_calls
    output = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
    answered = await with_tool.ainvoke([*asked, called, output])
    batch = await chat.abatch([f"number {number}" for number in range(8)])
    try:
        await chat.ainvoke("[sim:error_10013]")
        refused = "no error"
    except openai.BadRequestError as error:
        refused = str(error.code)
    return {
        "text": whole.text,
        "usage": whole.usage_metadata["total_tokens"],
        "finish": whole.response_metadata["finish_reason"],
        "streamed": summed.text,
        "streamed_usage": summed.usage_metadata["total_tokens"],
        "call": [call["name"], call["args"]],
        "answered": answered.text,
        "batch": [each.text for each in batch],
        "refused": refused,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
