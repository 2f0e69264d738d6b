"""Who may ask: every route and method without a token, with a wrong one, from a web page."""

from __future__ import annotations

import pytest

from relayd.config.address import TcpAddress
from relayd.config.secret import Secret
from relayd.core.refusals import Refusal
from relayd.protocol.http1 import RequestReader
from relayd.service.admin.access import own_addresses, refuse_access
from relayd.service.admin.routes import OPERATIONS, Operation
from tests.service.admin.stage import BEARER, LOOPBACK, TOKEN, Stage, error_of
from tests.service.http.stage import Reply

CLIENT_KEY = "canary-of-client"
STRANGERS = [
    (),
    (f"Authorization: Bearer {CLIENT_KEY}",),
    (f"x-api-key: {TOKEN}",),
    (f"api-key: {CLIENT_KEY}",),
    (f"Sec-WebSocket-Protocol: openai-insecure-api-key.{TOKEN}",),
    (f"Authorization: Bearer {TOKEN}x",),
    (f"Authorization: Bearer {TOKEN[:-1]}",),
    (f"Authorization: Basic {TOKEN}",),
    ("Authorization: Bearer ",),
    (f"Authorization: {TOKEN}",),
    ("Authorization: Bearer \xff\xfe",),
]
EVERY_ROUTE = [*OPERATIONS, None]


def line(operation: Operation | None) -> tuple[str, str]:
    """Method and path of a request for ``operation``; ``None``: of one that is not there."""
    if operation is None:
        return "GET", "/nothing/here"
    path = operation.pattern.replace("{session_id}", "sess_1").replace("{name}", "talk")
    return operation.method, path


async def over_tcp(stage: Stage, method: str, path: str, *headers: str) -> Reply:
    """One request over TCP; what the HTTP stage says as Host is replaced."""
    async with stage.client(tcp=True) as client:
        lines = "".join(f"{each}\r\n" for each in headers)
        await client.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        return await client.reply(method)


@pytest.mark.parametrize("operation", EVERY_ROUTE, ids=str)
@pytest.mark.parametrize("headers", STRANGERS, ids=lambda headers: str(headers[:1]))
async def test_over_tcp_nothing_is_told_or_done_without_the_token(
    stage: Stage, operation: Operation | None, headers: tuple[str, ...]
) -> None:
    session = stage.session(1)
    method, path = line(operation)
    others = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}
    for verb in (method, *sorted(others - {method})):
        reply = await over_tcp(stage, verb, path, f"Host: {LOOPBACK}", *headers)

        assert reply.status == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert not [name for name in reply.headers if name.startswith("access-control")]
        if verb != "HEAD":
            assert error_of(reply)["code"] == "invalid_api_key"
    assert session.leaving is None
    assert stage.done == []
    assert stage.connector.dialled == []


@pytest.mark.parametrize("operation", EVERY_ROUTE, ids=str)
@pytest.mark.parametrize("tcp", [False, True])
async def test_a_web_page_gets_no_answer_even_with_the_token(
    stage: Stage, operation: Operation | None, tcp: bool
) -> None:
    session = stage.session(1)
    method, path = line(operation)
    for origin in (f"http://{LOOPBACK}", "null", ""):
        headers = (f"Host: {LOOPBACK}", BEARER, f"Origin: {origin}")
        if tcp:
            reply = await over_tcp(stage, method, path, *headers)
        else:
            reply = await stage.ask(method, path, *headers[1:])

        assert reply.status == 403
        assert error_of(reply)["code"] == "origin_not_allowed"
        assert not [name for name in reply.headers if name.startswith("access-control")]
    assert (session.leaving, stage.done) == (None, [])


@pytest.mark.parametrize("host", [LOOPBACK, "localhost:1", "LOCALHOST:1", "[::1]:8766", "[::1]"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_over_tcp_the_token_and_a_loopback_name_are_let_in(
    stage: Stage, host: str, scheme: str
) -> None:
    reply = await over_tcp(
        stage, "GET", "/livez", f"Host: {host}", f"Authorization: {scheme} {TOKEN}"
    )

    assert reply.status == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example:8766",
        "127.0.0.1.example:80",
        "0.0.0.0:8766",
        "10.0.0.5:8766",
        "127.1:8766",
        "2130706433:8766",
    ],
)
async def test_another_host_s_name_is_refused_before_the_token_is_looked_at(
    stage: Stage, host: str
) -> None:
    for headers in ((BEARER,), ()):
        reply = await over_tcp(stage, "GET", "/livez", f"Host: {host}", *headers)

        assert (reply.status, error_of(reply)["param"]) == (403, "host")


async def test_without_a_configured_token_nobody_is_let_in_over_tcp(stage: Stage) -> None:
    stage.token = None
    for given in ("", "Bearer ", "Bearer None"):
        reply = await over_tcp(
            stage, "GET", "/livez", f"Host: {LOOPBACK}", f"Authorization: {given}"
        )

        assert reply.status == 401


async def test_on_a_unix_socket_file_modes_rule_alone(stage: Stage) -> None:
    reply = await stage.ask("GET", "/readyz")

    assert reply.status == 200


async def test_a_new_token_counts_from_the_next_request_on(stage: Stage) -> None:
    admin = stage.admin()
    async with stage.client(tcp=True, admin=admin) as client:
        asked = f"GET /livez HTTP/1.1\r\nHost: {LOOPBACK}\r\n{BEARER}\r\n\r\n".encode()
        await client.send(asked)
        assert (await client.reply()).status == 200
        admin.token = Secret("another-token")
        await client.send(asked)

        assert (await client.reply()).status == 401


def asked_of(own: str, host: str, *headers: str) -> Refusal | None:
    """What a listener that the configuration calls ``own`` says to a request for ``host``."""
    lines = "".join(f"{each}\r\n" for each in (f"Host: {host}", *headers))
    head = RequestReader(4096).feed(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
    assert head is not None
    return refuse_access(head, Secret(TOKEN), tcp=True, own=own_addresses(own))


@pytest.mark.parametrize(
    ("own", "host"),
    [
        ("10.0.0.5:8766", "10.0.0.5:8766"),
        ("10.0.0.5:8766", LOOPBACK),
        ("10.0.0.5:80", "10.0.0.5"),
        ("relay-1.internal:8766", "Relay-1.Internal:8766"),
        ("[2001:db8::5]:8766", "[2001:DB8:0::5]:8766"),
    ],
)
def test_the_configured_address_names_the_listener_as_loopback_does(own: str, host: str) -> None:
    assert asked_of(own, host, BEARER) is None


@pytest.mark.parametrize("own", ["10.0.0.5:8766", "relay-1.internal:8766"])
@pytest.mark.parametrize(
    "host",
    [
        "rebound.example:8766",
        "rebound.example",
        "relay-1.internal.rebound.example:8766",
        "10.0.0.5.rebound.example:8766",
        "10.0.0.5:8767",
        "10.0.0.5",
        "10.0.0.6:8766",
        "relay-1.internal",
        "10.0.5:8766",
        "0.0.0.0:8766",
    ],
)
def test_another_name_at_the_configured_address_is_refused_even_with_the_token(
    own: str, host: str
) -> None:
    refusal = asked_of(own, host, BEARER)

    assert refusal is not None
    assert (refusal.status, refusal.param) == (403, "host")


def test_the_configured_address_does_not_stand_in_for_the_token() -> None:
    refusal = asked_of("10.0.0.5:8766", "10.0.0.5:8766")

    assert refusal is not None
    assert refusal.status == 401


def test_of_where_it_listens_only_what_names_one_place_is_an_address_of_its_own() -> None:
    places = ("admin", "unix:/run/admin.sock", "0.0.0.0:8766", "[::]:8766", "localhost:0")

    assert own_addresses(*places) == ()
    assert own_addresses("[::1]:0", "[::1]:40123") == (TcpAddress("::1", 40123),)


def test_no_refusal_holds_what_was_presented() -> None:
    refusal = asked_of("10.0.0.5:8766", LOOPBACK, f"Authorization: Bearer {CLIENT_KEY}")

    assert refusal is not None
    assert CLIENT_KEY not in repr(refusal)
    assert TOKEN not in repr(refusal)
