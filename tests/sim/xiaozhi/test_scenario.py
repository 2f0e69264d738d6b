"""What a simulated xiaozhi server can play."""

from __future__ import annotations

from relayd.sim.xiaozhi.scenario import Scenario, scenario_named


def test_a_name_that_nobody_has_plays_the_default() -> None:
    assert scenario_named("silent", Scenario.NORMAL) is Scenario.SILENT
    assert scenario_named("no such thing", Scenario.NO_MCP) is Scenario.NO_MCP
    assert scenario_named(None, Scenario.NO_MCP) is Scenario.NO_MCP


def test_answers_play_what_is_theirs_alone() -> None:
    of_answers = {scenario for scenario in Scenario if scenario.is_of_answers}

    assert {Scenario.NORMAL, Scenario.RESET_MID_SPEECH, Scenario.REBOOT} <= of_answers
    assert not of_answers & {Scenario.NO_MCP, Scenario.TOKEN_REFUSED, Scenario.OTA_MQTT}
