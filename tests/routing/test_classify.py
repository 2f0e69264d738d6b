"""What an upstream's refusal means."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.routing import classify
from relayd.routing.classify import Failure, FailureKind

FATAL, RATE_LIMITED, REFUSED, UNREACHABLE, CLIENT_FAULT = FailureKind
KEY = "sk-proj-abcdefghijklmnop1234"


def event(code: object = None, kind: object = None, message: object = "no") -> bytes:
    error = {"type": kind, "code": code, "message": message}
    return json.dumps({"type": "error", "error": error}).encode()


@pytest.mark.parametrize(
    "word",
    [
        "insufficient_quota",
        "credit_balance_exhausted",
        "invalid_api_key",
        "account_deactivated",
        "billing_hard_limit_reached",
    ],
)
def test_a_fatal_word_disables_the_account_as_code_and_as_type(word: str) -> None:
    assert classify.from_error_event(event(word, "invalid_request_error")).kind is FATAL
    assert classify.from_error_event(event(None, word)).kind is FATAL
    assert classify.from_error_event(event("rate_limit_exceeded", word)).kind is FATAL


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        ("rate_limit_exceeded", "requests", RATE_LIMITED),
        (None, "rate_limit_error", RATE_LIMITED),
        ("inference_rate_limit_exceeded", None, RATE_LIMITED),
        ("invalid_model", "invalid_request_error", REFUSED),
        ("model_not_found", None, REFUSED),
        ("beta_api_shape_disabled", "invalid_request_error", REFUSED),
        ("something_new", "invalid_request_error", REFUSED),
        (None, "permission_error", REFUSED),
        (None, "authentication_error", FATAL),
        ("invalid_intent", "invalid_request_error", CLIENT_FAULT),
        ("missing_required_parameter", "invalid_request_error", CLIENT_FAULT),
        (None, "server_error", UNREACHABLE),
        ("something_new", "a_new_type", UNREACHABLE),
        (None, None, UNREACHABLE),
        (17, ["list"], UNREACHABLE),
    ],
)
def test_an_error_event_is_judged_by_code_and_then_by_type(
    code: object, kind: object, expected: FailureKind
) -> None:
    assert classify.from_error_event(event(code, kind)).kind is expected


def test_only_a_fault_of_the_client_ends_the_search_for_an_account() -> None:
    final = {kind for kind in FailureKind if Failure(kind, "code", "message").is_final}

    assert final == {CLIENT_FAULT}


@pytest.mark.parametrize("code", ["mismatched_organization", "invalid_project"])
def test_an_organization_that_the_client_named_cannot_disable_an_account(code: str) -> None:
    body = json.dumps({"error": {"code": code, "type": "invalid_request_error"}})

    assert classify.from_status(401, body=body).kind is REFUSED


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, REFUSED),
        (302, REFUSED),
        (400, REFUSED),
        (401, FATAL),
        (402, FATAL),
        (403, REFUSED),
        (404, REFUSED),
        (408, UNREACHABLE),
        (426, REFUSED),
        (429, RATE_LIMITED),
        (500, UNREACHABLE),
        (502, UNREACHABLE),
        (503, UNREACHABLE),
    ],
)
def test_a_declined_upgrade_is_judged_by_its_status(status: int, expected: FailureKind) -> None:
    failure = classify.from_status(status, body="<html>no</html>")

    assert (failure.kind, failure.code) == (expected, f"http_{status}")
    assert f"status {status}" in failure.message


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (429, "insufficient_quota", FATAL),
        (403, "model_not_found", REFUSED),
        (400, "invalid_api_key", FATAL),
        (500, "rate_limit_exceeded", RATE_LIMITED),
    ],
)
def test_a_known_code_in_the_body_goes_before_the_status(
    status: int, code: str, expected: FailureKind
) -> None:
    failure = classify.from_status(status, body=json.dumps({"error": {"code": code}}).encode())

    assert (failure.kind, failure.code) == (expected, code)


@pytest.mark.parametrize(
    ("asked_s", "kept_s"),
    [(None, None), (0.0, 0.0), (7.5, 7.5), (-3.0, 0.0), (1e9, 3600.0), (math.nan, None)],
)
def test_retry_after_is_bounded(asked_s: float | None, kept_s: float | None) -> None:
    assert classify.from_status(429, retry_after_s=asked_s).retry_after_s == kept_s


@pytest.mark.parametrize(
    ("code", "reason", "expected", "word"),
    [
        (4000, "invalid_request_error.invalid_api_key", FATAL, "invalid_api_key"),
        (4000, "insufficient_quota.insufficient_quota", FATAL, "insufficient_quota"),
        (4000, "tokens.rate_limit_exceeded", RATE_LIMITED, "rate_limit_exceeded"),
        (4000, "invalid_request_error.invalid_model", REFUSED, "invalid_model"),
        (4000, "invalid_api_key", FATAL, "invalid_api_key"),
        (4000, "invalid_request_error.a_new_word", REFUSED, "a_new_word"),
        (4000, "something else went wrong", REFUSED, "closed_4000"),
        (4001, "", REFUSED, "closed_4001"),
        (1000, "", UNREACHABLE, "closed_1000"),
        (1001, "invalid_request_error.invalid_api_key", UNREACHABLE, "closed_1001"),
        (1008, "policy", REFUSED, "closed_1008"),
        (1011, "internal", UNREACHABLE, "closed_1011"),
        (1013, "later", RATE_LIMITED, "closed_1013"),
        (None, "", UNREACHABLE, "closed_early"),
    ],
)
def test_an_early_close_is_judged_by_its_code_and_by_the_words_beside_4000(
    code: int | None, reason: str, expected: FailureKind, word: str
) -> None:
    failure = classify.from_close(code, reason)

    assert (failure.kind, failure.code) == (expected, word)


def test_a_lost_connection_blames_the_upstream() -> None:
    failure = classify.unreachable("connect_timeout", f"no answer to {KEY}")

    assert failure == Failure(UNREACHABLE, "connect_timeout", "no answer to [redacted]")


@pytest.mark.parametrize(
    "failure",
    [
        classify.from_error_event(event(KEY, KEY, f"Incorrect API key provided: {KEY}.")),
        classify.from_status(401, body=event(KEY, KEY, f"Incorrect API key provided: {KEY}.")),
        classify.from_close(4000, f"invalid_request_error.{KEY}"),
        classify.from_close(1008, f"bad key {KEY}"),
    ],
)
def test_a_key_that_the_upstream_repeats_is_not_kept(failure: Failure) -> None:
    assert KEY not in repr(failure)


@given(st.integers(0, 1200))
def test_half_a_key_is_not_kept_where_a_long_message_is_cut(padding: int) -> None:
    secret = "A1b2" * 10
    words = f"{'sk-aaaaaa ' * 200}"[:padding] + " " + secret

    message = classify.from_error_event(event(message=words * 2)).message

    assert len(message) <= classify.MESSAGE_MAX
    assert secret[:12] not in message


def test_a_flat_error_and_a_plain_text_one_are_read_too() -> None:
    flat = classify.from_error_event(b'{"type":"error","code":"invalid_api_key","message":"no"}')
    text = classify.from_error_event(b'{"error":"try later"}')

    assert (flat.kind, flat.message) == (FATAL, "no")
    assert text.message == "try later"


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b'{"error":' + b"[" * 100_000, b"\xff"])
def test_what_cannot_be_read_blames_the_upstream(body: bytes) -> None:
    failure = classify.from_error_event(body)

    assert (failure.kind, failure.code) == (UNREACHABLE, classify.UNKNOWN_CODE)


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=400),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "code", "type", "message", "x"]), inner)
    ),
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_become_a_bounded_failure(body: bytes) -> None:
    for failure in (classify.from_error_event(body), classify.from_status(500, body=body)):
        assert len(failure.message) <= classify.MESSAGE_MAX
        assert len(failure.code) <= 64
        assert not CONTROL.search(failure.code + failure.message)


@given(st.none() | st.integers(0, 65535), st.text())
def test_any_close_becomes_a_bounded_failure(code: int | None, reason: str) -> None:
    failure = classify.from_close(code, reason)

    assert len(failure.message) <= classify.MESSAGE_MAX
    assert not CONTROL.search(failure.code + failure.message)
