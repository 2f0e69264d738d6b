"""The right to use one socket for a while."""

from __future__ import annotations

import pytest
import trio

from relayd.pool.claims import Claim
from relayd.pool.identity import SlotRef
from relayd.pool.lease import Lease
from relayd.pool.slots import LANES_MAX, Slot
from relayd.transport.endpoint import Endpoint
from tests.pool.fakes import MAIN, Line, identity


class Keeper:
    """Takes note."""

    def __init__(self) -> None:
        self.ends: list[object] = []

    def take_back(self, lease: Lease, now: float) -> bool:
        self.ends.append(now)
        return True

    def cut(self, lease: Lease, reason: str) -> None:
        self.ends.append(reason)


def leased(keeper: Keeper) -> Lease:
    slot = Slot[Endpoint](MAIN.name, 3, 2, identity(), socket=Line(1, trio.current_time()))
    claim = Claim(owner="token", identity=identity(), slot=slot)
    return Lease(keeper, MAIN, claim, reused=True, waited_s=1.0, dial_s=None, began=4.0)


async def test_it_names_its_socket() -> None:
    lease = leased(Keeper())

    assert (lease.slot, lease.generation, lease.token) == (3, 2, "token")
    assert lease.ref() == SlotRef(3, 2)
    assert repr(lease) == "<Lease main 3.2 held>"


async def test_leaving_it_without_a_word_breaks_the_socket_also_when_cancelled() -> None:
    keeper = Keeper()
    with trio.CancelScope() as scope, leased(keeper):
        scope.cancel()
        await trio.lowlevel.checkpoint()

    assert keeper.ends == ["abandoned"]


async def test_one_that_was_yielded_is_over() -> None:
    keeper = Keeper()
    with leased(keeper) as lease:
        assert lease.yield_(7.0)

    assert keeper.ends == [7.0]
    assert repr(lease) == "<Lease main 3.2 over>"
    for end in (lambda: lease.yield_(8.0), lambda: lease.break_("x"), lambda: lease.use_lane("x")):
        with pytest.raises(AssertionError, match=r"over|once"):
            end()


async def test_it_counts_the_lanes_of_its_socket() -> None:
    lease = leased(Keeper())

    assert all(lease.use_lane(str(number)) for number in range(LANES_MAX))
    assert not lease.use_lane("other")
    assert lease.use_lane(None)
