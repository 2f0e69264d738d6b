"""Where chat requests go, and what they come to: accounts, limits, clocks, sockets, the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from relayd.observe.events import LogEvent
from relayd.sim.server import SimServer
from relayd.sim.spark.scenario import Scenario
from relayd.sim.spark.upstream import SparkUpstream
from tests.integration.chat_stage import MODEL, TASKS, Account, Stage, asked, records, said, seen
from tests.integration.responses_stage import reasons, stopped_well, turns

pytestmark = pytest.mark.slow

ANSWER: Final = "Answer 1. You said: hi"
HI: Final = json.dumps([[MODEL, "hi"]])

FIRST: Final = "priority = 0"
SECOND: Final = "priority = 1"
QUICK: Final = "timeouts = { connect_s = 0.4, first_frame_s = 0.4, idle_s = 0.4 }"


@pytest.fixture
def stage(nursery: trio.Nursery, tmp_path: Path) -> Stage:
    """A stage without upstreams."""
    return Stage(tmp_path, nursery)


def _texts(told: list[dict[str, Any]]) -> list[str]:
    return [each["told"]["text"] for each in told]


# -- another account

ELSEWHERE: Final = (
    Scenario.ERROR_10006,
    Scenario.ERROR_10007,
    Scenario.ERROR_10008,
    Scenario.ERROR_10012,
    Scenario.ERROR_10015,
    Scenario.ERROR_10016,
    Scenario.ERROR_10110,
    Scenario.ERROR_11201,
    Scenario.ERROR_11202,
    Scenario.ERROR_11203,
    Scenario.NOT_ENTITLED,
    Scenario.CLOSE_BEFORE_FIRST,
    Scenario.EOF_BEFORE_FIRST,
    Scenario.RESET_BEFORE_FIRST,
    Scenario.SILENT,
    Scenario.BAD_SIGNATURE,
    Scenario.BAD_ADDRESS,
    Scenario.REFUSE_HTTP_429,
    Scenario.REFUSE_HTTP_503,
    Scenario.SILENT_HANDSHAKE,
)
"""What one account has, and another has not."""


async def test_another_account_answers_unseen(stage: Stage) -> None:
    sound = await stage.spark()
    accounts = {}
    for scenario in ELSEWHERE:
        name, broken = scenario.value, await stage.spark(scenario)
        more = f"{FIRST}\n{QUICK}"
        accounts[name] = Account(upstream=broken, models=(f"{name}-model",), more=more)
        accounts[f"{name}-2"] = Account(upstream=sound, models=(f"{name}-model",), more=SECOND)
    relayd = await stage.relayd(accounts)
    questions = json.dumps({each.value: [f"{each.value}-model", "hi"] for each in ELSEWHERE})

    documents = await said(relayd, "faults", questions)
    streams = await said(relayd, "cuts", questions)

    assert {name: told.get("told", told) for name, told in streams.items()} == {
        scenario.value: "stop" for scenario in ELSEWHERE
    }
    assert _texts(list(documents.values())) == [ANSWER] * len(ELSEWHERE)
    assert {told["before"] for told in streams.values()} == {ANSWER}
    assert {told["told"]["retries"] for told in documents.values()} == {0}
    lines = await turns(relayd, 2 * len(ELSEWHERE))
    assert {line["account"] for line in lines} == {f"{each.value}-2" for each in ELSEWHERE}
    assert set(reasons(lines)) == {"completed"}
    assert sound.upstream.statistics().total.completed == 2 * len(ELSEWHERE)
    await asked(relayd, 2 * len(ELSEWHERE))
    await stopped_well(relayd)


async def test_when_every_account_was_tried_the_sdk_does_not_try_again(stage: Stage) -> None:
    sparks = [await stage.spark(Scenario.ERROR_10008) for _ in range(2)]
    relayd = await stage.relayd(
        {f"spark-{number}": Account(upstream=spark) for number, spark in enumerate(sparks)}
    )

    (told,) = await said(relayd, "documents", HI)

    assert told["raised"] == ["InternalServerError", 503, "server_error", "overloaded"]
    assert (told["requests"], told["should_retry"]) == (1, "false")
    assert [len(records(spark)) for spark in sparks] == [1, 1]
    await stopped_well(relayd)


async def test_an_answer_that_has_begun_goes_nowhere_else(stage: Stage) -> None:
    broken, sound = await stage.spark(Scenario.CLOSE_MID_STREAM), await stage.spark()
    relayd = await stage.relayd(
        {
            "broken": Account(upstream=broken, more=FIRST),
            "sound": Account(upstream=sound, more=SECOND),
        }
    )

    told = await said(relayd, "cuts", json.dumps({"it": [MODEL, "hi"]}))

    assert told["it"]["raised"][-1] == "upstream_truncated"
    assert told["it"]["before"] == "Answer 1. You"
    assert sound.connections_total == 0
    await stopped_well(relayd)


async def test_a_limit_of_the_upstream_is_waited_for_by_the_sdk(stage: Stage) -> None:
    spark = await stage.spark(Scenario.QPS_LIMIT)
    relayd = await stage.relayd({"spark": Account(upstream=spark)})
    questions = json.dumps({str(number): [MODEL, "hi"] for number in range(4)})

    told = await said(relayd, "faults", questions)

    assert _texts(list(told.values())) == [ANSWER] * 4
    assert sum(each["told"]["retries"] for each in told.values()) >= 2
    await stopped_well(relayd)


async def test_an_account_runs_no_more_than_it_may(stage: Stage) -> None:
    spark = await stage.spark(Scenario.CONCURRENCY_LIMIT)
    relayd = await stage.relayd({"spark": Account(upstream=spark, more="sessions_max = 2")})
    questions = json.dumps({str(number): [MODEL, "[sim:slow] hi"] for number in range(4)})

    told = await said(relayd, "faults", questions)

    assert _texts(list(told.values())) == [ANSWER] * 4
    assert spark.upstream.statistics().total.errors == 0
    await stopped_well(relayd)


# -- limits of the key

LIMITED: Final = "relayd-test-key-with-limits"
PRICES: Final = f"""
[[prices]]
models = ["{MODEL}"]
date = 2026-11-20
source = "a test"

[prices.per_million]
text_in = "1000"
text_out = "1000"
"""


async def test_requests_a_minute_are_limited(stage: Stage) -> None:
    spark = await stage.spark()
    key = f'[[keys]]\nname = "limited"\nsecret = "{LIMITED}"\nrequests_per_minute = 3'
    relayd = await stage.relayd({"spark": Account(upstream=spark)}, more=key)
    questions = json.dumps({str(number): [MODEL, "hi"] for number in range(5)})

    told = await said(relayd, "faults", questions, 0, key=LIMITED)

    refused = [each for each in told.values() if "raised" in each]
    assert len(refused) == 2
    for each in refused:
        limit = ["RateLimitError", 429, "rate_limit_error", "rate_limit_exceeded"]
        assert each["raised"] == limit
        assert 1 <= int(each["retry_after"]) <= 60
    assert spark.connections_total == 3
    await stopped_well(relayd)


async def test_a_budget_that_is_used_up_is_not_tried_again(stage: Stage) -> None:
    spark = await stage.spark()
    (stage.directory / "prices.toml").write_text(PRICES)
    key = f'[[keys]]\nname = "limited"\nsecret = "{LIMITED}"\nbudget_usd = "0.012"'
    relayd = await stage.relayd({"spark": Account(upstream=spark)}, more=key)
    questions = json.dumps([[MODEL, "hi"]] * 3)

    told = await said(relayd, "documents", questions, '{"max_tokens": 5}', key=LIMITED)

    assert _texts(told[:2]) == [ANSWER] * 2  # each of 6 tokens, which cost 0.006
    (refused,) = told[2:]
    assert refused["raised"][:2] == ["RateLimitError", 429]
    assert refused["raised"][2:] == ["insufficient_quota", "insufficient_quota"]
    assert (refused["requests"], refused["should_retry"]) == (1, "false")
    assert [line["cost_usd"] for line in await turns(relayd, 2)] == [0.006, 0.006]
    await stopped_well(relayd)


# -- clocks

SKEWED_S: Final = 3600.0


async def test_a_clock_that_is_off_is_found_out_once(stage: Stage) -> None:
    spark = await stage.spark(Scenario.CLOCK_SKEW)
    relayd = await stage.relayd({"spark": Account(upstream=spark)})

    assert _texts(await said(relayd, "documents", HI)) == [ANSWER]
    assert _texts(await said(relayd, "documents", HI)) == [ANSWER]

    (line,) = relayd.of(LogEvent.CLOCK_SKEWED)
    assert line["account"] == "spark"
    assert line["offset_s"] == pytest.approx(SKEWED_S, abs=2)
    found = spark.upstream.statistics()
    assert (found.handshakes, found.refused) == (3, 1)
    await stopped_well(relayd)


async def test_a_clock_that_is_set_right_again_is_found_out_too(stage: Stage) -> None:
    spark = await stage.spark(Scenario.CLOCK_SKEW)
    relayd = await stage.relayd({"spark": Account(upstream=spark)})
    await said(relayd, "documents", HI)

    spark.upstream.scenario = Scenario.NORMAL
    (told,) = await said(relayd, "documents", HI)

    assert (told["told"]["text"], told["told"]["retries"]) == (ANSWER, 0)
    assert spark.upstream.statistics().refused == 2
    assert relayd.of(LogEvent.UPSTREAM_FAILED) == []
    await stopped_well(relayd)


# -- sockets that are opened ahead

READY: Final = 2


async def _prewarmed(stage: Stage, spark: SimServer[SparkUpstream]) -> Any:  # noqa: ANN401 - a child
    """A relayd that has been asked once, and keeps sockets ready since."""
    relayd = await stage.relayd({"spark": Account(upstream=spark)}, prewarm=READY)
    assert _texts(await said(relayd, "documents", HI)) == [ANSWER]
    await seen(lambda: spark.connections == READY)
    return relayd


async def test_sockets_that_are_ready_are_used_and_never_again(stage: Stage) -> None:
    spark = await stage.spark()
    relayd = await _prewarmed(stage, spark)

    spark.upstream.scenario = Scenario.UNAUTHORIZED  # nothing can be opened any more
    told = await said(relayd, "documents", json.dumps([[MODEL, "hi"]] * (READY + 1)))

    assert _texts(told[:READY]) == [ANSWER] * READY
    assert told[READY]["raised"][-1] == "upstream_auth_failed"
    assert [record.ending for record in records(spark)] == ["completed"] * (READY + 1)
    await stopped_well(relayd)


async def test_every_socket_has_one_request(stage: Stage) -> None:
    spark = await stage.spark()
    relayd = await _prewarmed(stage, spark)

    told = await said(relayd, "documents", json.dumps([[MODEL, "hi"]] * 12))
    await seen(lambda: spark.connections == READY)
    await stopped_well(relayd)

    assert _texts(told) == [ANSWER] * 12
    await seen(lambda: spark.connections == 0)
    found = spark.upstream.statistics()
    assert found.total.completed == found.total.requests == 13
    assert found.handshakes == 13 + found.unused
    assert READY <= found.unused <= 2 * READY


async def test_a_ready_socket_that_was_closed_is_not_missed(stage: Stage) -> None:
    spark = await stage.spark(Scenario.IMPATIENT)
    relayd = await _prewarmed(stage, spark)
    await seen(lambda: spark.upstream.statistics().unused >= READY)

    (told,) = await said(relayd, "documents", HI)

    assert (told["told"]["text"], told["told"]["retries"]) == (ANSWER, 0)
    await stopped_well(relayd)


# -- the ledger


async def test_the_ledger_says_what_the_upstreams_have_told(stage: Stage) -> None:
    spark, tasks = await stage.spark(), await stage.tasks()
    relayd = await stage.relayd(
        {
            "spark": Account(upstream=spark),
            "tasks": Account(upstream=tasks, models=(TASKS,)),
        }
    )
    texts = [f"number {number} [sim:normal words={number}]" for number in range(1, 41)]
    odd = ["audit_output", "close_mid_stream", "no_usage", "error_10013", "error_10012"]
    questions = {
        **{f"spark-{text}": [MODEL, text] for text in texts},
        **{f"tasks-{text}": [TASKS, text] for text in texts},
        **{name: [MODEL, f"[sim:{name}] hi"] for name in odd},
    }

    await said(relayd, "faults", json.dumps(questions), 0)
    await said(relayd, "cuts", json.dumps(questions))
    await stopped_well(relayd)

    rows = stage.ledger()
    assert {row["dialect"] for row in rows} == {"chat"}
    of_spark = [row for row in rows if row["account"] == "spark" and not row["estimated"]]
    of_tasks = [row for row in rows if row["account"] == "tasks"]
    told, done = spark.upstream.statistics().total.usage, tasks.upstream.statistics().total.usage
    assert _sum(of_spark) == (told.prompt_tokens, told.completion_tokens)
    assert _sum(of_tasks) == (done.input_tokens, done.output_tokens)
    assert len(of_tasks) == 2 * len(texts)
    estimated = [row["reason"] for row in rows if row["estimated"]]
    assert sorted(estimated) == ["completed"] * 2 + ["upstream_truncated"] * 2
    known = {record.sid for record in records(spark)}
    assert {row["upstream_id"] for row in rows if row["account"] == "spark"} <= known


def _sum(rows: list[dict[str, Any]]) -> tuple[int, int]:
    return sum(row["tokens_in"] for row in rows), sum(row["tokens_out"] for row in rows)
