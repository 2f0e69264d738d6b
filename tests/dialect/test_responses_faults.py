"""What an upstream's error means, in every shape in which one was seen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_errors import STATUSES
from relayd.dialect.responses_events import decode_server_event, response_of
from relayd.dialect.responses_faults import (
    HEADERS_MAX_BYTES,
    MESSAGE_MAX_CHARS,
    STATUS_BY_WORD,
    RateLimits,
    TurnError,
    Window,
    read_error,
    read_failure,
    read_rate_limits,
    with_status,
)
from tests.dialect.responses import event, message

QUOTA = {
    "type": "error",
    "status": 429,
    "error": {
        "type": "usage_limit_reached",
        "message": "The usage limit has been reached",
        "plan_type": "pro",
        "resets_at": 1738888888,
    },
    "headers": {"x-codex-primary-used-percent": "100", "Retry-After": 30},
}


def error(**members: object) -> TurnError:
    return read_error(message(type="error", **members))


def failure(**members: object) -> TurnError:
    failed = decode_server_event(event("response.failed", response={"error": members}))
    return read_failure(response_of(failed))


def test_an_error_under_its_key_is_read() -> None:
    assert error(
        status=400,
        error={
            "type": "invalid_request_error",
            "code": "previous_response_not_found",
            "message": "Previous response with id 'resp_abc' not found.",
            "param": "previous_response_id",
        },
    ) == TurnError(
        status=400,
        status_told=True,
        kind="invalid_request_error",
        code="previous_response_not_found",
        message="Previous response with id 'resp_abc' not found.",
        param="previous_response_id",
    )


def test_an_error_at_the_top_is_read() -> None:
    read = error(status_code=429, code="rate_limit_exceeded", message="Slow.", param="x")

    assert (read.status, read.status_told) == (429, True)
    assert (read.kind, read.code, read.message, read.param) == (
        None,
        "rate_limit_exceeded",
        "Slow.",
        "x",
    )


def test_a_spent_quota_says_until_when() -> None:
    read = read_error(message(**QUOTA))

    assert read.resets_at == 1738888888
    assert read.retry_after_s == 30
    assert read.abort is Abort.UPSTREAM_LIMIT
    assert read.concerns_account


@pytest.mark.parametrize(
    ("members", "retry_after_s"),
    [
        ({"error": {"resets_in_seconds": 5}, "headers": {"retry-after": "9"}}, 5),
        ({"error": {"headers": {"retry-after-ms": "1500", "retry-after": "9"}}}, 1.5),
        ({"headers": {"RETRY-AFTER": 9.5}}, 9.5),
        ({"error": {"message": "Please try again in 1.898s."}}, 1.898),
        ({"error": {"message": "Please try again in 20ms. Visit ..."}}, 0.02),
        ({"headers": {"retry-after": "Fri, 01 Jan 2027 00:00:00 GMT"}}, None),
        ({"headers": {"retry-after": "-5"}}, None),
        ({"headers": {"retry-after": "1e999"}}, None),
        ({"headers": {"retry-after": ["5"], "x": None}}, None),
        ({"headers": {"retry-after": "5", "x": "y" * HEADERS_MAX_BYTES}}, None),
        ({"headers": "retry-after: 5"}, None),
        ({"error": {"message": "try again in a while"}}, None),
    ],
)
def test_how_long_to_wait_is_read_where_it_is_told(
    members: dict[str, object], retry_after_s: float | None
) -> None:
    assert error(**members).retry_after_s == retry_after_s


@pytest.mark.parametrize(
    ("status", "code", "kind", "expected"),
    [
        (None, None, None, 502),
        (None, "previous_response_not_found", None, 400),
        (None, "unknown", "rate_limit_error", 429),
        (None, None, "server_error", 500),
        (None, "server_is_overloaded", "server_error", 503),
        (None, None, "invalid_request_error", 400),
        (200, "invalid_api_key", None, 401),
        ("429", None, None, 502),
        (429.5, None, None, 502),
        (True, None, None, 502),
        (-1, None, None, 502),
    ],
)
def test_a_missing_status_follows_from_the_words(
    status: object, code: str | None, kind: str | None, expected: int
) -> None:
    read = error(status=status, error={"code": code, "type": kind, "message": "x"})

    assert (read.status, read.status_told) == (expected, False)


def test_a_status_where_clients_do_not_look_is_used_but_was_not_told() -> None:
    read = error(error={"status": 503, "message": "x"})

    assert (read.status, read.status_told) == (503, False)


def test_every_word_stands_for_a_status_of_an_error() -> None:
    assert all(status in STATUSES for status in STATUS_BY_WORD.values())


@pytest.mark.parametrize("odd", [None, 5, [], True, "x", {"message": {}}, {"type": []}])
def test_an_odd_error_is_one_nevertheless(odd: object) -> None:
    read = error(error=odd)

    assert (read.status, read.kind, read.code) == (502, None, None)
    assert read.message == (odd if isinstance(odd, str) else "")


def test_what_cannot_be_read_at_all_is_one() -> None:
    assert read_error(b'{"type":"error"').status == 502


def test_the_message_is_bounded_and_shows_no_key() -> None:
    read = error(
        error={"message": "Incorrect API key provided: sk-canary-123456. " + "x" * 5000, "code": 7}
    )

    assert "canary" not in read.message
    assert len(read.message) == MESSAGE_MAX_CHARS
    assert read.code == "7"


def test_the_error_of_a_failed_response_is_read() -> None:
    read = failure(code="rate_limit_exceeded", message="Please try again in 2s.")

    assert (read.code, read.status, read.retry_after_s) == ("rate_limit_exceeded", 429, 2)
    assert read.abort is Abort.UPSTREAM_LIMIT


@pytest.mark.parametrize(
    ("members", "abort", "concerns_account"),
    [
        ({"status": 401}, Abort.UPSTREAM_AUTH, True),
        ({"status": 403}, Abort.UPSTREAM_AUTH, True),
        ({"status": 403, "error": {"type": "permission_error"}}, Abort.UPSTREAM_AUTH, True),
        ({"status": 403, "error": {"type": "invalid_request_error"}}, Abort.UPSTREAM_ERROR, False),
        ({"error": {"code": "invalid_api_key"}}, Abort.UPSTREAM_AUTH, True),
        ({"error": {"code": "account_deactivated"}}, Abort.UPSTREAM_AUTH, True),
        ({"status": 429}, Abort.UPSTREAM_LIMIT, True),
        ({"status": 400, "error": {"code": "insufficient_quota"}}, Abort.UPSTREAM_LIMIT, True),
        ({"error": {"type": "usage_limit_reached"}}, Abort.UPSTREAM_LIMIT, True),
        ({"error": {"code": "rate_limit_exceeded"}}, Abort.UPSTREAM_LIMIT, True),
        ({"status": 503, "error": {"code": "x"}}, Abort.UPSTREAM_ERROR, True),
        ({"status": 500, "error": {"code": "server_is_overloaded"}}, Abort.UPSTREAM_ERROR, True),
        ({"status": 500}, Abort.UPSTREAM_ERROR, False),
        ({"status": 400, "error": {"code": "invalid_value"}}, Abort.UPSTREAM_ERROR, False),
        (
            {"status": 400, "error": {"code": "websocket_connection_limit_reached"}},
            Abort.CONNECTION_LIMIT,
            False,
        ),
    ],
)
def test_what_concerns_the_account_can_be_told(
    members: dict[str, Any], abort: Abort, concerns_account: bool
) -> None:
    read = error(**members)

    assert (read.abort, read.concerns_account) == (abort, concerns_account)


def test_a_status_is_put_in_and_all_else_stays() -> None:
    payload = b' { "type":"error", "error":{"code":"slow_down", "n":1.50} , "headers":{"A":1} } '

    shown = with_status(payload, read_error(payload), None)

    assert shown == payload.replace(b"{ ", b'{"status":503,', 1)


def test_a_status_that_is_none_is_replaced() -> None:
    payload = message(type="error", status=None, error={"message": "x"})

    assert with_status(payload, read_error(payload), None) == payload.replace(b"null", b"502", 1)


def test_an_error_that_tells_its_status_stays_as_it_is() -> None:
    payload = message(**QUOTA)

    assert with_status(payload, read_error(payload), "a") is payload


def test_of_an_error_with_a_doubled_key_the_words_are_kept() -> None:
    payload = (
        b'{"type":"error","stream_id":"a","x":1,"x":2,'
        b'"error":{"type":"t","code":"slow_down","message":"m","param":"p"}}'
    )

    assert json.loads(with_status(payload, read_error(payload), "a")) == {
        "type": "error",
        "status": 503,
        "stream_id": "a",
        "error": {"type": "t", "code": "slow_down", "message": "m", "param": "p"},
    }
    bare = b'{"type":"error","x":1,"x":2}'
    told = json.loads(with_status(bare, read_error(bare), None))
    assert all(told["error"][name] for name in ("type", "code", "message"))


def test_what_the_backend_says_of_an_accounts_limits_is_read() -> None:
    primary = {"used_percent": 12.5, "window_minutes": 300, "reset_at": 1770000000}
    payload = event(
        "codex.rate_limits", rate_limits={"primary": primary, "secondary": None}, plan_type="pro"
    )

    assert read_rate_limits(payload) == RateLimits(Window(12.5, 300, 1770000000), None)


@pytest.mark.parametrize(
    "limits",
    [
        None,
        5,
        [],
        {"primary": 5},
        {"primary": {"used_percent": -1}},
        {"primary": {"reset_at": "x"}},
    ],
)
def test_limits_that_cannot_be_believed_say_nothing(limits: object) -> None:
    assert read_rate_limits(event("codex.rate_limits", rate_limits=limits)) is None


@pytest.mark.parametrize("nested", ["", '"error":null,', '"error":"a sentence",'])
def test_words_at_the_top_are_put_where_clients_look_for_them(nested: str) -> None:
    payload = (
        f'{{"type":"error",{nested}"status":429,"code":"usage_limit_reached","message":"no more"}}'
    ).encode()

    shown = json.loads(with_status(payload, read_error(payload), None))

    assert shown["error"]["code"] == "usage_limit_reached"
    assert shown["error"]["message"] in {"no more", "a sentence"}
    assert shown["error"]["type"]
    assert (shown["status"], shown["code"], shown["message"]) == (
        *(429, "usage_limit_reached", "no more"),
    )


def test_an_error_that_says_everything_is_not_touched() -> None:
    payload = b'{"type":"error","status":400,"error":{"code":"x","message":"y"}}'

    assert with_status(payload, read_error(payload), None) is payload
