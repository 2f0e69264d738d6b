"""The stage of the tests of what devices ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.service.xiaozhi.stage import HANDED_OUT, Stage, says


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """One server, which tells devices of itself."""
    async with trio.open_nursery() as nursery:
        made = Stage(nursery, scripts={"kitchen.test": says(HANDED_OUT)})
        made.play(monkeypatch)
        yield made
        nursery.cancel_scope.cancel()
