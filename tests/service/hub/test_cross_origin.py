"""Pages of other origins: those that are allowed read the answers, and others nothing."""

from __future__ import annotations

import json

import pytest

from relayd.config.schema import ServerSettings
from relayd.service.hub.cross_origin import MAX_AGE_S
from tests.service.http.stage import Reply, request
from tests.service.hub.house import OPERATOR, USER, House, bearer, configured, error_of
from tests.service.hub.test_api import KILL, ROUTES

APP = "https://app.example"
ORIGIN = f"Origin: {APP}"
ALLOW = "access-control-allow-origin"


@pytest.fixture
async def house() -> House:
    """A relayd that lets the pages of one origin in."""
    return House(snapshot=configured(server=ServerSettings(allowed_origins=(APP,))))


async def ask(house: House, method: str, path: str, *headers: str) -> Reply:
    return await house.ask(method, path, b"", *headers)


def names(reply: Reply, header: str) -> set[str]:
    return set(reply.headers[header].lower().split(", "))


@pytest.mark.parametrize(("path", "method"), ROUTES.items())
async def test_a_page_may_ask_whether_it_may_ask(house: House, path: str, method: str) -> None:
    asked = f"Access-Control-Request-Method: {method}"
    wanted = "Access-Control-Request-Headers: authorization,idempotency-key"
    reply = await ask(house, "OPTIONS", path, ORIGIN, asked, wanted)

    assert (reply.status, reply.body, reply.headers[ALLOW]) == (204, b"", APP)
    assert method.lower() in names(reply, "access-control-allow-methods")
    assert names(reply, "access-control-allow-headers") >= {
        *("authorization", "content-type", "idempotency-key", "last-event-id"),
    }
    assert reply.headers["access-control-max-age"] == str(MAX_AGE_S)
    assert names(reply, "vary") == {"origin"}
    assert "access-control-allow-credentials" not in reply.headers
    assert not reply.closes


async def test_another_page_is_told_no(house: House) -> None:
    asked = "Access-Control-Request-Method: GET"
    reply = await ask(house, "OPTIONS", "/api/v1/me", "Origin: https://evil.example", asked)

    assert error_of(reply)[:2] == (403, "origin_not_allowed")
    assert ALLOW not in reply.headers
    assert names(reply, "vary") == {"origin"}


async def test_what_asks_without_being_a_page_hears_what_there_is(house: House) -> None:
    reply = await ask(house, "OPTIONS", KILL)

    assert (reply.status, reply.headers["allow"]) == (204, "OPTIONS, POST")
    assert not {ALLOW, "access-control-allow-methods"} & set(reply.headers)


async def test_an_answer_may_be_read_by_the_page_that_asked(house: House) -> None:
    reply = await ask(house, "GET", "/api/v1/me", ORIGIN, bearer(USER))

    assert (reply.status, json.loads(reply.body)["name"]) == (200, "user")
    assert (reply.headers[ALLOW], names(reply, "vary")) == (APP, {"origin"})
    assert {"x-request-id", "retry-after"} <= names(reply, "access-control-expose-headers")
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "credential", "status"),
    [("/api/v1/me", (), 401), ("/api/v1/me?x=1", (bearer(USER),), 400), (KILL, (), 401)],
)
async def test_a_refusal_may_be_read_too(
    house: House, path: str, credential: tuple[str, ...], status: int
) -> None:
    reply = await ask(house, ROUTES.get(path, "GET"), path, ORIGIN, *credential)

    assert (reply.status, reply.headers[ALLOW]) == (status, APP)
    assert "www-authenticate" in reply.headers or status != 401


async def test_a_stream_may_be_read_as_it_comes(house: House) -> None:
    async with house.client() as client:
        await client.send(request("GET", "/api/v1/events?topics=workflow:w", b"", ORIGIN, AS_USER))
        head = (await client.until(b"\r\n\r\n")).lower()

    assert f"{ALLOW}: {APP}\r\n".encode() in head
    assert b"text/event-stream" in head


AS_USER = bearer(USER)


@pytest.mark.parametrize("path", ["/api/v1/me", "/dashboard"])
async def test_who_is_no_page_is_told_nothing_of_pages(house: House, path: str) -> None:
    reply = await ask(house, "GET", path, bearer(OPERATOR))

    assert reply.status == 200
    assert not [name for name in reply.headers if name.startswith("access-control")]
    assert ("vary" in reply.headers) == (path != "/dashboard")


async def test_an_origin_that_cannot_be_sent_back_is_not(house: House) -> None:
    house.snapshot = configured(server=ServerSettings(allowed_origins=("*",)))
    async with house.client() as client:
        raw = request("GET", "/api/v1/me", b"", "Origin: https://é.example", AS_USER).decode()
        await client.send(raw.encode("latin-1"))
        reply = await client.reply()

    assert reply.status == 200
    assert ALLOW not in reply.headers
