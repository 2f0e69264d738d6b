"""Requests that come twice."""

from __future__ import annotations

from relayd.hub.idempotency import ENTRY_BYTES, Answers, Reused, digest_of

FIRST, OTHER = digest_of(b"first"), digest_of(b"other")


def test_the_same_request_gets_the_same_answer() -> None:
    answers = Answers()
    assert answers.find("acme", "k", FIRST, 0.0) is None

    answers.keep("acme", "k", FIRST, b"done", 0.0)

    assert answers.find("acme", "k", FIRST, 1.0) == b"done"
    assert answers.find("other", "k", FIRST, 1.0) is None


def test_a_key_is_for_one_request() -> None:
    answers = Answers()
    answers.keep("acme", "k", FIRST, b"done", 0.0)

    assert answers.find("acme", "k", OTHER, 0.0) == Reused()


def test_an_answer_is_forgotten_in_time() -> None:
    answers = Answers(age_s=10.0)
    answers.keep("acme", "k", FIRST, b"done", 0.0)

    assert answers.find("acme", "k", FIRST, 9.9) == b"done"
    assert answers.find("acme", "k", FIRST, 10.0) is None
    assert (len(answers), answers.size) == (0, 0)


def test_the_oldest_go_where_there_are_too_many_or_too_much() -> None:
    answers = Answers(count_max=2)
    for key in "abc":
        answers.keep("t", key, FIRST, b"", 0.0)
    assert answers.find("t", "a", FIRST, 0.0) is None
    assert len(answers) == 2

    answers = Answers(bytes_max=2 * ENTRY_BYTES)
    answers.keep("t", "a", FIRST, b"x" * 100, 0.0)
    answers.keep("t", "b", FIRST, b"x" * 100, 0.0)
    assert answers.find("t", "a", FIRST, 0.0) is None
    assert answers.size == ENTRY_BYTES + 102


def test_an_answer_takes_the_place_of_an_earlier_one() -> None:
    answers = Answers()
    answers.keep("t", "a", FIRST, b"x" * 100, 0.0)
    answers.keep("t", "a", OTHER, b"y", 1.0)

    assert answers.find("t", "a", OTHER, 1.0) == b"y"
    assert answers.size == ENTRY_BYTES + 3
