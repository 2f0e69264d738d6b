"""Who may ask: every route and method without a token, with a wrong one, from a web page."""

from __future__ import annotations

import pytest

from relayd.config.secret import Secret
from relayd.service.admin.access import refuse_access
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


@pytest.mark.parametrize("host", [LOOPBACK, "localhost:1", "[::1]:8766"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_over_tcp_the_token_and_a_loopback_name_are_let_in(
    stage: Stage, host: str, scheme: str
) -> None:
    reply = await over_tcp(
        stage, "GET", "/livez", f"Host: {host}", f"Authorization: {scheme} {TOKEN}"
    )

    assert reply.status == 200


@pytest.mark.parametrize(
    "host", ["rebound.example:8766", "127.0.0.1.example:80", "127.0.0.1", "0.0.0.0:8766"]
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


def test_no_refusal_holds_what_was_presented() -> None:
    from relayd.protocol.http1 import RequestReader  # noqa: PLC0415 - only here

    head = RequestReader(4096).feed(
        f"GET / HTTP/1.1\r\nHost: {LOOPBACK}\r\nAuthorization: Bearer {CLIENT_KEY}\r\n\r\n".encode()
    )
    assert head is not None

    refusal = refuse_access(head, Secret(TOKEN), tcp=True)

    assert refusal is not None
    assert CLIENT_KEY not in repr(refusal)
    assert TOKEN not in repr(refusal)
