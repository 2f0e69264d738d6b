"""An answer goes on as long as it comes in time, and not a moment longer."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.dialect.behind import Fault, Faulted, Finished, FinishReason, Piece, Text
from relayd.session.chat import verdicts
from relayd.session.chat.following import Following
from relayd.session.chat.handover import BATCHES_MAX, Handover, Opened, Said

OPENED = Opened("sid", ())
STOP = Finished(FinishReason.STOP)
IDLE_S, TOTAL_S = 10.0, 100.0


@attrs.define
class Upstream:
    """A talk that says what it is told to, after so many seconds each."""

    says: list[tuple[float, Said]]
    upstream_id: str | None = "sid"
    ignored: tuple[str, ...] = ()
    was_ready: bool = False
    _due: float | None = None

    async def pieces(self) -> Said:
        if not self.says:
            await trio.sleep_forever()
        after, said = self.says[0]
        self._due = trio.current_time() + after if self._due is None else self._due
        if trio.current_time() < self._due:
            await trio.sleep_until(self._due)  # cancelling it loses nothing
        self.says.pop(0)
        self._due = None
        return said

    async def aclose(self) -> None:
        """Nothing is open."""


@attrs.define
class Scene:
    """An answer from an upstream to a client, with the time at which it ended."""

    upstream: Upstream
    told: list[Piece] = attrs.field(factory=list)
    reckoned: list[Piece] = attrs.field(factory=list)
    fault: Fault | None = None
    took_s: float = 0.0

    async def play(self, first: Said, reads: Callable[[int], float] = lambda _: 0.0) -> None:
        """``reads``: how many seconds the client takes for each of its batches."""
        handover, began = Handover(streams=True), trio.current_time()

        async def read() -> None:
            await handover.opened()
            number = 0
            while True:
                await trio.sleep(reads(number))
                number += 1
                if (said := await handover.said()) is None:
                    return
                self.told.extend(said)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            with handover:
                await handover.begin(OPENED)
                following = Following(
                    talk=self.upstream,
                    handover=handover,
                    idle_s=IDLE_S,
                    total_by=began + TOTAL_S,
                    reckon=self.reckoned.append,
                )
                self.fault = await following.to_end(first)
                self.took_s = trio.current_time() - began


def words(*texts: str) -> Said:
    return tuple(map(Text, texts))


async def test_all_pieces_go_on_in_order_up_to_the_last(autojump_clock: MockClock) -> None:
    scene = Scene(Upstream([(1.0, words("b")), (0.0, ()), (IDLE_S - 0.1, (Text("c"), STOP))]))
    await scene.play(words("a"))

    assert scene.fault is None
    assert scene.told == [*words("a", "b", "c"), STOP]
    assert scene.reckoned == [
        *words("b", "c"),
        STOP,
    ]  # the first words are reckoned by who had them


@pytest.mark.parametrize("pause_s", [0.0, 3.0, IDLE_S - 0.1])
async def test_silence_counts_from_the_last_piece(
    pause_s: float, autojump_clock: MockClock
) -> None:
    scene = Scene(Upstream([(pause_s, words("b")), (pause_s, words("c"))]))
    await scene.play(words("a"))

    late = attrs.evolve(verdicts.STOPPED, upstream_id="sid")
    assert scene.fault == late
    assert scene.took_s == pytest.approx(2 * pause_s + IDLE_S)
    assert scene.told == [*words("a", "b", "c")]
    assert scene.reckoned[-1] == Faulted(late)


@pytest.mark.parametrize("every_s", [0.0, IDLE_S / 3, IDLE_S - 0.1])
async def test_an_answer_without_an_end_ends(every_s: float, autojump_clock: MockClock) -> None:
    def more() -> list[tuple[float, Said]]:
        count = int(TOTAL_S / every_s) + 2 if every_s else 1000
        return [(every_s, words("x"))] * count

    scene = Scene(Upstream(more() if every_s else [*more(), (TOTAL_S / 11, ())] * 11))
    await scene.play(words("a"))

    assert scene.fault is not None
    assert scene.fault.code in {verdicts.ENDLESS.code, verdicts.STOPPED.code}
    assert scene.took_s == pytest.approx(TOTAL_S, abs=IDLE_S)


async def test_a_fault_of_the_upstream_is_the_last_word(autojump_clock: MockClock) -> None:
    fault = attrs.evolve(verdicts.ENDLESS, upstream_id="other")
    scene = Scene(Upstream([(1.0, (Text("b"), Faulted(fault)))]))
    await scene.play(words("a"))

    assert scene.fault == fault
    assert scene.told == [*words("a", "b")]


async def test_a_client_that_reads_slowly_costs_its_upstream_no_patience(
    autojump_clock: MockClock,
) -> None:
    batches = 2 * BATCHES_MAX
    scene = Scene(Upstream([*[(0.0, words("x"))] * batches, (IDLE_S - 0.1, (STOP,))]))
    await scene.play(words("a"), lambda number: IDLE_S * 2 if number < 3 else 0.0)

    assert scene.fault is None
    assert len(scene.told) == 1 + batches + 1


async def test_a_client_that_reads_nothing_makes_no_answer_longer(
    autojump_clock: MockClock,
) -> None:
    scene = Scene(Upstream([(0.0, words("x"))] * 100))
    await scene.play(words("a"), lambda _: TOTAL_S * 2)

    assert scene.fault is verdicts.CLIENT_SLOW
    assert scene.took_s == TOTAL_S


async def test_an_answer_that_is_whole_in_time_waits_for_its_client(
    autojump_clock: MockClock,
) -> None:
    scene = Scene(Upstream([*[(0.0, words("x"))] * (BATCHES_MAX - 1), (0.0, (Text("b"), STOP))]))
    await scene.play(words("a"), lambda number: 0.0 if number else TOTAL_S * 2)

    assert scene.fault is None
    assert scene.told[-2:] == [Text("b"), STOP]
