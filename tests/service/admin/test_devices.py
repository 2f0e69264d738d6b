"""Devices: which are shown, and what operators have them do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relayd.dialect.xiaozhi_state import Phase
from relayd.observe.bus import BusEvent, DeviceCommand, DeviceCommanded
from relayd.observe.events import LogEvent
from relayd.service.admin.devices import device_routes
from relayd.service.admin.routes import DEVICE_OPERATIONS
from tests.conftest import LogLines
from tests.service.admin.desk import PlayedDesk
from tests.service.admin.stage import Stage, error_of
from tests.service.http.stage import Reply

ONE, OTHER = "24:0a:c4:00:00:01", "24:0a:c4:00:00:02"
TEXT = "canary: dinner is ready"


def desk_of(stage: Stage) -> PlayedDesk:
    assert stage.desk is not None
    return stage.desk


async def post(stage: Stage, path: str, value: object = None) -> Reply:
    body = b"" if value is None else json.dumps(value).encode()
    async with stage.client() as client:
        return await client.ask("POST", f"/admin/v1/devices{path}", body)


def told(reply: Reply, status: int = 202) -> dict[str, Any]:
    assert reply.status == status, reply.body
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


# -- looking


async def test_a_device_is_shown_as_it_is(stage: Stage) -> None:
    desk_of(stage).device()

    answer = await stage.get("/admin/v1/devices")

    assert answer == {
        "devices": [
            {
                "device_id": ONE,
                "client_id": "c9",
                "session_id": "sess_1",
                "tenant": "team",
                "key": "devices",
                "account": "kitchen",
                "client_address": "192.0.2.7",
                "state": "idle",
                "protocol_version": 1,
                "from_gateway": False,
                "has_tools": True,
                "since": "2027-01-15T07:59:00Z",
                "duration_s": 60.0,
                "hello_ms": 190.0,
                "contexts_lost": 0,
                "turns": 2,
                "audio_in_s": 3.142,
                "audio_out_s": 12.5,
                "dropped": {"before hello": 1},
            }
        ],
        "total": 1,
        "next_cursor": None,
    }


@pytest.mark.parametrize(
    ("phase", "talk", "hello_ms", "state"),
    [
        (Phase.AWAITING_HELLO, "idle", None, "connecting"),
        (Phase.DIALLING, "listening", None, "connecting"),
        (Phase.GREETING, "idle", None, "connecting"),
        (Phase.TALKING, "idle", 1.0, "idle"),
        (Phase.TALKING, "listening", 1.0, "listening"),
        (Phase.TALKING, "speaking", 1.0, "speaking"),
        (Phase.DELAYING, "listening", 1.0, "reconnecting"),
        (Phase.DIALLING, "listening", 1.0, "reconnecting"),
        (Phase.GREETING, "idle", 1.0, "reconnecting"),
    ],
)
async def test_a_device_s_state_is_one_word(
    stage: Stage, phase: Phase, talk: str, hello_ms: float | None, state: str
) -> None:
    desk_of(stage).device(phase=phase.value, talk=talk, hello_ms=hello_ms, account="")

    (shown,) = (await stage.get("/admin/v1/devices"))["devices"]

    assert (shown["state"], shown["account"], shown["hello_ms"]) == (state, None, hello_ms)


async def test_pages_of_one_tenant_s_devices(stage: Stage) -> None:
    desk = desk_of(stage)
    for number, tenant in enumerate(["team", "other", "team", "team"]):
        desk.device(f"d{number}", tenant=tenant)

    first = await stage.get("/admin/v1/devices?tenant=team&limit=2")
    cursor = first["next_cursor"]
    second = await stage.get(f"/admin/v1/devices?tenant=team&limit=2&cursor={cursor}")

    assert [each["device_id"] for each in first["devices"]] == ["d0", "d2"]
    assert [each["device_id"] for each in second["devices"]] == ["d3"]
    assert (first["total"], second["total"], second["next_cursor"]) == (3, 3, None)


async def test_a_relay_without_devices_has_none(stage: Stage) -> None:
    stage.desk = None

    assert (await stage.get("/admin/v1/devices"))["devices"] == []
    assert told(await post(stage, "/alert", {"message": TEXT})) == {"told": 0, "busy": 0}
    assert error_of(await post(stage, f"/{ONE}/kick"))["code"] == "not_found"


# -- words to devices


@pytest.mark.parametrize(
    ("command", "body", "said", "event"),
    [
        ("kick", None, "kill", LogEvent.DEVICE_KICKED),
        ("reboot", None, "reboot", LogEvent.DEVICE_REBOOTED),
        ("alert", {"message": TEXT}, f"alert Alert: {TEXT} (neutral)", LogEvent.DEVICE_ALERTED),
        (
            "alert",
            {"message": TEXT, "status": "Kitchen", "emotion": "happy"},
            f"alert Kitchen: {TEXT} (happy)",
            LogEvent.DEVICE_ALERTED,
        ),
    ],
)
async def test_a_word_reaches_one_device_and_leaves_a_trace_without_it(
    stage: Stage,
    log_lines: LogLines,
    command: str,
    body: object,
    said: str,
    event: LogEvent,
) -> None:
    device, other = desk_of(stage).device(ONE), desk_of(stage).device(OTHER)
    heard = list[BusEvent]()
    stage.connector.bus.subscribe(heard.append)

    answer = told(await post(stage, f"/{ONE}/{command}", body))

    assert answer == {"device_id": ONE, "session_id": "sess_1"}
    assert (device.said, other.said) == ([said], [])
    (line,) = log_lines.of(event)
    assert (line["device_id"], line["session_id"]) == (ONE, "sess_1")
    assert line.get("devices", 1) == 1
    assert "canary" not in json.dumps(log_lines.all)
    if command == "alert":
        assert heard == []  # each device's session tells of its own
        return
    (told_on,) = heard
    assert isinstance(told_on, DeviceCommanded)
    assert (told_on.command, told_on.session.tenant) == (DeviceCommand(command), "team")


@pytest.mark.parametrize("command", ["kick", "reboot", "alert"])
async def test_who_is_not_here_cannot_be_told_anything(
    stage: Stage, log_lines: LogLines, command: str
) -> None:
    reply = await post(stage, f"/{ONE}/{command}", {"message": TEXT})

    assert (reply.status, error_of(reply)["code"]) == (404, "not_found")
    assert not [line for line in log_lines.all if line["event"].startswith("device.")]


async def test_a_device_of_two_tenants_has_to_be_named_with_its_tenant(stage: Stage) -> None:
    first, second = desk_of(stage).device(), desk_of(stage).device(tenant="other")

    refused = await post(stage, f"/{ONE}/kick")
    told(await post(stage, f"/{ONE}/kick?tenant=other"))

    assert (refused.status, error_of(refused)["code"]) == (409, "device_ambiguous")
    assert (first.said, second.said) == ([], ["kill"])


@pytest.mark.parametrize("command", ["reboot", "alert"])
async def test_a_device_that_does_not_read_is_told_nothing(
    stage: Stage, log_lines: LogLines, command: str
) -> None:
    device = desk_of(stage).device()
    device.busy = True

    reply = await post(stage, f"/{ONE}/{command}", {"message": TEXT})

    assert (reply.status, error_of(reply)["code"]) == (409, "device_busy")
    assert device.said == []
    assert not [line for line in log_lines.all if line["event"].startswith("device.")]


async def test_everybody_is_alerted_but_who_does_not_read(
    stage: Stage, log_lines: LogLines
) -> None:
    desk = desk_of(stage)
    one, deaf, foreign = desk.device(ONE), desk.device(OTHER), desk.device("d", tenant="other")
    deaf.busy = True

    of_team = told(await post(stage, "/alert?tenant=team", {"message": TEXT}))
    of_all = told(await post(stage, "/alert", {"message": "again"}))

    assert (of_team, of_all) == ({"told": 1, "busy": 1}, {"told": 2, "busy": 1})
    assert (len(one.said), len(deaf.said), len(foreign.said)) == (2, 0, 1)
    lines = log_lines.of(LogEvent.DEVICE_ALERTED)
    assert [(line["device_id"], line["devices"]) for line in lines] == [(None, 1), (None, 2)]
    assert "canary" not in json.dumps(log_lines.all)


async def test_every_operation_has_its_handler(stage: Stage) -> None:
    routes = device_routes(stage.operations())

    assert [(each.method, each.pattern, each.name) for each in routes] == [
        (each.method, each.pattern, each.name) for each in DEVICE_OPERATIONS
    ]
