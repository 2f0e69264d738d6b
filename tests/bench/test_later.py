from __future__ import annotations

import pytest

from bench import later
from bench.later import Later
from bench.loop import TICK_S, Loop


class StoodClock:
    """Takes the place of the time module; stands until it is set."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class Waits(Loop):
    """A loop that is never ready; it remembers for how long it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s: list[float] = []

    def turn(self, wait_s: float) -> None:
        self.waited_s.append(wait_s)


def test_what_is_put_off_is_done_in_order_when_it_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, loop, done = StoodClock(), Waits(), list[str]()
    monkeypatch.setattr(later, "time", clock)
    put_off = Later(loop)
    put_off.after(0.25, lambda: done.append("third"))
    put_off.after(0.125, lambda: done.append("first"))
    put_off.after(0.125, lambda: done.append("second"))

    put_off.turn()
    assert done == []
    clock.now_s += 0.125
    put_off.turn()
    assert done == ["first", "second"]
    clock.now_s += 0.1171875
    put_off.turn()
    clock.now_s += 0.0078125
    put_off.turn()

    assert done == ["first", "second", "third"]
    assert loop.waited_s == [TICK_S, TICK_S, 0.0078125, TICK_S]


def test_without_a_delay_it_is_done_at_once() -> None:
    done: list[str] = []

    Later(Waits()).after(0.0, lambda: done.append("now"))

    assert done == ["now"]
