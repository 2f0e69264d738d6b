"""A simulated run-task upstream's own count."""

from __future__ import annotations

from relayd.sim.runtask.answers import Usage
from relayd.sim.runtask.tally import Book, Ending, Record, Tally


def test_a_book_sums_and_keeps_the_last() -> None:
    book = Book(2)
    book.add(Record(task_id="a", ending=Ending.COMPLETED, results=3, told=Usage(1, 2)))
    book.add(Record(task_id="b", ending=Ending.FAILED, code="X"))
    book.add(Record(task_id="c", ending=Ending.CUT, results=1))
    book.add(Record(task_id="d", ending=Ending.CANCELLED, told=Usage(1, 1)))

    assert book.total == Tally(
        completed=1, failed=1, cut=1, cancelled=1, results=4, usage=Usage(2, 3)
    )
    assert book.total.tasks == 4
    assert [record.task_id for record in book.records()] == ["c", "d"]
