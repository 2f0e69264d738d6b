"""What a client may do is what it may at that moment, however long it had to wait for it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.config.keys import Role
from relayd.config.snapshot import Snapshot
from tests.session.hub.stage import CENTRIFUGE, EPOCH, Stage
from tests.session.hub.test_identity import KEYS, OPERATOR

RECENT = ("workflow:0", "workflow:1")
"""In each of these as much has happened as is sent behind other things only."""

Json = dict[str, Any]

SUBSCRIBE: Json = {"subscribe": {"channel": "ops", "recover": True, "epoch": EPOCH, "offset": 0}}
HISTORY: Json = {"history": {"channel": "ops", "limit": 10}}


def demote(stage: Stage) -> None:
    """The operator is one no more, and may not see ``ops``."""
    keys = tuple(attrs.evolve(key, role=Role.USER) if key.name == "boss" else key for key in KEYS)
    stage.apply(Snapshot.of(attrs.evolve(stage.desk.snapshot.settings, keys=keys)))


def publish_much(stage: Stage) -> None:
    stage.publish("ops", tenant="", data="secret")
    (tenant,) = {key.tenant for key in KEYS if key.name == "boss"}
    for topic in RECENT:
        for _ in range(12):
            stage.publish(topic, tenant=tenant, data="x" * 60_000)


@pytest.mark.parametrize("asked", [SUBSCRIBE, HISTORY])
async def test_a_client_that_is_demoted_while_it_waits_for_room(stage: Stage, asked: Json) -> None:
    publish_much(stage)
    client = await stage.connected(OPERATOR, send_buffer=4096)
    recoveries = [
        {"id": 100 + n, "subscribe": SUBSCRIBE["subscribe"] | {"channel": topic}}
        for n, topic in enumerate(RECENT)
    ]
    await client.send(*recoveries, {"id": 200} | asked)
    await wait_all_tasks_blocked(0.01)
    assert set(client.session.guest.subscriber.followed) == set(RECENT)
    demote(stage)
    *_, refused = await client.jsons(3)
    assert (refused["id"], refused["error"]["code"]) == (200, 103)
    assert (await client.ask(ping={}))["error"]["code"] == 104  # nothing else came, and it goes on


async def test_likewise_on_the_hub_s_own_wire(stage: Stage) -> None:
    publish_much(stage)
    client = await stage.welcomed("/ws?topics=workflow:none", OPERATOR, send_buffer=4096)
    await client.send(
        *(
            {"type": "subscribe", "topics": [topic], "since": f"{EPOCH}:0", "id": topic}
            for topic in (*RECENT, "ops")
        )
    )
    await wait_all_tasks_blocked(0.01)
    assert "ops" not in client.session.guest.subscriber.followed
    demote(stage)
    while (message := await client.json()).get("id") != "ops":
        assert message.get("data") != "secret"
    assert message["error"]["code"] == "topic_not_allowed"


@pytest.mark.parametrize("since", ["", f"&since={EPOCH}@0"])
async def test_a_client_that_is_demoted_before_its_welcome(stage: Stage, since: str) -> None:
    stage.publish("ops", tenant="", data="secret")
    stage.places.gate = trio.Event()
    clients = []

    async def come() -> None:
        clients.append(await stage.client(f"/ws?topics=ops,workflow:w{since}", OPERATOR))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come)
        await wait_all_tasks_blocked()
        demote(stage)  # it has been admitted, and is no session yet
        stage.places.gate.set()
    (client,) = clients
    welcome, told = await client.jsons(2)
    assert welcome["topics"] == ["workflow:w"]
    assert (told["type"], told["topics"]) == ("unsubscribed", ["ops"])
    stage.publish("ops", tenant="", data="secret")
    await client.send({"type": "ping"})
    assert (await client.json())["type"] == "pong"


async def test_all_topics_of_a_client_that_comes_back_are_asked_for_at_once(stage: Stage) -> None:
    client = await stage.client(CENTRIFUGE)
    commands = [{"id": 1, "connect": {}}]
    commands += [{"id": 2 + n, "subscribe": {"channel": f"workflow:{n}"}} for n in range(128)]
    await client.send(*commands)
    replies = await client.jsons(len(commands))
    assert [each["id"] for each in replies] == [each["id"] for each in commands]
    assert not [each for each in replies if "error" in each]
