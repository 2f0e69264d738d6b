"""How devices get to ``relayd serve``: by settings of its own, from a page, through a gateway."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from relayd.observe.events import LogEvent
from tests.integration.conftest import KEY, Program, python_client, run_client
from tests.integration.xiaozhi_stage import (
    CLIENT,
    GATEWAY_KEY,
    MAC,
    OTHER_MAC,
    answers,
    house,
    told,
)

pytestmark = pytest.mark.slow


async def test_a_device_asks_for_its_settings_and_comes_back_with_the_token(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as place:
        lines = await place.talk(place.ota, "write:hello")
        (settings,) = told(lines, "settings")
        token = settings["websocket"]["token"]
        foreign = await place.talk(mac=OTHER_MAC, token=token)
        (asked,) = place.relayd.of(LogEvent.OTA_ANSWERED)
        await place.restart()
        again = await place.talk("write:again", token=token)

    assert settings["websocket"]["url"] == f"ws://{place.relayd.address}/xiaozhi/v1/"
    assert token.startswith("v1.")
    assert settings["firmware"]["version"] == "1.0.1"
    assert answers(lines)[0]["heard"] == "hello"
    assert told(foreign, "refused") == [401]
    assert told(foreign, "body")[0]["error"]["code"] == "invalid_api_key"
    assert asked["device_id"] == MAC
    assert answers(again)[0]["heard"] == "again"


async def test_a_page_says_in_the_url_who_it_is_and_its_key_is_not_read_there(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as place:
        (settings,) = told(await place.talk(place.ota), "settings")

        async def browse(token: str) -> list[object]:
            who = f"device-id={MAC}&client-id={CLIENT}&authorization={quote(f'Bearer {token}')}"
            url = f"ws://{place.relayd.address}/xiaozhi/v1/?{who}"
            given = (url, "", "", "", 1, "write:hello")
            return await run_client(python_client("xiaozhi_desktop.py", *given))

        with_token = await browse(settings["websocket"]["token"])
        with_key = await browse(KEY)

    assert answers(with_token)[0]["heard"] == "hello"
    assert told(with_key, "refused") == [401]


async def test_devices_behind_the_mqtt_gateway_are_told_apart(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    places = {f"02:00:00:00:01:{number:02x}": f"10.7.0.{number}" for number in range(1, 7)}
    async with house(tmp_path) as place:
        url = f"ws://{place.relayd.address}/xiaozhi/v1/?from=mqtt_gateway"
        devices = [f"{mac}={address}" for mac, address in places.items()]
        command = python_client("xiaozhi_gateway.py", url, GATEWAY_KEY, 20, *devices)
        gateway = await Program.start(command, nursery)
        await gateway.until(lambda: len(told(gateway.lines, "heard")) == len(places))
        here = await place.devices()
        kicked = next(iter(places))
        await place.ask_admin("POST", f"/admin/v1/devices/{kicked}/kick")
        await gateway.until(lambda: bool(told(gateway.lines, "close")))
        *heard, closed = gateway.lines

    for line in heard:
        assert (line["hello"], line["heard"]) == ("hello", "20 packets")
        assert len(line["sizes"]) == 20
    assert {each["device_id"]: each["client_address"] for each in here} == places
    assert all(each["from_gateway"] and each["protocol_version"] == 2 for each in here)
    assert (closed["device"], closed["close"]) == (kicked, 1008)


async def test_a_new_socket_of_a_device_takes_the_place_of_the_old_one(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    async with house(tmp_path) as place:
        old = await place.start("write:hello", "attend:60", nursery=nursery)
        await old.until(lambda: bool(answers(old.lines)))
        lines = await place.talk("write:hello again")
        await old.until(lambda: bool(told(old.lines, "close")))

    assert answers(lines)[0]["heard"] == "hello again"
    assert told(old.lines, "close") == [1001]
