"""What one topic remembers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayd.hub.ring import Ring
from tests.hub.making import shared


def ring(*seqs: int, base: int = 0) -> Ring:
    made = Ring(base)
    for seq in seqs:
        made.append(shared(seq, at=float(seq)))
    return made


def trim(of: Ring, messages_max: int = 99, bytes_max: int = 10**9, since: float = -1.0) -> None:
    of.trim(messages_max=messages_max, bytes_max=bytes_max, since=since)


def seqs(of: Ring, offset: int) -> list[int] | None:
    found = of.after(offset)
    return None if found is None else [each.publication.seq for each in found]


def test_what_is_behind_a_place_is_everything_or_nothing() -> None:
    made = ring(3, 5, 9)
    trim(made, messages_max=2)

    assert seqs(made, 0) is None
    assert seqs(made, 1) == [5, 9]
    assert seqs(made, 3) == []
    assert seqs(made, 4) is None
    assert made.after_seq(2) is None
    assert [each.publication.seq for each in made.after_seq(3) or ()] == [5, 9]
    assert [each.publication.seq for each in made.before(3)] == [5]


def test_each_bound_lets_go_of_the_oldest() -> None:
    one = shared(1).size

    made = ring(1, 2, 3)
    trim(made, bytes_max=2 * one)
    assert (len(made), made.size, made.base) == (2, 2 * one, 1)

    made = ring(1, 2, 3)
    trim(made, since=2.0)
    assert (len(made), made.lost_seq) == (1, 2)


def test_numbers_go_on_behind_an_empty_ring() -> None:
    made = ring(1, 2, base=7)
    made.clear()

    assert (len(made), made.size, made.last, made.last_seq) == (0, 0, 9, 2)
    assert made.seq_at(9) == 2


def test_what_is_skipped_is_missing() -> None:
    made = ring(1, 2)
    made.skip(8)

    assert made.after(2) is None
    assert made.after(3) == []
    assert made.after_seq(7) is None
    assert made.after_seq(8) == []


@given(
    steps=st.lists(st.integers(1, 3), max_size=20), keep=st.integers(0, 9), at=st.integers(0, 25)
)
def test_places_agree(steps: list[int], keep: int, at: int) -> None:
    numbers = [sum(steps[: index + 1]) for index in range(len(steps))]
    made = ring(*numbers)
    trim(made, messages_max=keep)

    behind = made.after(at)
    if behind is None:
        assert at < made.base or at > len(numbers)
    else:
        assert [each.publication.seq for each in behind] == numbers[at:]
        assert behind == made.after_seq(made.seq_at(at))
