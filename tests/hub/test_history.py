"""What is remembered of all topics."""

from __future__ import annotations

from relayd.dialect.hub_event import Position
from relayd.hub.hub import Hub
from tests.hub.making import EPOCH, client, hub, publish, shared, topics, wanted

SIZE = shared(1).size


def remembered(of: Hub) -> set[str]:
    return {topic.name for topic in topics(of) if len(topic.ring)}


def recovers(of: Hub, topic: str, since: str, now: float = 0.0) -> bool | None:
    return of.subscribe(client(of), wanted(topic, since=since), now).recovered


def test_all_rings_together_are_bounded_and_the_longest_silent_forgets_first() -> None:
    made = hub(rings_bytes_max=3 * SIZE)
    publish(made, "workflow:a", "workflow:b", "workflow:c", "workflow:a", "workflow:d")

    assert made.totals().remembered_bytes <= 3 * SIZE
    assert remembered(made) == {"workflow:a", "workflow:d"}
    assert made.totals().topics == 4


def test_what_somebody_follows_by_name_is_kept_longer() -> None:
    made = hub(rings_bytes_max=3 * SIZE)
    publish(made, "workflow:a", "workflow:b")
    one = client(made)
    made.subscribe(one, wanted("workflow:a"), 0.0)
    publish(made, "workflow:c", "workflow:d")
    assert remembered(made) == {"workflow:a", "workflow:c", "workflow:d"}

    made.remove(one)
    publish(made, "workflow:e", "workflow:f", "workflow:g")
    assert "workflow:a" not in remembered(made)


def test_numbers_go_on_after_everything_was_let_go_of() -> None:
    made = hub(rings_bytes_max=0)
    publish(made, "workflow:a", "workflow:a")

    assert made.position("acme", "workflow:a") == Position(EPOCH, 2, overall=False)
    assert recovers(made, "workflow:a", ":1") is False
    assert recovers(made, "workflow:a", ":2") is True


def test_age_counts_when_it_is_read_and_when_others_are_published_to() -> None:
    made = hub()
    publish(made, "workflow:a", now=0.0)
    assert recovers(made, "workflow:a", ":0", now=299.0) is True
    assert recovers(made, "workflow:a", ":0", now=300.0) is False

    made = hub()
    publish(made, "workflow:a", "workflow:b", now=0.0)
    publish(made, "workflow:c", "workflow:c", now=301.0)
    assert made.totals().remembered == 2


def test_topics_are_bounded() -> None:
    made = hub(topics_max=2)
    publish(made, "workflow:a", "workflow:b", "workflow:c")

    assert (made.totals().topics, made.totals().forgotten) == (2, 1)


def test_a_topic_that_was_forgotten_gives_no_number_twice() -> None:
    made = hub(topics_max=1)
    publish(made, "workflow:a", "workflow:a", "workflow:b", "workflow:a")

    assert made.position("acme", "workflow:a").number == 4
    for since in (":1", "@2"):
        assert recovers(made, "workflow:a", since) is False
        assert recovers(made, "workflow:b", since) is False
    assert recovers(made, "workflow:a", "@3") is True


def test_own_sessions_that_were_forgotten_do_not_break_workflows() -> None:
    made = hub()
    publish(made, "workflow:a")
    made.skip([("acme", "session:sess_1")])

    assert recovers(made, "workflow:*", "@1") is True
    assert recovers(made, "session:*", "@1") is False
    assert recovers(made, "session:sess_2", "@1") is False
    assert made.totals().topics == 1  # nothing is kept for a session that nobody knows


def test_a_tenant_that_makes_many_topics_forgets_its_own() -> None:
    made = hub(topics_max=8)
    publish(made, "workflow:precious", "workflow:precious")
    publish(made, *[f"workflow:{number}" for number in range(50)], tenant="globex")

    assert made.totals().topics == 8
    for topic, since in (("workflow:precious", ":1"), ("workflow:*", "@1"), ("workflow:n", ":0")):
        assert recovers(made, topic, since) is True, topic
    assert {topic.tenant for topic in topics(made)} == {"acme", "globex"}


def test_a_tenant_that_publishes_much_loses_its_own_history() -> None:
    made = hub(rings_bytes_max=8 * SIZE)
    publish(made, "workflow:precious", "workflow:precious")
    publish(made, *[f"workflow:{number}" for number in range(50)], tenant="globex")

    assert made.totals().remembered_bytes <= 8 * SIZE
    assert recovers(made, "workflow:precious", ":0") is True


def test_what_is_too_old_is_let_go_of_while_other_tenants_publish() -> None:
    made = hub()
    for tenant in ("acme", "globex", "hooli"):
        publish(made, tenant=tenant)
    for _ in range(3):
        publish(made, tenant="globex", now=301.0)

    assert made.totals().remembered == 3
