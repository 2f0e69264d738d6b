"""What comes back, and when it is not everything."""

from __future__ import annotations

import pytest

from relayd.hub.shared import TORN_EPOCH
from tests.hub.making import OPERATOR, client, hub, publish, shared, wanted


@pytest.mark.parametrize(
    ("topic", "since"),
    [
        ("workflow:a", ":4"),  # beyond the end
        ("workflow:a", "@4"),
        ("workflow:none", ":1"),
        ("workflow:*", ":1"),  # in which topic?
        ("workflow:a", f"{TORN_EPOCH}:2"),
        ("workflow:*", f"{TORN_EPOCH}@2"),
    ],
)
def test_a_place_that_is_none_is_not_resumed_from(topic: str, since: str) -> None:
    made = hub()
    publish(made, "workflow:a", "workflow:a", "workflow:a")

    assert made.subscribe(client(made), wanted(topic, since=since), 0.0).recovered is False


def test_who_does_not_ask_is_not_told() -> None:
    assert hub().subscribe(client(made := hub()), wanted("*"), 0.0).recovered is None
    assert made.totals().lost == made.totals().recovered == 0


def test_a_topic_that_never_was_is_complete() -> None:
    made = hub()
    publish(made)

    for since in (":0", "@0"):
        answer = made.subscribe(client(made), wanted("workflow:none", since=since), 0.0)
        assert (answer.recovered, answer.publications) == (True, ())


def test_what_the_filter_keeps_back_is_not_replayed() -> None:
    made = hub()
    publish(made, event="token_stream")
    publish(made, event="note")
    answer = made.subscribe(client(made), wanted("*", since="@0", but=["token_stream"]), 0.0)

    assert [each.publication.event for each in answer.publications] == ["note"]


def test_an_operator_finds_a_session_of_any_tenant() -> None:
    made = hub()
    publish(made, "session:sess_1", tenant="other")
    answer = made.subscribe(client(made, OPERATOR), wanted("session:sess_1", since=":0"), 0.0)

    assert len(answer.publications) == 1


@pytest.mark.parametrize(
    "bounds",
    [
        {"replay_messages_max": 2},
        {"replay_bytes_max": 2 * shared(1).size},
        {"replay_topics_max": 2},
    ],
)
def test_who_missed_too_much_loads_anew(bounds: dict[str, int]) -> None:
    made = hub(**bounds)
    publish(made, "workflow:a", "workflow:b")
    assert made.subscribe(client(made), wanted("*", since="@0"), 0.0).recovered is True

    publish(made, "workflow:c")
    assert made.subscribe(client(made), wanted("*", since="@0"), 0.0).recovered is False
