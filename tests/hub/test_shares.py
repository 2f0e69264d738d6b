"""Whose turn it is to give something up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayd.hub.shares import Shares

TENANTS = st.sampled_from("abcd")


def test_who_floods_gives_up_and_not_who_holds_little() -> None:
    shares = Shares()
    shares.add("little", 3)
    shares.add("much", 100)

    assert shares.most(preferred="little") == "much"
    shares.add("much", -97)
    assert shares.most(preferred="little") == "little"


@given(st.lists(st.tuples(TENANTS, st.integers(0, 1 << 20))), TENANTS)
def test_who_gives_up_holds_more_than_half_of_what_anybody_does(
    steps: list[tuple[str, int]], preferred: str
) -> None:
    shares, held = Shares(), dict.fromkeys("abcd", 0)
    for tenant, amount in steps:
        shares.add(tenant, amount - held[tenant])
        held[tenant] = amount

    assert len(shares) == sum(map(bool, held.values()))
    if any(held.values()):
        most = shares.most(preferred)
        assert 2 * held[most] > max(held.values())
        if held[preferred] == max(held.values()):
            assert most == preferred
