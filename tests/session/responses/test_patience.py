"""How long a turn waits."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.dialects import ResponsesSettings
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_turns import Running
from relayd.session.responses.holder import Lapsed, Lost, Outcome, Run
from relayd.session.responses.patience import LOOK_EVERY_S, Patience

TIMES = ResponsesSettings(first_event_s=10.0, idle_s=8.0, total_s=30.0)
STALL_S = 3.0


@attrs.define(eq=False)
class Socket:
    """What a lease shows of its socket."""

    progress: int = 0
    stalled_since: float | None = None
    run: Run | None = None

    def abandon(self, abort: Abort, mine: Run | None = None) -> bool:
        assert mine is self.run
        assert self.run is not None
        self.run.come(Lost(abort))
        return True


@attrs.define(eq=False)
class Scene:
    socket: Socket
    run: Run

    async def waited(self) -> tuple[Outcome, float]:
        """The outcome, and when it came."""
        async with trio.open_nursery() as nursery:
            patience = Patience(times=TIMES, stall_s=STALL_S, nursery=nursery)
            patience.watch(self.run)
            try:
                outcome = await self.run.next()
            finally:
                patience.forget(self.run)
            nursery.cancel_scope.cancel()
        return outcome, trio.current_time()


@pytest.fixture
def scene() -> Scene:
    socket: Any = Socket()
    socket.run = Run(socket, Running(), 0.0, reused=False)
    return Scene(socket, socket.run)


async def test_an_outcome_is_given_at_once(scene: Scene, autojump_clock: MockClock) -> None:
    scene.run.come(Lapsed())

    assert await scene.waited() == (Lapsed(), 0.0)


async def test_the_first_event_has_its_time(scene: Scene, autojump_clock: MockClock) -> None:
    assert await scene.waited() == (Lost(Abort.FIRST_EVENT_TIMEOUT), 10.0)


async def test_behind_it_each_silence_has_its_own(scene: Scene, autojump_clock: MockClock) -> None:
    scene.run.running.seen = True

    async def speak() -> None:
        for _ in range(3):
            await trio.sleep(6.0)
            scene.socket.progress += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        outcome, at = await scene.waited()
    assert outcome == Lost(Abort.READ_TIMEOUT)
    assert 26.0 <= at <= 28.0  # 8 s after the last word, and late by a quarter at most


async def test_a_turn_has_a_time_in_all(scene: Scene, autojump_clock: MockClock) -> None:
    scene.run.running.seen = True

    async def speak() -> None:
        while True:
            await trio.sleep(1.0)
            scene.socket.progress += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        assert await scene.waited() == (Lost(Abort.READ_TIMEOUT), 30.0)
        nursery.cancel_scope.cancel()


async def test_an_upstream_that_takes_nothing_is_not_waited_for(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.socket.stalled_since = 0.0

    assert await scene.waited() == (Lost(Abort.READ_TIMEOUT), STALL_S)


async def test_a_stall_that_begins_later_is_found(scene: Scene, autojump_clock: MockClock) -> None:
    async def stall() -> None:
        await trio.sleep(1.0)
        scene.socket.stalled_since = 1.0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stall)
        outcome, at = await scene.waited()
    assert outcome == Lost(Abort.READ_TIMEOUT)
    assert 1.0 + STALL_S <= at <= 1.0 + STALL_S + LOOK_EVERY_S


async def test_cancelling_it_loses_no_outcome(scene: Scene, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1.0):
        await scene.waited()
    scene.run.come(Lapsed())

    assert (await scene.waited())[0] == Lapsed()
    assert scene.run.rest() == []


async def test_outcomes_that_nobody_waits_for_are_left(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.run.come(Lapsed())
    scene.run.come(Lost(Abort.CLIENT_GONE))

    assert (await scene.waited())[0] == Lapsed()
    assert scene.run.rest() == [Lost(Abort.CLIENT_GONE)]
    assert scene.run.rest() == []


async def test_each_turn_has_its_own_time(autojump_clock: MockClock) -> None:
    ends: list[float] = []

    async def follow(patience: Patience) -> None:
        socket: Any = Socket()
        run = socket.run = Run(socket, Running(), trio.current_time(), reused=False)
        patience.watch(run)
        assert await run.next() == Lost(Abort.FIRST_EVENT_TIMEOUT)
        patience.forget(run)
        ends.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        patience = Patience(times=TIMES, stall_s=STALL_S, nursery=nursery)
        for pause_s in (0.7, 1.0, 2.0):
            nursery.start_soon(follow, patience)
            await trio.sleep(pause_s)

    assert ends == pytest.approx([10.0, 10.7, 11.7])


async def test_a_turn_that_is_due_sooner_is_not_late(autojump_clock: MockClock) -> None:
    """The looking sleeps for longer than the second turn has left."""
    async with trio.open_nursery() as nursery:
        patience = Patience(times=TIMES, stall_s=STALL_S, nursery=nursery)
        first: Any = Socket()
        first.run = Run(first, Running(), 0.0, reused=False)
        patience.watch(first.run)
        await trio.sleep(0.5)
        second: Any = Socket(stalled_since=-STALL_S + 1.0)
        second.run = Run(second, Running(), 0.5, reused=False)
        patience.watch(second.run)

        assert await second.run.next() == Lost(Abort.READ_TIMEOUT)
        assert trio.current_time() == 1.0
        nursery.cancel_scope.cancel()


async def test_nobody_looks_where_nothing_runs(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        patience = Patience(times=TIMES, stall_s=STALL_S, nursery=nursery)
        for _ in range(3):
            patience.watch(scene.run)
            await trio.sleep(LOOK_EVERY_S / 4)
            assert len(nursery.child_tasks) == 1
            patience.forget(scene.run)

    # The nursery has ended by itself, as soon as was looked again.
    assert trio.current_time() <= 2 * LOOK_EVERY_S
