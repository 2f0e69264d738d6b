"""What the fields of log events mean."""

from __future__ import annotations

import pytest

from relayd.observe.event_fields import FIELDS
from relayd.observe.events import EVENTS


def test_every_field_is_explained_and_every_explanation_is_of_a_field() -> None:
    used = {name for spec in EVENTS.values() for name in spec.fields}

    assert used == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_an_explanation_stands_in_a_row_of_a_table(name: str) -> None:
    meaning = FIELDS[name]

    assert meaning.strip() == meaning != ""
    assert not meaning.endswith(".")
    assert "|" not in meaning
    assert "\n" not in meaning
