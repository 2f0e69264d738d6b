from __future__ import annotations

import json
import tomllib
from array import array
from pathlib import Path

import pytest

from bench import hub_run, relays
from bench.handshake import Dialect
from bench.relays import RelayKind, Wiring
from bench.rows import ROWS, Traffic, quick

HUB_ROWS = [row for row in ROWS.values() if row.traffic is Traffic.EVENTS]


def test_every_topic_has_as_many_subscribers_and_some_publisher_in_quick_runs_too() -> None:
    assert HUB_ROWS
    for row in (*HUB_ROWS, *map(quick, HUB_ROWS)):
        assert row.sessions % row.topics == 0
        assert 1 <= row.publishers <= row.topics
        assert row.measurable == frozenset(row.compared)
        assert row.descriptors > row.sessions


def test_the_stopped_row_stands_beside_nothing() -> None:
    assert ROWS["hub-stopped"].compared == (RelayKind.RELAYD,)


def test_relayds_key_may_publish_in_rows_of_the_hub_alone(tmp_path: Path) -> None:
    roles = []
    for dialect in (Dialect.HUB, Dialect.REALTIME):
        wiring = Wiring(
            directory=tmp_path,
            upstream=("127.0.0.1", 1),
            trusted=None,
            secret="bench-0123456789",
            cpus=frozenset({0}),
            relayd=Path("relayd"),
            dialect=dialect,
        )
        (key,) = tomllib.loads(relays.relayd_config(wiring))["keys"]
        roles.append(key.get("role"))

    assert roles == ["publisher", None]


def test_a_spread_has_median_percentile_and_maximum_in_milliseconds() -> None:
    samples = array("q", [ms * 1_000_000 for ms in range(1, 101)])

    assert hub_run.spread("publish", samples) == {
        "publish_p50_ms": 50,
        "publish_p99_ms": 99,
        "publish_max_ms": 100,
    }
    assert hub_run.spread("publish", array("q")) == {}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("client_slow", True), ("client_stalled", True), ("client_gone", False)],
)
def test_that_who_was_slow_was_cut_is_read_from_the_log(reason: str, expected: bool) -> None:
    line = json.dumps({"event": "session.ended", "reason": reason, "client_close": None})
    log = f'{{"event": "x"}}\n{{"event": "session.ended", \n{line}\n{line[:-5]}'

    assert hub_run.has_cut_slow(log) is expected
