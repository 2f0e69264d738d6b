"""The count of what was told."""

from __future__ import annotations

import attrs
import pytest

from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.tally import KEYS_MAX, Book, Ending, Tally, TurnRecord
from relayd.sim.responses.usage import NO_USAGE, Usage

USED = Usage(10, 4, 3, 5, 2)
TURN = TurnRecord(
    response_id="resp_1",
    key="key",
    lane=None,
    model="gpt-test",
    scenario=Scenario.NORMAL,
    ending=Ending.COMPLETED,
    used=USED,
    told=USED,
)


@pytest.mark.parametrize("ending", Ending)
def test_a_turn_is_counted_by_its_ending(ending: Ending) -> None:
    tally = Tally().plus(attrs.evolve(TURN, ending=ending))

    field = "errors" if ending is Ending.ERROR else ending.value
    assert getattr(tally, field) == tally.turns == 1
    assert tally.delivered == (ending not in {Ending.ERROR, Ending.CUT})
    assert tally.usage == USED


def test_a_warm_up_is_one_of_the_completed() -> None:
    warm = attrs.evolve(TURN, is_warm_up=True)

    assert Tally().plus(warm) == Tally(completed=1, warm_ups=1, usage=USED)
    assert Tally().plus(attrs.evolve(warm, ending=Ending.CUT)).warm_ups == 0


def test_what_was_not_told_is_kept_apart() -> None:
    tally = Tally().plus(TURN).plus(attrs.evolve(TURN, told=None))

    assert tally == Tally(completed=2, usage=USED, untold=1, untold_usage=USED)
    assert tally.plus(attrs.evolve(TURN, told=NO_USAGE)).untold == 1


def test_a_book_has_sums_by_key_and_the_last_turns() -> None:
    book = Book(turns_max=2)
    for number in range(3):
        book.add(attrs.evolve(TURN, response_id=str(number), key=str(number % 2)))

    assert book.total.turns == 3
    assert {key: tally.turns for key, tally in book.by_key().items()} == {"0": 2, "1": 1}
    assert [turn.response_id for turn in book.turns()] == ["1", "2"]


def test_keys_are_bounded() -> None:
    book = Book(turns_max=1)
    for number in range(KEYS_MAX + 5):
        book.add(attrs.evolve(TURN, key=str(number)))

    assert len(book.by_key()) == KEYS_MAX
    assert book.total.turns == KEYS_MAX + 5
