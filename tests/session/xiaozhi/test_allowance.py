"""What one device may use, whatever its key allows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.xiaozhi import XiaozhiSettings
from relayd.core.refusals import RefusalCode
from relayd.dialect.meter import Refuse
from relayd.ledger.budgets import Budgets
from relayd.observe.events import LogEvent
from relayd.session.limits import Limits
from relayd.session.xiaozhi.allowance import DAY_S, Allowances, DeviceUse
from relayd.state.memory import MemoryStore
from relayd.state.store import StoreError
from tests.conftest import LogLines

MIDNIGHT = 20_000.0 * DAY_S
BOTH = XiaozhiSettings(device_turns_per_minute=2, device_audio_s_per_day=10)


@attrs.define(eq=False)
class Scene:
    """Allowances on the virtual clock, whose time 0 is a midnight."""

    allowances: Allowances
    settings: XiaozhiSettings
    refused: list[Refuse] = attrs.field(factory=list)

    def session(self, device_id: str = "aa", tenant: str = "t") -> DeviceUse:
        use = self.allowances.use_of(tenant, device_id, self.settings)
        use.exceeded = self.refused.append
        return use

    async def denied(self, device_id: str = "aa", tenant: str = "t") -> float | None:
        """After what time a new session is let in, if not now."""
        refusal = await self.allowances.deny(tenant, device_id, self.settings)
        if refusal is None:
            return None
        assert refusal.code is RefusalCode.RATE_LIMIT_EXCEEDED
        assert refusal.status == 429
        assert refusal.retry_after_s is not None
        return round(refusal.retry_after_s, 3)


@asynccontextmanager
async def scene(
    on_failure: Literal["open", "closed"] = "open", settings: XiaozhiSettings = BOTH
) -> AsyncIterator[Scene]:
    def wall() -> float:
        return MIDNIGHT + trio.current_time() - began

    async def nothing(key: str, since: float, *, counted: Callable[[], None]) -> int:
        raise AssertionError("no key here has a budget")

    began, store = trio.current_time(), MemoryStore(trio.current_time)
    limits = Limits(
        store=store,
        budgets=Budgets(store, nothing, wall),
        wall=wall,
        sessions_max=10,
        on_failure=on_failure,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limits.run)
        yield Scene(Allowances(limits=limits), settings)
        nursery.cancel_scope.cancel()


async def test_one_turn_too_many_is_told_and_keeps_the_device_out(
    autojump_clock: MockClock,
) -> None:
    async with scene() as made:
        first, second = made.session(), made.session("AA")
        for use in (first, second):
            assert await made.denied() is None
            use.turn_begun()
            await wait_all_tasks_blocked()
        assert (made.refused, await made.denied()) == ([], 30.0)

        first.turn_begun()
        await wait_all_tasks_blocked()

        (refuse,) = made.refused
        assert refuse.code == "rate_limit_exceeded"
        assert await made.denied() == 60.0
        assert await made.denied("bb") is None
        assert await made.denied(tenant="u") is None
        await trio.sleep(60.0)
        assert await made.denied() is None


async def test_audio_of_a_day_is_counted_over_all_sessions_until_midnight(
    autojump_clock: MockClock,
) -> None:
    async with scene() as made:
        await trio.sleep(DAY_S - 100.0)
        for audio_s in (4.0, 5.999):
            made.session().passed(audio_s)
            await wait_all_tasks_blocked()
        assert (made.refused, await made.denied()) == ([], None)

        made.session().passed(0.001)
        await wait_all_tasks_blocked()

        (refuse,) = made.refused
        assert "10 seconds" in refuse.message
        assert (await made.denied(), await made.denied("bb")) == (100.0, None)
        await trio.sleep(100.0)
        assert await made.denied() is None


async def test_without_limits_nothing_is_counted(autojump_clock: MockClock) -> None:
    async with scene(settings=XiaozhiSettings()) as made:
        use = made.session()
        for _ in range(100):
            use.turn_begun()
            use.passed(1000.0)
        await wait_all_tasks_blocked()

        assert (made.refused, await made.denied()) == ([], None)
        assert isinstance(made.allowances.store, MemoryStore)
        assert len(made.allowances.store) == 0


@pytest.mark.parametrize(("on_failure", "code"), [("open", None), ("closed", "overload")])
async def test_while_the_store_is_away_limits_are_as_those_of_keys_are(
    autojump_clock: MockClock,
    log_lines: LogLines,
    monkeypatch: pytest.MonkeyPatch,
    on_failure: Literal["open", "closed"],
    code: str | None,
) -> None:
    async with scene(on_failure) as made:

        async def away(*_: object, **__: object) -> None:
            await trio.lowlevel.checkpoint()
            raise StoreError("away")

        for name in ("get", "add"):
            monkeypatch.setattr(made.allowances.store, name, away)
        use = made.session()
        use.turn_begun()
        use.passed(1000.0)
        refusal = await made.allowances.deny("t", "aa", made.settings)
        await trio.sleep(5.0)

        assert (None if refusal is None else refusal.code) == code
        assert made.refused == []
        assert use.give_up() == 0  # it was given up already
    assert log_lines.of(LogEvent.STATE_FAILED)
