"""Publishing over HTTP: what is taken, what is refused, and that a request counts once."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.service.hub.publish import BODY_MAX_BYTES
from tests.service.admin.stage import WALL
from tests.service.http.stage import LIMITS, Reply, request
from tests.service.hub.house import (
    EPOCH,
    OPERATOR,
    PUBLISHER,
    RIVAL,
    USER,
    House,
    bearer,
    error_of,
    signed,
)

PATH = "/api/v1/publish"
EVENT: dict[str, Any] = {"topic": "workflow:w", "event": "token_stream", "data": {"chunk": "x"}}
KEYED = "Idempotency-Key: 5d5c6a9e"


@pytest.fixture
async def house() -> House:
    """A relayd whose connections take any body that is short enough for the hub."""
    made = House()
    made.http.limits = attrs.evolve(LIMITS, body_max_bytes=64 << 20)
    made.http.hold = type(made.http.hold)(64 << 20)
    return made


async def publish(
    house: House, body: object, *headers: str, who: str = PUBLISHER, query: str = ""
) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await house.ask("POST", PATH + query, data, bearer(who), *headers)


def published(house: House, topic: str = "workflow:w", tenant: str = "acme") -> list[Any]:
    past = house.hub.history(tenant, topic, now=trio.current_time()).publications
    assert past is not None
    return [json.loads(each.data) for each in past]


def heard(house: House) -> int:
    return house.hub.totals().published


# -- what is taken


async def test_an_event_is_published_and_answered_with_its_place(
    house: House, autojump_clock: MockClock
) -> None:
    body = EVENT | {"session_id": "s1", "node_id": "n1", "droppable": True}
    reply = await publish(house, body)

    assert (reply.status, json.loads(reply.body)) == (
        200,
        {"id": f"{EPOCH}:1", "topic": "workflow:w", "epoch": EPOCH, "offset": 1, "seq": 1},
    )
    past = house.hub.history("acme", "workflow:w", now=trio.current_time()).publications
    assert past is not None
    (each,) = past
    assert (each.event, each.session_id, each.node_id) == ("token_stream", "s1", "n1")
    assert (each.tenant, each.droppable, each.ts) == ("acme", True, WALL)
    assert json.loads(each.data) == {"chunk": "x"}


async def test_a_list_is_published_in_its_order(house: House) -> None:
    events = [EVENT | {"data": n, "topic": f"workflow:{n % 2}"} for n in range(100)]
    reply = await publish(house, {"events": events})

    results = json.loads(reply.body)["results"]
    assert [(each["topic"], each["offset"], each["seq"]) for each in results] == [
        (f"workflow:{n % 2}", n // 2 + 1, n + 1) for n in range(100)
    ]
    assert published(house, "workflow:1") == list(range(1, 100, 2))


async def test_who_follows_gets_it(house: House) -> None:
    subscriber = house.listen()
    await publish(house, EVENT)

    (frame,) = subscriber.outbox.take(65536, trio.current_time())
    assert b'"event":"token_stream"' in frame


async def test_it_goes_to_the_tenant_of_who_publishes(house: House) -> None:
    subscriber = house.listen("acme")
    reply = await publish(house, EVENT, who=RIVAL)

    assert reply.status == 200
    assert published(house, tenant="rival") == [{"chunk": "x"}]
    assert not subscriber.outbox


@pytest.mark.parametrize("who", [OPERATOR, PUBLISHER, signed(publish=["workflow:*"])])
@pytest.mark.parametrize(
    "header",
    [
        "Content-Type: application/json",
        "Content-Type: Application/JSON; charset=utf-8",
        "Content-Type: application/vnd.acme+json",
        "Content-Encoding: identity",
    ],
)
async def test_whoever_may_publish_does(house: House, who: str, header: str) -> None:
    assert (await publish(house, EVENT, header, who=who)).status == 200


async def test_the_largest_event_fits(house: House) -> None:
    reply = await publish(house, EVENT | {"data": "x" * 65_534})

    assert reply.status == 200


# -- all or nothing


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "malformed_request", None),
        (b"{", "malformed_request", None),
        (b'{"topic":"\xff"}', "malformed_request", None),
        (b"[" * 100_000, "invalid_parameter", None),
        (b'{"data":' + b"[" * 100_000, "malformed_request", None),
        ([EVENT], "invalid_parameter", None),
        ({}, "invalid_parameter", None),
        ({"events": []}, "invalid_parameter", "events"),
        ({"events": [EVENT] * 101}, "invalid_parameter", "events"),
        ({"events": {}}, "invalid_parameter", "events"),
        ({"events": [EVENT], "topic": "workflow:w"}, "invalid_parameter", None),
        (EVENT | {"event": "two words"}, "invalid_parameter", "event"),
        (EVENT | {"topic": "workflow:"}, "invalid_parameter", "topic"),
        (EVENT | {"topic": "workflow:*"}, "invalid_parameter", "topic"),
        (EVENT | {"other": 1}, "invalid_parameter", None),
        (EVENT | {"data": "x" * 65_535}, "event_too_large", "data"),
        ({"events": [EVENT, EVENT | {"event": ""}]}, "invalid_parameter", "events[1].event"),
    ],
)
async def test_what_is_no_event_is_refused_and_nothing_published(
    house: House, body: object, code: str, param: str | None
) -> None:
    reply = await publish(house, body)

    assert error_of(reply) == (400, code, param)
    assert heard(house) == 0


@pytest.mark.parametrize(
    "topic", ["ops", "tenant:acme", "tenant:rival", "session:sess_1", "session:sess_"]
)
@pytest.mark.parametrize("who", [PUBLISHER, OPERATOR, signed(publish=["*"])])
async def test_some_topics_are_relayds_own(house: House, topic: str, who: str) -> None:
    alone = await publish(house, EVENT | {"topic": topic}, who=who)
    listed = await publish(house, {"events": [EVENT, EVENT | {"topic": topic}]}, who=who)

    assert error_of(alone) == (403, "topic_not_allowed", "topic")
    assert error_of(listed) == (403, "topic_not_allowed", "events[1].topic")
    assert heard(house) == 0


async def test_a_token_publishes_where_it_says(house: House) -> None:
    who = signed(publish=["workflow:a", "session:b*"])

    assert (await publish(house, EVENT | {"topic": "workflow:a"}, who=who)).status == 200
    assert (await publish(house, EVENT | {"topic": "session:b2"}, who=who)).status == 200
    assert error_of(await publish(house, EVENT, who=who))[:2] == (403, "topic_not_allowed")
    assert heard(house) == 2


@pytest.mark.parametrize("who", [USER, signed(), signed(topics=["*"])])
async def test_who_may_not_publish_is_told_before_the_body_is_read(house: House, who: str) -> None:
    async with house.client() as client:
        whole = request("POST", PATH, b"x" * 1000, bearer(who))
        await client.send(whole[: whole.index(b"\r\n\r\n") + 4])
        reply = await client.reply("POST")

    assert error_of(reply) == (403, "role_not_allowed", None)


# -- what it comes in


@pytest.mark.parametrize(
    ("header", "param"),
    [
        ("Content-Type: text/plain", "content-type"),
        ("Content-Type: application/x-www-form-urlencoded", "content-type"),
        ("Content-Type: application/jsonp", "content-type"),
        ("Content-Type: multipart/form-data; boundary=application/json", "content-type"),
        ("Content-Encoding: gzip", "content-encoding"),
    ],
)
async def test_anything_but_plain_json_is_refused(house: House, header: str, param: str) -> None:
    reply = await publish(house, EVENT, header)

    assert error_of(reply) == (415, "unsupported_media_type", param)
    assert heard(house) == 0


async def test_a_body_that_says_it_is_too_long_is_not_waited_for(house: House) -> None:
    async with house.client() as client:
        length = f"Content-Length: {BODY_MAX_BYTES + 1}"
        head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\n{bearer(PUBLISHER)}\r\n{length}\r\n\r\n"
        await client.send(head.encode())
        reply = await client.reply("POST")

    assert error_of(reply) == (413, "body_too_large", None)
    assert reply.closes


async def test_one_that_turns_out_too_long_is_not_kept(house: House) -> None:
    async with house.client() as client:
        chunked = "Transfer-Encoding: chunked"
        head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\n{bearer(PUBLISHER)}\r\n{chunked}\r\n\r\n"
        await client.send(head.encode())
        for _ in range(BODY_MAX_BYTES // 65536 + 1):
            await client.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        reply = await client.reply("POST")

    assert error_of(reply) == (413, "body_too_large", None)


@pytest.mark.parametrize("query", ["?topic=workflow:w", "?access_token=x.y.z"])
async def test_the_query_means_nothing_here(house: House, query: str) -> None:
    reply = await publish(house, EVENT, query=query)

    assert reply.status in {400, 401}
    assert heard(house) == 0


# -- once


@pytest.mark.parametrize("body", [EVENT, {"events": [EVENT, EVENT]}])
async def test_a_request_that_is_repeated_counts_once(house: House, body: object) -> None:
    first = await publish(house, body, KEYED)
    count = heard(house)
    again = await publish(house, body, KEYED)

    assert (again.status, again.body) == (200, first.body)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert heard(house) == count > 0


async def test_two_publishers_of_a_tenant_may_use_the_same_key(house: House) -> None:
    await publish(house, EVENT, KEYED)
    reply = await publish(house, EVENT | {"data": 2}, KEYED, who=signed(publish=["*"]))

    assert reply.status == 200
    assert "idempotent-replayed" not in reply.headers
    assert heard(house) == 2


async def test_a_key_that_came_with_another_body_is_refused(house: House) -> None:
    await publish(house, EVENT, KEYED)
    reply = await publish(house, EVENT | {"data": 2}, KEYED)

    assert error_of(reply) == (422, "idempotency_key_reused", "idempotency-key")
    assert published(house) == [{"chunk": "x"}]


async def test_without_a_key_every_request_counts(house: House) -> None:
    await publish(house, EVENT)
    await publish(house, EVENT)

    assert heard(house) == 2


async def test_keys_of_tenants_do_not_meet(house: House) -> None:
    await publish(house, EVENT, KEYED)
    reply = await publish(house, EVENT | {"data": 2}, KEYED, who=RIVAL)

    assert reply.status == 200
    assert published(house, tenant="rival") == [2]


async def test_who_may_not_publish_there_is_not_shown_the_answer(house: House) -> None:
    await publish(house, EVENT, KEYED)
    reply = await publish(house, EVENT, KEYED, who=signed(publish=["workflow:other"]))

    assert error_of(reply)[:2] == (403, "topic_not_allowed")


async def test_a_key_is_forgotten_in_time(house: House, autojump_clock: MockClock) -> None:
    await publish(house, EVENT, KEYED)
    await trio.sleep(301)
    await publish(house, EVENT, KEYED)

    assert heard(house) == 2


async def test_what_was_refused_has_no_answer_to_repeat(
    house: House, autojump_clock: MockClock
) -> None:
    house.pace.take("acme", house.pace.burst, trio.current_time())
    refused = await publish(house, EVENT, KEYED)
    await trio.sleep(1)
    again = await publish(house, EVENT, KEYED)

    assert (refused.status, again.status) == (429, 200)
    assert "idempotent-replayed" not in again.headers


@pytest.mark.parametrize("key", ["", "two words", "x" * 257, "\xe9", "a\r\n" + KEYED])
async def test_a_key_is_visible_ascii_once(house: House, key: str) -> None:
    data = json.dumps(EVENT).encode()
    head = f"Idempotency-Key: {key}"
    async with house.client() as client:
        raw = request("POST", PATH, data, bearer(PUBLISHER)).decode()
        raw = raw.replace("\r\n\r\n", f"\r\n{head}\r\n\r\n", 1)
        await client.send(raw.encode("latin-1"))
        reply = await client.reply("POST")

    assert reply.status == 400
    assert heard(house) == 0


# -- not too fast


async def test_a_tenant_that_publishes_too_fast_is_told_when_to_come_back(
    house: House, autojump_clock: MockClock
) -> None:
    house.pace.per_s, house.pace.burst = 10.0, 100
    batch = {"events": [EVENT] * 100}
    assert (await publish(house, batch)).status == 200

    reply = await publish(house, {"events": [EVENT] * 15})

    assert error_of(reply) == (429, "rate_limit_exceeded", None)
    assert reply.headers["retry-after"] == "2"
    assert heard(house) == 100
    assert (await publish(house, EVENT, who=RIVAL)).status == 200
    await trio.sleep(1.5)
    assert (await publish(house, {"events": [EVENT] * 15})).status == 200
