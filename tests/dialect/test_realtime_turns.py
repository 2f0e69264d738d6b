"""Turns of a Realtime session: begun by either side, side by side, ended in every way."""

from __future__ import annotations

import json

import pytest

from relayd.core.endings import Reason
from relayd.dialect.meter import Ticket, ToolCalled, TurnAsk, Usage
from relayd.dialect.realtime_turns import (
    ASKED_MAX,
    CREATE_ERRORS,
    ENDED_MAX,
    TURNS_MAX,
)
from relayd.protocol.outcomes import Drop
from tests.dialect.conversation import Talk, TellingMeter, base64_of


def test_a_turn_counts_from_its_create_to_its_done() -> None:
    talk = Talk()
    talk.client("response.create", 1.0)
    assert talk.conversation.busy_since == 1.0
    talk.created("resp_1", 2.0)
    talk.delta("resp_1", 3.0)
    talk.delta("resp_1", 4.0)
    talk.done("resp_1", 5.0)

    (turn,) = talk.heard.ended
    assert (turn.turn_id, turn.reason) == ("resp_1", "completed")
    assert (turn.asked_at, turn.first_output_at, turn.ended_at) == (1.0, 3.0, 5.0)
    assert talk.heard.outputs == [("resp_1", 1.0, 3.0)]
    assert not talk.conversation.busy
    assert talk.conversation.busy_since is None


def test_a_turn_that_the_server_begins_counts_from_there() -> None:
    talk = Talk()
    talk.created("resp_1", 2.0)
    talk.done("resp_1", 5.0)

    assert talk.meter.asks == []
    assert talk.heard.started == ["resp_1"]
    assert [(turn.asked_at, turn.first_output_at) for turn in talk.heard.ended] == [(2.0, None)]


def test_tools_that_a_response_calls_are_told_with_its_end_and_once() -> None:
    talk = Talk()
    calls = [{"type": "function_call", "name": "look_up", "call_id": "call_1"}]
    for _ in range(2):
        talk.upstream("response.done", response={"id": "resp_1", "output": calls})

    assert talk.heard.calls == [("resp_1", ToolCalled("look_up", "call_1"))]
    assert len(talk.heard.ended) == 1


def test_responses_side_by_side_have_their_own_first_output() -> None:
    talk = Talk()
    talk.created("a", 1.0)
    talk.created("b", 2.0)
    talk.delta("b", 3.0)
    talk.delta("a", 4.0)
    talk.done("a", 5.0)
    talk.done("b", 6.0)

    assert [(turn.turn_id, turn.first_output_at) for turn in talk.heard.ended] == [
        ("a", 4.0),
        ("b", 3.0),
    ]
    assert talk.conversation.waits_for_output == 0


def test_the_end_of_an_unknown_response_takes_no_others_first_output() -> None:
    talk = Talk()
    talk.created("a", 1.0)
    talk.done("unknown", 2.0)
    talk.delta("a", 3.0)
    talk.done("a", 4.0)

    assert [(turn.turn_id, turn.first_output_at) for turn in talk.heard.ended] == [
        ("unknown", None),
        ("a", 3.0),
    ]


def test_a_response_that_is_announced_twice_runs_once() -> None:
    talk = Talk()
    talk.client("response.create", 1.0)
    talk.client("response.create", 2.0)
    talk.created("a", 3.0)
    talk.created("a", 4.0)
    talk.done("a", 5.0)

    assert [turn.asked_at for turn in talk.heard.ended] == [1.0]
    assert talk.conversation.busy_since == 2.0
    assert talk.conversation.waits_for_output == 0


def test_an_upstream_without_response_ids_has_turns_as_well() -> None:
    talk = Talk()
    talk.client("response.create", 1.0)
    talk.created(None, 2.0)
    talk.delta(None, 3.0)
    talk.done(None, 4.0)

    assert [(turn.asked_at, turn.first_output_at) for turn in talk.heard.ended] == [(1.0, 3.0)]
    assert not talk.conversation.busy


def test_events_that_name_no_response_mean_the_only_one() -> None:
    talk = Talk()
    talk.created("a", 1.0)
    talk.delta(None, 2.0)
    talk.done(None, 3.0)

    assert [turn.first_output_at for turn in talk.heard.ended] == [2.0]
    assert not talk.conversation.busy


def test_an_upstream_that_does_not_announce_responses_answers_creates() -> None:
    talk = Talk()
    talk.client("response.create", 1.0)
    talk.done("a", 3.0)

    assert [turn.asked_at for turn in talk.heard.ended] == [1.0]
    assert not talk.conversation.busy


def test_an_error_answers_the_create_that_it_names() -> None:
    talk = Talk()
    talk.client("response.create", 1.0, event_id="one")
    talk.client("response.create", 2.0, event_id="two")

    talk.upstream("error", error={"event_id": "something else"})
    assert talk.conversation.busy_since == 1.0
    talk.upstream("error", error={"event_id": "one"})
    assert talk.conversation.busy_since == 2.0
    talk.upstream("error", error={})
    assert not talk.conversation.busy


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed", "incomplete"])
def test_a_turns_reason_is_the_responses_status(status: str) -> None:
    talk = Talk()
    talk.created("a")
    talk.done("a", status=status)

    assert [turn.reason for turn in talk.heard.ended] == [status]


def test_a_turn_is_settled_before_it_is_reported() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.created("a")
    talk.done("a", usage={"input_tokens": 3, "output_tokens": 4})

    (turn,), (charge,), (slip,) = talk.heard.ended, talk.heard.charges, talk.meter.slips
    assert slip.endings == [turn]
    assert turn.usage is not None
    assert (turn.usage.input_total, turn.usage.output_total) == (3, 4)
    assert charge.usage is turn.usage


def test_turns_are_numbered_in_the_order_in_which_they_begin() -> None:
    talk = Talk()
    talk.created("a")
    talk.created("b")
    talk.done("b")
    talk.done("c")
    talk.done("a")
    talk.client("response.create")
    talk.conversation.cut_short(Reason.CLIENT_GONE, 9.0)

    assert [(turn.turn_id, turn.number) for turn in talk.heard.ended] == [
        ("b", 2),
        ("c", 3),
        ("a", 1),
        (None, 4),
    ]


def test_the_ticket_of_a_create_is_that_of_its_response() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.created("a")
    talk.created("b")
    talk.done("b")
    assert [len(slip.endings) for slip in talk.meter.slips] == [0, 1]
    talk.done("a")

    assert [len(talk.meter.asks), len(talk.meter.begun)] == [1, 1]
    assert [slip.endings for slip in talk.meter.slips] == [
        [turn] for turn in reversed(talk.heard.ended)
    ]


def test_a_response_that_was_never_announced_is_begun_and_settled() -> None:
    talk = Talk()
    talk.done("a", 5.0, usage={"input_tokens": 3, "output_tokens": 0})

    assert [ask.now for ask in talk.meter.begun] == [5.0]
    assert [slip.endings for slip in talk.meter.slips] == [talk.heard.ended]
    assert talk.heard.started == ["a"], "whoever counts what runs is told both"


@pytest.mark.parametrize("turn_id", ["a", None])
def test_the_end_of_a_response_counts_once(turn_id: str | None) -> None:
    talk = Talk()
    talk.created("a", 1.0)
    talk.done(turn_id, 2.0, usage={"input_tokens": 3})
    talk.done("a", 3.0, usage={"input_tokens": 3})
    talk.created("a", 4.0)
    talk.done("a", 5.0)

    assert [turn.turn_id for turn in talk.heard.ended] == ["a"]
    assert talk.heard.started == ["a"]
    assert len(talk.meter.slips) == 1
    assert not talk.conversation.busy


def test_ends_are_remembered_up_to_a_bound() -> None:
    talk = Talk()
    for number in range(ENDED_MAX + 1):
        talk.done(f"resp_{number}")
    talk.done("resp_1")
    assert len(talk.heard.ended) == ENDED_MAX + 1
    talk.done("resp_0")

    assert len(talk.heard.ended) == ENDED_MAX + 2


def test_the_end_of_a_response_counts_once_however_late_it_is_repeated() -> None:
    talk = Talk()
    for number in range(1000):
        talk.done(f"resp_{number}")
    talk.done("resp_0")

    assert len(talk.heard.ended) == 1000


@pytest.mark.parametrize(
    ("response_id", "turn_id"),
    [(7, "7"), (1.50, "1.5"), (True, None), ([], None), ({"a": 1}, None), (None, None)],
)
def test_an_id_that_is_no_string_hides_no_usage(response_id: object, turn_id: str | None) -> None:
    talk = Talk()
    response = {"id": response_id, "usage": {"input_tokens": 3, "output_tokens": 0}}
    talk.upstream("response.created", response={"id": response_id})
    talk.upstream("response.output_text.delta", 2.0, response_id=response_id, delta="x")
    talk.upstream("response.done", response={**response, "status": 5})

    (turn,) = talk.heard.ended
    assert (turn.turn_id, turn.first_output_at, turn.reason) == (turn_id, 2.0, "5")
    assert [usage.input_total for usage in talk.meter.usages] == [3]
    assert not talk.conversation.busy


def test_responses_without_ids_all_count() -> None:
    talk = Talk()
    talk.done(None)
    talk.done(None)

    assert [turn.turn_id for turn in talk.heard.ended] == [None, None]


def test_an_id_is_kept_up_to_a_bound() -> None:
    talk = Talk()
    talk.created("r" * 1000)
    talk.delta("r" * 1000, 3.0)
    talk.done("r" * 1000, status="s" * 1000)

    (turn,) = talk.heard.ended
    assert (turn.turn_id, turn.reason, turn.first_output_at) == ("r" * 256, "s" * 256, 3.0)


def test_a_create_that_failed_gives_its_ticket_back() -> None:
    talk = Talk()
    talk.client("response.create", event_id="one")
    talk.client("response.create", event_id="two")
    talk.upstream("error", error={"event_id": "two"})
    talk.upstream("error", error={"event_id": "unknown"})
    assert [slip.endings for slip in talk.meter.slips] == [[], [None]]
    talk.upstream("error", error={"code": "conversation_already_has_active_response"})

    assert [slip.endings for slip in talk.meter.slips] == [[None], [None]]
    assert talk.heard.ended == []


@pytest.mark.parametrize("code", sorted(CREATE_ERRORS))
def test_an_error_that_only_a_create_can_bring_about_answers_the_oldest(code: str) -> None:
    talk = Talk()
    talk.client("response.create", 1.0)
    talk.client("response.create", 2.0)
    talk.upstream("error", error={"code": code})

    assert [slip.endings for slip in talk.meter.slips] == [[None], []]
    assert talk.conversation.busy_since == 2.0


@pytest.mark.parametrize("code", [None, "invalid_value", "rate_limit_exceeded", 5])
def test_an_error_that_any_event_can_bring_about_frees_no_ticket(code: object) -> None:
    talk = Talk()
    talk.client("response.create", 1.0, event_id="one")
    for _ in range(3):
        talk.upstream("error", error={"code": code})
    assert [slip.endings for slip in talk.meter.slips] == [[]]
    assert not talk.conversation.busy
    talk.created("a", 2.0)
    talk.done("a", 3.0)

    assert talk.meter.begun == []
    assert [slip.endings for slip in talk.meter.slips] == [talk.heard.ended]
    assert [turn.asked_at for turn in talk.heard.ended] == [1.0]


def test_a_create_that_is_doubted_comes_after_the_others() -> None:
    talk = Talk()
    talk.client("response.create", 1.0)
    talk.upstream("error", error={})
    talk.client("response.create", 2.0)
    assert talk.conversation.busy_since == 2.0
    talk.created("a", 3.0)
    talk.created("b", 4.0)
    talk.done("a", 5.0)
    talk.done("b", 6.0)

    assert [turn.asked_at for turn in talk.heard.ended] == [2.0, 1.0]
    assert talk.meter.begun == []


def test_a_doubted_create_is_answered_by_an_error_that_only_a_create_can_bring_about() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.upstream("error", error={})
    talk.upstream("error", error={"code": "conversation_already_has_active_response"})

    assert [slip.endings for slip in talk.meter.slips] == [[None]]


def test_a_doubted_create_is_void_when_the_session_ends() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.upstream("error", error={})
    talk.conversation.cut_short(Reason.CLIENT_GONE, 9.0)

    assert [slip.endings for slip in talk.meter.slips] == [[None]]
    assert talk.heard.ended == []


def test_an_error_that_names_another_event_doubts_no_create() -> None:
    talk = Talk()
    talk.client("response.create", 1.0)
    talk.upstream("error", error={"event_id": "other", "code": "insufficient_quota"})

    assert talk.conversation.busy_since == 1.0
    assert [slip.endings for slip in talk.meter.slips] == [[]]


def test_an_error_that_echoes_a_long_id_is_understood() -> None:
    talk = Talk()
    talk.client("response.create", event_id="x" * 500)
    talk.upstream("error", error={"event_id": "x" * 500})

    assert not talk.conversation.busy


SECOND = 48_000


def test_what_is_due_is_expected_of_a_create() -> None:
    talk = Talk()
    talk.append(3 * SECOND)
    talk.client("conversation.item.create", item={"content": [{"text": "x" * 17}]})
    talk.client("response.create", 7.0, response={"max_output_tokens": 50})

    assert talk.meter.asks == [
        TurnAsk(
            now=7.0,
            expected=Usage(
                source="response", input_text=5, input_audio=30, input_total=35, estimated=True
            ),
            output_max_tokens=50,
            audio=True,
        )
    ]


def test_what_a_create_itself_brings_is_expected_of_it() -> None:
    talk = Talk()
    talk.append(SECOND)
    content = [
        {"type": "input_text", "text": "x" * 400},
        {"type": "input_audio", "audio": base64_of(2 * SECOND).decode()},
    ]
    response = {"instructions": "y" * 40, "input": [{"content": content}]}
    talk.client("response.create", response=response)
    talk.client("response.create")

    assert [(ask.expected.input_text, ask.expected.input_audio) for ask in talk.meter.asks] == [
        (110, 30),
        (0, 10),
    ]


def test_what_was_due_to_a_response_is_not_due_to_the_next() -> None:
    talk = Talk()
    talk.append(SECOND)
    talk.client("response.create")
    talk.client("response.create")
    talk.created("a")
    talk.append(2 * SECOND)
    talk.client("response.create")

    assert [ask.expected.input_audio for ask in talk.meter.asks] == [10, 10, 20]


def test_a_response_that_the_server_begins_is_like_the_session() -> None:
    talk = Talk()
    audio = {"input": {"format": {"type": "audio/pcmu"}}}
    session = {"max_output_tokens": 99, "output_modalities": ["text"], "audio": audio}
    talk.upstream("session.updated", session=session)
    talk.append(8_001)
    talk.created("a", 4.0)

    (ask,) = talk.meter.begun
    assert (ask.now, ask.expected.input_audio) == (4.0, 11)
    assert (ask.output_max_tokens, ask.audio) == (99, False)


def spoken(*, seconds: int, text: int) -> Talk:
    """A response to a second of audio, so long."""
    talk = Talk()
    talk.append(SECOND)
    talk.created("a", 2.0)
    for _ in range(seconds):
        talk.delta("a", delta=base64_of(SECOND).decode())
    if text:
        talk.upstream("response.output_text.delta", response_id="a", delta="x" * text)
    return talk


@pytest.mark.parametrize(
    "usage",
    [None, {}, 5, {"input_tokens": "many"}, {"input_tokens": -1}],
)
@pytest.mark.parametrize("status", ["completed", "cancelled", "failed", "incomplete"])
def test_a_turn_without_readable_usage_is_estimated(usage: object, status: str) -> None:
    talk = spoken(seconds=3, text=9)
    talk.done("a", usage=usage, status=status)

    assert talk.meter.usages == [
        Usage(
            source="response",
            upstream_id="a",
            input_audio=10,
            output_audio=60,
            output_text=3,
            input_total=10,
            output_total=63,
            estimated=True,
        )
    ]


def test_a_response_that_failed_without_output_was_for_nothing() -> None:
    talk = spoken(seconds=0, text=0)
    talk.done("a", status="failed")

    assert talk.meter.usages == [Usage(source="response", upstream_id="a", estimated=True)]


def test_usage_that_is_told_of_a_failed_response_counts() -> None:
    talk = spoken(seconds=0, text=0)
    talk.done("a", status="failed", usage={"input_tokens": 5, "output_tokens": 0})

    assert [usage.input_audio for usage in talk.meter.usages] == [5]


def test_output_belongs_to_the_response_that_it_names() -> None:
    talk = Talk()
    talk.created("a")
    talk.created("b")
    for turn_id, seconds in (("a", 1), ("b", 2), ("a", 1), ("unknown", 1)):
        talk.delta(turn_id, delta=base64_of(SECOND * seconds).decode())
    talk.done("a")
    talk.done("b")
    talk.done("c")

    assert [usage.output_audio for usage in talk.meter.usages] == [40, 40, 20]


def test_output_before_a_response_is_not_its_own() -> None:
    talk = Talk()
    talk.delta("a", delta=base64_of(SECOND).decode())
    talk.created("b")
    talk.done("b")
    talk.done("c")

    assert [usage.output_audio for usage in talk.meter.usages] == [0, 0]


def test_the_meter_finds_the_session_busy_when_a_turn_has_begun() -> None:
    busy = []

    class Watching(TellingMeter):
        def turn_begun(self, ask: TurnAsk) -> Ticket:
            busy.append(talk.conversation.busy)
            return super().turn_begun(ask)

    talk = Talk(Watching())
    talk.created("a")

    assert busy == [True]


def test_a_session_that_ends_cuts_every_turn_short_once() -> None:
    talk = Talk()
    talk.client("response.create", 1.0)
    talk.created("a", 2.0)
    talk.client("response.create", 3.0)

    talk.conversation.cut_short(Reason.CLIENT_GONE, 9.0)
    talk.conversation.cut_short(Reason.CLIENT_GONE, 9.0)

    assert [(turn.turn_id, turn.asked_at, turn.reason) for turn in talk.heard.ended] == [
        ("a", 1.0, "client_gone"),
        (None, 3.0, "client_gone"),
    ]
    assert [slip.endings for slip in talk.meter.slips] == [[turn] for turn in talk.heard.ended]
    assert [turn.usage for turn in talk.heard.ended] == [None, None]
    assert not talk.conversation.busy


def test_after_its_end_a_session_has_no_turns() -> None:
    talk = Talk()
    talk.created("a")
    talk.conversation.cut_short(Reason.CLIENT_GONE, 9.0)
    talk.done("a")
    talk.done("b")
    talk.created("c")
    ticket = talk.meter.slip()
    talk.conversation.ask(9.0, ticket)

    assert isinstance(talk.client("response.create"), Drop)
    assert [turn.turn_id for turn in talk.heard.ended] == ["a"]
    assert ticket.endings == [None]
    assert not talk.conversation.busy


def test_creates_without_a_response_are_refused_beyond_a_bound() -> None:
    talk = Talk()
    for _ in range(ASKED_MAX):
        assert talk.client("response.create") is None
    refused = talk.client("response.create", event_id="mine")

    assert isinstance(refused, Drop)
    error = json.loads(refused.reply or b"")["error"]
    assert (error["code"], error["event_id"]) == ("rate_limit_exceeded", "mine")
    assert [slip.endings for slip in talk.meter.slips] == [[]] * ASKED_MAX
    assert len(talk.heard.asked) == ASKED_MAX
    ticket = talk.meter.slip()
    talk.conversation.ask(1.0, ticket)
    assert ticket.endings == [None]
    talk.created("a")
    assert talk.client("response.create") is None


def test_what_is_remembered_is_bounded_and_what_is_dropped_is_void() -> None:
    talk = Talk()
    for number in range(3 * TURNS_MAX):
        talk.created(f"resp_{number}")

    assert len(talk.conversation.running) == TURNS_MAX
    talk.conversation.cut_short(Reason.CLIENT_GONE, 9.0)
    assert {len(slip.endings) for slip in talk.meter.slips} == {1}
    assert [turn.turn_id for turn in talk.heard.ended] == [
        f"resp_{number}" for number in range(2 * TURNS_MAX, 3 * TURNS_MAX)
    ]
