"""What the hub answers to questions."""

from __future__ import annotations

from relayd.hub.answers import Past
from tests.hub.making import client, hub, place, publish, read, wanted


def numbers(past: Past) -> list[int] | None:
    if past.publications is None:
        return None
    return [each.offset for each in past.publications]


def test_history_is_read_from_either_end() -> None:
    made = hub(ring_messages_max=4)
    publish(made, *["workflow:a"] * 5)

    def ask(limit: int | None = None, since: str | None = None, *, reverse: bool = False) -> object:
        where = None if since is None else place(since)
        return numbers(
            made.history("acme", "workflow:a", limit=limit, since=where, reverse=reverse, now=0.0)
        )

    assert ask() == [2, 3, 4, 5]
    assert ask(2) == [2, 3]
    assert ask(0) == []
    assert ask(reverse=True) == [5, 4, 3, 2]
    assert ask(since=":3") == [4, 5]
    assert ask(since=":4", reverse=True) == [3, 2]
    for gone in (":0", ":6", "@3", "0000000000000000:3"):
        assert ask(since=gone) is None


def test_history_of_a_topic_that_never_was_is_empty() -> None:
    past = hub().history("acme", "workflow:a", now=0.0)

    assert (past.position, past.publications) == (place(":0"), ())


def test_history_forgets_in_time() -> None:
    made = hub()
    publish(made, now=0.0)

    assert numbers(made.history("acme", "workflow:w1", now=300.0)) == []
    assert made.totals().remembered == 0


def test_totals_add_up() -> None:
    made = hub(outbox_messages_max=4)
    one, slow = client(made), client(made)
    made.subscribe(one, wanted("*", since="@0"), 0.0)
    made.subscribe(slow, wanted("workflow:a", since="@9"), 0.0)
    for _ in range(9):
        publish(made, "workflow:a")
        read(one)

    totals = made.totals()
    assert (totals.subscribers, totals.followings, totals.topics) == (2, 2, 1)
    assert (totals.published, totals.delivered) == (9, 9)
    assert (totals.overflowed, totals.recovered, totals.lost) == (1, 1, 1)
