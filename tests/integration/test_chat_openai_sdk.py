"""The real openai SDK asks for chat completions, of a Spark and of an upstream that takes tasks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from relayd.sim.server import SimServer
from relayd.sim.spark.upstream import SparkUpstream
from tests.integration.chat_stage import MODEL, TASKS, Account, Stage, asked, said
from tests.integration.conftest import Relayd
from tests.integration.responses_stage import reasons, stopped_well, turns

pytestmark = pytest.mark.slow

USAGE: Final = {"stream_options": {"include_usage": True}}
ANSWER: Final = "Answer 1. You said: hi"
TOOLESS_KEY: Final = "relayd-test-key-of-another-model"

KEYS: Final = f"""
[[keys]]
name = "elsewhere"
secret = "{TOOLESS_KEY}"
models = ["{TASKS}"]
"""

both = pytest.mark.parametrize("model", [MODEL, TASKS])


@pytest.fixture
def stage(nursery: trio.Nursery, tmp_path: Path) -> Stage:
    """A stage without upstreams."""
    return Stage(tmp_path, nursery)


@pytest.fixture
async def spark(stage: Stage) -> SimServer[SparkUpstream]:
    """A simulated Spark."""
    return await stage.spark()


@pytest.fixture
async def relayd(stage: Stage, spark: SimServer[SparkUpstream]) -> AsyncIterator[Relayd]:
    """One relayd with an upstream of each kind."""
    tasks = Account(upstream=await stage.tasks(), models=(TASKS,))
    started = await stage.relayd({"spark": Account(upstream=spark), "tasks": tasks}, more=KEYS)
    yield started
    await stopped_well(started)


def _asking(*questions: tuple[str, str]) -> str:
    return json.dumps(questions)


@both
async def test_an_answer_is_one_object(relayd: Relayd, model: str) -> None:
    first, second = await said(relayd, "documents", _asking((model, "hi"), (model, "hi")))

    told = first["told"]
    assert (told["text"], told["finish"], told["model"]) == (ANSWER, "stop", model)
    assert told["usage"] == {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
    assert told["id"].startswith("chatcmpl-")
    assert told["id"] != second["told"]["id"]
    lines = await turns(relayd, 2)
    assert [line["turn_id"] for line in lines] == [told["sid"], second["told"]["sid"]]
    assert [(line["tokens_in"], line["tokens_out"]) for line in lines] == [(1, 5), (1, 5)]


@both
async def test_an_answer_comes_as_a_stream(relayd: Relayd, model: str) -> None:
    told = await said(relayd, "stream", model, "hi")

    assert "".join(told["pieces"]) == ANSWER
    assert len(told["pieces"]) == 5
    assert told["first"] == {"role": "assistant", "content": ""}
    assert (told["last"], told["finishes"]) == ([{}, "stop"], 1)
    assert (told["ids"], told["model"]) == (1, model)
    assert set(told["usages"]) == {None}
    assert not any(told["without_choices"])


@both
async def test_usage_comes_behind_the_last_choice_if_it_is_asked_for(
    relayd: Relayd, model: str
) -> None:
    told = await said(relayd, "stream", model, "hi", json.dumps(USAGE))

    *before, last = told["usages"]
    assert last == {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
    assert before == [None] * len(before)
    assert told["without_choices"] == [False] * len(before) + [True]
    assert (told["last"], told["ids"]) == ([{}, "stop"], 1)


@both
async def test_an_answer_that_may_not_be_longer_says_so(relayd: Relayd, model: str) -> None:
    (told,) = await said(relayd, "documents", _asking((model, "hi")), '{"max_tokens": 3}')

    assert (told["told"]["text"], told["told"]["finish"]) == ("Answer 1. You", "length")


async def test_a_tool_is_called_and_its_output_is_read(relayd: Relayd) -> None:
    told = await said(relayd, "tools", MODEL)

    assert told == {
        "name": "shell",
        "arguments": {"command": "echo hello"},
        "content": None,
        "finish": "tool_calls",
        "answer": "Answer 2. The tool said: hello",
        "answered": "stop",
        "streamed": ["shell", {"command": "echo hello"}],
        "streamed_finish": "tool_calls",
        "kinds": told["kinds"],
        "ids": 2,
    }
    assert "tool_calls.function.arguments.done" in told["kinds"]


async def test_what_is_not_acted_on_is_named(relayd: Relayd) -> None:
    more = {"seed": 1, "stop": ["x"], "logit_bias": {"1": 1}, "top_k": 2, "temperature": 0}

    (told,) = await said(relayd, "documents", _asking((MODEL, "hi")), json.dumps(more))

    assert told["told"]["text"] == ANSWER
    assert set(told["told"]["ignored"].split(", ")) == {"seed", "stop", "logit_bias"}


async def test_the_models_are_listed(relayd: Relayd) -> None:
    assert await said(relayd, "models") == [TASKS, MODEL]
    assert await said(relayd, "models", key=TOOLESS_KEY) == [TASKS]


IMAGE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
WRONG: Final[Mapping[str, tuple[dict[str, Any], list[object], str | None]]] = {
    "two answers": ({"n": 2}, ["BadRequestError", 400, "unsupported_value"], "n"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, IMAGE]}]},
        ["BadRequestError", 400, "unsupported_content"],
        "messages[0].content[1]",
    ),
    "no messages": ({"messages": []}, ["BadRequestError", 400, "invalid_value"], "messages"),
    "messages of another type": (
        {"messages": "hi"},
        ["BadRequestError", 400, "invalid_type"],
        "messages",
    ),
    "a role that is none": (
        {"messages": [{"role": "robot", "content": "hi"}]},
        ["BadRequestError", 400, "invalid_value"],
        "messages[0].role",
    ),
    "a temperature in words": (
        {"temperature": "warm"},
        ["BadRequestError", 400, "invalid_type"],
        "temperature",
    ),
    "too hot": ({"temperature": 3}, ["BadRequestError", 400, "invalid_value"], "temperature"),
    "a model that is not there": (
        {"model": "gpt-none"},
        ["NotFoundError", 404, "model_not_found"],
        "model",
    ),
    "a call that cannot be forced": (
        {
            "tools": [{"type": "function", "function": {"name": "shell"}}],
            "tool_choice": "required",
        },
        ["BadRequestError", 400, "unsupported_value"],
        "tool_choice",
    ),
    "more than the context holds": (
        {"messages": [{"role": "user", "content": "x" * 200_000}]},
        ["BadRequestError", 400, "context_length_exceeded"],
        "messages",
    ),
}
"""Members of a request, what the SDK raises, and the member that is named."""


async def test_a_request_that_is_wrong_is_told_what_is(
    relayd: Relayd, spark: SimServer[SparkUpstream], tmp_path: Path
) -> None:
    requests = tmp_path / "requests.json"
    requests.write_text(json.dumps({name: members for name, (members, _, _) in WRONG.items()}))

    told = await said(relayd, "mistakes", requests)

    def shown(name: str) -> tuple[object, object]:
        raised, status, _, code = told[name]["raised"]
        return [raised, status, code], told[name]["param"]

    assert {name: shown(name) for name in WRONG} == {
        name: (raised, param) for name, (_, raised, param) in WRONG.items()
    }
    assert {each["raised"][2] for each in told.values()} == {"invalid_request_error"}
    assert all(len(each["message"]) > 20 for each in told.values())
    assert {each["requests"] for each in told.values()} == {1}
    await asked(relayd, len(WRONG))
    assert spark.connections_total == 0


@pytest.mark.parametrize(
    ("key", "raised"),
    [
        ("wrong", ["AuthenticationError", 401, "authentication_error", "invalid_api_key"]),
        (TOOLESS_KEY, ["PermissionDeniedError", 403, "permission_error", "model_not_allowed"]),
    ],
    ids=["unknown", "of another model"],
)
async def test_a_key_that_may_not_is_refused(
    relayd: Relayd, spark: SimServer[SparkUpstream], key: str, raised: list[object]
) -> None:
    (told,) = await said(relayd, "documents", _asking((MODEL, "hi")), key=key)

    assert (told["raised"], told["requests"]) == (raised, 1)
    assert spark.connections_total == 0


async def test_turns_of_both_kinds_are_completed(relayd: Relayd) -> None:
    await said(relayd, "documents", _asking((MODEL, "hi"), (TASKS, "hi")))

    lines = await turns(relayd, 2)
    assert reasons(lines) == ["completed", "completed"]
    assert [(line["account"], line["model"], line["dialect"]) for line in lines] == [
        ("spark", MODEL, "chat"),
        ("tasks", TASKS, "chat"),
    ]
