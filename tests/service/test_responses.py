"""From the events of a turn to one HTTP response; the fault tests have it over sockets."""

from __future__ import annotations

import json

import pytest

from relayd.dialect.responses_client import Create
from relayd.service.http.refusals import HttpRefused
from relayd.service.responses import HEADERS_MAX, _created, _error, _event


def answered(**said: object) -> tuple[int, dict[str, object], dict[str, str]]:
    """Status, error and headers for an error event."""
    payload = json.dumps({"type": "error", **said}).encode()
    response = _error(_event(payload), payload)
    error: dict[str, object] = json.loads(response.content())["error"]
    return response.status, error, dict(response.headers)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"status": 429, "error": {"type": "x", "message": "m"}}, 429),
        ({"status_code": 429, "error": {"type": "x", "message": "m"}}, 429),
        ({"status": "many", "error": {"type": "x", "code": "invalid_api_key"}}, 401),
        ({"status": 200, "error": {"type": "x"}}, 502),
        ({"error": "a sentence"}, 502),
        ({}, 502),
    ],
)
def test_the_status_is_the_errors_however_it_is_told(said: dict[str, object], status: int) -> None:
    assert answered(**said)[0] == status


def test_an_error_is_passed_on_with_all_its_members() -> None:
    error = {"type": "x", "code": None, "message": "m", "param": None, "resets_at": 7}

    assert answered(status=400, error=error)[1] == error


def test_one_at_the_top_is_put_where_sdks_look_for_it() -> None:
    _, error, _ = answered(status=400, code="c", message="m")

    assert (error["code"], error["message"], error["type"]) == ("c", "m", "server_error")


def test_headers_that_tell_of_limits_are_the_responses() -> None:
    _, _, headers = answered(
        status=429,
        headers={
            "X-Codex-Primary-Used-Percent": 100.0,
            "x-ratelimit-reset-tokens": "6m0s",
            "set-cookie": "x",
            "content-length": "0",
            "x-codex-\r\nevil": "x",
            "x-codex-a": "x\r\nevil: y",
            "x-codex-b": "",
        },
        error={"type": "x", "headers": {"Retry-After": "7"}},
    )

    assert headers == {
        "x-codex-primary-used-percent": "100.0",
        "x-ratelimit-reset-tokens": "6m0s",
        "retry-after": "7",
    }


def test_headers_that_are_none_are_passed_over() -> None:
    many = {f"x-codex-{number}": "1" for number in range(HEADERS_MAX + 1)}

    assert answered(status=429, headers=[1], error={"type": "x", "headers": 7})[2] == {}
    assert len(answered(status=429, headers=many, error={"type": "x"})[2]) == HEADERS_MAX


@pytest.mark.parametrize("code", ["insufficient_quota", "usage_limit_reached"])
def test_what_no_attempt_can_mend_is_marked(code: str) -> None:
    assert answered(status=429, error={"type": "x", "code": code})[2] == {"x-should-retry": "false"}
    assert answered(status=429, error={"type": code, "code": None})[2] == {
        "x-should-retry": "false"
    }


def test_what_is_busy_is_worth_another_attempt_soon() -> None:
    assert answered(status=503, error={"type": "x"})[2] == {"retry-after": "1"}
    assert answered(status=502, error={"type": "x"})[2] == {}


def test_a_body_is_a_create_without_its_type() -> None:
    create = _created(b'{"model":"m","input":"x","stream":true}')

    assert isinstance(create, Create)
    assert (create.model, create.stream_id) == ("m", None)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b'{"model":"m","stream_id":"a"}', "invalid_parameter", "stream_id"),
        (b'{"type":"response.nonsense"}', "invalid_parameter", "type"),
        (b'{"input":"x"}', "missing_required_parameter", "model"),
    ],
)
def test_another_body_is_refused(body: bytes, code: str, param: str) -> None:
    with pytest.raises(HttpRefused) as refused:
        _created(body)

    assert (refused.value.refusal.code, refused.value.refusal.param) == (code, param)
    assert refused.value.refusal.status == 400
