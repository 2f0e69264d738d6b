"""Turns of a Realtime session: begun by either side, side by side, ended in every way."""

from __future__ import annotations

import pytest

from relayd.core.endings import Reason
from relayd.dialect.realtime_turns import ASKED_MAX, TURNS_MAX
from tests.dialect.conversation import Talk


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
    assert not talk.conversation.busy
    assert talk.conversation.busy_since is None


def test_a_turn_that_the_server_begins_counts_from_there() -> None:
    talk = Talk()
    talk.created("resp_1", 2.0)
    talk.done("resp_1", 5.0)

    assert talk.meter.asks == []
    assert talk.heard.started == ["resp_1"]
    assert [(turn.asked_at, turn.first_output_at) for turn in talk.heard.ended] == [(2.0, None)]


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


def test_usage_is_counted_before_the_turn_ends() -> None:
    talk = Talk()
    talk.created("a")
    talk.done("a", usage={"input_tokens": 3, "output_tokens": 4})

    (turn,) = talk.heard.ended
    assert turn.usage is not None
    assert talk.meter.usages == [turn.usage]


@pytest.mark.parametrize("usage", [None, {}, 5, {"input_tokens": "many"}, {"input_tokens": -1}])
def test_a_turn_without_readable_usage_ends_as_well(usage: object) -> None:
    talk = Talk()
    talk.created("a")
    talk.done("a", usage=usage)

    assert [turn.usage for turn in talk.heard.ended] == [None]
    assert talk.meter.usages == []


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
    assert not talk.conversation.busy


def test_what_is_remembered_is_bounded() -> None:
    talk = Talk()
    for number in range(3 * TURNS_MAX):
        talk.client("response.create", float(number))
    assert len(talk.conversation.asked) == ASKED_MAX
    for number in range(3 * TURNS_MAX):
        talk.created(f"resp_{number}")

    assert len(talk.conversation.running) == TURNS_MAX
    assert len(talk.conversation.asked) == 0
