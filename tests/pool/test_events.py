"""The words in which a pool tells what happens."""

from __future__ import annotations

import re

from relayd.observe.events import LogEvent
from relayd.pool.events import Broken, Outcome, PoolEventKind, Refused, Rotated


def test_the_kinds_are_names_of_log_events() -> None:
    assert {str(kind) for kind in PoolEventKind} <= {str(event) for event in LogEvent}


def test_words_are_fit_for_labels() -> None:
    words = [str(word) for kind in (Broken, Rotated, Refused, Outcome) for word in kind]

    assert [word for word in words if not re.fullmatch("[a-z]+(_[a-z]+)*", word)] == []
