"""Making room for a client that reads too slowly."""

from __future__ import annotations

import json

from relayd.hub.relief import JOINED_MAX_BYTES, Item, Relieved, relieve
from relayd.hub.shared import TORN_EPOCH, Shared
from tests.hub.making import shared, token


def relieved(*items: Item, by_topic: bool = False, messages_max: int = 1) -> Relieved:
    return relieve(items, by_topic=by_topic, messages_max=messages_max, bytes_max=10**9)


def shown(left: Relieved) -> list[tuple[int, str | None]]:
    """Each publication as its ``seq``, with the text that is in it."""
    return [
        (each.publication.seq, json.loads(each.publication.data).get("chunk"))
        for each in left.waiting
        if isinstance(each, Shared)
    ]


def test_parts_of_a_stream_become_one_in_the_place_of_the_last() -> None:
    left = relieved(token(1, "a"), token(2, "b"), shared(3), token(4, "c"))

    assert shown(left) == [(2, "ab"), (3, None), (4, "c")]
    assert (left.coalesced, left.dropped) == (1, 0)


def test_another_node_does_not_stand_between() -> None:
    other = shared(2, node_id="n2")
    left = relieved(token(1, "a"), other, token(3, "b"))

    assert shown(left) == [(2, None), (3, "ab")]


def test_an_event_of_the_node_stands_between() -> None:
    left = relieved(token(1, "a"), shared(2, node_id="n1"), token(3, "b"))

    assert shown(left) == [(1, "a"), (2, None), (3, "b")]


def test_what_is_sent_before_older_text_cannot_be_resumed_from() -> None:
    left = relieved(token(1, "a"), shared(2, node_id="n2"), token(3, "b"))

    epochs = [each.publication.epoch for each in left.waiting if isinstance(each, Shared)]
    assert epochs[0] == TORN_EPOCH
    assert epochs[1] != TORN_EPOCH


def test_where_offsets_count_nothing_of_the_topic_stands_between() -> None:
    left = relieved(
        token(1, "a"), token(2, "b"), shared(3, node_id="n2"), token(4, "c"), by_topic=True
    )

    assert shown(left) == [(2, "ab"), (3, None), (4, "c")]


def test_what_may_be_dropped_goes_oldest_first_and_only_as_much_as_needed() -> None:
    kept = [shared(2), shared(3, droppable=True)]
    left = relieved(shared(1, droppable=True), *kept, b"pong", messages_max=3)

    assert list(left.waiting) == [*kept, b"pong"]
    assert (left.dropped, left.size) == (1, sum(each.size for each in kept) + 4)


def test_text_of_two_agents_or_topics_is_not_mixed() -> None:
    left = relieved(token(1, "a"), token(2, "b", agent="a2"), token(3, "c", topic="workflow:w2"))

    assert [text for _, text in shown(left)] == ["a", "b", "c"]


def test_a_joined_publication_is_no_larger_than_another_may_be() -> None:
    half = "x" * (JOINED_MAX_BYTES // 2)
    left = relieved(token(1, half), token(2, half), token(3, half))

    assert len(left.waiting) == 3


def test_what_was_torn_is_looked_at_again_as_it_was() -> None:
    first = relieved(token(1, "a"), shared(2, node_id="n2"), token(3, "b"))
    sent = list(first.waiting)[1:]
    again = relieved(*list(first.waiting)[:1], shared(9))

    assert len(sent) == 1
    assert all(
        each.publication.epoch != TORN_EPOCH for each in again.waiting if isinstance(each, Shared)
    )
