"""What clients of the event hub do wrong, and what is done to them, at a whole relayd."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from relayd.config.dialects import DialectSettings, HubKeepalive
from relayd.config.hub import HubSettings
from relayd.config.keys import Role
from relayd.config.schema import Settings
from relayd.config.secret import Secret
from relayd.config.snapshot import Snapshot
from relayd.observe.events import LogEvent
from relayd.session.closing import CLOSE_GRACE_S
from relayd.session.hub.tokens import LEEWAY_S
from tests.faults.harness import CLIENT_KEY, KEY, LIMITS, Relay, Stage, accepted
from tests.faults.wire import BINARY, CLOSE, TEXT, Response, Wire, frame
from tests.session.hub.signing import SECRET, token

OTHERS = 20
MORE_THAN_BUFFERS_TAKE = 110
"""Events of 60,000 bytes: the kernel keeps up to 4 MiB for a connection, the outbox a little."""

PROMPT_S = 1.0
"""What publishing takes at most, on a busy machine."""

WORKFLOW = "workflow:w"
COUNCIL, CENTRIFUGE = f"/api/v1/ws?topics={WORKFLOW}", "/connection/websocket"
OPERATOR = attrs.evolve(KEY, role=Role.OPERATOR)
PATIENT = attrs.evolve(LIMITS, stall_s=60.0)
"""Who stops reading is cut for what waits, not for how long."""

PACED_EVENT, PACED_COUNT = "x" * 300, 800
"""More than the kernel takes, and less than a topic remembers."""

Json = dict[str, Any]


@asynccontextmanager
async def hub(stage: Stage, **changes: Any) -> AsyncIterator[Relay]:  # noqa: ANN401 - as settings have it
    """A relayd whose one key is an operator's; ``changes`` are of its settings."""
    async with stage.relay(key=OPERATOR) as relay:
        relay.running.apply(other(stage, **changes))
        yield relay


def other(stage: Stage, **changes: Any) -> Snapshot:  # noqa: ANN401 - as above
    settings: Settings = stage.snapshot(key=OPERATOR).settings
    return Snapshot.of(attrs.evolve(settings, **changes))


async def welcomed(relay: Relay, path: str = COUNCIL, **how: Any) -> Wire:  # noqa: ANN401 - as a client comes
    """A client of the hub's own wire that has read its welcome."""
    wire = await relay.asking(path, **how)
    await accepted(wire)
    assert (await message(wire))["type"] == "welcome"
    return wire


async def connected(relay: Relay) -> Wire:
    """A client of the Centrifuge protocol that follows :data:`WORKFLOW`."""
    wire = await relay.asking(CENTRIFUGE)
    await accepted(wire)
    await say(wire, {"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": WORKFLOW}})
    assert [(await message(wire))["id"] for _ in range(2)] == [1, 2]
    return wire


async def say(wire: Wire, *messages: Json) -> None:
    await wire.send(b"".join(frame(TEXT, json.dumps(each).encode()) for each in messages))


async def message(wire: Wire) -> Json:
    got = await wire.frame()
    assert got.opcode == TEXT, got
    found: Json = json.loads(got.payload)
    return found


async def publish(relay: Relay, data: object, count: int = 1) -> list[int]:
    """Publish by HTTP; the offsets."""
    event = {"topic": WORKFLOW, "event": "e", "data": data}
    body = json.dumps({"events": [event] * count}).encode()
    wire = await relay.client()
    head = (
        "POST /api/v1/publish HTTP/1.1\r\nHost: relayd.test\r\nConnection: close\r\n"
        f"Authorization: Bearer {CLIENT_KEY}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    await wire.send(head.encode() + body)
    await wire.end()
    wire.close()
    response = Response.parse(bytes(wire.seen))
    assert response.status == 200, response
    return [each["offset"] for each in json.loads(response.body)["results"]]


# -- too slow


@pytest.mark.slow
async def test_who_stops_reading_is_evicted_and_nobody_else_notices(stage: Stage) -> None:
    settings = HubSettings(queue_bytes=262_144, history_bytes=1 << 26)
    async with hub(stage, hub=settings, limits=PATIENT) as relay:
        others = [
            await (connected(relay) if number % 2 else welcomed(relay)) for number in range(OTHERS)
        ]
        stopped = await relay.asking(COUNCIL, receive_buffer=4096)
        await accepted(stopped)
        epoch = (await message(stopped))["epoch"]
        filler, offset, slowest_s = "x" * 60_000, 0, 0.0
        while offset < MORE_THAN_BUFFERS_TAKE:
            began = trio.current_time()
            (offset,) = await publish(relay, filler)
            slowest_s = max(slowest_s, trio.current_time() - began)
            for each in others:
                assert offset_of(await message(each)) == offset
        assert slowest_s < PROMPT_S
        seen = await read_to_the_end(stopped)
        line = await relay.log.session_ended()
        assert (line["reason"], line["client_close"], line["fault"]) == (
            "client_slow",
            4008,
            "client",
        )
        back = await relay.asking(f"{COUNCIL}&since={epoch}:{len(seen)}")
        await accepted(back)
        assert (await message(back))["recovered"] is True
        missed = [offset_of(await message(back)) for _ in range(offset - len(seen))]
        assert [offset_of(each) for each in seen] + missed == list(range(1, offset + 1))


@pytest.mark.slow
async def test_who_stopped_misses_nothing_as_a_topic_remembers_by_default(stage: Stage) -> None:
    async with hub(stage) as relay:
        stopped = await relay.asking(COUNCIL, receive_buffer=65_536)
        await accepted(stopped)
        epoch = (await message(stopped))["epoch"]
        for _ in range(PACED_COUNT // 10):
            offset = (await publish(relay, PACED_EVENT, 10))[-1]
        assert relay.hold.bytes_held > 0
        await trio.sleep(2 * LIMITS.stall_s)  # it is slow now, and waited for
        seen = [offset_of(each) for each in await read_to_the_end(stopped)]
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) < offset
        back = await relay.asking(f"{COUNCIL}&since={epoch}:{len(seen)}")
        await accepted(back)
        assert (await message(back))["recovered"] is True
        missed = [offset_of(await message(back)) for _ in range(offset - len(seen))]
        assert missed == list(range(len(seen) + 1, offset + 1))


async def test_a_drain_waits_for_a_client_that_has_stopped_no_longer_than_for_others(
    stage: Stage,
) -> None:
    async with hub(stage, hub=HubSettings(queue_count=10), limits=PATIENT) as relay:
        stopped = await relay.asking(COUNCIL, receive_buffer=4096)
        await accepted(stopped)
        for _ in range(50):
            await publish(relay, "x" * 20_000)
        assert relay.hold.bytes_held > 0  # it is too slow, and waited for
        assert not relay.log.of(LogEvent.SESSION_ENDED)
        began = trio.current_time()
        relay.running.drain()
        line = await relay.log.session_ended()
        assert trio.current_time() - began < CLOSE_GRACE_S + PROMPT_S
        assert (line["reason"], line["client_close"]) == ("client_slow", None)
        await relay.stopped()


async def test_who_stops_for_a_moment_is_told_4008_and_resumes(stage: Stage) -> None:
    async with hub(stage, hub=HubSettings(queue_count=10), limits=PATIENT) as relay:
        slow = await welcomed(relay, receive_buffer=4096)
        await publish(relay, "x" * 60_000, 15)
        await publish(relay, "x" * 9_000, 100)
        got = []
        while (each := await slow.frame()).opcode != CLOSE:
            got.append(offset_of(json.loads(each.payload)))
        assert (each.close_code, each.payload[2:]) == (4008, b"slow")
        assert got == list(range(1, len(got) + 1))
        await slow.finish()


def offset_of(event: Json) -> int:
    """On either wire."""
    if "push" in event:
        offset: int = event["push"]["pub"]["offset"]
        return offset
    return int(event["id"].partition(":")[2])


async def read_to_the_end(wire: Wire) -> list[Json]:
    """The events that still come, up to 4008."""
    seen = []
    while (got := await wire.frame()).opcode == TEXT:
        seen.append(json.loads(got.payload))
    assert (got.close_code, got.payload[2:]) == (4008, b"slow")
    await wire.finish()
    return seen


# -- not the protocol


@pytest.mark.parametrize("path", [COUNCIL, CENTRIFUGE])
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"nonsense"), 4501),
        (frame(TEXT, b'{"connect":' * 5000), 4501),
        (frame(TEXT, b"\n".join([b"{}"] * 1000)), 4501),
        (frame(BINARY, b"{}"), 4501),
        (frame(TEXT, b"{}" * 40_000), 1009),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(3, b""), 1002),
    ],
)
async def test_what_nobody_of_this_protocol_sends(
    stage: Stage, path: str, sent: bytes, code: int
) -> None:
    async with hub(stage) as relay:
        wire = await (connected(relay) if path == CENTRIFUGE else welcomed(relay))
        await wire.send(sent)
        assert await wire.goodbye() == code
        assert (await relay.log.session_ended())["client_close"] == code


@pytest.mark.parametrize("text", [b'{"type":"ping"}', b"ping"])
async def test_a_flood(stage: Stage, text: bytes) -> None:
    async with hub(stage) as relay:
        wire, other_one = await welcomed(relay), await welcomed(relay)
        await wire.send(frame(TEXT, text) * 1000)
        assert await wire.goodbye() == 4501
        assert (await relay.log.session_ended())["reason"] == "control_flood"
        await publish(relay, 1)
        assert (await message(other_one))["data"] == 1


async def test_a_client_that_is_cut_off_in_the_middle_of_a_message(stage: Stage) -> None:
    async with hub(stage) as relay:
        wire = await welcomed(relay)
        await wire.send(frame(TEXT, b'{"type":"ping"}')[:-3])
        wire.reset()
        assert (await relay.log.session_ended())["reason"] == "client_gone"


# -- time


async def test_a_half_open_client_ends_with_4009(stage: Stage) -> None:
    dialects = DialectSettings(hub=HubKeepalive(keepalive_s=0.2, pong_s=0.2))
    async with hub(stage, dialects=dialects) as relay:
        for wire in (await welcomed(relay), await connected(relay)):
            assert (await wire.until_close()).close_code == 4009
            await wire.finish()
        line = await relay.log.session_ended(2)
        assert (line["reason"], line["client_close"]) == ("client_silent", 4009)


async def test_a_token_that_expires_ends_with_4005(stage: Stage) -> None:
    async with hub(stage, hub=HubSettings(jwt_hs256_secret=Secret(SECRET))) as relay:
        made = token(exp=time.time() - LEEWAY_S + 0.4, tenant="acme")
        wire = await welcomed(relay, headers={"Authorization": f"Bearer {made}"})
        got = await wire.until_close()
        assert (got.close_code, got.payload[2:]) == (4005, b"expired")
        await wire.finish()
        assert (await relay.log.session_ended())["key"] == "jwt:alice"


# -- ended by relayd


async def test_a_drain_ends_with_4001(stage: Stage) -> None:
    async with hub(stage) as relay:
        wires = [await welcomed(relay), await connected(relay)]
        relay.running.drain()
        for wire in wires:
            assert await wire.goodbye() == 4001
        await relay.stopped()


async def test_a_key_that_is_removed_ends_with_4503(stage: Stage) -> None:
    async with hub(stage) as relay:
        wires = [await welcomed(relay), await connected(relay)]
        relay.running.apply(other(stage, keys=()))
        for wire in wires:
            assert await wire.goodbye() == 4503
        assert (await relay.log.session_ended(2))["reason"] == "key_removed"


async def test_after_a_restart_what_was_missed_is_lost_and_said_to_be(stage: Stage) -> None:
    async with hub(stage) as relay:
        wire = await welcomed(relay)
        await publish(relay, 1)
        place = (await message(wire))["id"]
    async with hub(stage) as relay:
        wire = await relay.asking(f"{COUNCIL}&since={place}")
        await accepted(wire)
        assert (await message(wire))["recovered"] is False
        assert (await message(wire))["event"] == "resync_required"
        await publish(relay, 2)
        assert (await message(wire))["data"] == 2
