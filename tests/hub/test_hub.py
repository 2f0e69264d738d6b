"""Publishing, following and resuming."""

from __future__ import annotations

from relayd.dialect.hub_topics import Scope
from relayd.hub.hub import Hub
from relayd.hub.shared import Wire
from tests.hub.making import (
    ACME,
    EPOCH,
    OPERATOR,
    WALL,
    client,
    hub,
    place,
    publish,
    read,
    selector,
    seqs,
    wanted,
)

BOTH = (("acme", "session:sess_1"), ("acme", "tenant:acme"), ("", "ops"))


def publish_to_all(to: Hub) -> int:
    made = to.publish_to(BOTH, event="session.opened", data=b"{}", now=0.0, wall=WALL)
    return made[0].seq


def test_a_topic_counts_by_itself_and_the_hub_counts_all() -> None:
    made = hub()
    publish(made, "workflow:a", "workflow:b", "workflow:a")

    assert made.position("acme", "workflow:a").number == 2
    assert made.position("acme", "workflow:b").number == 1
    assert made.position("other", "workflow:a").number == 0
    assert made.seq == 3


def test_who_follows_gets_what_comes_and_nothing_else() -> None:
    made = hub()
    one, other = client(made), client(made, Scope(tenant="other"))
    for each in (one, other):
        made.subscribe(each, wanted("workflow:a"), 0.0)
    publish(made, "workflow:a", "workflow:b")

    assert seqs(one) == [1]
    assert seqs(other) == []


def test_a_prefix_matches_topics_that_appear_later() -> None:
    made = hub()
    one = client(made)
    made.subscribe(one, wanted("workflow:a*"), 0.0)
    publish(made, "workflow:b", "workflow:abc", "workflow:a")

    assert seqs(one) == [2, 3]


def test_an_operator_sees_every_tenant() -> None:
    made = hub()
    one = client(made, OPERATOR)
    made.subscribe(one, wanted("*"), 0.0)
    publish(made, "workflow:a", tenant="other")
    publish_to_all(made)

    assert seqs(one) == [1, 2]


def test_an_event_in_several_topics_comes_once_in_the_first_that_is_followed() -> None:
    made = hub()
    council, centrifuge = client(made, OPERATOR), client(made, OPERATOR, Wire.CENTRIFUGE)
    for each in (council, centrifuge):
        made.subscribe(each, wanted("ops", "tenant:acme"), 0.0)
    publish_to_all(made)

    assert [each["topic"] for each in read(council)] == ["tenant:acme"]
    assert [each["topic"] for each in read(centrifuge)] == ["tenant:acme", "ops"]


def test_a_filter_is_asked_by_name() -> None:
    made = hub()
    one, other = client(made), client(made)
    made.subscribe(one, wanted("*", only=["session.*"]), 0.0)
    made.subscribe(other, wanted("*", but=["session.*"]), 0.0)
    publish(made, event="session.opened")
    publish(made, event="note")

    assert (seqs(one), seqs(other)) == ([1], [2])


def test_following_again_takes_the_new_filter() -> None:
    made = hub()
    one = client(made)
    made.subscribe(one, wanted("*"), 0.0)
    made.subscribe(one, wanted("*", but=["note"]), 0.0)
    publish(made)

    assert seqs(one) == []
    assert made.totals().followings == 1


def test_two_selectors_are_no_two_events() -> None:
    made = hub()
    one = client(made, Scope(tenant="acme", topics=(selector("workflow:a"),)))
    made.subscribe(one, wanted("workflow:a", "workflow:*", "*"), 0.0)
    publish(made, "workflow:a")
    made.unsubscribe(one, [selector("*")])
    publish(made, "workflow:a", "workflow:b")

    assert seqs(one) == [1, 2]


def test_replay_and_what_follows_are_seamless() -> None:
    made = hub()
    publish(made, "workflow:a", "workflow:b", "workflow:a")
    one = client(made)
    answer = made.subscribe(one, wanted("*", since="@1"), 0.0)
    one.outbox.replay(answer.publications, 0.0)
    publish(made, "workflow:c")

    assert (answer.recovered, answer.seq, answer.lost) == (True, 3, ())
    assert seqs(one) == [2, 3, 4]


def test_one_topic_is_resumed_by_its_own_numbers() -> None:
    made = hub()
    publish(made, "workflow:a", "workflow:b", "workflow:a")
    answer = made.subscribe(client(made), wanted("workflow:a", since=":1"), 0.0)

    assert [each.publication.seq for each in answer.publications] == [3]
    assert answer.positions == {"workflow:a": place(":2")}


def test_what_is_not_all_there_is_not_there_at_all() -> None:
    made = hub(ring_messages_max=2)
    publish(made, "workflow:a", "workflow:a", "workflow:a", "workflow:b")
    since = {"workflow:a": ":0", "workflow:b": ":0"}
    one = client(made)
    answer = made.subscribe(one, wanted(*since, since=since), 0.0)
    publish(made, "workflow:b")

    assert (answer.recovered, answer.publications) == (False, ())
    assert answer.lost == (selector("workflow:a"),)
    assert seqs(one) == [5]


def test_what_a_client_has_had_by_another_topic_is_not_repeated() -> None:
    made = hub()
    for _ in range(4):
        publish_to_all(made)
    since = {"ops": ":1", "tenant:acme": ":3"}
    answer = made.subscribe(client(made, OPERATOR), wanted(*since, since=since), 0.0)

    found = [(each.publication.seq, each.publication.topic) for each in answer.publications]
    assert found == [(4, "tenant:acme")]


def test_what_waits_already_is_not_repeated() -> None:
    made = hub()
    one = client(made, OPERATOR)
    publish_to_all(made)
    made.subscribe(one, wanted("tenant:acme"), 0.0)
    publish_to_all(made)
    answer = made.subscribe(one, wanted("ops", since=":0"), 0.0)

    assert [each.publication.seq for each in answer.publications] == [1]
    assert seqs(one) == [2]


def test_who_is_gone_gets_nothing_and_counts_for_nothing() -> None:
    made = hub()
    one = client(made)
    made.subscribe(one, wanted("*", "workflow:a"), 0.0)
    assert (made.listeners, made.follows("acme", "workflow:a")) == (1, True)

    made.remove(one)
    made.remove(one)
    publish(made, "workflow:a")

    assert (made.listeners, made.follows("acme", "workflow:a"), len(one.outbox)) == (0, False, 0)


def test_a_narrower_token_follows_less() -> None:
    made = hub()
    one = client(made)
    made.subscribe(one, wanted("*", "workflow:b"), 0.0)
    made.narrow(one, Scope(tenant="acme", topics=(selector("workflow:a"),)))
    publish(made, "workflow:a", "workflow:b")
    assert seqs(one) == [1]

    made.narrow(one, ACME)
    publish(made, "workflow:b")
    assert seqs(one) == [3]


def test_what_is_skipped_cannot_be_resumed_over() -> None:
    made = hub()
    seq = publish_to_all(made)
    made.skip(BOTH)

    for topic in ("session:sess_1", "tenant:acme", "ops"):
        for since in (f"@{seq}", ":1"):
            answer = made.subscribe(client(made, OPERATOR), wanted(topic, since=since), 0.0)
            assert answer.recovered is False
    answer = made.subscribe(client(made, OPERATOR), wanted("*", since=f"@{made.seq}"), 0.0)
    assert answer.recovered is True


def test_clients_are_counted_once() -> None:
    made = hub()
    one, other = client(made), client(made, OPERATOR)
    made.subscribe(one, wanted("*", "session:sess_1"), 0.0)
    made.subscribe(other, wanted("session:*"), 0.0)

    assert made.num_clients("acme", "session:sess_1") == 2
    assert made.num_clients(None, "session:sess_1") == 1  # nobody knows yet whose it is
    publish_to_all(made)
    assert made.num_clients(None, "session:sess_1") == 2


def test_a_publication_says_what_it_is() -> None:
    made = hub()
    one = client(made)
    made.subscribe(one, wanted("tenant:acme"), 0.0)
    publish_to_all(made)
    (told,) = read(one)

    assert (told["id"], told["seq"], told["event"]) == (f"{EPOCH}:1", 1, "session.opened")
    assert (told["tenant"], told["topic"], told["data"]) == ("acme", "tenant:acme", {})
