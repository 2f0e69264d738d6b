"""The events of one response, whole and cut short."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import pytest

from relayd.sim.realtime.billing import misreport, report_totals
from relayd.sim.realtime.response import Call, Plan, Response, Spoken
from relayd.sim.realtime.usage import Tokens

PLAN = Plan(
    response_id="resp_1",
    item_id="item_1",
    answer=Spoken("two words", None),
    voice="marin",
    output_tokens_max="inf",
    read=Tokens(text=7),
    number=1,
    conversation_id="conv_1",
)


def played(plan: Plan) -> list[dict[str, Any]]:
    return list(iter(Response(plan).advance, None))


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [str(event["type"]).removeprefix("response.") for event in events]


def test_an_answer_in_writing() -> None:
    events = played(PLAN)

    assert kinds(events) == [
        "created",
        "rate_limits.updated",
        "output_item.added",
        "conversation.item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "conversation.item.done",
        "done",
    ]
    assert [event["delta"] for event in events if "delta" in event] == ["two", " words"]
    done = events[-1]["response"]
    assert done["status"] == "completed"
    assert done["usage"]["output_token_details"] == {"text_tokens": 2, "audio_tokens": 0}
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "two words"}]


def test_an_answer_aloud_has_audio_and_its_transcript() -> None:
    events = played(attrs.evolve(PLAN, answer=Spoken("two words", "audio/pcmu")))

    assert kinds(events)[5:12] == [
        "output_audio_transcript.delta",
        "output_audio.delta",
        "output_audio_transcript.delta",
        "output_audio.delta",
        "output_audio.done",
        "output_audio_transcript.done",
        "content_part.done",
    ]
    done = events[-1]["response"]
    assert done["usage"]["output_token_details"] == {"text_tokens": 2, "audio_tokens": 4}
    assert done["audio"]["output"]["format"] == {"type": "audio/pcmu"}


def test_a_call_streams_its_arguments() -> None:
    events = played(attrs.evolve(PLAN, answer=Call("weather", '{"city": "example"}')))

    assert kinds(events)[4:7] == [
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
    ]
    assert "".join(e["delta"] for e in events if "delta" in e) == '{"city": "example"}'
    assert events[6]["arguments"] == '{"city": "example"}'
    assert events[-1]["response"]["output"][0]["call_id"] == "call_1"


def test_out_of_band_it_leaves_the_conversation_alone() -> None:
    events = played(attrs.evolve(PLAN, conversation_id=None))

    assert not any("conversation.item" in kind for kind in kinds(events))
    assert events[-1]["response"]["conversation_id"] is None


@pytest.mark.parametrize(("limit", "spoken"), [(1, 1), (2, 2), (4096, 2)])
def test_it_stops_before_the_limit_is_passed(limit: int, spoken: int) -> None:
    done = played(attrs.evolve(PLAN, output_tokens_max=limit))[-1]["response"]

    assert done["usage"]["output_tokens"] == spoken
    assert (done["status"] == "completed") == (spoken == 2)
    if done["status"] == "incomplete":
        assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


@pytest.mark.parametrize("heard", range(12))
def test_wherever_it_is_cancelled_it_closes_what_it_opened(heard: int) -> None:
    response = Response(PLAN)
    events: list[dict[str, Any]] = list(
        itertools.islice(iter(response.advance, None), heard),
    )

    response.cancel("client_cancelled")
    events += iter(response.advance, None)

    names = kinds(events)
    assert events[-1]["response"]["status"] == ("cancelled" if heard < 8 else "completed")
    assert len(names) == len(set(names)) + (heard > 6)  # "two words" are two deltas
    assert names.count("output_item.added") == names.count("output_item.done")
    assert names.count("conversation.item.added") <= names.count("conversation.item.done")


def test_what_was_said_becomes_an_item_of_the_conversation() -> None:
    response = Response(attrs.evolve(PLAN, answer=Spoken("two words", "audio/pcm")))
    while response.advance() is not None:
        pass

    item = response.item()

    assert item.tokens == Tokens(text=2, audio=4)
    assert len(item.sound) == 200 * 48


def test_a_response_that_fails_says_nothing_and_has_used_nothing() -> None:
    events = played(attrs.evolve(PLAN, fails=True))

    assert kinds(events) == ["created", "rate_limits.updated", "done"]
    done = events[-1]["response"]
    assert (done["status"], done["output"]) == ("failed", [])
    assert done["status_details"]["error"]["type"] == "server_error"
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (0, 0)


def test_the_report_is_made_when_the_response_is_done() -> None:
    response = Response(PLAN, report_totals)
    early = response.report
    done: Any = list(iter(response.advance, None))[-1]["response"]

    assert early is None
    assert response.report is not None
    assert (
        done["usage"]
        == response.report.wire
        == {
            "total_tokens": 9,
            "input_tokens": 7,
            "output_tokens": 2,
        }
    )


def test_a_report_may_leave_usage_out() -> None:
    response = Response(attrs.evolve(PLAN, number=3), misreport)

    done: Any = list(iter(response.advance, None))[-1]["response"]

    assert "usage" not in done
