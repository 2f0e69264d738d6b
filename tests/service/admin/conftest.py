"""The stage of the admin listener's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.service.admin.stage import Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """An admin listener that nobody asks yet."""
    async with trio.open_nursery() as nursery:
        yield Stage(nursery)
        nursery.cancel_scope.cancel()
