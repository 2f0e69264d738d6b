"""A publication's places, as clients say them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_event import Position, read_position
from tests.dialect.hub import EPOCH, publication


def test_a_place_in_a_topic_and_one_among_everything_are_told_apart() -> None:
    event = publication(offset=3, seq=7)

    assert read_position(event.id) == Position(EPOCH, 3, overall=False)
    assert read_position(event.cursor) == Position(EPOCH, 7, overall=True)


@given(number=st.integers(0, 10**18), overall=st.booleans())
def test_a_position_reads_what_it_writes(number: int, overall: bool) -> None:
    position = Position(EPOCH, number, overall)

    assert read_position(str(position)) == position


@pytest.mark.parametrize(
    "text",
    [
        *["", EPOCH, f"{EPOCH}:", f"{EPOCH}:-1", f"{EPOCH}:01", f"{EPOCH[1:]}:1", f"{EPOCH}#1"],
        *[f"{EPOCH}:{10**19}", f"{EPOCH}:1\n", f"{EPOCH}:١", f"{EPOCH.upper()}:1", f" {EPOCH}:1"],
    ],
)
def test_anything_else_is_no_position(text: str) -> None:
    assert read_position(text) is None
