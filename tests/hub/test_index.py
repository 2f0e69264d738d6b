"""Who follows what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_topics import SELECTORS_MAX
from relayd.hub.index import PatternMap
from relayd.hub.patterns import Pattern
from tests.hub.making import client, hub, publish, selector, wanted

PATTERNS = st.builds(
    Pattern,
    tenant=st.sampled_from([None, "t", "u"]),
    stem=st.sampled_from(["", "w", "workflow:", "workflow:a", "workflow:ab"]),
    is_prefix=st.booleans(),
)


@given(
    added=st.lists(PATTERNS, max_size=12),
    removed=st.sets(st.integers(0, 11)),
    tenant=st.sampled_from(["t", "u", "v"]),
    name=st.sampled_from(["w", "workflow:a", "workflow:ab", "workflow:abc"]),
)
def test_what_matches_is_found(
    added: list[Pattern], removed: set[int], tenant: str, name: str
) -> None:
    things: PatternMap[int] = PatternMap()
    for number, pattern in enumerate(added):
        things.add(pattern, number)
    for number in removed & set(range(len(added))):
        things.remove(added[number], number)

    expected = {
        number
        for number, pattern in enumerate(added)
        if number not in removed and pattern.matches(tenant, name)
    }
    found = things.matching(tenant, name)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_topic_notices_prefixes_that_come_and_go() -> None:
    made = hub()
    publish(made)
    one = client(made)
    made.subscribe(one, wanted("workflow:*"), 0.0)
    publish(made)
    made.unsubscribe(one, [selector("workflow:*")])
    publish(made)

    assert len(one.outbox) == 1


def test_a_client_follows_only_so_many() -> None:
    made = hub()
    one = client(made)
    topics = [f"workflow:{number}" for number in range(SELECTORS_MAX)]
    made.subscribe(one, wanted(*topics), 0.0)

    assert one.may_add([selector("workflow:0")])
    assert not one.may_add([selector("workflow:more")])
