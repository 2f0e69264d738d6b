"""When a sign of life is due."""

from __future__ import annotations

from relayd.session.responses.silence import LOOKS, Silence


def test_a_silence_begins_when_something_is_waited_for() -> None:
    silence = Silence(8.0)
    silence.begins(100.0)

    assert not silence.is_over_long(0, 107.9)
    assert silence.is_over_long(0, 108.0)
    assert silence.look_every_s == 8.0 / LOOKS


def test_whatever_is_sent_breaks_it() -> None:
    silence = Silence(8.0)
    silence.begins(0.0)

    assert not silence.is_over_long(1, 8.0)  # found at this moment
    assert not silence.is_over_long(1, 15.9)
    assert silence.is_over_long(1, 16.0)


def test_a_sign_of_life_is_not_taken_for_somebody_elses_word() -> None:
    silence = Silence(8.0)
    silence.begins(0.0)
    assert silence.is_over_long(0, 8.0)
    silence.broken(3, 8.0)

    assert not silence.is_over_long(3, 15.9)
    assert silence.is_over_long(3, 16.0)
