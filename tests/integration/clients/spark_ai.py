"""iFlytek's own client of Spark, spark-ai-python, asks a Spark. Prints one JSON object.

Usage: spark_ai.py WS_URL DOMAIN APP_ID KEY SECRET, with a Python that has the package.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from sparkai.core.messages import (  # type: ignore[import-not-found]  # in its own environment
    ChatMessage,
)
from sparkai.errors import SparkAIConnectionError  # type: ignore[import-not-found]  # as above
from sparkai.llm.llm import ChatSparkLLM  # type: ignore[import-not-found]  # as above

SHELL: Final = {
    "name": "shell",
    "description": "Runs a command.",
    "parameters": {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    },
}


def client(streaming: bool, secret: str = "") -> Any:  # noqa: ANN401 - of a package without types
    url, domain, app_id, key, own_secret = sys.argv[1:]
    return ChatSparkLLM(
        spark_api_url=url,
        spark_llm_domain=domain,
        spark_app_id=app_id,
        spark_api_key=key,
        spark_api_secret=secret or own_secret,
        streaming=streaming,
    )


def refused(text: str, secret: str = "") -> list[object]:
    """What the client makes of an error."""
    try:
        client(streaming=False, secret=secret).generate([[ChatMessage(role="user", content=text)]])
    except SparkAIConnectionError as error:
        return [error.error_code, str(error.message)]
    return []


def main() -> dict[str, Any]:
    said = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="one"),
        ChatMessage(role="assistant", content="Answer 1. You said: one"),
        ChatMessage(role="user", content="two"),
    ]
    whole = client(streaming=False).generate([said])
    pieces = [chunk.content for chunk in client(streaming=True).stream(said)]
    asked = [ChatMessage(role="user", content="run `echo hello` and tell me")]
    called = client(streaming=False).generate([asked], function_definition=[SHELL])
    return {
        "text": whole.generations[0][0].text,
        "usage": whole.llm_output["token_usage"],
        "pieces": pieces,
        "call": called.generations[0][0].message.function_call,
        "audited": refused("[sim:error_10013]"),
        "unknown": refused("hi", secret="another"),
    }


if __name__ == "__main__":
    print(json.dumps(main()))
