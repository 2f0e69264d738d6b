"""The scenarios' names."""

from __future__ import annotations

import pytest

from relayd.sim.realtime.scenario import Scenario


@pytest.mark.parametrize("scenario", Scenario)
def test_a_scenario_is_found_by_its_word_and_says_what_it_does(scenario: Scenario) -> None:
    assert Scenario(scenario.value) is scenario
    assert scenario.value == scenario.name.lower()
    assert scenario.summary
