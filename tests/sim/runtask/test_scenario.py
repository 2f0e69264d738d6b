"""The scenarios' names."""

from __future__ import annotations

import pytest

from relayd.sim.runtask.errors import ERRORS
from relayd.sim.runtask.scenario import OF_THE_DOOR, REFUSALS, Scenario


@pytest.mark.parametrize("scenario", Scenario)
def test_a_scenario_is_found_by_its_word_and_says_what_it_does(scenario: Scenario) -> None:
    assert Scenario(scenario.value) is scenario
    assert scenario.value == scenario.name.lower()
    assert scenario.summary


def test_every_error_can_be_played() -> None:
    played = {scenario.error.code for scenario in Scenario if scenario.error is not None}
    refused = {refusal.error.code for refusal in REFUSALS.values()}

    assert set(ERRORS) <= played | refused
    assert not any(scenario.error for scenario in OF_THE_DOOR)


@pytest.mark.parametrize("scenario", REFUSALS)
def test_a_refusal_has_the_status_in_its_name(scenario: Scenario) -> None:
    assert scenario.value == f"refuse_http_{REFUSALS[scenario].status}"
    assert not scenario.is_of_tasks
