"""Stats every second, for as long as somebody listens."""

from __future__ import annotations

import attrs
import trio
from trio.testing import MockClock

from relayd.hub.figures import Figures
from relayd.hub.sources import Sources
from relayd.session.hub.stats import tell_stats
from tests.hub.board import Board
from tests.hub.events import facts, opened


async def test_a_second_apart_and_only_while_somebody_listens(autojump_clock: MockClock) -> None:
    board = Board(listeners=0, followed={("", "ops")})
    sources = Sources(
        topics=board,
        figures=Figures(began_at=0.0),
        clock=trio.current_time,
        wall=trio.current_time,
        history_s=300.0,
    )
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_stats, sources)
        await trio.sleep(10.5)
        assert board.told == []
        board.listeners = 1
        await trio.sleep(3.0)
        board.listeners = 0
        await trio.sleep(10.0)
        nursery.cancel_scope.cancel()

    assert [round(told.now - began) for told in board.told] == [11, 12, 13]


@attrs.define
class Crowd(Board):
    """Everybody follows."""

    def follows(self, tenant: str, topic: str) -> bool:
        return True


async def test_others_run_between_the_stats_of_two_tenants(autojump_clock: MockClock) -> None:
    board = Crowd()
    sources = Sources(
        topics=board,
        figures=Figures(began_at=0.0),
        clock=trio.current_time,
        wall=trio.current_time,
        history_s=300.0,
    )
    for number in range(20):
        sources.figures.hear(opened(facts(tenant=f"t{number}")), 0.0)
    seen: set[int] = set()

    async def look() -> None:
        while True:
            seen.add(len(board.told))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_stats, sources)
        await trio.sleep(1.0)
        nursery.start_soon(look)
        while len(board.told) < 21:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert len(seen) > 10
