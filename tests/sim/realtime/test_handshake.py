"""Whom the simulated Realtime API serves."""

from __future__ import annotations

import json

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from relayd.sim.realtime.handshake import (
    NOT_FOUND,
    Wanted,
    choose_subprotocol,
    http_response,
    wanted,
)
from relayd.sim.realtime.scenario import (
    BETA_API_SHAPE_DISABLED,
    INVALID_API_KEY,
    REFUSALS,
    InBandRefusal,
    Scenario,
)
from relayd.sim.realtime.session import Kind

BEARER = ("Authorization", "Bearer sk-any")


def asked(query: str, *headers: tuple[str, str]) -> object:
    return wanted(Request(f"/v1/realtime{query}", Headers(headers or [BEARER])))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?model=gpt-realtime", Wanted(Kind.REALTIME, "gpt-realtime")),
        ("?model=gpt-realtime&intent=realtime", Wanted(Kind.REALTIME, "gpt-realtime")),
        ("?intent=transcription", Wanted(Kind.TRANSCRIPTION, None)),
        ("?call_id=rtc_123", Wanted(Kind.REALTIME, "gpt-realtime")),
    ],
)
def test_what_is_asked_for_by_query(query: str, expected: Wanted) -> None:
    assert asked(query) == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "missing_required_parameter"),
        ("?intent=transcription&model=whisper-1", "invalid_model"),
        ("?intent=nonsense&model=gpt-realtime", "invalid_intent"),
        ("?call_id=123", "invalid_value"),
        ("?call_id=rtc_1&model=gpt-realtime", "invalid_value"),
    ],
)
def test_a_wrong_query_is_told_in_band(query: str, code: str) -> None:
    refusal = asked(query)

    assert isinstance(refusal, InBandRefusal)
    assert refusal.code == code
    assert refusal.close_reason == f"invalid_request_error.{code}"


@pytest.mark.parametrize(
    "header",
    [
        BEARER,
        ("authorization", "bearer sk-any"),
        ("api-key", "any"),
        ("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.sk-any"),
    ],
)
def test_any_key_will_do_wherever_it_stands(header: tuple[str, str]) -> None:
    assert asked("?model=m", header) == Wanted(Kind.REALTIME, "m")


@pytest.mark.parametrize(
    "header",
    [
        ("X-Nothing", "here"),
        ("Authorization", "Bearer "),
        ("Authorization", "Basic abc"),
        ("api-key", " "),
        ("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key."),
    ],
)
def test_no_key_is_refused(header: tuple[str, str]) -> None:
    assert asked("?model=m", header) == INVALID_API_KEY


@pytest.mark.parametrize(
    "header",
    [
        ("OpenAI-Beta", "realtime=v1"),
        ("openai-beta", "other, realtime=v1"),
        ("Sec-WebSocket-Protocol", "realtime, openai-beta.realtime-v1"),
    ],
)
def test_the_beta_is_over(header: tuple[str, str]) -> None:
    assert asked("?model=m", BEARER, header) == BETA_API_SHAPE_DISABLED


def test_another_path_is_not_found() -> None:
    assert wanted(Request("/v1/responses", Headers([BEARER]))) == NOT_FOUND


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["realtime"], "realtime"),
        (["openai-insecure-api-key.sk-any", "realtime"], "realtime"),
        (["openai-insecure-api-key.sk-any"], None),
        (["openai-insecure-api-key.sk-any", "other"], "other"),
    ],
)
def test_a_key_is_never_echoed(offered: list[str], chosen: str | None) -> None:
    assert choose_subprotocol(offered) == chosen


def test_an_http_refusal_is_json_in_the_services_shape() -> None:
    refusal = REFUSALS[Scenario.REFUSE_HTTP_429]
    assert not isinstance(refusal, InBandRefusal)

    response = http_response(refusal)

    assert response.status_code == 429
    assert response.headers["Retry-After"] == "7"
    assert json.loads(response.body)["error"]["code"] == "rate_limit_exceeded"
    assert int(response.headers["Content-Length"]) == len(response.body)
