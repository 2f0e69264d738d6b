"""The stage of the fault tests, for what is best tested between real sockets."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.faults.conftest import stage
from tests.faults.harness import Stage
from tests.faults.responses import ResponsesStage, patient_clock

__all__ = ["stage"]


@pytest.fixture
def scenes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> ResponsesStage:
    return ResponsesStage.of(stage, monkeypatch)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    return patient_clock(monkeypatch)
