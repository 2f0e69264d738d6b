"""Published clients of the hub: they publish, come back, bring tokens, and see what is theirs."""

from __future__ import annotations

import http.client
import json
import signal
import time
from pathlib import Path
from typing import Final

import pytest
import trio
from websockets.trio.client import connect

from relayd.dialect.hub_codes import HubClose
from relayd.observe.events import LogEvent
from tests.integration.conftest import KEY, PATIENCE_S
from tests.integration.hub_clients import (
    ALL,
    CENTRIFUGE,
    CENTRIFUGE_JS,
    EVENT_SOURCE,
    HOUR_S,
    OWN,
    Kind,
    name_of,
)
from tests.integration.hub_house import (
    OPERATOR_KEY,
    OTHER_KEY,
    OTHER_TENANT,
    TENANT,
    TICK,
    TOPIC,
    Forwarder,
    House,
    tick,
    token_for,
)

pytestmark = pytest.mark.slow

EXPIRED_S: Final = 27.0
"""A token that has been out of date for so long is good for three seconds more."""
STILL_S: Final = 5.0
"""After so long it is not."""

PERMISSION_DENIED: Final = 103
LOST: Final = (1, 1006)
"""What clients call a connection that broke: a Close does not wait for who stopped for long."""
TOPICS_MAX: Final = 128
PADDING: Final = 32_768
FLOOD: Final = 240
"""Events of that size: more than waits for a client, less than is replayed to it at once."""
ENDED: Final = {"eventsource": "closed"}
"""What a client calls the end of a connection, where it is not ``connecting``."""


@pytest.fixture
async def house(tmp_path: Path, nursery: trio.Nursery) -> House:
    """A relayd that runs."""
    house = House(tmp_path, nursery)
    await house.start()
    return house


def follows(kind: Kind) -> str:
    """What this client says when it has begun to follow."""
    return {"eventsource": "connected", "council": "welcome"}.get(kind.name, "subscribed")


@pytest.mark.parametrize("kind", ALL, ids=name_of)
async def test_a_restart_is_told_and_nobody_believes_to_have_seen_it_all(
    kind: Kind, house: House, nursery: trio.Nursery
) -> None:
    client = await kind.start(house.address, nursery)
    await client.told(follows(kind))
    await house.publish(*map(tick, (1, 2, 3)))
    await client.up_to(3)

    await house.stop()
    await house.start()
    (told, *_) = [
        each for each in await client.told(ENDED.get(kind.name, "connecting")) if each["code"]
    ]
    if kind in CENTRIFUGE:
        _, after = await client.told("subscribed", 2)
        assert (after["resumed"], after["recovered"]) == (True, False)
    else:
        await client.told("resync")
    await house.publish(*map(tick, (4, 5)))
    await client.until(lambda: client.numbers[-1] == 5)

    assert told["code"] == HubClose.SHUTDOWN
    assert client.numbers == [1, 2, 3, 4, 5]
    assert client.offsets == [1, 2, 3, 1, 2]
    ids = {each["envelope"]["id"].partition(":")[0] for each in client.of("event")}
    assert len(ids) == 2, "each relayd counts in an epoch of its own"


@pytest.mark.parametrize("kind", CENTRIFUGE, ids=name_of)
async def test_a_client_publishes(kind: Kind, house: House, nursery: trio.Nursery) -> None:
    listener = await OWN.start(house.address, nursery)
    await listener.told("welcome")
    named = {"event": TICK, "data": {"number": 1}, "node_id": "n1"}

    client = await kind.start(house.address, nursery, publish=[named, {"number": 2}])
    await client.told("published", 2)
    await house.publish(tick(3))
    await listener.up_to(3)
    await client.up_to(3)

    heard = [each["envelope"] for each in listener.of("event")]
    assert [each["event"] for each in heard] == [TICK, "message", TICK]
    assert [each["node_id"] for each in heard] == ["n1", None, None]
    assert listener.numbers == client.numbers == [1, 2, 3]


@pytest.mark.parametrize("kind", CENTRIFUGE, ids=name_of)
async def test_a_client_without_the_right_publishes_nothing(
    kind: Kind, house: House, nursery: trio.Nursery
) -> None:
    token = token_for(time.time() + HOUR_S, publish=["workflow:another"])
    client = await kind.start(house.address, nursery, tokens=[token], publish=[{"number": 1}])

    (refused,) = await client.told("refused")
    (result,) = await house.publish(tick(2))
    await client.up_to(1)

    assert refused["code"] == PERMISSION_DENIED
    assert result["offset"] == 1
    assert client.numbers == [2]


@pytest.mark.parametrize("kind", CENTRIFUGE, ids=name_of)
async def test_a_client_brings_another_token_and_stays(
    kind: Kind, house: House, nursery: trio.Nursery
) -> None:
    now = time.time()
    tokens = [token_for(now - EXPIRED_S), token_for(now + HOUR_S)]

    client = await kind.start(house.address, nursery, tokens=tokens)
    await client.told("asked for a token")
    await trio.sleep(STILL_S)
    await house.publish(tick(1))
    await client.up_to(1)

    assert len(client.of("connected")) == 1
    assert [each["code"] for each in client.of("connecting")] == [0]


async def test_the_hubs_own_client_brings_another_token_and_stays(
    house: House, nursery: trio.Nursery
) -> None:
    now = time.time()
    tokens = [token_for(now - EXPIRED_S), token_for(now + HOUR_S)]

    client = await OWN.start(house.address, nursery, tokens=tokens, refresh_after_s=0.2)
    await client.told("refreshed")
    await trio.sleep(STILL_S)
    await house.publish(tick(1))
    await client.up_to(1)

    assert client.of("connecting") == []


async def test_a_client_without_another_token_is_told_to_come_back_with_one(
    house: House, nursery: trio.Nursery
) -> None:
    client = await OWN.start(house.address, nursery, tokens=[token_for(time.time() - EXPIRED_S)])

    (told, *_) = await client.told("connecting")

    assert told["code"] == HubClose.TOKEN_EXPIRED


@pytest.mark.parametrize("kind", CENTRIFUGE, ids=name_of)
async def test_a_bad_token_keeps_a_client_away(
    kind: Kind, house: House, nursery: trio.Nursery
) -> None:
    good = token_for(time.time() + HOUR_S)

    client = await kind.start(house.address, nursery, tokens=[good[:-4] + "AAAA"])
    (told,) = await client.told("disconnected")

    assert told["code"] == HubClose.BAD_TOKEN


@pytest.mark.parametrize("kind", CENTRIFUGE, ids=name_of)
async def test_a_client_that_is_ended_stays_away(
    kind: Kind, house: House, nursery: trio.Nursery
) -> None:
    client = await kind.start(house.address, nursery)
    (connected,) = await client.told("connected")

    assert await trio.to_thread.run_sync(kill, house.address, connected["client"]) == 202
    (told,) = await client.told("disconnected")

    assert told["code"] == HubClose.KICKED


def kill(address: str, session_id: str) -> int:
    """End a session as an operator; the status of the answer."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        headers = {"Authorization": f"Bearer {OPERATOR_KEY}"}
        connection.request("POST", f"/api/v1/sessions/{session_id}/kill", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("is_back_soon", [True, False], ids=["soon", "late"])
@pytest.mark.parametrize("kind", [*CENTRIFUGE, OWN], ids=name_of)
async def test_a_client_that_stopped_is_cut_off_and_catches_up(
    kind: Kind, is_back_soon: bool, house: House, nursery: trio.Nursery
) -> None:
    client = await kind.start(house.address, nursery)
    await client.told(follows(kind))
    assert house.relayd is not None

    client.process.send_signal(signal.SIGSTOP)
    for first in range(1, FLOOD + 1, 10):
        padded = (tick(number, padding="x" * PADDING) for number in range(first, first + 10))
        await house.publish(*padded)
    try:
        if not is_back_soon:
            await house.relayd.logged(LogEvent.SESSION_ENDED)
    finally:
        client.process.send_signal(signal.SIGCONT)
    await client.up_to(FLOOD)

    assert client.offsets == list(range(1, FLOOD + 1))
    assert client.of("resync") == []
    (ended,) = [each["code"] for each in client.of("connecting") if each["code"]]
    assert ended == HubClose.SLOW if is_back_soon else ended in LOST
    (line,) = house.relayd.of(LogEvent.SESSION_ENDED)
    told = HubClose.SLOW if is_back_soon else None  # nothing was taken any more, the Close neither
    assert (line["reason"], line["client_close"]) == ("client_slow", told)


async def test_an_event_source_that_stopped_is_cut_off_and_catches_up(
    house: House, nursery: trio.Nursery
) -> None:
    client = await EVENT_SOURCE.start(house.address, nursery)
    await client.told("connected")
    relayd = house.relayd
    assert relayd is not None

    client.process.send_signal(signal.SIGSTOP)
    try:
        for first in range(1, FLOOD + 1, 10):
            padded = (tick(number, padding="x" * PADDING) for number in range(first, first + 10))
            await house.publish(*padded)
        await relayd.until(
            lambda: any(line.get("outcome") == "client_stalled" for line in relayd.lines)
        )
    finally:
        client.process.send_signal(signal.SIGCONT)
    await client.up_to(FLOOD)

    assert client.offsets == list(range(1, FLOOD + 1))
    assert client.of("resync") == []


@pytest.mark.parametrize("kind", CENTRIFUGE, ids=name_of)
async def test_a_tenant_sees_its_own_topics_alone(
    kind: Kind, house: House, nursery: trio.Nursery
) -> None:
    token = token_for(time.time() + HOUR_S, tenant=OTHER_TENANT)
    closed = [f"tenant:{TENANT}", "ops"]
    topics = [TOPIC, *closed]

    client = await kind.start(house.address, nursery, tokens=[token], topics=topics)
    await client.told("subscribed")
    refused = await client.told("unsubscribed", 2)
    await house.publish(tick(1), tick(2))
    await house.publish(tick(3), key=OTHER_KEY)
    await client.until(lambda: bool(client.of("event")))

    assert {each["topic"]: each["code"] for each in refused} == dict.fromkeys(
        closed, PERMISSION_DENIED
    )
    assert (client.numbers, client.offsets) == ([3], [1])


@pytest.mark.parametrize("kind", [CENTRIFUGE_JS, OWN], ids=name_of)
async def test_a_tenant_hears_of_its_sessions(
    kind: Kind, house: House, nursery: trio.Nursery
) -> None:
    topic = f"tenant:{TENANT}"
    client = await kind.start(house.address, nursery, tokens=[KEY], topics=[topic])
    await client.told(follows(kind))

    headers = {"Authorization": f"Bearer {KEY}"}
    url = f"ws://{house.address}/v1/realtime?model=gpt-realtime"
    async with connect(url, additional_headers=headers) as socket:
        await socket.send('{"type": "response.create"}')
        while json.loads(await socket.recv())["type"] != "response.done":
            pass
    heard: list[str] = []
    await client.until(lambda: "session.ended" in events_of(client.of("event"), heard))

    assert [each for each in heard if each != "stats"] == [
        "session.opened",
        "session.connected",
        "turn.started",
        "turn.first_output",
        "usage.charged",
        "turn.ended",
        "session.ended",
    ]


def events_of(lines: list[dict[str, dict[str, str]]], into: list[str]) -> list[str]:
    """The names of the events, put ``into`` the list."""
    into[:] = [line["envelope"]["event"] for line in lines]
    return into


async def test_a_client_of_as_many_topics_as_may_be_comes_back(
    house: House, nursery: trio.Nursery
) -> None:
    forwarder = Forwarder(house.address)
    await nursery.start(forwarder.run)
    topics = [f"workflow:w{number}" for number in range(TOPICS_MAX)]
    client = await CENTRIFUGE_JS.start(forwarder.address, nursery, topics=topics)
    await client.told("subscribed", TOPICS_MAX)

    await forwarder.cut()
    await client.told("subscribed", 2 * TOPICS_MAX)

    assert client.of("disconnected") == []
