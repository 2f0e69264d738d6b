"""Requests as Spark reads them, model by model."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from relayd.config.secret import Secret
from relayd.config.spark import ChatDefaults
from relayd.config.spark_models import MODELS
from relayd.dialect.behind import Retry
from relayd.dialect.chat_values import ChatRequest
from relayd.dialect.spark_request import UID_CHARS, prepared, refusal
from tests.dialect.chat import TOOLS, FakeAccount, account, request, settings

SYSTEM = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
WITH_SYSTEM = {"v3.5", "max-32k", "v4.0", "x1", "x1.5", "x2", "maas"}
SEARCHES = {"v3.1", "pro-128k", "v3.5", "max-32k", "v4.0", "x1", "x1.5", "x2"}
TAKES_TOOLS = {"v3.5", "v4.0", "x1", "x1.5"}
OFF = [{"type": "web_search", "web_search": {"enable": False}}]


def at(version: str, **members: object) -> FakeAccount:
    own: dict[str, dict[str, object]] = {
        "maas": {"domain": "xop"},
        "assistant": {"domain": "d", "endpoint": "/v1/assistants/a"},
    }
    return FakeAccount(spark=settings(version, **(own.get(version, {}) | members)))


def sent(asked: ChatRequest, chosen: FakeAccount, *, attempt: int = 0) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(prepared(asked, chosen, attempt=attempt).frame)
    return frame


def chat(asked: ChatRequest, chosen: FakeAccount) -> dict[str, Any]:
    found: dict[str, Any] = sent(asked, chosen)["parameter"]["chat"]
    return found


VERSIONS = sorted({version for model in MODELS for version in model.versions})


def test_a_request_that_says_little_says_no_more_upstream() -> None:
    assert sent(request(), account()) == {
        "header": {"app_id": "a1b2c3d4"},
        "parameter": {"chat": {"domain": "generalv3.5", "tools": OFF}},
        "payload": {"message": {"text": [{"role": "user", "content": "hello"}]}},
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_role_system_goes_only_to_models_that_know_it(version: str) -> None:
    texts = sent(request(messages=SYSTEM), at(version))["payload"]["message"]["text"]

    if version in WITH_SYSTEM:
        assert texts == SYSTEM
    else:
        assert texts == [{"role": "user", "content": "be brief\n\nhello"}]


@pytest.mark.parametrize("version", VERSIONS)
def test_searching_is_off_unless_it_is_asked_for(version: str) -> None:
    silent, asked = request(), request(web_search_options={})

    assert chat(silent, at(version)).get("tools") == (OFF if version in SEARCHES else None)
    ready = prepared(asked, at(version))
    if version in SEARCHES:
        (tool,) = json.loads(ready.frame)["parameter"]["chat"]["tools"]
        assert tool["web_search"]["enable"] is True
        assert ready.ignored == ()
    else:
        assert "tools" not in json.loads(ready.frame)["parameter"]["chat"]
        assert ready.ignored == ("web_search_options",)


@pytest.mark.parametrize("version", VERSIONS)
def test_functions_go_only_to_models_that_know_them(version: str) -> None:
    ready = prepared(request(tools=TOOLS), at(version))

    payload = json.loads(ready.frame)["payload"]
    if version in TAKES_TOOLS:
        assert payload["functions"] == {"text": [TOOLS[0]["function"]]}
        assert ready.ignored == ()
    else:
        assert "functions" not in payload
        assert ready.ignored == ("tools",)


def test_an_account_s_word_about_its_model_wins() -> None:
    chosen = at("v3.1", tools=True, system=True, reasoning=True, max_out=10)
    asked = request(messages=SYSTEM, tools=TOOLS, top_p=0.5, max_tokens=99, temperature=1.9)

    frame = sent(asked, chosen)

    assert frame["payload"]["message"]["text"][0]["role"] == "system"
    assert "functions" in frame["payload"]
    assert frame["parameter"]["chat"] | {"tools": None} == {
        "domain": "generalv3",
        "temperature": 1.9,
        "top_p": 0.5,
        "max_tokens": 10,
        "tools": None,
    }


def test_a_function_without_a_schema_gets_an_empty_one() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]

    (function,) = sent(request(tools=tools), account())["payload"]["functions"]["text"]

    assert function == {
        "name": "f",
        "description": "",
        "parameters": {"type": "object", "properties": {}, "required": []},
    }


@pytest.mark.parametrize("members", [{}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}])
def test_no_functions_are_sent_where_none_are_to_be_called(members: dict[str, object]) -> None:
    ready = prepared(request(**members), account())

    assert "functions" not in json.loads(ready.frame)["payload"]
    assert ready.ignored == ()


@pytest.mark.parametrize("version", ["v1.1", "v3.5", "x1.5"])
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": TOOLS[0]["function"]}]
)
def test_no_model_can_be_made_to_call(version: str, choice: object) -> None:
    fault = refusal(request(tools=TOOLS, tool_choice=choice), at(version))

    assert fault is not None
    assert (fault.status, fault.code, fault.param) == (400, "unsupported_value", "tool_choice")
    assert fault.retry is Retry.ELSEWHERE
    assert "http_password" in fault.message


@pytest.mark.parametrize("choice", ["auto", "none"])
@pytest.mark.parametrize("version", ["v1.1", "v3.5"])
def test_a_choice_left_to_the_model_is_taken(version: str, choice: str) -> None:
    assert refusal(request(tools=TOOLS, tool_choice=choice), at(version)) is None


@pytest.mark.parametrize(("tokens", "refused"), [(8192, False), (8193, True)])
def test_what_no_context_holds_is_refused_unsent(tokens: int, refused: bool) -> None:
    asked = request(messages=[{"role": "user", "content": "x" * 16 * tokens}])

    fault = refusal(asked, at("v3.5"))

    assert (fault is not None) is refused
    if fault is not None:
        assert (fault.status, fault.code) == (400, "context_length_exceeded")


def test_functions_take_their_part_of_the_context() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 200_000}}]

    fault = refusal(request(tools=tools), at("v3.5"))

    assert fault is not None
    assert fault.code == "context_length_exceeded"
    assert fault.message.startswith("The messages and tools have 200")
    assert refusal(request(tools=tools, tool_choice="none"), at("v3.5")) is None
    assert refusal(request(tools=tools), at("v1.1")) is None, "they are not sent"


def test_where_the_context_is_not_known_the_upstream_judges() -> None:
    assert refusal(request(messages=[{"role": "user", "content": "x" * 10**6}]), at("kjwx")) is None


@pytest.mark.parametrize(
    ("version", "asked", "expected"),
    [
        ("v3.5", 0, 0.01),
        ("v3.5", 0.7, 0.7),
        ("v3.5", 2, 1.0),
        ("x1.5", 0, 0.01),
        ("x1.5", 2, 2.0),
        ("maas", 1.5, 1.0),
    ],
)
def test_temperatures_are_clamped(version: str, asked: float, expected: float) -> None:
    assert chat(request(temperature=asked), at(version))["temperature"] == expected


@pytest.mark.parametrize(
    ("version", "asked", "expected", "limit"),
    [
        ("v1.1", 5000, 4096, 4096),
        ("v3.1", 10_000, 8192, 8192),
        ("pro-128k", 5000, 4096, 4096),
        ("v3.5", 100, 100, 100),
        ("v3.5", 0, None, 4096),
        ("v3.5", None, None, 4096),
        ("x1.5", 10**6, 65_535, 65_535),
        ("x1.5", None, None, 65_535),
        ("v2.1", 10**6, 10**6, 10**6),
        ("v2.1", None, None, None),
    ],
)
def test_the_limit_is_the_model_s_at_most(
    version: str, asked: int | None, expected: int | None, limit: int | None
) -> None:
    ready = prepared(request(max_tokens=asked), at(version))

    assert json.loads(ready.frame)["parameter"]["chat"].get("max_tokens") == expected
    assert ready.limit == limit


def test_one_answer_and_the_choice_of_tokens_are_two_things() -> None:
    assert "top_k" not in chat(request(n=1), account())
    assert chat(request(top_k=3), account())["top_k"] == 3
    assert chat(request(top_k=50), account())["top_k"] == 6


@pytest.mark.parametrize(
    ("member", "value", "spelled"),
    [
        ("top_p", 0.5, 0.5),
        ("presence_penalty", 1, 1.0),
        ("frequency_penalty", 0.5, 0.5),
        ("thinking", {"type": "disabled"}, {"type": "disabled"}),
    ],
)
def test_what_only_the_x_family_documents(member: str, value: object, spelled: object) -> None:
    asked = request(**{member: value})

    assert chat(asked, at("x1.5"))[member] == spelled
    assert prepared(asked, at("x1.5")).ignored == ()
    assert member not in chat(asked, at("v3.5"))
    assert prepared(asked, at("v3.5")).ignored == (member,)


def test_an_effort_is_thinking_or_not() -> None:
    assert chat(request(reasoning_effort="low"), at("x1.5"))["thinking"] == {"type": "enabled"}
    assert prepared(request(reasoning_effort="low"), at("v3.5")).ignored == ("reasoning_effort",)


def test_what_is_ignored_is_named_once() -> None:
    asked = request(
        messages=[{"role": "assistant", "content": "hi"}, {"role": "user", "content": "q"}],
        stop="x",
        response_format={"type": "json_object"},
        seed=1,
        logprobs=True,
    )

    assert prepared(asked, account()).ignored == (
        "logprobs",
        "seed",
        "messages[0]",
        "stop",
        "response_format",
    )


def test_an_account_s_defaults_speak_where_the_request_is_silent() -> None:
    defaults = ChatDefaults(temperature=1.5, max_tokens=9000, top_p=0.5, top_k=9)
    chosen = attrs.evolve(at("v3.5"), defaults=defaults)

    ready = prepared(request(), chosen)
    said = chat(request(temperature=0.3, max_tokens=5, top_k=2), chosen)

    assert json.loads(ready.frame)["parameter"]["chat"] | {"tools": 0} == {
        "domain": "generalv3.5",
        "temperature": 1.0,
        "top_k": 6,
        "max_tokens": 8192,
        "tools": 0,
    }
    assert ready.ignored == ()
    assert (said["temperature"], said["max_tokens"], said["top_k"]) == (0.3, 5, 2)


def test_a_user_goes_up_as_a_hash() -> None:
    asked = request(user="someone@example.com" * 10)

    uid = sent(asked, account())["header"]["uid"]

    assert len(uid) == UID_CHARS
    assert "someone" not in uid
    assert uid == sent(asked, account(uid="own"))["header"]["uid"]
    assert uid != sent(request(user="another"), account())["header"]["uid"]


def test_another_attempt_is_another_user() -> None:
    asked, chosen = request(user="u"), account(uid="own")

    assert len({sent(asked, chosen, attempt=each)["header"]["uid"] for each in range(3)}) == 3
    assert sent(request(), chosen)["header"]["uid"] == "own"
    assert sent(request(), chosen, attempt=1)["header"]["uid"] not in {"own", None}
    assert "uid" not in sent(request(), account(), attempt=1)["header"]


def test_a_fine_tuned_model_is_named_by_its_resources() -> None:
    frame = sent(request(), account(None, domain="xopkimik25", patch_id=("1234",)))

    assert frame["header"]["patch_id"] == ["1234"]
    assert frame["parameter"]["chat"]["domain"] == "xopkimik25"


def test_a_frame_is_not_shown() -> None:
    ready = prepared(
        request(messages=[{"role": "user", "content": "canary"}]),
        account(http_password=Secret("canary")),
    )

    assert "canary" not in repr(ready)
