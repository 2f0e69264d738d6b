"""Every error code there is, and what it means for all three sides."""

from __future__ import annotations

import json

import pytest

from relayd.dialect.behind import Effect, Faulted, Finished, FinishReason, Retry, Used
from relayd.dialect.spark import SPARK
from relayd.dialect.spark_errors import MEANINGS, OUTPUT_AUDIT, fault_of
from tests.dialect.chat import SID, WALL, account, frame, request

INVALID, SERVER, RATE = "invalid_request_error", "server_error", "rate_limit_error"
QUOTA = "insufficient_quota"
NONE, ONCE, ELSEWHERE = Retry.NONE, Retry.SAME_ONCE, Retry.ELSEWHERE
BROKEN = (502, SERVER, "upstream_error", ONCE, Effect.UNREACHABLE)
WRONG_VALUE = (400, INVALID, "invalid_value", NONE, Effect.NONE)
AUDITED = (400, INVALID, "content_filter", NONE, Effect.NONE)
BUSY = (503, SERVER, "overloaded", ELSEWHERE, Effect.UNREACHABLE)

ROWS = {
    10000: BROKEN,
    10001: BROKEN,
    10002: BROKEN,
    10003: (400, INVALID, "upstream_bad_request", NONE, Effect.NONE),
    10004: WRONG_VALUE,
    10005: WRONG_VALUE,
    10163: WRONG_VALUE,
    10006: (429, RATE, "upstream_concurrency", ONCE, Effect.NONE),
    10007: (429, RATE, "upstream_busy_user", ELSEWHERE, Effect.NONE),
    10008: BUSY,
    10110: BUSY,
    10009: BROKEN,
    10010: BROKEN,
    10011: BROKEN,
    10012: BROKEN,
    10222: BROKEN,
    10223: BROKEN,
    10013: AUDITED,
    10021: AUDITED,
    10019: AUDITED,
    10015: (503, SERVER, "no_available_account", ELSEWHERE, Effect.DISABLE),
    10016: (429, QUOTA, "insufficient_quota", ELSEWHERE, Effect.COOL),
    10017: (502, SERVER, "upstream_error", NONE, Effect.NONE),
    10018: (502, SERVER, "upstream_error", ONCE, Effect.NONE),
    10907: (400, INVALID, "context_length_exceeded", NONE, Effect.NONE),
    11200: (503, QUOTA, "upstream_not_entitled", ELSEWHERE, Effect.DISABLE_MODEL),
    11201: (429, RATE, "daily_quota", ELSEWHERE, Effect.COOL),
    11202: (429, RATE, "rate_limit_exceeded", ELSEWHERE, Effect.COOL),
    11203: (429, RATE, "upstream_concurrency", ELSEWHERE, Effect.COOL),
    99999: (502, SERVER, "upstream_error", NONE, Effect.NONE),
    -1: (502, SERVER, "upstream_error", NONE, Effect.NONE),
}


@pytest.mark.parametrize("code", ROWS)
def test_each_code_s_meaning(code: int) -> None:
    """As the first frame of an exchange, so that the status can be the truth."""
    exchange = SPARK.begin(request(), account(), "m")

    (piece,) = exchange.feed(frame(code=code, message="what it says"))

    assert isinstance(piece, Faulted)
    fault = piece.fault
    assert (fault.status, fault.type, fault.code, fault.retry, fault.effect) == ROWS[code]
    assert fault.message == f"Spark {code}: what it says (sid={SID})"
    assert fault.upstream_id == SID
    assert json.loads(fault.body()) == {
        "error": {
            "message": fault.message,
            "type": fault.type,
            "param": None,
            "code": fault.code,
        }
    }


def test_every_row_of_the_table_is_told_here() -> None:
    assert set(MEANINGS) == {code for code in ROWS if code not in {99999, -1}}
    assert OUTPUT_AUDIT not in MEANINGS


def test_a_domain_that_does_not_exist_is_the_operator_s_mistake() -> None:
    fault = fault_of(10003, "ClientMsgError:(sendAppMessage) invalid model domain", SID)

    assert (fault.status, fault.type, fault.code) == (500, SERVER, "upstream_misconfigured")
    assert (fault.retry, fault.effect) == (NONE, Effect.DISABLE_MODEL)
    assert fault.should_retry is False
    assert fault.upstream_id == SID
    assert "invalid model domain" in fault.message


@pytest.mark.parametrize(
    ("code", "headers"),
    [
        (10007, {"Retry-After": "1"}),
        (11202, {"Retry-After": "1"}),
        (11203, {"Retry-After": "2"}),
        (10016, {"x-should-retry": "false"}),
        (11201, {"x-should-retry": "false"}),
        (10003, {}),
        (10006, {}),
        (10008, {}),
        (11200, {"x-should-retry": "false"}),
        (10015, {"x-should-retry": "false"}),
    ],
)
def test_what_a_client_is_told_about_another_try(code: int, headers: dict[str, str]) -> None:
    assert dict(fault_of(code, "x").headers()) == headers


def test_the_upstream_s_name_for_a_request_is_a_header() -> None:
    assert ("x-upstream-sid", SID) in fault_of(10012, "x", SID).headers()


@pytest.mark.parametrize(
    ("code", "cooling_s"), [(10016, 60.0), (11202, 1.0), (11203, 2.0), (10012, 0.0)]
)
def test_how_long_an_account_rests(code: int, cooling_s: float) -> None:
    assert fault_of(code, "x").cooling_s(WALL) == cooling_s


@pytest.mark.parametrize(
    ("wall", "cooling_s"),
    [
        (WALL, 8 * 3600),  # 16:00 in Shanghai
        (WALL + 8 * 3600 - 1, 1),
        (WALL + 8 * 3600, 86_400),
    ],
)
def test_a_daily_quota_comes_back_at_midnight_in_shanghai(wall: float, cooling_s: float) -> None:
    assert fault_of(11201, "x").cooling_s(wall) == cooling_s


def test_an_output_that_is_audited_away_is_no_fault() -> None:
    exchange = SPARK.begin(request(), account(), "m")

    exchange.feed(frame(status=0, content="so far"))
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    used, finished = exchange.feed(
        frame(code=10014, message="audit", status=2, content="bad", usage=usage)
    )

    assert finished == Finished(FinishReason.CONTENT_FILTER)
    assert isinstance(used, Used)
    assert (used.usage.input_total, used.usage.output_total) == (5, 9)


def test_error_messages_do_not_show_the_account() -> None:
    exchange = SPARK.begin(request(), account(), "m")

    (piece,) = exchange.feed(
        frame(code=11200, message="AppIdNoAuthError:(a1b2c3d4, test-api-key, test-api-secret)\n")
    )

    assert isinstance(piece, Faulted)
    told = piece.fault.message + piece.fault.detail
    assert "AppIdNoAuthError" in told
    assert "a1b2c3d4" not in told
    assert "test-api" not in told
    assert "\n" not in told


def test_a_long_message_is_cut() -> None:
    assert len(fault_of(10012, "word " * 100_000).message) < 400
