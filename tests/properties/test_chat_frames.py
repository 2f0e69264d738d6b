"""Any request gives a frame that its model takes; any bytes give an answer or a fault."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from relayd.config.spark_models import VERSIONS
from relayd.dialect.behind import Exchange, Faulted, Finished, Provider
from relayd.dialect.chat_errors import Mistake
from relayd.dialect.chat_request import read_request
from relayd.dialect.chat_values import ChatRequest
from relayd.dialect.runtask import RUNTASK
from relayd.dialect.spark import SPARK
from relayd.dialect.spark_account import model_at
from tests.dialect.chat import FakeAccount, frame, request, settings

TEXTS = st.text(max_size=12) | st.sampled_from(["", " ", "{text}", '"', "调用 f()", "\x00"])
NAMES = st.sampled_from(["f", "g", "", "f" * 300, 5])
CALLS = st.lists(
    st.fixed_dictionaries(
        {"function": st.fixed_dictionaries({"name": NAMES, "arguments": TEXTS | st.none()})},
        optional={"id": st.sampled_from(["1", "2"])},
    ),
    max_size=2,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "user", "assistant", "tool"]),
            "content": TEXTS | st.lists(TEXTS.map(lambda text: {"type": "text", "text": text})),
        },
        optional={"tool_calls": CALLS, "tool_call_id": st.sampled_from(["1", "2", "3"])},
    ),
    max_size=8,
)
FLAGS = st.none() | st.booleans()
ACCOUNTS = st.builds(
    lambda version, **said: FakeAccount(
        spark=settings(version, domain="d" if version == "maas" else None, **said)
    ),
    st.sampled_from([version for version in VERSIONS if version != "assistant"]),
    system=FLAGS,
    tools=FLAGS,
    reasoning=FLAGS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def texts_in(messages: list[dict[str, Any]]) -> list[str]:
    """All that is said, but by an assistant before anybody else has said anything to it."""
    found: list[str] = []
    asked = False
    for message in messages:
        asked = asked or message["role"] in {"user", "tool"}
        if message["role"] == "assistant" and not asked:
            continue
        content = message["content"]
        found += [content] if isinstance(content, str) else [part["text"] for part in content]
        if message["role"] == "assistant":
            for call in message.get("tool_calls", []):
                found += [call["function"]["name"], call["function"]["arguments"] or ""]
    return found


@given(MESSAGES, ACCOUNTS)
def test_a_request_that_is_read_is_a_conversation_that_its_model_takes(
    messages: list[dict[str, Any]], account: FakeAccount
) -> None:
    read = read_request(json.dumps({"model": "m", "messages": messages}).encode())
    assume(isinstance(read, ChatRequest))
    assert isinstance(read, ChatRequest)

    exchange = SPARK.begin(read, account, "m")

    (opening,) = exchange.opening()
    turns = json.loads(opening)["payload"]["message"]["text"]
    roles = [turn["role"] for turn in turns]
    if roles[0] == "system":
        assert model_at(account).system
        roles = roles[1:]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    assert all(turn["content"] for turn in turns)
    whole = "\n".join(turn["content"] for turn in turns)
    assert [text for text in texts_in(messages) if text not in whole] == []


MEMBERS = ["model", "messages", "tools", "tool_choice", "n", "stop", "stream", "thinking"]
MEMBERS += ["temperature", "max_tokens", "top_k", "user", "response_format", "stream_options"]


@given(
    st.dictionaries(
        st.sampled_from(MEMBERS),
        JSON,
    )
)
def test_any_object_is_a_request_or_a_mistake(members: dict[str, object]) -> None:
    read = read_request(json.dumps({"model": "m"} | members).encode())

    assert isinstance(read, ChatRequest | Mistake)
    if isinstance(read, Mistake):
        assert read.status in {400, 413}
        assert json.loads(read.body())["error"]["message"]


@given(st.binary())
def test_any_bytes_are_a_mistake(payload: bytes) -> None:
    assert isinstance(read_request(payload), Mistake)


FRAMES = st.binary() | st.sampled_from(
    [
        frame(status=0, content="x"),
        frame(reasoning_content="y"),
        frame(status=2, content="z"),
        frame(code=10012),
        b'{"header":{"event":"result-generated"},"payload":{"output":{"text":"x"}}}',
        b'{"header":{"event":"task-finished"}}',
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A frame with some bytes changed, or any JSON in the frame's own places."""
    if draw(st.booleans()):
        payload = {"header": draw(JSON | st.just({"code": 0})), "payload": draw(JSON)}
        return json.dumps(payload).encode()
    whole = bytearray(draw(FRAMES))
    for at in draw(st.lists(st.integers(0, max(0, len(whole) - 1)), max_size=3)):
        whole[at : at + 1] = draw(st.binary(max_size=2))
    return bytes(whole)


@given(st.sampled_from([SPARK, RUNTASK]), st.lists(FRAMES | damaged(), max_size=6))
def test_any_frames_are_an_answer_with_one_end_at_most(
    provider: Provider[FakeAccount], frames: list[bytes]
) -> None:
    account = FakeAccount(spark=settings())
    exchange: Exchange = provider.begin(request(), account, "m")

    pieces = [piece for each in frames for piece in exchange.feed(each)]

    ends = [piece for piece in pieces if isinstance(piece, Finished | Faulted)]
    assert ends == pieces[len(pieces) - len(ends) :]
    assert len(ends) <= 1
