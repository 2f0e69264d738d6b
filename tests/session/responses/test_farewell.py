"""What a client is told when its session ends, or is about to."""

from __future__ import annotations

import json

import pytest

from relayd.core.endings import ENDINGS, Reason
from relayd.dialect.meter import Refuse
from relayd.dialect.responses_aborts import CONSEQUENCES, Abort
from relayd.session.responses.farewell import (
    LAST_WORDS,
    closed_to,
    goodbye,
    last_words,
    mistake_of,
)
from tests.dialect.responses import create

SPENT = Refuse("insufficient_quota", "insufficient_quota", "It begins anew tomorrow.")


@pytest.mark.parametrize("reason", LAST_WORDS)
def test_a_running_turn_hears_the_tables_words_with_its_id(reason: Reason) -> None:
    (event,) = goodbye(reason, None, [("a", "resp_1")], told=False)
    told, words = json.loads(event), CONSEQUENCES[LAST_WORDS[reason]].words

    assert words is not None
    assert (told["status"], told["stream_id"], told["error"]["code"]) == (
        words.status,
        "a",
        words.code,
    )
    assert told["error"]["message"] == f"{words.message} (response resp_1)"


@pytest.mark.parametrize("reason", sorted(set(Reason) - LAST_WORDS.keys()))
def test_other_endings_say_nothing_to_a_running_turn(reason: Reason) -> None:
    assert list(goodbye(reason, None, [(None, "resp_1")], told=False)) == []


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("told", [False, True])
def test_who_waits_for_nothing_hears_of_what_is_its_keys(reason: Reason, *, told: bool) -> None:
    events = list(goodbye(reason, None, [], told=told))
    is_the_keys = reason in {Reason.KEY_EXPIRED, Reason.KEY_REMOVED, Reason.BUDGET_EXHAUSTED}

    assert len(events) == (is_the_keys and not told)
    assert not is_the_keys or ENDINGS[reason].error_event


def test_a_spent_budget_says_when_there_is_another() -> None:
    told = last_words(Reason.BUDGET_EXHAUSTED, SPENT, "a")

    assert told is not None
    assert (told.status, told.code, told.message) == (429, "insufficient_quota", SPENT.message)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("permission_error", 403),
        ("server_error", 503),
    ],
)
def test_what_the_dialect_has_no_words_for_is_told_as_it_was_said(kind: str, status: int) -> None:
    told = closed_to(create("a"), Reason.POLICY, Refuse(kind, "code", "message"))

    assert (told.status, told.type, told.code, told.message, told.stream_id) == (
        status,
        kind,
        "code",
        "message",
        "a",
    )


def test_a_request_during_a_drain_is_asked_to_come_again() -> None:
    told = closed_to(create(), Reason.DRAIN, Refuse("server_error", "draining", "m"))

    assert (told.status, told.code) == (503, "gateway_draining")
    assert told == mistake_of(Abort.DRAINING, None)
