"""The stage of the tests of devices' sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import LogLines
from tests.session.xiaozhi.stage import Stage, staged


@pytest.fixture
async def stage(log_lines: LogLines) -> AsyncIterator[Stage]:
    """See :func:`staged`; what is logged is checked too."""
    async with staged() as made:
        yield made
