"""The scenarios' names."""

from __future__ import annotations

import pytest

from relayd.sim.responses.scenario import REFUSALS, Scenario


@pytest.mark.parametrize("scenario", Scenario)
def test_a_scenario_is_found_by_its_word_and_says_what_it_does(scenario: Scenario) -> None:
    assert Scenario(scenario.value) is scenario
    assert scenario.value == scenario.name.lower()
    assert scenario.summary


def test_no_turn_can_refuse_its_own_upgrade() -> None:
    assert not any(scenario.is_of_turns for scenario in REFUSALS)
    assert Scenario.NORMAL.is_of_turns
    assert Scenario.RESTART_1012.is_of_turns


@pytest.mark.parametrize("scenario", REFUSALS)
def test_a_refusal_has_the_status_in_its_name(scenario: Scenario) -> None:
    assert scenario.value == f"refuse_http_{REFUSALS[scenario].status}"
