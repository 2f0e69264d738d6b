"""A simulated Spark's own count."""

from __future__ import annotations

import attrs
import pytest

from relayd.sim.spark.errors import JsonObject
from relayd.sim.spark.frames import content_frame, text_of, with_usage
from relayd.sim.spark.scenario import Scenario
from relayd.sim.spark.tally import Book, Ending, Record, Running, Tally
from relayd.sim.spark.usage import Usage

USED = Usage(2, 3, 4)
MIDDLE = content_frame("cht1", 1, 1, [text_of("x")])
LAST = content_frame("cht1", 2, 2, [text_of("y")])
WITH_USAGE = with_usage(LAST, USED.wire())
ERROR: JsonObject = {"header": {"code": 10012, "message": "m", "sid": "cht1", "status": 2}}


def running() -> Running:
    return Running("cht1", "app", "lite", "u", Scenario.NORMAL, USED)


def record(*frames: JsonObject, is_cancelled: bool = False) -> Record:
    told = running()
    for frame in frames:
        told.sent(frame)
    return told.record(is_cancelled=is_cancelled)


def test_a_whole_answer() -> None:
    assert record(MIDDLE, WITH_USAGE) == Record(
        sid="cht1",
        app_id="app",
        domain="lite",
        user="u",
        scenario=Scenario.NORMAL,
        ending=Ending.COMPLETED,
        frames=2,
        told=USED,
    )


def test_a_client_that_goes_behind_the_last_frame_cancels_nothing() -> None:
    assert record(WITH_USAGE, is_cancelled=True).ending is Ending.COMPLETED
    assert record(MIDDLE, is_cancelled=True).ending is Ending.CANCELLED
    assert record(MIDDLE).ending is Ending.CUT


def test_an_error_ends_a_request() -> None:
    ended = record(MIDDLE, ERROR)

    assert (ended.ending, ended.code, ended.frames) == (Ending.ERROR, 10012, 2)


def test_what_comes_behind_the_end_changes_nothing_but_the_count() -> None:
    ended = record(WITH_USAGE, MIDDLE, ERROR)

    assert (ended.ending, ended.code, ended.frames, ended.told) == (Ending.COMPLETED, None, 3, USED)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        USED.wire() | {"prompt_tokens": -3},
        USED.wire() | {"total_tokens": 0},
        USED.wire() | {"completion_tokens": "4"},
        USED.wire() | {"completion_tokens": 5},
    ],
)
def test_usage_that_is_not_true_was_not_told(usage: object) -> None:
    assert record(with_usage(LAST, usage)).told is None


def test_a_part_of_an_answer_may_be_told() -> None:
    part = attrs.evolve(USED, completion_tokens=1)

    assert record(with_usage(LAST, part.wire())).told == part


def test_a_book_sums_and_keeps_the_last() -> None:
    book = Book(2)
    for frames in ([MIDDLE, WITH_USAGE], [ERROR], [MIDDLE], []):
        book.add(record(*frames))
    book.add(record(is_cancelled=True))

    assert book.total == Tally(
        completed=1, errors=1, cut=2, cancelled=1, frames=4, usage=USED, untold=4
    )
    assert book.total.requests == 5
    assert [kept.ending for kept in book.records()] == [Ending.CUT, Ending.CANCELLED]
