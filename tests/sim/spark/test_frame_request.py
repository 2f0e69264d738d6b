"""The one message of a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.spark.directions import Directions
from relayd.sim.spark.errors import Rejected
from relayd.sim.spark.frame_request import question_of, read_frame
from relayd.sim.spark.models import FINE_TUNED, LITE, PATHS
from tests.sim.spark.stage import WEATHER, question, request, search


def changed(path: str, value: object) -> str:
    """A request whose member at ``path`` is ``value``; ``None`` takes it out."""
    whole: Any = request(functions=[WEATHER], uid="u")
    *way, name = path.split(".")
    inner = whole
    for step in way:
        inner = inner[step]
    if value is None:
        del inner[name]
    else:
        inner[name] = value
    return json.dumps(whole)


def code_of(message: str | bytes) -> int:
    with pytest.raises(Rejected) as caught:
        read_frame(message)
    return caught.value.error.code


@pytest.mark.parametrize("message", [b"{}", "", "{", "nonsense", '{"x":' * 100_000])
def test_what_is_no_json_is_no_message(message: str | bytes) -> None:
    assert code_of(message) == 10003


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("header", None),
        ("header.app_id", None),
        ("header.app_id", ""),
        ("header.app_id", "ninechars"),
        ("header.app_id", 12345678),
        ("header.uid", "x" * 33),
        ("header.patch_id", "one"),
        ("parameter.chat.domain", None),
        ("parameter.chat.temperature", "0.5"),
        ("parameter.chat.max_tokens", 1.5),
        ("parameter.chat.thinking", {"type": "maybe"}),
        ("parameter.chat.tools", [{"type": "web_search", "web_search": {"search_mode": "wide"}}]),
        ("payload.message", None),
        ("payload.message.text", [{"role": "developer", "content": "x"}]),
        ("payload.message.text", [{"role": "user", "content": [{"type": "text"}]}]),
        ("payload.functions", {"text": []}),
        ("payload.functions.text", [{"description": "nameless"}]),
    ],
)
def test_what_has_another_shape_breaks_the_schema(path: str, value: object) -> None:
    assert code_of(changed(path, value)) == 10004


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("header.uid", None),
        ("header.uid", "x" * 32),
        ("header.patch_id", ["123"]),
        ("header.new", 1),
        ("parameter.chat.chat_id", "c"),
        ("parameter.chat.auditing", "default"),
        ("parameter.chat.tools", None),
        ("payload.functions", None),
    ],
)
def test_what_the_documents_allow_is_taken(path: str, value: object) -> None:
    assert read_frame(changed(path, value)).header.app_id == "simspark"


@given(st.binary() | st.text())
def test_no_message_breaks_the_reader(message: str | bytes) -> None:
    with pytest.raises(Rejected):
        read_frame(message)


def rejected(path: str, **given_: object) -> tuple[int, str]:
    with pytest.raises(Rejected) as caught:
        question(path, **given_)
    return caught.value.error.code, caught.value.error.message


@pytest.mark.parametrize(
    ("path", "domain"),
    [
        ("/v1.1/chat", "general"),
        ("/v3.5/chat", "generalv3"),
        ("/v4.0/chat", "generalv4"),
        ("/chat/max-32k", "generalv3.5"),
        ("/x2", "x1"),
    ],
)
def test_a_domain_belongs_to_its_path(path: str, domain: str) -> None:
    code, message = rejected(path, domain=domain)

    assert code == 10003
    assert message.endswith("invalid model domain")


def test_the_rules_are_kept_in_order() -> None:
    assert rejected("/v3.5/chat", temperature=7)[0] == 10005
    assert rejected("/v3.5/chat", messages=[{"role": "assistant", "content": "x"}])[0] == 10163
    assert rejected("/v3.5/chat", text="word " * 8193)[0] == 10907


def test_an_application_asks_for_itself() -> None:
    with pytest.raises(Rejected) as caught:
        question_of(read_frame(json.dumps(request())), PATHS["/v3.5/chat"], "other")

    assert caught.value.error.code == 11200


def test_what_is_asked() -> None:
    asked = question(uid="u", text="[sim:slow] hi", functions=[WEATHER], max_tokens=7)

    assert (asked.user, asked.domain, asked.max_tokens) == ("u", "generalv3.5", 7)
    assert asked.functions == ({"name": "get_weather", "parameters": WEATHER["parameters"]},)
    assert asked.directions == Directions("slow")
    assert not asked.is_searching
    assert not asked.is_thinking


def test_what_is_not_said_is_the_models_own() -> None:
    assert question("/v3.5/chat").max_tokens == 4096
    assert question("/v1/x1").max_tokens == 65_535
    assert question("/v1/x1", domain="x1").max_tokens == 32_768
    assert question("/v1/x1").is_thinking
    assert question("/v3.5/chat", tools=[]).is_searching
    assert not question("/v1.1/chat", tools=[]).is_searching


def test_references_are_shown_when_they_are_wanted() -> None:
    assert question(tools=[search(enable=True, show_ref_label=True)]).has_references
    assert not question(tools=[search(enable=True)]).has_references


@pytest.mark.parametrize(
    ("domain", "model"), [("lite", LITE), ("patch", FINE_TUNED), ("xopkimik25", FINE_TUNED)]
)
def test_fine_tuned_models_share_a_path(domain: str, model: object) -> None:
    assert question("/v1.1/chat", domain=domain).model is model
