"""What a device is told when it asks for its settings, and to be activated."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.xiaozhi import XiaozhiSettings
from relayd.dialect.xiaozhi_identity import Identity
from relayd.dialect.xiaozhi_ota import BODY_MAX_BYTES, REQUEST_ERROR
from relayd.dialect.xiaozhi_tokens import TokenVerdict, check_device_token
from relayd.observe.events import LogEvent
from relayd.service.xiaozhi import api
from relayd.service.xiaozhi.pace import ASKED_AT_ONCE
from relayd.state.memory import MemoryStore
from relayd.state.store import StoreError
from tests.conftest import LogLines
from tests.service.http.stage import Reply
from tests.service.xiaozhi.stage import (
    CLIENT,
    DEVICE,
    HANDED_OUT,
    IDS,
    KEY,
    SECRET,
    SETTINGS,
    SOCKET_URL,
    WALL,
    Heard,
    Stage,
    answered,
    says,
    server,
)

IDENTITY = Identity(DEVICE, CLIENT)
ACTIVATE = "/xiaozhi/ota/activate"
GATEWAY = {"endpoint": "10.0.0.5:1883", "client_id": "GID_x@@@y@@@z"}


def told(reply: Reply, status: int = 200) -> dict[str, Any]:
    assert reply.status == status, reply.body
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


def refused(reply: Reply) -> tuple[int, bool, set[str]]:
    answer = json.loads(reply.body)
    return reply.status, answer["success"], set(answer)


# -- settings


async def test_a_device_is_led_to_relayd_with_a_token_of_its_own(stage: Stage) -> None:
    reply = await stage.ask(body=b'{"version":2}')

    answer = told(reply)
    websocket = answer["websocket"]
    assert answer == HANDED_OUT | {"websocket": websocket}
    assert (websocket["url"], websocket["version"]) == (SOCKET_URL, 1)
    judged = [
        check_device_token(websocket["token"], SECRET, each, tenant="team", wall=at)
        for each, at in (
            (IDENTITY, WALL),
            (IDENTITY, WALL + SETTINGS.token_s),
            (Identity("24:0a:c4:00:00:02", CLIENT), WALL),
        )
    ]
    assert judged == [TokenVerdict.GOOD, TokenVerdict.EXPIRED, TokenVerdict.WRONG]
    assert b"canary" not in reply.body
    assert reply.headers["cache-control"] == "no-store"
    assert await stage.tokens.find("kitchen", IDENTITY) == "canary-1"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/xiaozhi/ota/", "/xiaozhi/ota"])
async def test_both_methods_and_both_spellings_are_the_same(
    stage: Stage, method: str, path: str
) -> None:
    body = b'{"version":2}' if method == "POST" else b""

    told(await stage.ask(path, method=method, body=body))

    (heard,) = stage.heard
    assert (heard.method, heard.target, heard.body) == (method, "/xiaozhi/ota/", body)
    assert stage.facts.route == path


async def test_a_server_with_a_key_needs_no_token_kept(stage: Stage) -> None:
    stage.accounts = (server("kitchen", auth_key="canary-of-key"),)

    told(await stage.ask())

    assert await stage.tokens.find("kitchen", IDENTITY) is None


@pytest.mark.parametrize("keep", [False, True])
async def test_a_gateway_is_told_of_where_the_account_says_so(
    stage: Stage, log_lines: LogLines, keep: bool
) -> None:
    stage.accounts = (server("kitchen", keep_mqtt=keep),)
    stage.scripts["kitchen.test"] = says(HANDED_OUT | {"mqtt": GATEWAY})

    answer = told(await stage.ask())

    assert answer.get("mqtt") == (GATEWAY if keep else None)
    (line,) = log_lines.of(LogEvent.OTA_ANSWERED)
    assert (line["mqtt"], line["taken_out"]) == (keep, "" if keep else "mqtt")


async def test_an_answer_without_a_socket_is_passed_on_and_keeps_nothing(stage: Stage) -> None:
    said = {"activation": {"code": "460609", "challenge": "5f"}, "server_time": {}}
    stage.scripts["kitchen.test"] = says(said)

    assert told(await stage.ask()) == said
    assert await stage.tokens.find("kitchen", IDENTITY) is None


async def test_each_answer_leaves_a_line_without_a_token(stage: Stage, log_lines: LogLines) -> None:
    await stage.ask()

    (line,) = log_lines.of(LogEvent.OTA_ANSWERED)
    assert (line["device_id"], line["account"], line["status"]) == (DEVICE, "kitchen", 200)
    assert (line["offered"], line["route"]) == (True, "/xiaozhi/ota/")
    assert line["request_id"] == stage.facts.request_id
    assert "canary" not in json.dumps(log_lines.all)


# -- who may not ask


@pytest.mark.parametrize(
    "settings",
    [
        attrs.evolve(SETTINGS, public_url=None),
        attrs.evolve(SETTINGS, token_secret=None),
        attrs.evolve(SETTINGS, key=None),
        attrs.evolve(SETTINGS, key="nobody"),
    ],
)
@pytest.mark.parametrize("path", ["/xiaozhi/ota/", ACTIVATE])
async def test_where_devices_are_not_told_of_relayd_there_is_nothing(
    stage: Stage, settings: XiaozhiSettings, path: str
) -> None:
    stage.settings = settings

    assert (await stage.ask(path)).status == 404
    assert stage.heard == []


async def test_a_key_that_is_switched_off_has_no_devices(stage: Stage) -> None:
    stage.keys = (attrs.evolve(KEY, enabled=False),)

    assert (await stage.ask()).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        IDS[:1],
        IDS[1:],
        ("Device-Id: two words", IDS[1]),
        (IDS[0], "Client-Id: a\\b"),
        (IDS[0], f"Client-Id: {'x' * 129}"),
        ("Accept: */*",),
    ],
)
@pytest.mark.parametrize("path", ["/xiaozhi/ota/", ACTIVATE])
async def test_who_does_not_say_who_it_is_hears_what_servers_say(
    stage: Stage, headers: tuple[str, ...], path: str
) -> None:
    reply = await stage.ask(path, *headers)

    assert (reply.status, reply.body) == (200, REQUEST_ERROR)
    assert stage.facts.reason == "device_unidentified"
    assert stage.heard == []


@pytest.mark.parametrize(
    "settings",
    [
        attrs.evolve(SETTINGS, devices_denied=("24:0A:*",)),
        attrs.evolve(SETTINGS, devices_allowed=("25:*",)),
    ],
)
async def test_a_device_that_may_not_come_in_is_not_told_how(
    stage: Stage, settings: XiaozhiSettings
) -> None:
    stage.settings = settings

    assert refused(await stage.ask()) == (403, False, {"success", "message"})
    assert (stage.facts.reason, stage.heard) == ("device_not_allowed", [])


async def test_a_foreign_page_may_not_ask(stage: Stage) -> None:
    reply = await stage.ask("/xiaozhi/ota/", *IDS, "Origin: https://elsewhere.test")

    assert refused(reply) == (403, False, {"success", "message"})
    assert stage.heard == []


async def test_a_body_has_64_kib(stage: Stage) -> None:
    told(await stage.ask(body=b"x" * BODY_MAX_BYTES))
    reply = await stage.ask(body=b"x" * (BODY_MAX_BYTES + 1))

    assert refused(reply) == (413, False, {"success", "message"})
    assert len(stage.heard) == 1


async def test_an_address_may_not_ask_all_the_time(autojump_clock: MockClock, stage: Stage) -> None:
    for _ in range(ASKED_AT_ONCE):
        assert (await stage.ask("/xiaozhi/ota/", "Accept: */*")).status == 200
    reply = await stage.ask()

    assert refused(reply) == (429, False, {"success", "message"})
    assert (reply.headers["retry-after"], stage.heard) == ("1", [])
    await trio.sleep(1)
    told(await stage.ask())


async def test_so_many_are_asked_at_once_and_no_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "ASKING_MAX", 1)
    go = trio.Event()

    async def waits(heard: Heard) -> bytes:
        await go.wait()
        return answered(HANDED_OUT)

    stage.scripts["kitchen.test"] = waits
    first: list[Reply] = []

    async def ask() -> None:
        first.append(await stage.ask())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        second = await stage.ask()
        go.set()

    assert (first[0].status, refused(second)[:2]) == (200, (503, False))
    told(await stage.ask())


# -- activation


@pytest.mark.parametrize("status", [200, 202, 400])
async def test_an_activation_is_passed_on_untouched(stage: Stage, status: int) -> None:
    said = b'{ "websocket": {"url": "ws://10.0.0.5/"},  "message":"so" }'
    stage.scripts["kitchen.test"] = says(said, status)

    reply = await stage.ask(ACTIVATE, body=b'{"Payload":{}}')

    assert (reply.status, reply.body) == (status, said)
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    (heard,) = stage.heard
    assert (heard.target, heard.body) == (ACTIVATE, b'{"Payload":{}}')


async def test_it_goes_to_the_server_that_asked_for_it(stage: Stage) -> None:
    stage.accounts = (server("kitchen"), server("attic"))
    said = {"activation": {"code": "460609"}}

    told(await stage.ask())
    (asked,) = stage.heard
    favourite = asked.host
    other = "attic.test" if favourite == "kitchen.test" else "kitchen.test"
    del stage.scripts["kitchen.test"]
    stage.scripts[other] = says(said)
    told(await stage.ask())
    stage.scripts[favourite] = says({}, 202)
    reply = await stage.ask(ACTIVATE)

    assert reply.status == 200
    assert [heard.host for heard in stage.heard[1:]] == [other, other]


async def test_it_goes_to_no_other_one(stage: Stage) -> None:
    stage.accounts = (server("kitchen"), server("attic", devices=("none",)))
    stage.scripts["kitchen.test"] = says({"activation": {}})
    told(await stage.ask())
    stage.accounts = (server("kitchen", devices=("none",)), server("attic"))
    stage.api.connector.roster.update(stage.accounts)
    stage.scripts["attic.test"] = says({})

    assert refused(await stage.ask(ACTIVATE)) == (503, False, {"success", "message"})


# -- the store


class _Away(MemoryStore):
    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        raise StoreError("it is away")

    async def get(self, key: str) -> bytes | None:
        raise StoreError("it is away")


@pytest.mark.parametrize("path", ["/xiaozhi/ota/", ACTIVATE])
async def test_what_could_not_be_kept_is_not_handed_out(
    stage: Stage, log_lines: LogLines, path: str
) -> None:
    stage.store = _Away(lambda: WALL)

    reply = await stage.ask(path)

    assert refused(reply) == (503, False, {"success", "message"})
    assert reply.headers["retry-after"] == "5"
    assert len(log_lines.of(LogEvent.STATE_FAILED)) == 1
