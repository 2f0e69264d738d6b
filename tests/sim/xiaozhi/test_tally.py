"""What a simulated server counts."""

from __future__ import annotations

from relayd.sim.xiaozhi.audio import packet
from relayd.sim.xiaozhi.tally import KINDS_MAX, Book, Running
from relayd.sim.xiaozhi.visitor import visitor_of


def running() -> Running:
    return Running(visitor_of("/", {"device-id": "aa"}), 1)


def test_a_connection_is_counted_as_it_was() -> None:
    one = running()
    one.heard("hello")
    for number in (0, 2, 1):
        one.ear.hear(packet(1, number))
    one.turns = 2
    record = one.record(("tool",), 1)

    assert record.kinds == {"hello": 1}
    assert (record.packets_in, record.packets_lost, record.packets_misplaced) == (3, 1, 1)
    assert (record.turns, record.tools, record.calls_answered) == (2, ("tool",), 1)


def test_types_without_end_are_counted_together() -> None:
    one = running()
    for index in range(KINDS_MAX + 10):
        one.heard(f"type{index}")
    one.heard("type0")

    assert len(one.record((), 0).kinds) == KINDS_MAX + 1
    assert one.count("more") == 10
    assert one.count("type0") == 2


def test_a_book_forgets_records_and_no_sum() -> None:
    book = Book(2)
    for turns in (1, 2, 3):
        one = running()
        one.turns, one.is_refused = turns, turns == 1
        book.add(one.record((), 0))

    assert [record.turns for record in book.records()] == [2, 3]
    assert (book.total.connections, book.total.turns, book.total.refused) == (3, 6, 1)
