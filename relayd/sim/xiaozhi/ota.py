"""The settings that a device asks for over HTTP, and its activation: who asks what, and the answer.

No I/O: a request goes in, a status and a body come out.
"""

from __future__ import annotations

from typing import Final

import attrs

from relayd.sim.xiaozhi import tokens
from relayd.sim.xiaozhi.scenario import Scenario
from relayd.sim.xiaozhi.visitor import Visitor

JsonObject = dict[str, object]

SETTINGS_PATH: Final = "/xiaozhi/ota/"
ACTIVATE_PATH: Final = "/xiaozhi/ota/activate"
SOCKET_PATH: Final = "/xiaozhi/v1/"
ANY_TOKEN: Final = "simulated-token"
"""What a device is told where no token is looked at."""

WAITS: Final = 1
"""How often an activation is answered with 202 before it is done."""

DEVICES_MAX: Final = 10_000
"""Devices whose activation is remembered; then all are forgotten."""

HUGE_CHARS: Final = 1024 * 1024


@attrs.frozen
class Reply:
    """An answer over HTTP.

    Attributes:
        status: 200, whatever is wrong with a request: so do servers.
        body: JSON, or a text that is none.
        location: Where a redirect leads.
    """

    status: int
    body: JsonObject | str
    location: str | None = None


REFUSED: Final = Reply(200, {"success": False, "message": "request error."})
RUNNING: Final = Reply(200, "Server is running\n")
NOT_FOUND: Final = Reply(404, {"message": "not found"})

_ODD: Final = {
    Scenario.OTA_REFUSED: REFUSED,
    Scenario.OTA_HTTP_500: Reply(500, {"message": "internal error"}),
    Scenario.OTA_NOT_JSON: Reply(200, "<html>not JSON</html>"),
    Scenario.OTA_HUGE: Reply(200, {"padding": "x" * HUGE_CHARS}),
    Scenario.OTA_REDIRECT: Reply(302, "", SETTINGS_PATH),
}


@attrs.define
class Settings:
    """The service.

    Attributes:
        auth_key: What tokens are signed with; ``None``: none is looked at.
        protocol_version: The framing that devices are told.
    """

    auth_key: str | None
    protocol_version: int
    _asked: dict[str, int] = attrs.field(factory=dict, init=False)
    """Requests of each device to be activated."""

    def answer(self, visitor: Visitor, host: str, scenario: Scenario, wall: float) -> Reply:
        """The answer to a request.

        Args:
            visitor: Who asks, and for which path.
            host: The Host header, under which the WebSocket is told.
            scenario: What is played.
            wall: The clock, in Unix seconds.
        """
        if scenario in _ODD:
            return _ODD[scenario]
        if visitor.path == ACTIVATE_PATH:
            return self._activate(visitor)
        if visitor.path.rstrip("/") != SETTINGS_PATH.rstrip("/"):
            return NOT_FOUND
        if not visitor.device_id or not visitor.client_id:
            return REFUSED
        return Reply(200, self._settings(visitor, host, scenario, wall))

    def _settings(self, visitor: Visitor, host: str, scenario: Scenario, wall: float) -> JsonObject:
        told: JsonObject = {
            "server_time": {"timestamp": int(wall * 1000), "timezone_offset": 480},
            "firmware": {"version": "1.0.1", "url": f"http://{host}/firmware/1.0.1.bin"},
        }
        if scenario is not Scenario.OTA_MQTT:
            told["websocket"] = {
                "url": f"ws://{host}{SOCKET_PATH}",
                "token": self._token(visitor, wall),
                "version": self.protocol_version,
            }
        if scenario in {Scenario.OTA_MQTT, Scenario.OTA_BOTH}:
            told["mqtt"] = _gateway(visitor, host)
        if scenario is Scenario.OTA_ACTIVATION and not self._is_active(visitor):
            told["activation"] = {
                "code": "460609",
                "message": "Enter 460609 to activate the device.",
                "challenge": "5f3759df",
                "timeout_ms": 30_000,
            }
        return told

    def _token(self, visitor: Visitor, wall: float) -> str:
        if self.auth_key is None:
            return ANY_TOKEN
        return tokens.sign(self.auth_key, visitor.client_id, visitor.device_id, int(wall))

    def _is_active(self, visitor: Visitor) -> bool:
        return self._asked.get(visitor.device_id, 0) > WAITS

    def _activate(self, visitor: Visitor) -> Reply:
        if not visitor.device_id:
            return REFUSED
        if len(self._asked) >= DEVICES_MAX:
            self._asked.clear()
        self._asked[visitor.device_id] = self._asked.get(visitor.device_id, 0) + 1
        if self._is_active(visitor):
            return Reply(200, {"message": "Device activated"})
        return Reply(202, {"message": "Device activation timeout"})


def _gateway(visitor: Visitor, host: str) -> JsonObject:
    mac = visitor.device_id.replace(":", "_")
    return {
        "endpoint": f"{host.partition(':')[0]}:1883",
        "client_id": f"GID_sim@@@{mac}@@@{visitor.client_id}",
        "username": "eyJpcCI6ICIxLjIuMy40In0=",
        "password": "c2ltdWxhdGVk",
        "publish_topic": "device-server",
        "subscribe_topic": f"devices/p2p/{mac}",
    }
