"""The settings that devices ask for."""

from __future__ import annotations

from typing import Any

import pytest

from relayd.sim.xiaozhi import tokens
from relayd.sim.xiaozhi.ota import (
    ACTIVATE_PATH,
    ANY_TOKEN,
    NOT_FOUND,
    REFUSED,
    SETTINGS_PATH,
    Reply,
    Settings,
)
from relayd.sim.xiaozhi.scenario import Scenario
from relayd.sim.xiaozhi.visitor import visitor_of

NOW = 1795190400.5
WHO = {"device-id": "aa:bb:cc:dd:ee:09", "client-id": "c9"}


def asked(
    settings: Settings,
    scenario: Scenario = Scenario.NORMAL,
    *,
    path: str = SETTINGS_PATH,
    who: dict[str, str] = WHO,
) -> Reply:
    return settings.answer(visitor_of(path, who), "sim:8000", scenario, NOW)


def body(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200
    assert isinstance(reply.body, dict)
    return reply.body


def test_a_device_is_told_of_the_websocket_at_the_same_address() -> None:
    told = body(asked(Settings(None, 3)))

    socket = {"url": "ws://sim:8000/xiaozhi/v1/", "token": ANY_TOKEN, "version": 3}
    assert told["websocket"] == socket
    assert told["server_time"] == {"timestamp": 1795190400500, "timezone_offset": 480}
    assert "firmware" in told
    assert "mqtt" not in told
    assert "activation" not in told


def test_its_token_is_signed_where_there_is_a_key() -> None:
    token = body(asked(Settings("Secret9988Zz", 1)))["websocket"]["token"]

    assert tokens.is_good(token, "Secret9988Zz", "c9", "aa:bb:cc:dd:ee:09", NOW)


@pytest.mark.parametrize(
    ("scenario", "sections"),
    [(Scenario.OTA_BOTH, {"mqtt", "websocket"}), (Scenario.OTA_MQTT, {"mqtt"})],
)
def test_a_gateway_is_told_of_where_there_is_one(scenario: Scenario, sections: set[str]) -> None:
    told = body(asked(Settings(None, 1), scenario))

    assert told.keys() & {"mqtt", "websocket"} == sections
    assert told["mqtt"]["client_id"] == "GID_sim@@@aa_bb_cc_dd_ee_09@@@c9"


@pytest.mark.parametrize("missing", WHO)
def test_who_does_not_say_who_it_is_is_refused_with_200(missing: str) -> None:
    who = {name: value for name, value in WHO.items() if name != missing}

    assert asked(Settings(None, 1), who=who) == REFUSED


def test_an_activation_takes_two_requests() -> None:
    settings = Settings(None, 1)
    play = Scenario.OTA_ACTIVATION

    assert body(asked(settings, play))["activation"]["code"] == "460609"
    assert asked(settings, play, path=ACTIVATE_PATH).status == 202
    assert "activation" in body(asked(settings, play))
    assert asked(settings, play, path=ACTIVATE_PATH).status == 200
    assert "activation" not in body(asked(settings, play))


def test_an_activation_of_nobody_is_refused() -> None:
    assert asked(Settings(None, 1), path=ACTIVATE_PATH, who={}) == REFUSED


@pytest.mark.parametrize(
    ("scenario", "status"),
    [
        (Scenario.OTA_REFUSED, 200),
        (Scenario.OTA_HTTP_500, 500),
        (Scenario.OTA_NOT_JSON, 200),
        (Scenario.OTA_HUGE, 200),
        (Scenario.OTA_REDIRECT, 302),
    ],
)
def test_odd_answers(scenario: Scenario, status: int) -> None:
    reply = asked(Settings(None, 1), scenario)

    assert reply.status == status
    assert not isinstance(reply.body, dict) or "websocket" not in reply.body


def test_other_paths_are_not_found() -> None:
    assert asked(Settings(None, 1), path="/xiaozhi/ota/other") == NOT_FOUND
