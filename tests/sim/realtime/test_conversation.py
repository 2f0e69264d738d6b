"""A session as a conversation: client events in, server events out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.realtime.audio import silence, tone
from relayd.sim.realtime.billing import BILLINGS, billing_of
from relayd.sim.realtime.conversation import Conversation
from relayd.sim.realtime.scenario import Scenario
from relayd.sim.realtime.session import INSTRUCTIONS, Kind
from relayd.sim.realtime.usage import Tokens, words

SENTENCE = silence("audio/pcm", 500) + tone("audio/pcm", 1000) + silence("audio/pcm", 800)

Event = dict[str, Any]


def realtime(scenario: Scenario = Scenario.NORMAL) -> Conversation:
    return Conversation("s", Kind.REALTIME, "gpt-realtime", 3600, billing_of(scenario))


def told(conversation: Conversation, event: Mapping[str, object]) -> list[Event]:
    """What is answered to ``event`` at once."""
    return conversation.receive(json.dumps(event))


def opened(conversation: Conversation) -> list[Event]:
    """What is said before anything is asked."""
    return list(conversation.opening())


def spoken(conversation: Conversation) -> list[Event]:
    """What is said until nobody speaks any more."""
    events: list[Event] = []
    while conversation.is_speaking:
        events += conversation.advance()
    return events


def say(conversation: Conversation, text: str) -> list[Event]:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    return told(conversation, {"type": "conversation.item.create", "item": item})


def hear(conversation: Conversation, sound: bytes) -> list[Event]:
    encoded = base64.b64encode(sound).decode()
    return told(conversation, {"type": "input_audio_buffer.append", "audio": encoded})


def update(conversation: Conversation, **session: object) -> list[Event]:
    change = {"type": conversation.kind.value, **session}
    return told(conversation, {"type": "session.update", "session": change})


def kinds(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def error_code(events: list[Event]) -> str:
    assert kinds(events) == ["error"]
    return str(events[0]["error"]["code"])


def test_the_session_is_the_first_thing_said() -> None:
    created, conversation = opened(realtime())

    assert created["type"] == "session.created"
    assert created["session"]["id"] == "sess_s"
    assert created["session"]["model"] == "gpt-realtime"
    assert conversation["conversation"]["id"] == "conv_s"


def test_a_transcription_session_has_no_conversation() -> None:
    opening = opened(Conversation("s", Kind.TRANSCRIPTION, None, 3600))

    assert kinds(opening) == ["session.created"]


def test_a_question_in_writing_is_answered_aloud() -> None:
    conversation = realtime()
    added = say(conversation, "hello there")
    told(conversation, {"type": "response.create"})

    events = spoken(conversation)

    assert kinds(added) == ["conversation.item.added", "conversation.item.done"]
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.done"
    done = events[-1]["response"]
    assert done["output"][0]["content"][0]["transcript"] == "Answer 1. You said: hello there"
    assert done["usage"]["input_tokens"] == words(INSTRUCTIONS) + 2
    assert done["usage"]["output_token_details"] == {"text_tokens": 6, "audio_tokens": 12}


def test_a_response_may_differ_from_its_session() -> None:
    conversation = realtime()
    wish = {
        "output_modalities": ["text"],
        "instructions": "one",
        "metadata": {"topic": "t"},
        "max_output_tokens": 2,
    }

    told(conversation, {"type": "response.create", "response": wish})
    done = spoken(conversation)[-1]["response"]

    assert (done["output_modalities"], done["metadata"]) == (["text"], {"topic": "t"})
    assert done["status"] == "incomplete"
    assert done["usage"]["input_tokens"] == 1


def test_what_was_read_before_is_cached() -> None:
    conversation = realtime()
    usages = []
    for text in ("one two three", "four"):
        say(conversation, text)
        told(conversation, {"type": "response.create"})
        usages.append(spoken(conversation)[-1]["response"]["usage"])

    assert usages[0]["input_token_details"]["cached_tokens"] == 0
    assert usages[1]["input_token_details"]["cached_tokens"] == usages[0]["input_tokens"]


def told_tokens(usages: Iterable[Any], *path: str) -> int:
    """The sum of one field of many usages; what is not there counts nothing."""
    total = 0
    for usage in usages:
        field = usage
        for name in path:
            field = (field or {}).get(name)
        total += field or 0
    return total


@pytest.mark.parametrize("scenario", [Scenario.NORMAL, *BILLINGS])
def test_the_tally_is_the_sum_of_what_was_reported(scenario: Scenario) -> None:
    conversation = realtime(scenario)
    if scenario is Scenario.NORMAL:
        update(conversation, audio={"input": {"transcription": {"model": "gpt-4o-transcribe"}}})
    events: list[Event] = []
    for text in ("hello", "hello again", "and again", "at last"):
        say(conversation, text)
        told(conversation, {"type": "response.create"})
        events += spoken(conversation)
        events += hear(conversation, SENTENCE)
        events += spoken(conversation)

    done = [e["response"].get("usage") for e in events if e["type"] == "response.done"]
    written = [e["usage"] for e in events if e["type"].endswith("transcription.completed")]

    tally, usage = conversation.tally, conversation.tally.usage
    heard = tally.transcription_usage
    assert tally.responses == len(done) == 8
    assert tally.untold == sum("input_tokens" not in (usage or {}) for usage in done)
    assert usage.read.total == told_tokens(done, "input_tokens")
    assert usage.written.total == told_tokens(done, "output_tokens")
    for kind in ("text", "audio", "image"):
        field, details = f"{kind}_tokens", "input_token_details"
        assert getattr(usage.read, kind) == told_tokens(done, details, field)
        assert getattr(usage.written, kind) == told_tokens(done, "output_token_details", field)
        told_cached = told_tokens(done, details, "cached_tokens_details", field)
        assert getattr(usage.cached, kind) == told_cached
    assert usage.cached.total == told_tokens(done, "input_token_details", "cached_tokens")
    assert tally.cached.total == usage.cached.total
    assert tally.transcriptions == len(written)
    assert heard.read.total + heard.written.total == told_tokens(written, "total_tokens")
    assert tally.transcription_ms == round(told_tokens(written, "seconds") * 1000)


def test_a_stored_prompt_is_in_the_cache_from_the_first_response_on() -> None:
    conversation = realtime(Scenario.USAGE_CACHED)
    told(conversation, {"type": "response.create"})
    details = spoken(conversation)[-1]["response"]["usage"]["input_token_details"]

    instructions = words(INSTRUCTIONS)
    assert (details["text_tokens"], details["audio_tokens"]) == (40 + instructions, 30)
    assert details["image_tokens"] == 200
    assert details["cached_tokens_details"] == {
        "text_tokens": 32,
        "audio_tokens": 20,
        "image_tokens": 100,
    }


def test_flat_cached_tokens_are_more_than_the_text_there_is() -> None:
    conversation = realtime(Scenario.USAGE_CACHED_FLAT)
    told(conversation, {"type": "response.create"})
    details = spoken(conversation)[-1]["response"]["usage"]["input_token_details"]

    text = details["text_tokens"]
    assert text < details["cached_tokens"] == 92
    assert conversation.tally.cached == Tokens(text=text, audio=92 - text)


@pytest.mark.parametrize(
    ("scenario", "model"),
    [
        (Scenario.TRANSCRIPTION_TOKENS, "gpt-4o-transcribe"),
        (Scenario.TRANSCRIPTION_DURATION, "whisper-1"),
    ],
)
def test_audio_may_be_transcribed_without_being_asked_for(scenario: Scenario, model: str) -> None:
    conversation = realtime(scenario)
    created = opened(conversation)[0]
    events = hear(conversation, SENTENCE)

    assert created["session"]["audio"]["input"]["transcription"]["model"] == model
    assert "conversation.item.input_audio_transcription.completed" in kinds(events)
    assert conversation.tally.transcriptions == 1


def test_a_usage_counts_from_the_moment_it_is_told() -> None:
    conversation = realtime()
    told(conversation, {"type": "response.create"})
    while conversation.advance()[0]["type"] != "response.done":
        assert conversation.tally.responses == 0

    assert conversation.tally.responses == 1
    told(conversation, {"type": "response.cancel"})
    assert conversation.tally.responses == 1


def test_speech_is_heard_committed_and_answered() -> None:
    conversation = realtime()

    events = hear(conversation, SENTENCE)
    events += spoken(conversation)

    assert kinds(events)[:6] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert events[0]["item_id"] == events[2]["item_id"]
    assert events[-1]["response"]["usage"]["input_token_details"]["audio_tokens"] == 18


def test_speech_interrupts_an_answer() -> None:
    conversation = realtime()
    told(conversation, {"type": "response.create"})
    before: list[Event] = [e for _ in range(3) for e in conversation.advance()]

    events = before + hear(conversation, SENTENCE)
    events += spoken(conversation)

    done = [event["response"] for event in events if event["type"] == "response.done"]
    assert [each["status"] for each in done] == ["cancelled", "completed"]
    assert done[0]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}


def test_without_turn_detection_nothing_happens_by_itself() -> None:
    conversation = realtime()
    update(conversation, audio={"input": {"turn_detection": None}})

    assert hear(conversation, SENTENCE) == []
    assert kinds(told(conversation, {"type": "input_audio_buffer.commit"})) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert not conversation.is_speaking


def test_a_transcription_session_writes_down_and_never_answers() -> None:
    conversation = Conversation("s", Kind.TRANSCRIPTION, None, 3600)
    update(conversation, audio={"input": {"transcription": {"model": "whisper-1"}}})

    events = hear(conversation, SENTENCE)

    assert events[-1]["usage"] == {"type": "duration", "seconds": 1.8}
    assert not conversation.is_speaking
    assert error_code(told(conversation, {"type": "response.create"})) == "invalid_value"


def test_a_cleared_buffer_is_acknowledged() -> None:
    assert kinds(told(realtime(), {"type": "input_audio_buffer.clear"})) == [
        "input_audio_buffer.cleared"
    ]


def test_a_cancelled_response_ends_at_once() -> None:
    conversation = realtime()
    told(conversation, {"type": "response.create"})
    conversation.advance()

    events = told(conversation, {"type": "response.cancel"})

    assert events[-1]["response"]["status_details"]["reason"] == "client_cancelled"
    assert not conversation.is_speaking


def test_responses_out_of_band_run_beside_the_conversation() -> None:
    conversation = realtime()
    say(conversation, "in band")
    told(conversation, {"type": "response.create"})
    content = [{"type": "input_text", "text": "aside"}]
    wish = {
        "conversation": "none",
        "input": [{"type": "message", "role": "user", "content": content}],
    }
    told(conversation, {"type": "response.create", "response": wish})

    done = [e["response"] for e in spoken(conversation) if e["type"] == "response.done"]

    by_band = {each["conversation_id"]: each for each in done}
    assert set(by_band) == {"conv_s", None}
    aside = by_band[None]["output"][0]["content"][0]["transcript"]
    assert aside == "Answer 2. You said: aside"


def test_an_answer_can_be_read_back_cut_and_deleted() -> None:
    conversation = realtime()
    told(conversation, {"type": "response.create"})
    item_id = spoken(conversation)[-1]["response"]["output"][0]["id"]
    about = {"item_id": item_id}
    cut = {**about, "content_index": 0, "audio_end_ms": 100}

    (retrieved,) = told(conversation, {"type": "conversation.item.retrieve", **about})
    (truncated,) = told(conversation, {"type": "conversation.item.truncate", **cut})
    (deleted,) = told(conversation, {"type": "conversation.item.delete", **about})

    sound = base64.b64decode(retrieved["item"]["content"][0]["audio"])
    assert len(sound) == 5 * 100 * 48  # "Answer 1. You said nothing."
    assert truncated["audio_end_ms"] == 100
    assert deleted["item_id"] == item_id


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "no.such.event"}, "invalid_value"),
        ({"type": "response.cancel"}, "response_cancel_not_active"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty"),
        ({"type": "output_audio_buffer.clear"}, "invalid_value"),
        ({"type": "conversation.item.retrieve", "item_id": "x"}, "item_retrieve_invalid_item_id"),
        ({"type": "conversation.item.delete", "item_id": "x"}, "item_delete_invalid_item_id"),
        (
            {"type": "response.create", "response": {"conversation": "conv_other"}},
            "invalid_value",
        ),
        (
            {"type": "conversation.item.create", "item": {"type": "item_reference", "id": "x"}},
            "invalid_value",
        ),
    ],
)
def test_what_cannot_be_done_is_an_error_event_and_the_session_goes_on(
    event: Event, code: str
) -> None:
    conversation = realtime()

    (answered,) = told(conversation, {**event, "event_id": "mine"})

    assert answered["type"] == "error"
    assert answered["error"]["code"] == code
    assert answered["error"]["event_id"] == "mine"
    assert kinds(say(conversation, "still here"))[0] == "conversation.item.added"


def test_one_response_at_a_time_in_the_conversation() -> None:
    conversation = realtime()
    told(conversation, {"type": "response.create"})

    code = error_code(told(conversation, {"type": "response.create"}))

    assert code == "conversation_already_has_active_response"


def test_responses_out_of_band_are_bounded() -> None:
    conversation = realtime()
    aside = {"type": "response.create", "response": {"conversation": "none", "input": []}}
    codes = [answered for _ in range(9) for answered in told(conversation, aside)]

    assert error_code(codes) == "too_many_responses"


def test_a_binary_message_is_an_error() -> None:
    assert error_code(realtime().receive(b"{}")) == "invalid_value"


def test_ids_are_never_used_twice() -> None:
    conversation = realtime()
    events = opened(conversation) + say(conversation, "one") + hear(conversation, SENTENCE)
    events += spoken(conversation)

    ids = [event["event_id"] for event in events]
    assert len(set(ids)) == len(ids)


def test_the_same_words_give_the_same_bytes() -> None:
    def played() -> list[Event]:
        conversation = realtime()
        events = opened(conversation) + say(conversation, "one") + hear(conversation, SENTENCE)
        return events + spoken(conversation)

    assert played() == played()


def test_a_client_that_takes_the_answers_id_harms_nobody() -> None:
    conversation = realtime()
    told(conversation, {"type": "response.create"})
    content = [{"type": "input_text", "text": "x"}]
    item = {"type": "message", "id": "item_s_1", "role": "user", "content": content}
    told(conversation, {"type": "conversation.item.create", "item": item})

    assert spoken(conversation)[-1]["type"] == "response.done"


CLIENT_EVENTS = st.sampled_from(
    [
        {"type": "response.create"},
        {"type": "response.create", "response": {"conversation": "none"}},
        {"type": "response.cancel"},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(SENTENCE).decode()},
        {
            "type": "session.update",
            "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}},
        },
        {"type": "conversation.item.delete", "item_id": "item_s_1"},
    ]
)


@given(st.lists(CLIENT_EVENTS | st.none(), max_size=30))
def test_whatever_is_asked_in_whatever_order_every_response_is_done_once(
    script: list[Event | None],
) -> None:
    conversation = realtime()
    events = opened(conversation)
    for step in script:
        if step is not None:
            events += told(conversation, step)
        elif conversation.is_speaking:
            events += conversation.advance()
    events += spoken(conversation)

    created = [e["response"]["id"] for e in events if e["type"] == "response.created"]
    done = [e["response"]["id"] for e in events if e["type"] == "response.done"]
    assert len(done) == len(set(done)) == conversation.tally.responses
    assert set(created) <= set(done)
    assert conversation.tally.usage.cached.total <= conversation.tally.usage.read.total
    assert conversation.tally.usage.read.at_most(Tokens()) == Tokens()
