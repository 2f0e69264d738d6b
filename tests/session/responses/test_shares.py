"""Who forgets something when there is too much to remember."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relayd.session.responses.shares import Shares

TENANTS = ("a", "b", "c")
STEPS = st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(0, 30), st.booleans()))


def test_a_tenant_makes_room_among_its_own_where_it_has_the_most() -> None:
    shares = Shares(names_max=4, ttl_s=10)
    assert [shares.keep("quiet", "q", 0.0)] == [None]
    dropped = [shares.keep("loud", f"n{number}", 1.0) for number in range(6)]

    assert dropped == [None, None, None, "n0", "n1", "n2"]
    assert len(shares) == 4


def test_one_that_has_less_than_its_share_takes_it_from_who_has_the_most() -> None:
    shares = Shares(names_max=4, ttl_s=10)
    for number in range(4):
        shares.keep("loud", f"n{number}", 0.0)

    assert [shares.keep("quiet", f"q{number}", 0.0) for number in range(3)] == ["n0", "n1", "q0"]


def test_what_is_kept_again_is_the_last_to_go() -> None:
    shares = Shares(names_max=2, ttl_s=10)
    for name in ("one", "two", "one"):
        assert shares.keep("t", name, 0.0) is None

    assert shares.keep("t", "three", 0.0) == "two"


def test_what_has_expired_or_was_dropped_takes_no_room() -> None:
    shares = Shares(names_max=2, ttl_s=10)
    shares.keep("t", "old", 0.0)
    shares.keep("t", "dropped", 0.0)
    shares.drop("t", "dropped")
    shares.drop("t", "dropped")
    shares.drop("u", "dropped")

    assert shares.keep("t", "new", 9.9) is None
    assert shares.keep("t", "newer", 10.0) is None  # "old" has gone
    assert len(shares) == 2


@given(STEPS)
def test_no_tenant_is_pushed_below_its_share_and_the_bound_holds(
    steps: list[tuple[str, int, bool]],
) -> None:
    names_max = 9
    shares, kept = Shares(names_max=names_max, ttl_s=1e9), dict[str, str]()
    for now, (tenant, number, keeps) in enumerate(steps):
        name = f"{tenant}{number}"
        if not keeps:
            shares.drop(tenant, name)
            kept.pop(name, None)
            continue
        kept[name] = tenant
        before = Counter(kept.values())
        dropped = shares.keep(tenant, name, float(now))
        assert (dropped is not None) == (len(kept) > names_max)
        if dropped is not None:
            loser = kept.pop(dropped)
            assert before[loser] * len(before) > names_max
        assert len(shares) == len(kept) <= names_max
