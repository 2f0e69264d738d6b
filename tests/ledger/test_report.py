"""Sums over the ledger."""

from __future__ import annotations

import datetime
import math
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relayd.ledger import report
from relayd.ledger.database import open_read_only
from relayd.ledger.errors import LedgerError
from relayd.ledger.report import NO_USE, By, Line, Sums, newest, summarize, total, unchanging
from relayd.ledger.rows import Row
from tests.ledger.filled import at, fill, row

EVER: dict[str, Any] = {"since": 0.0, "until": math.inf}


def lines(
    path: Path, *by: By, since: float = 0.0, until: float = math.inf
) -> list[tuple[Any, ...]]:
    """The groups, each with what it cost."""
    with closing(open_read_only(path)) as connection:
        found = summarize(connection, since=since, until=until, by=by)
    return [(*line.group, line.sums.cost_nano) for line in found]


def test_turns_of_devices_are_turns_and_audio_of_none_is_not(tmp_path: Path) -> None:
    device: dict[str, Any] = {"source": "device", "tokens_in": 0, "tokens_in_text": 0}
    ledger = fill(
        tmp_path / "relayd.db",
        row(1, **device, entry="turn:1", seconds=1.5),
        row(2, **device, entry="turn:2", seconds=1.0, session_id="session-1"),
        row(3, **device, entry="audio:1", seconds=0.5, session_id="session-1"),
    )

    with closing(open_read_only(ledger)) as connection:
        found = total(connection, **EVER)

    assert (found.rows, found.turns, found.seconds) == (3, 2, 3.0)


def test_every_sum_there_is(tmp_path: Path) -> None:
    spoken: dict[str, Any] = {
        "tokens_in": 100,
        "tokens_out": 20,
        "tokens_in_text": 50,
        "tokens_in_audio": 40,
        "tokens_in_image": 10,
        "tokens_in_cached_text": 9,
        "tokens_in_cached_audio": 8,
        "tokens_in_cached_image": 7,
        "tokens_out_text": 5,
        "tokens_out_audio": 15,
    }
    ledger = fill(
        tmp_path / "relayd.db",
        row(1, **spoken, cost_nano=2**60, estimated=True),
        row(2, **spoken, cost_nano=1, session_id="session-1"),
        row(3, source="transcription", entry="transcription:i:0", tokens_in=7, tokens_in_text=7),
        row(4, source="time", entry="time:1", tokens_in=0, tokens_in_text=0, seconds=1.5),
        row(5, cost_nano=None, seconds=0.25, tokens_in=0, tokens_in_text=0),
    )

    with closing(open_read_only(ledger)) as connection:
        (line,) = summarize(connection, **EVER, by=[By.DIALECT])
        everything = total(connection, **EVER)

    assert line == Line(("realtime",), everything)
    assert everything == Sums(
        rows=5,
        turns=3,
        transcriptions=1,
        sessions=4,
        tokens_in=207,
        tokens_out=49,
        tokens_in_text=107,
        tokens_in_audio=80,
        tokens_in_image=20,
        tokens_in_cached_text=18,
        tokens_in_cached_audio=16,
        tokens_in_cached_image=14,
        tokens_out_text=19,
        tokens_out_audio=30,
        seconds=1.75,
        cost_nano=2**60 + 2_001,
        unpriced=1,
        estimated=1,
    )
    assert everything.tokens_in_cached == 48


@pytest.mark.parametrize("by", [by for by in By if by is not By.DAY])
def test_rows_are_grouped_by_any_column(tmp_path: Path, by: By) -> None:
    ledger = fill(
        tmp_path / "relayd.db",
        row(1, **{by: "a"}, cost_nano=1),
        row(2, **{by: "b"}, cost_nano=5),
        row(3, **{by: "a"}, cost_nano=2),
    )

    assert lines(ledger, by) == [("b", 5), ("a", 3)]


def test_groups_of_several_columns_are_named_in_the_order_asked_for(tmp_path: Path) -> None:
    ledger = fill(tmp_path / "relayd.db", row(1), row(2, key="ops", cost_nano=7))

    assert lines(ledger, By.MODEL, By.KEY) == [
        ("gpt-realtime", "dev", 1_000),
        ("gpt-realtime", "ops", 7),
    ]


def test_sums_are_exact_beyond_what_the_database_counts_to(tmp_path: Path) -> None:
    most = 2**63 - 1
    ledger = fill(
        tmp_path / "relayd.db",
        *(row(number, cost_nano=most, tokens_in=most) for number in range(3)),
        row(4, key="ops", cost_nano=most),
    )

    assert lines(ledger, By.KEY) == [("dev", 3 * most), ("ops", most)]
    with closing(open_read_only(ledger)) as connection:
        everything = total(connection, **EVER)
    assert (everything.cost_nano, everything.tokens_in) == (4 * most, 3 * most + 10)


def test_what_has_no_name_is_a_group_of_its_own(tmp_path: Path) -> None:
    ledger = fill(tmp_path / "relayd.db", row(1), row(2, tag="x", cost_nano=5))

    assert lines(ledger, By.TAG) == [(None, 1_000), ("x", 5)]


def test_days_come_in_order_and_within_one_the_dearest_first(tmp_path: Path) -> None:
    ledger = fill(
        tmp_path / "relayd.db",
        row(1, "2026-11-02", key="a", cost_nano=1),
        row(2, "2026-11-02", key="b", cost_nano=2),
        row(3, "2026-11-01", key="a", cost_nano=None),
        row(4, "2026-11-01", key="b", cost_nano=0),
        row(5, "2026-11-01", key="c", cost_nano=9),
    )
    first, second = datetime.date(2026, 11, 1), datetime.date(2026, 11, 2)

    assert lines(ledger, By.KEY, By.DAY) == [
        ("c", first, 9),
        ("b", first, 0),
        ("a", first, None),
        ("b", second, 2),
        ("a", second, 1),
    ]


def test_a_day_ends_with_its_last_instant(tmp_path: Path) -> None:
    midnight = at("2026-11-02")
    ledger = fill(
        tmp_path / "relayd.db",
        row(1, ended_at=math.nextafter(midnight, 0), cost_nano=1),
        row(2, ended_at=midnight, cost_nano=2),
    )

    assert lines(ledger, By.DAY) == [
        (datetime.date(2026, 11, 1), 1),
        (datetime.date(2026, 11, 2), 2),
    ]


def test_the_first_moment_is_included_and_the_last_is_not(tmp_path: Path) -> None:
    ledger = fill(
        tmp_path / "relayd.db",
        *(row(day, f"2026-11-0{day}", cost_nano=10**day) for day in range(1, 6)),
    )
    since, until = at("2026-11-02"), at("2026-11-04")

    assert lines(ledger, By.KEY, since=since, until=until) == [("dev", 1_100)]
    with closing(open_read_only(ledger)) as connection:
        assert total(connection, since=since, until=until).cost_nano == 1_100
        assert total(connection, since=at("2026-12-01"), until=math.inf) == NO_USE


def test_the_newest_row_is_known(tmp_path: Path) -> None:
    for name, rows, when in (
        ("some.db", [row(1), row(2, "2026-11-09"), row(3)], at("2026-11-09")),
        ("none.db", [], None),
    ):
        with closing(open_read_only(fill(tmp_path / name, *rows))) as connection:
            assert newest(connection) == when


def test_too_many_groups_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LINES_MAX", 2)
    ledger = fill(tmp_path / "relayd.db", *(row(n, tag=str(n), key=str(n % 2)) for n in range(3)))

    assert len(lines(ledger, By.KEY)) == 2
    with pytest.raises(LedgerError, match="more than 2 groups"):
        lines(ledger, By.TAG)


def test_a_name_is_never_a_part_of_the_query(tmp_path: Path) -> None:
    name = "x'); DROP TABLE rows; --"
    ledger = fill(tmp_path / "relayd.db", row(1, tag=name))

    assert lines(ledger, By.TAG) == lines(ledger, By.TAG) == [(name, 1_000)]


def test_what_is_written_meanwhile_is_not_seen(tmp_path: Path) -> None:
    ledger = fill(tmp_path / "relayd.db", row(1))

    with closing(open_read_only(ledger)) as connection:
        with unchanging(connection):
            before = total(connection, **EVER)
            fill(ledger, row(2))
            during = total(connection, **EVER)
        after = total(connection, **EVER)

    assert before == during
    assert (before.rows, after.rows) == (1, 2)


def test_a_database_that_cannot_be_read_is_a_ledger_error(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        for read in (
            lambda: summarize(connection, **EVER, by=[By.KEY]),
            lambda: total(connection, **EVER),
            lambda: newest(connection),
        ):
            with pytest.raises(LedgerError, match="no such table"):
                read()


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "session_id": st.sampled_from(["s1", "s2", "s3"]),
            "ended_at": st.sampled_from([at(f"2026-11-0{day}") for day in (1, 2, 3)]),
            "key": st.sampled_from("abc"),
            "cost_nano": st.none() | st.integers(0, 10**15),
            "tokens_in": st.integers(0, 2**40),
        }
    ),
    max_size=20,
)


def _expected(rows: Sequence[Row], *by: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for each in rows:
        day = datetime.datetime.fromtimestamp(each.ended_at, datetime.UTC).date()
        groups[tuple(day if name == "day" else getattr(each, name) for name in by)].append(each)
    return {
        group: (
            len(members),
            len({member.session_id for member in members}),
            sum(member.tokens_in for member in members),
            sum(costs)
            if (costs := [m.cost_nano for m in members if m.cost_nano is not None])
            else None,
            sum(member.cost_nano is None for member in members),
        )
        for group, members in groups.items()
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ROWS, st.permutations([By.KEY, By.DAY]), st.integers(1, 2))
def test_groups_add_up_as_they_would_by_hand(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[dict[str, Any]],
    order: list[By],
    count: int,
) -> None:
    by = order[:count]
    rows = [row(number, **fields) for number, fields in enumerate(drawn)]
    ledger = fill(tmp_path_factory.mktemp("ledger") / "relayd.db", *rows)

    with closing(open_read_only(ledger)) as connection:
        found = summarize(connection, **EVER, by=by)

    assert {
        line.group: (
            line.sums.rows,
            line.sums.sessions,
            line.sums.tokens_in,
            line.sums.cost_nano,
            line.sums.unpriced,
        )
        for line in found
    } == _expected(rows, *by)
