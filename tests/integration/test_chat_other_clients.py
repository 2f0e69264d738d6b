"""Other real clients of OpenAI's chat API hold conversations through relayd, and so does curl."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.integration.chat_stage import MODEL, Account, Stage
from tests.integration.client_environments import AGENTS, ClientEnvironment
from tests.integration.conftest import CLIENT_S, CLIENTS, KEY, Relayd, run_client
from tests.integration.responses_stage import base_url, reasons, stopped_well, turns

pytestmark = pytest.mark.slow

LANGCHAIN: Final = ClientEnvironment("langchain")
ANSWER: Final = "Answer 1. You said: hi"
TOOL_ANSWER: Final = "Answer 2. The tool said: sunny in example"
HI: Final = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def relayd(nursery: trio.Nursery, tmp_path: Path) -> Relayd:
    """One relayd with a simulated Spark."""
    stage = Stage(tmp_path, nursery)
    return await stage.relayd({"spark": Account(upstream=await stage.spark())})


async def test_openai_agents_holds_conversations_with_a_tool(relayd: Relayd) -> None:
    python = await trio.to_thread.run_sync(AGENTS.ensure)
    script = CLIENTS / "openai_agents_chat.py"

    (told,) = await run_client([python, script, base_url(relayd), KEY, MODEL])

    assert told["first"] == told["streamed"] == TOOL_ANSWER
    assert told["second"].startswith("Answer 3. You said: and what else")
    assert told["usage"] == [2, True, True]
    assert told["others"] == [f"Answer 1. You said: number {number}" for number in range(4)]
    assert set(reasons(await turns(relayd, 9))) == {"completed"}
    await stopped_well(relayd)


async def test_langchain_holds_conversations_with_a_tool(relayd: Relayd) -> None:
    python = await trio.to_thread.run_sync(LANGCHAIN.python)
    script = CLIENTS / "langchain_chat.py"

    (told,) = await run_client([python, script, base_url(relayd), KEY, MODEL])

    assert told == {
        "text": ANSWER,
        "usage": 8,
        "finish": "stop",
        "streamed": ANSWER,
        "streamed_usage": 6,
        "call": ["weather", {"city": "example"}],
        "answered": TOOL_ANSWER,
        "batch": [f"Answer 1. You said: number {number}" for number in range(8)],
        "refused": "content_filter",
    }
    await stopped_well(relayd)


# -- no SDK


async def _curl(relayd: Relayd, *options: str) -> tuple[int, str]:
    """The status and the body that curl gets."""
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed")
    url = f"{base_url(relayd)}/chat/completions"
    command = [found, "-sN", "-w", "\n%{http_code}", url, *options]
    with trio.fail_after(CLIENT_S):
        ended = await trio.run_process(command, capture_stdout=True)
    body, _, status = ended.stdout.decode().rpartition("\n")
    return int(status), body


def _with_key(key: str = KEY) -> tuple[str, ...]:
    return ("-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json")


async def test_curl_gets_one_object(relayd: Relayd) -> None:
    status, body = await _curl(relayd, *_with_key(), "-d", json.dumps(HI))

    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == ANSWER
    await stopped_well(relayd)


async def test_curl_gets_events(relayd: Relayd) -> None:
    asked = {**HI, "stream": True, "stream_options": {"include_usage": True}}

    status, body = await _curl(relayd, *_with_key(), "-d", json.dumps(asked))

    assert status == 200
    *events, last = [event for event in body.split("\n\n") if event]
    assert last == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert (
        "".join(
            choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]
        )
        == ANSWER
    )
    assert chunks[-1]["usage"]["total_tokens"] == 6
    await stopped_well(relayd)


WRONG: Final[dict[str, tuple[tuple[str, ...], int, str]]] = {
    "no key": (("-d", json.dumps(HI)), 401, "missing_api_key"),
    "a wrong key": ((*_with_key("wrong"), "-d", json.dumps(HI)), 401, "invalid_api_key"),
    "no JSON": ((*_with_key(), "-d", "{"), 400, "invalid_json"),
    "nothing": ((*_with_key(), "-d", ""), 400, "invalid_json"),
    "no model": ((*_with_key(), "-d", '{"messages": []}'), 400, "missing_required_parameter"),
    "a GET": (_with_key(), 405, "method_not_allowed"),
    "a chunked body that is wrong": (
        (*_with_key(), "-H", "Transfer-Encoding: chunked", "-d", "[]"),
        400,
        "invalid_json",
    ),
    "an error upstream": (
        (*_with_key(), "-d", json.dumps(HI).replace('"hi"', '"[sim:error_10907]"')),
        400,
        "context_length_exceeded",
    ),
}
"""What curl is told, and what it gets."""


@pytest.mark.parametrize("name", WRONG)
async def test_curl_is_told_what_is_wrong(relayd: Relayd, name: str) -> None:
    options, status, code = WRONG[name]

    found, body = await _curl(relayd, *options)

    error: dict[str, Any] = json.loads(body)["error"]
    assert (found, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert len(error["message"]) > len("an error")
    await stopped_well(relayd)
