"""The table of aborts is whole, and says what the protocol's own table says."""

from __future__ import annotations

import json

import pytest

from relayd.core.endings import Fault
from relayd.dialect.responses_aborts import (
    CONSEQUENCES,
    Abort,
    Fate,
    Outcome,
    abort_event,
)
from relayd.dialect.responses_errors import previous_response_text

C, F, X = Outcome.CONTINUE, Outcome.FAIL, Outcome.CLOSE

# Section 6 of the protocol's description: outcome, status and code, close code, fate of the socket.
ROWS = {
    Abort.INVALID_MESSAGE: (C, 400, "invalid_value", None, Fate.KEEP),
    Abort.TOO_MANY_MISTAKES: (X, None, None, 1008, Fate.BROKEN),
    Abort.BINARY_FRAME: (X, None, None, 1003, Fate.RELEASE),
    Abort.MESSAGE_OVER_LIMIT: (X, None, None, 1009, Fate.RELEASE),
    Abort.KEY_REVOKED: (F, 401, "invalid_api_key", 1008, Fate.RELEASE),
    Abort.QUOTA_EXHAUSTED: (F, 429, "insufficient_quota", 1008, Fate.RELEASE),
    Abort.GATEWAY_BUSY: (C, 503, "gateway_busy", None, Fate.KEEP),
    Abort.MODEL_NOT_FOUND: (C, 400, "model_not_found", None, Fate.KEEP),
    Abort.PREVIOUS_RESPONSE_NOT_FOUND: (C, 400, "previous_response_not_found", None, Fate.KEEP),
    Abort.UPSTREAM_ERROR: (C, 502, "upstream_error", None, Fate.BROKEN),
    Abort.UPSTREAM_AUTH: (C, 503, "upstream_unavailable", None, Fate.BROKEN),
    Abort.UPSTREAM_LIMIT: (C, 429, "usage_limit_reached", None, Fate.BROKEN),
    Abort.UPSTREAM_RESTART: (C, 502, "upstream_restart", None, Fate.BROKEN),
    Abort.UPSTREAM_CLOSED: (C, 502, "upstream_closed", None, Fate.BROKEN),
    Abort.UPSTREAM_LOST: (F, 502, "upstream_closed", None, Fate.BROKEN),
    Abort.UPSTREAM_TOO_BIG: (C, 400, "message_too_big", None, Fate.BROKEN),
    Abort.CONNECTION_LIMIT: (C, 400, "websocket_connection_limit_reached", 1000, Fate.ROTATE),
    Abort.FIRST_EVENT_TIMEOUT: (F, 502, "upstream_timeout", None, Fate.BROKEN),
    Abort.READ_TIMEOUT: (F, 502, "upstream_timeout", None, Fate.BROKEN),
    Abort.PREEMPTED: (C, 400, "preempted", None, Fate.BROKEN),
    Abort.CLIENT_GONE: (X, None, None, None, Fate.ALL_BROKEN),
    Abort.CLIENT_SLOW: (X, None, None, 1013, Fate.BROKEN),
    Abort.CLIENT_IDLE: (X, None, None, 1001, Fate.RELEASE),
    Abort.REFUSED: (C, 403, "request_refused", None, Fate.KEEP),
    Abort.DRAIN: (X, None, None, 1012, Fate.RELEASE),
    Abort.INTERNAL_LANE: (F, 500, "internal", None, Fate.BROKEN),
    Abort.INTERNAL_SESSION: (X, 500, "internal", 1011, Fate.ALL_BROKEN),
}


@pytest.mark.parametrize("abort", ROWS)
def test_a_row_of_the_protocols_table_is_kept(abort: Abort) -> None:
    row = CONSEQUENCES[abort]
    status = None if row.words is None else row.words.status
    code = None if row.words is None else row.words.code

    assert (row.outcome, status, code, row.close_code, row.fate) == ROWS[abort]


def test_every_abort_has_a_consequence() -> None:
    assert CONSEQUENCES.keys() == set(Abort)


@pytest.mark.parametrize("abort", Abort)
def test_an_abort_that_leaves_the_session_ends_its_turn_with_an_error_with_status(
    abort: Abort,
) -> None:
    row, event = CONSEQUENCES[abort], abort_event(abort, stream_id="main", response_id="resp_1")

    assert (event is None) == (row.words is None)
    if row.outcome is not X:
        assert event is not None
    if event is not None:
        told = json.loads(event)
        assert told["status"] in range(400, 600)
        assert told["stream_id"] == "main"
        assert all(told["error"][name] for name in ("type", "code", "message"))
        assert told["error"]["message"].endswith("(response resp_1)")


@pytest.mark.parametrize("abort", [abort for abort in Abort if CONSEQUENCES[abort].outcome is X])
def test_an_abort_that_ends_the_session_closes_it_with_a_code_that_may_be_sent(
    abort: Abort,
) -> None:
    code = CONSEQUENCES[abort].close_code

    assert code in {1000, 1001, 1003, 1008, 1009, 1011, 1012, 1013} or abort is Abort.CLIENT_GONE


def test_only_a_spent_budget_and_an_upstreams_limit_are_429_which_is_fatal_to_a_client() -> None:
    assert {
        abort
        for abort, row in CONSEQUENCES.items()
        if row.words is not None and row.words.status == 429
    } == {Abort.QUOTA_EXHAUSTED, Abort.UPSTREAM_LIMIT}


def test_only_the_upstreams_doing_is_retried_and_never_behind_a_response() -> None:
    retried = {abort for abort, row in CONSEQUENCES.items() if row.hidden_retry}

    assert {CONSEQUENCES[abort].fault for abort in retried - {Abort.CONNECTION_LIMIT}} == {
        Fault.UPSTREAM
    }
    assert {CONSEQUENCES[abort].outcome for abort in retried} == {C, F}
    assert not retried & {Abort.UPSTREAM_LOST, Abort.FIRST_EVENT_TIMEOUT, Abort.READ_TIMEOUT}


def test_a_message_may_say_more_than_the_table() -> None:
    event = abort_event(Abort.PREVIOUS_RESPONSE_NOT_FOUND, message=previous_response_text("resp_a"))

    assert event is not None
    error = json.loads(event)["error"]
    assert error["message"] == "Previous response with id 'resp_a' not found."
    assert error["param"] == "previous_response_id"
