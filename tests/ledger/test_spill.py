"""Rows that wait, and their receipts."""

from __future__ import annotations

from relayd.ledger.spill import RowReceipt, Spill
from tests.ledger.filled import at, row


def test_whoever_asks_is_told_once() -> None:
    told: list[str] = []
    receipt = RowReceipt(row(1))
    receipt.then(lambda: told.append("early"))
    assert told == []

    receipt.resolve()
    receipt.resolve()
    receipt.then(lambda: told.append("late"))

    assert told == ["early", "late"]


def test_one_who_asks_again_while_being_told_is_told_at_once() -> None:
    told: list[str] = []
    receipt = RowReceipt(row(1))
    receipt.then(lambda: receipt.then(lambda: told.append("inner")))

    receipt.resolve()

    assert told == ["inner"]


def test_rows_leave_in_the_order_in_which_they_came() -> None:
    spill = Spill(rows_max=10)
    for number in (3, 1, 2):
        spill.add(row(number))

    first = [receipt.row for receipt in spill.first(2)]
    spill.remove_first(2)

    assert first == [row(3), row(1)]
    assert [receipt.row for receipt in spill] == [row(2)]
    assert [receipt.row for receipt in spill.first(9)] == [row(2)]


def test_a_row_that_waits_is_not_taken_twice() -> None:
    spill = Spill(rows_max=10)

    receipt = spill.add(row(1, cost_nano=1))

    assert receipt is not None
    assert spill.add(row(1, cost_nano=2)) is receipt
    assert spill.spent("dev", 0.0) == 1
    assert len(spill) == 1


def test_there_is_a_bound() -> None:
    spill = Spill(rows_max=2)
    waiting = [spill.add(row(number)) for number in (1, 2)]

    assert spill.add(row(3)) is None
    assert spill.add(row(2)) is waiting[1]
    spill.remove_first(1)
    assert spill.add(row(3)) is not None


def test_what_waits_counts_as_spent_from_its_moment_on() -> None:
    spill = Spill(rows_max=10)
    spill.add(row(1, "2026-11-01", cost_nano=1))
    spill.add(row(2, "2026-11-02", cost_nano=10))
    spill.add(row(3, "2026-11-02", cost_nano=None))
    spill.add(row(4, "2026-11-02", cost_nano=100, key="other"))

    assert spill.spent("dev", at("2026-11-01")) == 11
    assert spill.spent("dev", at("2026-11-02")) == 10
