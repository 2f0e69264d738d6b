"""The cells of a usage table, and usage as text."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.cli.usage_lines import Usage, dollars, hours, human, json_lines, name, plain
from relayd.core.money import usd_of
from relayd.ledger.report import By, Line, Sums


def usage(*lines: Line, total: Sums, by: tuple[By, ...] = (By.KEY,)) -> Usage:
    return Usage(by=by, lines=lines, total=total, prices="prices.toml")


ONE = Sums(rows=2, turns=2, sessions=1, tokens_in=1_234, tokens_out=56, cost_nano=1_500_000_000)
TWO = Sums(
    rows=3,
    turns=2,
    transcriptions=1,
    sessions=1,
    tokens_in=100,
    tokens_in_cached_audio=64,
    tokens_out=7,
    seconds=61.5,
    cost_nano=4_200_000,
    unpriced=1,
    estimated=2,
)
BOTH = Sums(
    rows=5,
    turns=4,
    transcriptions=1,
    sessions=1,
    tokens_in=1_334,
    tokens_in_cached_audio=64,
    tokens_out=63,
    seconds=61.5,
    cost_nano=1_504_200_000,
    unpriced=1,
    estimated=2,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.0k"),
        (1_249, "1.2k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (12_345_678, "12.3M"),
        (10**9, "1.0B"),
        (10**12, "1.0T"),
        (10**16, "10000T"),
    ],
)
def test_counts_are_short(count: int, text: str) -> None:
    assert human(count) == text


@given(st.integers(0, 10**15 - 10**12))
def test_a_short_count_is_short_and_off_by_a_twentieth_at_most(count: int) -> None:
    text = human(count)

    factor = {"k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}.get(text[-1], 1)
    assert len(text) <= 5
    assert float(text.rstrip("kMBT")) * factor == pytest.approx(count, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "-"), (0.2, "0:00:01"), (3723.0, "1:02:03"), (4_000_000.0, "1,111:06:40")],
)
def test_durations_are_read_as_on_a_clock(seconds: float, text: str) -> None:
    assert hours(seconds) == text


@pytest.mark.parametrize(
    ("nano", "decimals", "text"),
    [
        (None, 4, "unpriced"),
        (0, 4, "$0.0000"),
        (1, 4, "<$0.0001"),
        (49_999, 4, "<$0.0001"),
        (50_001, 4, "$0.0001"),
        (1_234_567_890_000, 4, "$1,234.5679"),
        (1_234_567_890_000, 2, "$1,234.57"),
        (1, 2, "<$0.01"),
    ],
)
def test_costs_are_never_shown_as_nothing(nano: int | None, decimals: int, text: str) -> None:
    assert dollars(nano, decimals) == text


def test_a_name_cannot_command_a_terminal() -> None:
    assert name("a\x1b[31mb\x9b2J\n") == "a�[31mb�2J�"
    assert name(None) == "-"
    assert name(datetime.date(2026, 11, 1)) == "2026-11-01"


def test_plain_text_is_aligned_and_explains_its_marks() -> None:
    shown = usage(Line(("voice-app",), ONE), Line(("dev",), TWO), total=BOTH)

    assert list(plain(shown)) == [
        "key        sessions  turns  transcripts    in  cached  out     time       cost",
        "voice-app         1      2            0  1.2k       0   56        -  $1.5000",
        "dev               1      2            1   100      64    7  0:01:02  $0.0042+~",
        "total             1      4            1  1.3k      64   63  0:01:02  $1.5042+~",
        "+ 1 row has no price: add it to prices.toml",
        "~ 2 rows have estimated numbers: the upstream reported none",
    ]


def test_what_has_nothing_to_say_is_left_out() -> None:
    head, *_, last = plain(usage(Line(("dev",), ONE), total=ONE))

    assert head.split() == ["key", "sessions", "turns", "in", "out", "cost"]
    assert last.startswith("total")


def test_where_no_row_has_a_price_the_cost_says_so() -> None:
    unpriced = Sums(rows=2, turns=2, sessions=1, tokens_in=3, unpriced=2)
    lines = list(plain(usage(Line(("dev",), unpriced), total=unpriced)))

    assert [line.split()[-1] for line in lines[:3]] == ["cost", "unpriced", "unpriced"]
    assert lines[3:] == ["2 rows have no price: add it to prices.toml"]


def test_from_a_hundred_dollars_on_two_decimals_are_enough() -> None:
    much = Sums(rows=1, turns=1, sessions=1, tokens_in=1, cost_nano=123_456_789_012)
    lines = list(plain(usage(Line(("dev",), much), total=much)))

    assert lines[-1].split()[-1] == "$123.46"


def test_json_has_every_field_in_a_fixed_order() -> None:
    group = (datetime.date(2026, 11, 1), None)
    (line,) = json_lines(usage(Line(group, TWO), total=TWO, by=(By.DAY, By.TAG)))

    assert line == (
        '{"day": "2026-11-01", "tag": null, "turns": 2, "transcriptions": 1, "sessions": 1,'
        ' "tokens_in": 100, "tokens_out": 7, "tokens_in_text": 0, "tokens_in_audio": 0,'
        ' "tokens_in_image": 0, "tokens_in_cached_text": 0, "tokens_in_cached_audio": 64,'
        ' "tokens_in_cached_image": 0, "tokens_out_text": 0, "tokens_out_audio": 0,'
        ' "seconds": 61.5, "cost_usd": 0.0042, "unpriced": 1, "estimated": 2}'
    )


@given(st.integers(0, 2**63 - 1), st.text())
def test_json_is_ascii_and_exact(nano: int, tag: str) -> None:
    sums = Sums(rows=1, cost_nano=nano)
    (line,) = json_lines(usage(Line((tag,), sums), total=sums, by=(By.TAG,)))

    read = json.loads(line, parse_float=Decimal, parse_int=Decimal)
    assert line.isascii()
    assert line.isprintable()
    assert read["tag"] == tag
    assert read["cost_usd"] == usd_of(nano)


def test_a_cost_that_nobody_knows_is_null() -> None:
    sums = Sums(rows=1, unpriced=1)
    (line,) = json_lines(usage(Line(("dev",), sums), total=sums))

    assert json.loads(line)["cost_usd"] is None
