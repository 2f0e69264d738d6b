"""The scenarios' names."""

from __future__ import annotations

import pytest

from relayd.sim.spark.errors import MESSAGES
from relayd.sim.spark.scenario import OF_THE_DOOR, REFUSALS, Scenario


@pytest.mark.parametrize("scenario", Scenario)
def test_a_scenario_is_found_by_its_word_and_says_what_it_does(scenario: Scenario) -> None:
    assert Scenario(scenario.value) is scenario
    assert scenario.value == scenario.name.lower()
    assert scenario.summary


def test_every_code_has_a_scenario_and_every_such_scenario_a_code() -> None:
    early = {s.early_code for s in Scenario if s.value.startswith("error_")}

    assert early == set(MESSAGES)
    assert {s.late_code for s in Scenario if s.late_code} < set(MESSAGES)
    assert not any(s.early_code and s.late_code for s in Scenario)


def test_some_codes_have_a_word() -> None:
    assert Scenario.NOT_ENTITLED.early_code == 11200
    assert Scenario.AUDIT_INPUT.early_code == 10013
    assert Scenario.AUDIT_OUTPUT.late_code == 10014
    assert Scenario.NORMAL.early_code is Scenario.NORMAL.late_code is None
    assert Scenario.ERROR_10907.summary.startswith("in place of an answer: 10907")
    assert Scenario.LATE_10012.summary.startswith("after a few frames: 10012")


def test_what_is_of_the_door_is_of_no_answer() -> None:
    assert set(REFUSALS) < OF_THE_DOOR
    assert not any(scenario.is_of_answers for scenario in OF_THE_DOOR)
    assert Scenario.NORMAL.is_of_answers


def test_a_uid_has_room_for_every_name() -> None:
    assert all(len(f"sim-{s.value}") <= 32 for s in Scenario if s.is_of_answers)
