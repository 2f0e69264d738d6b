"""How long events wait."""

from __future__ import annotations

import pytest

from relayd.hub.outbox import Tally
from relayd.hub.waits import BOUNDS, PIECE_S, Waits
from tests.hub.making import client, hub, publish, read, shared, wanted
from tests.hub.test_outbox import MUCH, outbox


def counted(waits: Waits) -> dict[float, int]:
    counts = waits.so_far().counts
    return {bound: n for bound, n in zip((*BOUNDS, 99.0), counts, strict=True) if n}


def test_of_each_piece_of_time_the_longest_wait_is_counted() -> None:
    waits = Waits()
    for late in range(10):  # of one event, to client after client
        waits.note(0.0, late * PIECE_S / 10)
    assert counted(waits) == {0.0025: 1}

    waits.note(0.0, 0.04)
    waits.note(0.0, 0.5)
    waits.note(0.0, 7.0)
    assert counted(waits) == {0.0025: 1, 0.05: 1, 0.5: 1, 99.0: 1}
    assert waits.so_far().total_s == pytest.approx(0.0018 + 7.54)


def test_a_piece_is_counted_once_however_often_it_is_asked_for() -> None:
    waits = Waits()
    assert sum(waits.so_far().counts) == 0

    waits.note(0.0, 0.0)
    assert waits.so_far() == waits.so_far()
    assert sum(waits.so_far().counts) == 1


def test_an_outbox_notes_the_oldest_of_what_is_sent_and_nothing_that_was_missed() -> None:
    tally = Tally()
    box, _ = outbox(tally=tally)
    box.replay([shared(1, at=-100.0)], 0.0)
    box.take(MUCH, 1.0)
    assert counted(tally.waits) == {}

    box.offer(shared(2, at=1.0))
    box.offer(shared(3, at=1.3))
    box.take(MUCH, 1.4)
    assert counted(tally.waits) == {0.5: 1}


def test_the_hub_tells_what_waits_and_how_long_it_did() -> None:
    made = hub()
    one = client(made)
    made.subscribe(one, wanted("*"), 0.0)
    assert made.totals().queued_bytes == 0

    publish(made, now=0.0)
    assert made.totals().queued_bytes == one.outbox.size > 0
    read(one)
    assert (made.totals().queued_bytes, sum(made.totals().waits.counts)) == (0, 1)
