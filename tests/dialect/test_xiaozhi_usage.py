"""Seconds of audio, turns, and how long they took."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.xiaozhi_usage import (
    TIMED_MAX,
    UNTOLD_US,
    UTTERANCE_S,
    AudioTally,
    TurnEnd,
    UsageMeter,
    frame_duration_us,
)

FRAME_US = 60_000


def say(tally: AudioTally, count: int, since: float) -> None:
    for number in range(count):
        tally.count(100, FRAME_US, since + number * 0.06)


def test_a_turn_is_measured_from_the_end_of_the_question() -> None:
    meter = UsageMeter()
    meter.listening(10.0)
    say(meter.audio_in, 50, 10.0)
    meter.stopped(13.0)
    meter.heard(13.5)
    meter.speaking(14.0)
    say(meter.audio_out, 100, 14.25)
    meter.called()
    meter.spoken(20.5)

    (turn,) = meter.reports
    assert (turn.number, turn.ended_by) == (1, TurnEnd.DONE)
    assert (turn.started_at, turn.ended_at) == (13.0, 20.5)
    assert (turn.stt_s, turn.first_audio_s, turn.speaking_s) == (0.5, 1.25, 6.5)
    assert turn.audio_in_s == pytest.approx(3.0)
    assert turn.audio_out_s == pytest.approx(6.0)
    assert (turn.gaps_out, turn.calls) == (0, 1)


def test_without_a_stop_a_turn_begins_with_what_was_heard() -> None:
    meter = UsageMeter()
    meter.listening(1.0)
    meter.heard(5.0)
    say(meter.audio_out, 1, 5.5)
    meter.spoken(6.0)

    (turn,) = meter.reports
    assert (turn.started_at, turn.stt_s, turn.first_audio_s) == (5.0, None, 0.5)
    assert turn.speaking_s is None


def test_each_turn_has_what_came_since_the_one_before() -> None:
    meter = UsageMeter()
    for start in (0.0, 10.0):
        meter.listening(start)
        say(meter.audio_in, 10, start)
        meter.heard(start + 1)
        say(meter.audio_out, 5, start + 2)
        meter.spoken(start + 3)
    say(meter.audio_in, 10, 20.0)

    assert [turn.audio_in_s for turn in meter.reports] == pytest.approx([0.6, 0.6])
    assert [turn.audio_out_s for turn in meter.reports] == pytest.approx([0.3, 0.3])
    totals = meter.totals()
    assert totals.turns == 2
    assert totals.unreported_in_s == pytest.approx(0.6)
    assert totals.unreported_out_s == 0


def test_a_device_is_heard_from_its_first_word_until_it_is_answered() -> None:
    meter = UsageMeter()
    assert meter.heard_until < 0.0

    say(meter.audio_in, 2, 5.0)  # some never say that they begin
    assert meter.heard_until == 5.0 + UTTERANCE_S
    meter.listening(6.0)
    assert meter.heard_until == 6.0 + UTTERANCE_S
    meter.stopped(9.0)
    assert meter.heard_until == 9.0 + UTTERANCE_S

    meter.heard(10.0)
    assert meter.turn_runs
    assert meter.heard_until < 0.0
    meter.spoken(12.0)
    assert meter.heard_until < 0.0


def test_the_end_of_what_was_broken_off_ends_nothing_new() -> None:
    meter = UsageMeter()
    meter.heard(1.0)
    meter.speaking(2.0)
    meter.aborted(3.0)
    meter.listening(3.0)
    meter.stopped(4.0)
    meter.spoken(4.5)
    assert meter.heard_until == 4.0 + UTTERANCE_S
    meter.heard(5.0)
    meter.spoken(6.0)
    assert meter.reports[-1].stt_s == 1.0


def test_what_a_lost_server_was_told_to_its_end_is_over() -> None:
    meter = UsageMeter()
    meter.listening(1.0)
    meter.lost(2.0)  # the next one hears the rest
    assert meter.heard_until == 1.0 + UTTERANCE_S

    meter.stopped(3.0)
    meter.lost(4.0)
    assert meter.heard_until < 0.0
    meter.heard(10.0)
    meter.spoken(11.0)
    assert [turn.started_at for turn in meter.reports] == [10.0]


def test_silence_between_two_questions_is_no_turn_and_spoils_no_time() -> None:
    meter = UsageMeter()
    meter.listening(0.0)
    meter.stopped(1.0)
    meter.listening(8.0)
    meter.stopped(9.0)
    meter.heard(9.25)

    assert meter.reports == []
    meter.spoken(10.0)
    assert meter.reports[0].stt_s == 0.25


def test_a_server_that_speaks_unasked_makes_a_turn() -> None:
    meter = UsageMeter()
    meter.speaking(5.0)
    meter.spoken(6.0)
    assert [(turn.started_at, turn.stt_s) for turn in meter.reports] == [(5.0, None)]


def test_a_second_question_ends_the_first_turn() -> None:
    meter = UsageMeter()
    meter.heard(1.0)
    meter.heard(2.0)
    assert [turn.ended_by for turn in meter.reports] == [TurnEnd.ABORTED]
    assert meter.turn_runs


@pytest.mark.parametrize(
    ("end", "ended_by"),
    [("aborted", TurnEnd.ABORTED), ("lost", TurnEnd.LOST), ("cut", TurnEnd.CUT)],
)
def test_a_turn_ends_once_whatever_comes_after(end: str, ended_by: TurnEnd) -> None:
    meter = UsageMeter()
    meter.heard(1.0)
    getattr(meter, end)(2.0)
    meter.spoken(3.0)
    meter.cut(4.0)
    assert [turn.ended_by for turn in meter.reports] == [ended_by]
    assert meter.aborts == (end == "aborted")


def test_audio_that_comes_late_leaves_a_gap_but_not_between_utterances() -> None:
    tally = AudioTally()
    for at in (0.0, 0.06, 0.24, 0.43):
        tally.count(100, FRAME_US, at)
    tally.restart()
    tally.count(100, FRAME_US, 60.0)

    assert tally.gaps == 1
    assert (tally.packets, tally.payload_bytes, tally.first_at) == (5, 500, 60.0)


def test_a_packet_lasts_what_the_hello_says_else_what_it_says_itself() -> None:
    assert AudioTally(declared_us=2_500).duration_us(b"\x58") == 60_000
    assert AudioTally(declared_us=60_000).duration_us(b"\x58") == 60_000
    assert AudioTally().duration_us(b"\x58") == 60_000
    assert AudioTally(declared_us=20_000).duration_us(b"\x4b\x00") == 20_000  # no frames, it says
    assert AudioTally().duration_us(b"\x4b\x00") == UNTOLD_US


@pytest.mark.parametrize(
    ("declared_ms", "duration_us"),
    [(60, 60_000), (2.5, 2_500), (20.0, 20_000), (1, None), (0, None), (None, None), (-60, None)],
)
def test_a_hello_declares_what_a_packet_can_last(
    declared_ms: float | None, duration_us: int | None
) -> None:
    assert frame_duration_us(declared_ms) == duration_us


@pytest.mark.parametrize("declared_ms", [math.inf, math.nan, 1e308])
def test_a_number_beyond_all_is_none(declared_ms: float) -> None:
    assert frame_duration_us(declared_ms) is None


EVENTS = ["listening", "stopped", "heard", "speaking", "spoken", "aborted", "lost", "cut"]


@given(st.lists(st.sampled_from(EVENTS) | st.integers(1, 5), max_size=40))
def test_every_turn_is_reported_once_and_all_audio_is_somewhere(
    events: list[str | int],
) -> None:
    meter = UsageMeter()
    now = 0.0
    for event in events:
        now += 1.0
        if isinstance(event, int):
            say(meter.audio_in, event, now)
            say(meter.audio_out, event, now)
        else:
            getattr(meter, event)(now)

    totals = meter.totals()
    assert [turn.number for turn in meter.reports] == list(range(1, totals.turns + 1))
    reported = sum(turn.audio_in_s for turn in meter.reports)
    assert reported + totals.unreported_in_s == pytest.approx(totals.audio_in_s)
    reported = sum(turn.audio_out_s for turn in meter.reports)
    assert reported + totals.unreported_out_s == pytest.approx(totals.audio_out_s)
    for turn in meter.reports:
        times = (turn.stt_s, turn.first_audio_s, turn.speaking_s)
        assert all(time is None or time >= 0 for time in times)
        assert turn.started_at <= turn.ended_at
    beginnings = sum(event in {"heard", "speaking"} for event in events)
    assert totals.turns + meter.turn_runs <= beginnings


def test_a_turn_has_the_times_of_calls_that_were_answered_before_its_end() -> None:
    meter = UsageMeter()
    meter.answered(0.5)
    for end in (1.0, 2.0, 3.0):
        meter.heard(end - 0.5)
        if end == 2.0:
            for _ in range(TIMED_MAX + 1):
                meter.answered(0.25)
        meter.spoken(end)

    assert [turn.calls_s for turn in meter.reports] == [(0.5,), (0.25,) * TIMED_MAX, ()]
