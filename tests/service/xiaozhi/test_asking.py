"""What a server hears, and what is taken from its answer."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.dialect.xiaozhi_identity import Identity
from relayd.service.xiaozhi.asking import CONTENT_TYPE, Answered, Question, ask, where
from tests.service.xiaozhi.stage import CLIENT, DEVICE, IDS, Heard, Stage, answered, server

QUESTION = Question(method="POST", identity=Identity(DEVICE, CLIENT), headers=(), body=b"{}")


@pytest.mark.parametrize(
    ("ota_url", "activates", "path"),
    [
        ("https://h.test/xiaozhi/ota/", False, "/xiaozhi/ota/"),
        ("https://h.test/xiaozhi/ota", False, "/xiaozhi/ota"),
        ("https://h.test/xiaozhi/ota/", True, "/xiaozhi/ota/activate"),
        ("https://h.test/xiaozhi/ota", True, "/xiaozhi/ota/activate"),
        ("https://h.test", False, "/"),
        ("https://h.test", True, "/activate"),
    ],
)
def test_the_last_slash_stays_as_it_is(ota_url: str, activates: bool, path: str) -> None:
    url, found = where(ota_url, activates=activates)

    assert (url.host, url.tls, found) == ("h.test", True, path)


async def test_a_server_hears_of_the_device_and_nothing_of_where_it_is(stage: Stage) -> None:
    stage.accounts = (attrs.evolve(server("kitchen"), headers={"X-Site": "home"}),)

    await stage.ask(
        "/xiaozhi/ota/",
        "Device-Id: 24:0A:C4:00:00:01",
        IDS[1],
        "Activation-Version: 2",
        "Serial-Number: s1",
        "User-Agent: bread/1.0",
        "Accept-Language: zh-CN",
        "Content-Type: application/json",
        "Authorization: Bearer canary",
        "Cookie: canary",
        "X-Forwarded-For: 192.0.2.9",
    )

    (heard,) = stage.heard
    assert heard.headers == {
        "host": "kitchen.test",
        "device-id": DEVICE,
        "client-id": CLIENT,
        "activation-version": "2",
        "serial-number": "s1",
        "user-agent": "bread/1.0",
        "accept-language": "zh-CN",
        "content-type": "application/json",
        "x-site": "home",
        "connection": "close",
        "accept-encoding": "identity",
        "accept": "*/*",
        "content-length": "2",
    }


async def test_relayd_does_not_name_itself(stage: Stage) -> None:
    await stage.ask()

    assert "user-agent" not in stage.heard[0].headers


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("text/plain", "text/plain"),
        ("application/json;charset=UTF-8", "application/json;charset=UTF-8"),
        ("nothing", CONTENT_TYPE),
        ("text/plain; a=" + "x" * 200, CONTENT_TYPE),
        ('text/plain; a="x,y"', CONTENT_TYPE),
    ],
)
async def test_a_type_is_taken_where_it_can_be_sent_on(
    stage: Stage, given: str, taken: str
) -> None:
    async def script(heard: Heard) -> bytes:
        await trio.lowlevel.checkpoint()
        return answered(b"x", 202, given)

    stage.scripts["kitchen.test"] = script

    found = await ask(stage.api.connector, stage.accounts[0], QUESTION)

    assert found == Answered(202, taken, b"x")


async def test_cancelling_it_hangs_up(autojump_clock: MockClock, stage: Stage) -> None:
    heard_at: list[float] = []

    async def script(heard: Heard) -> None:
        heard_at.append(trio.current_time())
        await trio.sleep_forever()

    stage.scripts["kitchen.test"] = script
    with trio.move_on_after(3) as scope:
        await ask(stage.api.connector, stage.accounts[0], QUESTION)

    assert scope.cancelled_caught
    assert trio.current_time() - heard_at[0] == 3
    await wait_all_tasks_blocked()
