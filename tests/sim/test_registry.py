"""The table of simulators."""

from __future__ import annotations

import pytest

from relayd.config.providers import SIMULATED, Provider
from relayd.sim.registry import SIMULATORS


def test_every_simulated_provider_has_its_simulator() -> None:
    simulated = {p.removeprefix(SIMULATED) for p in Provider if p.is_simulated}

    assert simulated == set(SIMULATORS)


@pytest.mark.parametrize("dialect", SIMULATORS)
def test_every_scenario_can_be_built_and_says_what_it_plays(dialect: str) -> None:
    simulator = SIMULATORS[dialect]

    assert "normal" in simulator.scenarios
    for name, summary in simulator.scenarios.items():
        assert summary
        assert simulator.build(name) is not None
