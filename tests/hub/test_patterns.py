"""What a selector means within what a client may see."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_topics import Scope, Selector
from relayd.hub.patterns import Pattern, patterns_of
from tests.hub.making import ACME, OPERATOR, selector

SELECTORS = st.sampled_from(
    (
        *("*", "w*", "workflow:*", "workflow:a*", "workflow:ab", "session:*", "session:sess_1"),
        *("ops", "tenant:acme", "tenant:other", "tenant:*"),
    )
).map(selector)
SCOPES = st.builds(
    Scope,
    tenant=st.sampled_from(["acme", "other"]),
    everything=st.booleans(),
    topics=st.none() | st.lists(SELECTORS, max_size=3).map(tuple),
)
TOPICS = st.sampled_from(
    [("", "ops")]
    + [
        (tenant, name)
        for tenant in ("acme", "other")
        for name in ("workflow:a", "workflow:ab", "session:s", "session:sess_1", f"tenant:{tenant}")
    ]
)


def test_a_tenant_follows_its_own_topics_alone() -> None:
    assert patterns_of(ACME, selector("*")) == (Pattern("acme", "", is_prefix=True),)
    assert patterns_of(ACME, selector("ops")) == ()


def test_an_operator_follows_everybodys() -> None:
    assert patterns_of(OPERATOR, selector("*")) == (Pattern(None, "", is_prefix=True),)
    assert patterns_of(OPERATOR, selector("workflow:a")) == (
        Pattern("acme", "workflow:a", is_prefix=False),
    )
    assert patterns_of(OPERATOR, selector("session:sess_1"))[0].tenant is None


@given(scope=SCOPES, followed=SELECTORS, topic=TOPICS)
def test_patterns_match_what_may_be_seen_and_is_followed(
    scope: Scope, followed: Selector, topic: tuple[str, str]
) -> None:
    tenant, name = topic
    owner = None if followed.is_prefix else scope.owner(name)
    expected = (
        followed.matches(name)
        and scope.may_see(tenant, name)
        and (owner is None or owner == tenant)
    )

    found = any(pattern.matches(tenant, name) for pattern in patterns_of(scope, followed))

    assert found == expected
