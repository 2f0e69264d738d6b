"""Requests that come twice."""

from __future__ import annotations

from relayd.hub.idempotency import ENTRY_BYTES, Answers, Place, Reused, digest_of

FIRST, OTHER = digest_of(b"first"), digest_of(b"other")


def at(key: str, tenant: str = "acme", publisher: str = "engine") -> Place:
    return Place(tenant, publisher, key)


NAMED = len("acme" + "engine")


def test_the_same_request_gets_the_same_answer() -> None:
    answers = Answers()
    assert answers.find(at("k"), FIRST, 0.0) is None

    answers.keep(at("k"), FIRST, b"done", 0.0)

    assert answers.find(at("k"), FIRST, 1.0) == b"done"
    assert answers.find(at("k", "other"), FIRST, 1.0) is None
    assert answers.find(at("k", publisher="another"), FIRST, 1.0) is None


def test_a_key_is_for_one_request() -> None:
    answers = Answers()
    answers.keep(at("k"), FIRST, b"done", 0.0)

    assert answers.find(at("k"), OTHER, 0.0) == Reused()


def test_an_answer_is_forgotten_in_time() -> None:
    answers = Answers(age_s=10.0)
    answers.keep(at("k"), FIRST, b"done", 0.0)

    assert answers.find(at("k"), FIRST, 9.9) == b"done"
    assert answers.find(at("k"), FIRST, 10.0) is None
    assert (len(answers), answers.size) == (0, 0)


def test_the_oldest_go_where_there_are_too_many_or_too_much() -> None:
    answers = Answers(count_max=2)
    for key in "abc":
        answers.keep(at(key), FIRST, b"", 0.0)
    assert answers.find(at("a"), FIRST, 0.0) is None
    assert len(answers) == 2

    answers = Answers(bytes_max=2 * ENTRY_BYTES + NAMED)
    answers.keep(at("a"), FIRST, b"x" * 100, 0.0)
    answers.keep(at("b"), FIRST, b"x" * 100, 0.0)
    assert answers.find(at("a"), FIRST, 0.0) is None
    assert answers.size == ENTRY_BYTES + NAMED + 101


def test_an_answer_takes_the_place_of_an_earlier_one() -> None:
    answers = Answers()
    answers.keep(at("a"), FIRST, b"x" * 100, 0.0)
    answers.keep(at("a"), OTHER, b"y", 1.0)

    assert answers.find(at("a"), OTHER, 1.0) == b"y"
    assert answers.size == ENTRY_BYTES + NAMED + 2


def test_a_tenant_that_sends_much_loses_its_own_and_nobody_elses() -> None:
    for answers in (Answers(count_max=8), Answers(bytes_max=8 * (ENTRY_BYTES + 64))):
        answers.keep(at("k"), FIRST, b"done", 0.0)
        for number in range(50):
            answers.keep(at(f"k{number}", "globex"), OTHER, b"done", 1.0)

        assert answers.find(at("k"), FIRST, 2.0) == b"done"
        assert answers.find(at("k49", "globex"), OTHER, 2.0) == b"done"
        assert answers.find(at("k0", "globex"), OTHER, 2.0) is None
        assert 7 <= len(answers) <= 9

        assert answers.find(at("k"), FIRST, 301.0) is None
        assert (len(answers), answers.size) == (0, 0)
