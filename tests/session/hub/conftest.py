"""The stage of the hub's WebSockets, and a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from tests.conftest import LogLines
from tests.faults import wire
from tests.session.hub import stage as stages
from tests.session.hub.stage import Stage, staged


@pytest.fixture
async def stage(log_lines: LogLines) -> AsyncIterator[Stage]:
    async with staged(log_lines) as made:
        yield made


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """Jumps when nothing has happened for a while, sockets included; nobody gives up waiting."""
    for module in (wire, stages):
        monkeypatch.setattr(module, "SOON_S", 1e6)
    return MockClock(autojump_threshold=0.005)
