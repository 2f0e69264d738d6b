"""What the byte path's tests share."""

from __future__ import annotations

import pytest

from tests.transport.peers import Contexts, make_contexts


@pytest.fixture(scope="session")
def contexts() -> Contexts:
    return make_contexts()
