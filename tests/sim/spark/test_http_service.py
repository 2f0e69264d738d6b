"""The simulated HTTP API on the wire."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relayd.sim.spark.faults import SILENCE_S
from relayd.sim.spark.limits import Limits
from relayd.sim.spark.scenario import REFUSALS, Scenario
from relayd.sim.spark.tally import Ending
from relayd.sim.spark.upstream import SparkUpstream
from tests.sim.spark.http_stage import BEARER, Answer, answer_on, body, post, request_bytes
from tests.sim.spark.stage import NOW, WEATHER, upstream

TEXT = "Answer 1. You said: hello there"
TOOLS = [{"type": "function", "function": WEATHER}]
X15 = "/v2/chat/completions"


def spoken(answer: Answer, member: str = "content") -> str:
    chunks = [chunk for chunk in answer.events if isinstance(chunk, dict)]
    return "".join(chunk["choices"][0]["delta"].get(member, "") for chunk in chunks)


async def test_a_whole_answer_of_v1_lacks_what_openai_has() -> None:
    spark = upstream()
    answer = await post(spark, body(user="someone"))

    assert (answer.status, answer.is_whole) == (200, True)
    assert answer.json == {
        "code": 0,
        "message": "Success",
        "sid": "cht00000001@dxt",
        "choices": [{"message": {"role": "assistant", "content": TEXT}, "index": 0}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8},
    }
    assert answer.headers["date"] == formatdate(NOW, usegmt=True)
    (record,) = spark.statistics().records
    assert (record.ending, record.user, record.frames) == (Ending.COMPLETED, "someone", 6)
    assert record.told is not None
    assert record.told.total_tokens == 8


async def test_a_stream_of_v1_has_no_space_and_usage_with_the_last_content() -> None:
    answer = await post(upstream(), body(stream=True))

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b"data: " not in answer.body
    *chunks, done = answer.events
    assert done == "[DONE]"
    assert spoken(answer) == TEXT
    assert [("usage" in chunk) for chunk in chunks] == [False] * 5 + [True]
    assert chunks[-1]["choices"][0]["delta"]["content"] == " there"
    assert chunks[0] == {
        "code": 0,
        "message": "Success",
        "sid": "cht00000001@dxt",
        "id": "cht00000001@dxt",
        "created": int(NOW),
        "choices": [{"delta": {"role": "assistant", "content": "Answer"}, "index": 0}],
    }


@pytest.mark.parametrize("path", [X15, "/x2/chat/completions", "/agent/v1/chat/completions"])
async def test_the_x_family_has_what_openai_has_and_thoughts(path: str) -> None:
    whole = await post(upstream(), body(model="spark-x"), path=path)
    stream = await post(upstream(), body(model="spark-x", stream=True), path=path)

    (choice,) = whole.json["choices"]
    assert (whole.json["object"], whole.json["model"]) == ("chat.completion", "spark-x")
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["reasoning_content"] == "The user says: hello there"
    assert choice["message"]["content"] == spoken(stream) == TEXT
    assert spoken(stream, "reasoning_content") == "The user says: hello there"
    *chunks, _ = stream.events
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]


@pytest.mark.parametrize("is_list", [False, True])
async def test_a_call_is_an_object_unless_a_list_is_asked_for(is_list: bool) -> None:
    asked = body("use the tool", tools=TOOLS, tool_calls_switch=is_list)
    whole = await post(upstream(), asked)
    stream = await post(upstream(), asked | {"stream": True})

    calls = whole.json["choices"][0]["message"]["tool_calls"]
    assert stream.events[0]["choices"][0]["delta"]["tool_calls"] == calls
    assert isinstance(calls, list) == is_list
    call = calls[0] if is_list else calls
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "example"}


async def test_a_tool_result_has_a_role_of_its_own() -> None:
    messages = [
        {"role": "user", "content": "use the tool"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
    ]
    answer = await post(upstream(), body(messages=messages, tools=TOOLS))

    assert answer.json["choices"][0]["message"]["content"] == "Answer 2. The tool said: rain"


@pytest.mark.parametrize(
    ("choice", "is_called"),
    [
        ("none", False),
        ("auto", False),
        ("required", True),
        ({"type": "function", "function": {"name": "get_weather"}}, True),
        ({"type": "function", "name": "get_weather"}, True),
    ],
)
async def test_a_choice_of_tool_is_obeyed(choice: object, is_called: bool) -> None:
    answer = await post(upstream(), body("hi", tools=TOOLS, tool_choice=choice))

    assert ("tool_calls" in answer.json["choices"][0]["message"]) == is_called


async def test_references_come_as_a_message_of_a_tool() -> None:
    tool = {"type": "web_search", "web_search": {"enable": True, "show_ref_label": True}}
    whole = await post(upstream(), body(tools=[tool]))
    stream = await post(upstream(), body(tools=[tool], stream=True))

    found, said = (choice["message"] for choice in whole.json["choices"])
    assert (found["role"], said["role"]) == ("tool", "assistant")
    assert json.loads(found["content"])[0]["index"] == 1
    assert stream.events[0]["choices"][0]["delta"] == found


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Unauthorized"),
        ({"Authorization": "Basic simulated"}, "Unauthorized"),
        ({"Authorization": "Bearer "}, "Unauthorized"),
        ({"Authorization": "Bearer other"}, "HMAC secret key does not match"),
        ({"Authorization": "Bearer simulated:other"}, "HMAC secret key does not match"),
    ],
)
async def test_a_wrong_password_is_a_401(headers: dict[str, str], message: str) -> None:
    answer = await post(upstream(), body(), headers=headers)

    assert answer.status == 401
    assert answer.json == {
        "error": {"message": message, "type": "api_error", "param": None, "code": None}
    }


async def test_key_and_secret_are_as_good_as_the_password() -> None:
    headers = {"Authorization": "Bearer simulated:simulated"}

    assert (await post(upstream(), body(), headers=headers)).status == 200


async def test_other_paths_and_methods_are_refused() -> None:
    assert (await post(upstream(), body(), path="/v9/chat/completions")).status == 404
    assert (await post(upstream(), body(), method="PUT")).status == 405


@pytest.mark.parametrize("scenario", REFUSALS)
async def test_some_scenarios_refuse_every_request(scenario: Scenario) -> None:
    answer = await post(upstream(scenario), body())

    assert answer.status == REFUSALS[scenario].status
    assert answer.json["error"]["message"] == REFUSALS[scenario].message


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"nonsense", "10003"),
        (body(model="spark-x"), "10003"),
        (body(messages=[]), "10004"),
        (body(messages=[{"role": "developer", "content": "x"}]), "10004"),
        (body(temperature=2.1), "10005"),
        (body(max_tokens=0), "10005"),
        (body(max_completion_tokens=100_000), "10005"),
        (body(messages=[{"role": "assistant", "content": "x"}]), "10163"),
        (body("word " * 9000), "10907"),
        (body("[sim:nothing] hi"), "10005"),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_request_that_breaks_a_rule_is_a_400(
    content: object, code: str, is_stream: bool
) -> None:
    if isinstance(content, dict):
        content = content | {"stream": is_stream}
    answer = await post(upstream(), content)

    assert (answer.status, answer.json["error"]["code"]) == (400, code)
    assert answer.json["error"]["type"] == "api_error"


async def test_functions_and_a_search_exclude_each_other_for_the_x_family() -> None:
    both = [*TOOLS, {"type": "web_search", "web_search": {"enable": False}}]
    refused = await post(upstream(), body(model="spark-x", tools=both), path=X15)

    assert refused.json["error"]["code"] == "10004"
    assert (await post(upstream(), body(tools=both))).status == 200


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("error_10013", 400),
        ("error_11200", 403),
        ("error_11202", 429),
        ("error_10110", 503),
        ("error_10012", 500),
    ],
)
async def test_an_error_in_place_of_an_answer_has_a_status(name: str, status: int) -> None:
    spark = upstream()
    for is_stream in (False, True):
        answer = await post(spark, body(f"[sim:{name}] hi", stream=is_stream))
        assert (answer.status, answer.json["error"]["code"]) == (status, name[-5:])

    assert spark.statistics().total.errors == 2


async def test_an_error_within_a_stream_is_an_object_and_the_end() -> None:
    answer = await post(upstream(), body("[sim:late_10012] hi", stream=True))
    whole = await post(upstream(), body("[sim:late_10012] hi"))

    *chunks, error = answer.events
    assert len(chunks) == 3
    assert (error["code"], error["error"]["code"]) == (10012, "10012")
    assert answer.is_whole
    assert whole.status == 500


@pytest.mark.parametrize("name", ["close_mid_stream", "eof_mid_stream", "reset_mid_stream"])
async def test_an_answer_may_end_inside_its_body(name: str) -> None:
    spark = upstream()
    stream = await post(spark, body(f"[sim:{name}] hi", stream=True))
    whole = await post(spark, body(f"[sim:{name}] hi"))

    assert (stream.status, stream.is_whole, len(stream.events)) == (200, False, 3)
    assert (whole.status, whole.is_whole) == (0, False)
    assert spark.statistics().total.cut == 2


async def test_silences_are_the_same(autojump_clock: MockClock) -> None:
    answer = await post(upstream(), body("[sim:stall] hello there", stream=True))

    assert spoken(answer) == TEXT
    assert trio.current_time() == pytest.approx(SILENCE_S)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_client_that_goes_cancels(is_stream: bool, autojump_clock: MockClock) -> None:
    spark = upstream()
    near, far = trio.testing.memory_stream_pair()
    asked = json.dumps(body("[sim:half_open] hi", stream=is_stream)).encode()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spark.serve_stream, far)
        await near.send_all(request_bytes(asked))
        await trio.sleep(1)
        assert spark.statistics().running == 1
        await near.aclose()

    assert trio.current_time() == pytest.approx(1)
    assert spark.statistics().total.cancelled == 1


async def test_limits_are_shared_with_the_sockets() -> None:
    spark = upstream(limits=Limits(per_day=1))

    assert (await post(spark, body())).status == 200
    assert (await post(spark, body())).json["error"]["code"] == "11201"


async def test_a_body_may_come_in_pieces() -> None:
    near, far = trio.testing.memory_stream_pair()
    spark: SparkUpstream = upstream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spark.serve_stream, far)
        for byte in request_bytes(json.dumps(body()).encode(), headers=BEARER):
            await near.send_all(bytes([byte]))

        assert (await answer_on(near)).status == 200
