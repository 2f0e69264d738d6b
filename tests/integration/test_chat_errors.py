"""What the real openai SDK makes of every error of a Spark: its exception, and what it retries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from relayd.sim.server import SimServer
from relayd.sim.spark.errors import MESSAGES, UNDOCUMENTED
from relayd.sim.spark.scenario import REFUSALS, Scenario
from relayd.sim.spark.upstream import SparkUpstream
from tests.integration.chat_stage import MODEL, Account, Stage, asked, records, said
from tests.integration.conftest import Relayd
from tests.integration.responses_stage import stopped_well

pytestmark = pytest.mark.slow

ONCE, THRICE = 1, 3
"""Requests of an SDK that retries twice, unless it is told not to."""

QUICK: Final = "timeouts = { connect_s = 0.4, first_frame_s = 0.4, idle_s = 0.4 }"
HEARD: Final = "Answer 1. You"
"""What is said before a fault that comes in the middle."""


@attrs.frozen
class Seen:
    """What the SDK gets.

    Attributes:
        raised: The exception.
        status: HTTP's.
        type: ``error.type``.
        code: ``error.code``.
        requests: How many it makes before it gives up.
        attempts: How many its upstream gets of all these.
        retry_after: The seconds it is told to wait, each time.
    """

    raised: str
    status: int
    type: str
    code: str
    requests: int = ONCE
    attempts: int = 1
    retry_after: int | None = None


def _wrong(code: str) -> Seen:
    return Seen("BadRequestError", 400, "invalid_request_error", code)


_BROKEN: Final = Seen("InternalServerError", 502, "server_error", "upstream_error", attempts=2)
_BUSY: Final = Seen("InternalServerError", 503, "server_error", "overloaded", THRICE, 3)
_SHORT: Final = Seen("InternalServerError", 502, "server_error", "upstream_truncated", THRICE, 3)
_GARBAGE: Final = attrs.evolve(_SHORT, code="upstream_protocol_error")
_SILENT: Final = Seen("InternalServerError", 504, "server_error", "upstream_timeout", THRICE, 3)

CODES: Final[Mapping[int, Seen]] = {
    10000: _BROKEN,
    10001: _BROKEN,
    10002: _BROKEN,
    10003: _wrong("upstream_bad_request"),
    10004: _wrong("invalid_value"),
    10005: _wrong("invalid_value"),
    10006: Seen("RateLimitError", 429, "rate_limit_error", "upstream_concurrency", attempts=2),
    10007: Seen(
        "RateLimitError", 429, "rate_limit_error", "upstream_busy_user", THRICE, 3, retry_after=1
    ),
    10008: _BUSY,
    10009: _BROKEN,
    10010: _BROKEN,
    10011: _BROKEN,
    10012: _BROKEN,
    10013: _wrong("content_filter"),
    10015: Seen("InternalServerError", 503, "server_error", "no_available_account"),
    10016: Seen("RateLimitError", 429, "insufficient_quota", "insufficient_quota"),
    10017: attrs.evolve(_BROKEN, requests=THRICE, attempts=3),
    10018: _BROKEN,
    10019: _wrong("content_filter"),
    10021: _wrong("content_filter"),
    10110: _BUSY,
    10163: _wrong("invalid_value"),
    10222: _BROKEN,
    10223: _BROKEN,
    10907: _wrong("context_length_exceeded"),
    11200: Seen("InternalServerError", 503, "insufficient_quota", "upstream_not_entitled"),
    11201: Seen("RateLimitError", 429, "rate_limit_error", "daily_quota"),
    11202: Seen(
        "RateLimitError", 429, "rate_limit_error", "rate_limit_exceeded", THRICE, 3, retry_after=1
    ),
    11203: Seen(
        "RateLimitError", 429, "rate_limit_error", "upstream_concurrency", THRICE, 3, retry_after=2
    ),
    UNDOCUMENTED: attrs.evolve(_BROKEN, requests=THRICE, attempts=3),
}
"""Every code but 10014, which is an answer that was cut."""

BEFORE: Final[Mapping[Scenario, Seen]] = {
    Scenario.CLOSE_BEFORE_FIRST: attrs.evolve(_SHORT, requests=ONCE, attempts=2),
    Scenario.EOF_BEFORE_FIRST: attrs.evolve(_SHORT, requests=ONCE, attempts=2),
    Scenario.RESET_BEFORE_FIRST: attrs.evolve(_SHORT, requests=ONCE, attempts=2),
    Scenario.SILENT: _SILENT,
}
"""Faults without a code, before the first word."""

LATE_CODES: Final = {
    10002: "upstream_error",
    10008: "overloaded",
    10010: "upstream_error",
    10011: "upstream_error",
    10012: "upstream_error",
    10110: "overloaded",
    10222: "upstream_error",
    10223: "upstream_error",
}

TRUNCATED: Final[Mapping[Scenario, str]] = {
    Scenario.CLOSE_MID_STREAM: "upstream_truncated",
    Scenario.CLOSE_1011: "upstream_truncated",
    Scenario.EOF_MID_STREAM: "upstream_truncated",
    Scenario.RESET_MID_STREAM: "upstream_truncated",
    Scenario.HALF_FRAME: "upstream_truncated",
    Scenario.BAD_UTF8: "upstream_protocol_error",
    Scenario.BINARY_FRAME: "upstream_protocol_error",
    Scenario.NOT_JSON: "upstream_protocol_error",
    Scenario.STALLED: "upstream_timeout",
    Scenario.HALF_OPEN: "upstream_timeout",
}

HARMLESS: Final = (
    Scenario.NO_CHOICES,
    Scenario.PLUGINS_FIRST,
    Scenario.EMPTY_TEXT,
    Scenario.UNKNOWN_KEYS,
    Scenario.ONE_FRAME,
    Scenario.NO_USAGE,
    Scenario.WRONG_USAGE,
    Scenario.FRAGMENTED,
    Scenario.EXTRA_FRAME,
    Scenario.STAYS_OPEN,
)

DOORS: Final[Mapping[Scenario, Seen]] = {
    **dict.fromkeys(
        (scenario for scenario, refusal in REFUSALS.items() if refusal.status in {401, 403}),
        Seen("InternalServerError", 502, "server_error", "upstream_auth_failed"),
    ),
    Scenario.REFUSE_HTTP_500: attrs.evolve(_BROKEN, requests=THRICE, attempts=3),
    Scenario.REFUSE_HTTP_503: attrs.evolve(_BROKEN, requests=THRICE, attempts=3),
    Scenario.SILENT_HANDSHAKE: _SILENT,
}
"""What comes in place of a 101."""

TOO_MANY: Final = Seen(
    "RateLimitError", 429, "rate_limit_error", "rate_limit_exceeded", retry_after=5
)
"""The same for a 429, of an SDK that does not wait."""


@pytest.fixture
def stage(nursery: trio.Nursery, tmp_path: Path) -> Stage:
    """A stage without upstreams."""
    return Stage(tmp_path, nursery)


@pytest.fixture
async def spark(stage: Stage) -> SimServer[SparkUpstream]:
    """One upstream."""
    return await stage.spark()


async def _with_accounts(
    stage: Stage, spark: SimServer[SparkUpstream], names: list[str], more: str = ""
) -> Relayd:
    """A relayd with an account of its own for each name, so that no fault is in another's way."""
    accounts = {name: Account(upstream=spark, models=(name,), more=more) for name in names}
    return await stage.relayd(accounts)


def _seen(told: Mapping[str, Any], attempts: int) -> Seen:
    """What the SDK has got, as the tables here have it."""
    raised, status, kind, code = told["raised"]
    again = told["retry_after"]
    retry_after = None if again is None else int(again)
    assert told["members"] == ["code", "message", "param", "type"]
    assert told["took_s"] >= (told["requests"] - 1) * (retry_after or 0)
    return Seen(raised, status, kind, code, told["requests"], attempts, retry_after)


def _attempts(spark: SimServer[SparkUpstream], scenario: Scenario) -> int:
    return sum(record.scenario is scenario for record in records(spark))


def _scenario_of(code: int) -> Scenario:
    return Scenario.UNKNOWN_CODE if code == UNDOCUMENTED else Scenario(f"error_{code}")


def test_every_code_that_is_documented_is_tried() -> None:
    assert {*CODES, 10014} == {*MESSAGES, UNDOCUMENTED}


@pytest.mark.parametrize("mode", ["faults", "cuts"], ids=["documents", "streams"])
async def test_an_error_in_place_of_an_answer_is_an_exception(
    stage: Stage, spark: SimServer[SparkUpstream], mode: str
) -> None:
    scenarios = {**{_scenario_of(code): seen for code, seen in CODES.items()}, **BEFORE}
    names = [scenario.value for scenario in scenarios]
    relayd = await _with_accounts(stage, spark, names, QUICK)

    told = await said(relayd, mode, json.dumps({name: [name, f"[sim:{name}]"] for name in names}))

    found = {each: _seen(told[each.value], _attempts(spark, each)) for each in scenarios}
    assert found == scenarios
    await asked(relayd, sum(seen.requests for seen in scenarios.values()))
    for code in CODES:
        error = told[_scenario_of(code).value]
        message = MESSAGES.get(code, "unknown error")
        assert f"Spark {code}: {message} (sid={error['sid']})" in error["message"]
    assert {error.get("before", "") for error in told.values()} == {""}
    await stopped_well(relayd)


async def test_an_upgrade_that_is_refused_is_an_exception(stage: Stage) -> None:
    sparks = {scenario: await stage.spark(scenario) for scenario in DOORS}
    accounts = {
        scenario.value: Account(upstream=spark, models=(scenario.value,), more=QUICK)
        for scenario, spark in sparks.items()
    }
    relayd = await stage.relayd(accounts)

    told = await said(relayd, "faults", json.dumps({name: [name, "hi"] for name in accounts}))

    found = {
        scenario: _seen(told[scenario.value], spark.connections_total)
        for scenario, spark in sparks.items()
    }
    assert found == DOORS
    assert "simulated" not in json.dumps(told)
    await stopped_well(relayd)


async def test_an_upgrade_that_is_put_off_says_until_when(stage: Stage) -> None:
    spark = await stage.spark(Scenario.REFUSE_HTTP_429)
    relayd = await stage.relayd({"full": Account(upstream=spark)})

    told = await said(relayd, "faults", json.dumps({"full": [MODEL, "hi"]}), 0)

    assert _seen(told["full"], spark.connections_total) == TOO_MANY
    await stopped_well(relayd)


async def test_a_stream_that_is_cut_raises(stage: Stage, spark: SimServer[SparkUpstream]) -> None:
    late = {Scenario(f"late_{code}"): word for code, word in LATE_CODES.items()}
    late[Scenario.LATE_10019] = "content_filter"
    scenarios = {**late, **TRUNCATED}
    names = [scenario.value for scenario in scenarios]
    relayd = await _with_accounts(stage, spark, names, QUICK)

    told = await said(
        relayd, "cuts", json.dumps({name: [name, f"[sim:{name}] hi"] for name in names})
    )

    assert {
        each: (told[each.value]["raised"], told[each.value]["before"]) for each in scenarios
    } == {
        each: (
            [
                "APIError",
                None,
                "invalid_request_error" if code == "content_filter" else "server_error",
                code,
            ],
            HEARD,
        )
        for each, code in scenarios.items()
    }
    await asked(relayd, len(scenarios))  # what has begun is not begun again
    await stopped_well(relayd)


async def test_a_document_that_is_cut_is_an_exception(
    stage: Stage, spark: SimServer[SparkUpstream]
) -> None:
    names = [scenario.value for scenario in TRUNCATED]
    relayd = await _with_accounts(stage, spark, names, QUICK)

    told = await said(
        relayd, "faults", json.dumps({name: [name, f"[sim:{name}] hi"] for name in names})
    )

    status = {"upstream_timeout": 504}
    assert {each: told[each.value]["raised"] for each in TRUNCATED} == {
        each: ["InternalServerError", status.get(code, 502), "server_error", code]
        for each, code in TRUNCATED.items()
    }
    await stopped_well(relayd)


async def test_an_answer_that_an_audit_cuts_says_so(
    stage: Stage, spark: SimServer[SparkUpstream]
) -> None:
    relayd = await _with_accounts(stage, spark, ["audit"])

    question = "[sim:audit_output] hi"
    (document,) = await said(relayd, "documents", json.dumps([["audit", question]]))
    stream = await said(
        relayd, "stream", "audit", question, '{"stream_options": {"include_usage": true}}'
    )

    assert (document["told"]["text"], document["told"]["finish"]) == (HEARD, "content_filter")
    assert document["told"]["usage"]["completion_tokens"] == 3
    assert ("".join(stream["pieces"]), stream["last"]) == (HEARD, [{}, "content_filter"])
    assert stream["usages"][-1] == document["told"]["usage"]
    await stopped_well(relayd)


async def test_what_is_odd_but_harmless_is_no_hindrance(
    stage: Stage, spark: SimServer[SparkUpstream]
) -> None:
    names = [scenario.value for scenario in HARMLESS]
    relayd = await _with_accounts(stage, spark, names)
    questions = json.dumps({name: [name, f"[sim:{name}] hi"] for name in names})

    documents, streams = (
        await said(relayd, "faults", questions),
        await said(relayd, "cuts", questions),
    )

    text = "Answer 1. You said: hi"
    assert {name: told["told"]["text"] for name, told in documents.items()} == dict.fromkeys(
        names, text
    )
    assert {
        name: (told["before"], told["told"]) for name, told in streams.items()
    } == dict.fromkeys(names, (text, "stop"))
    await stopped_well(relayd)
