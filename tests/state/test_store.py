"""The contract of stores, kept by each of them."""

from __future__ import annotations

import pytest
import trio

from relayd.state.memory import MemoryStore
from relayd.state.store import Store
from tests.state.contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore(trio.current_time)
