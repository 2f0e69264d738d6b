"""What a key uses, read without changing it."""

from __future__ import annotations

import attrs
import pytest

from relayd.config.snapshot import Key
from relayd.service.admin.usage import statistics_of
from relayd.session.limits import Limits
from relayd.state.memory import MemoryStore
from relayd.state.store import StoreError
from tests.service.admin.stage import KEY, WALL, Stage

LIMITED = attrs.evolve(KEY, requests_per_minute=60, tokens_per_minute=600)


async def no_money(key: Key) -> tuple[int, int]:
    raise AssertionError("nobody asks about money where there is no budget")


async def test_untouched_buckets_are_full(stage: Stage) -> None:
    told = await statistics_of(LIMITED, stage.limits, no_money)

    assert (told.sessions, told.requests_left, told.tokens_left) == (0, 60.0, 600.0)
    assert told.renewed_at is None


@pytest.mark.parametrize(("taken", "left"), [(0, 600.0), (1, 599.0), (600, 0.0), (900, -300.0)])
async def test_a_bucket_is_read_as_it_stands(stage: Stage, taken: int, left: float) -> None:
    use = stage.limits.use_of(LIMITED)
    await use.tokens.take(600, taken, WALL, need=0)

    for _ in range(2):
        told = await statistics_of(LIMITED, stage.limits, no_money)
        assert told.tokens_left == pytest.approx(left, abs=1e-4)


async def test_what_is_noted_and_not_applied_yet_counts(stage: Stage) -> None:
    stage.limits.use_of(LIMITED).tokens.owe(600, 100)

    told = await statistics_of(LIMITED, stage.limits, no_money)

    assert told.tokens_left == 500.0


async def test_a_bucket_refills(stage: Stage) -> None:
    use = stage.limits.use_of(LIMITED)
    await use.tokens.take(600, 600, WALL - 30, need=0)

    told = await statistics_of(LIMITED, stage.limits, no_money)

    assert told.tokens_left == pytest.approx(300.0, abs=1e-4)


class Away(MemoryStore):
    async def get(self, key: str) -> bytes | None:
        raise StoreError("away")


async def test_a_store_that_is_away_leaves_it_unknown(stage: Stage) -> None:
    limits = Limits(
        store=Away(stage.wall),
        budgets=stage.limits.budgets,
        wall=stage.wall,
        sessions_max=1,
        on_failure="open",
    )

    told = await statistics_of(LIMITED, limits, no_money)

    assert (told.requests_left, told.tokens_left, told.sessions) == (None, None, 0)
