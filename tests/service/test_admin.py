"""The admin listener: what it answers, to whom, and how it says no."""

from __future__ import annotations

import json
import socket

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.secret import Secret
from relayd.service.admin import HEAD_MAX_BYTES, REQUEST_S, Admin, Readiness
from tests.faults.wire import Response, Wire

TOKEN = "canary-of-admin"
READY = Readiness(draining=False, overloaded=False, ledger_failing=False)


@attrs.define
class Stage:
    """An admin listener, asked over a pair of sockets."""

    readiness: Readiness = READY
    token: Secret | None = attrs.field(factory=lambda: Secret(TOKEN))

    async def ask(self, request: bytes, *, tcp: bool = False) -> bytes:
        """All that comes back for ``request``."""
        near, far = pair(tcp=tcp)
        near.setblocking(False)
        wire = Wire(trio.socket.from_stdlib_socket(far))
        admin = Admin(token=self.token, readiness=lambda: self.readiness)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admin.serve, near, "somewhere")
            await wire.send(request)
            await wire.finish()
            await wire.end()
        assert near.fileno() == -1
        wire.close()
        return bytes(wire.seen)

    async def get(self, path: str, *, tcp: bool = False, **headers: str) -> Response:
        return Response.parse(await self.ask(request("GET", path, **headers), tcp=tcp))


def pair(*, tcp: bool) -> tuple[socket.socket, socket.socket]:
    if not tcp:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    return near, far


def request(method: str, path: str, **headers: str) -> bytes:
    lines = {"Host": "127.0.0.1:8766"} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode()


async def test_it_says_that_relayd_lives_even_when_it_is_not_ready() -> None:
    stage = Stage(Readiness(draining=True, overloaded=True, ledger_failing=False))

    response = await stage.get("/livez")

    assert (response.status, json.loads(response.body)) == (200, {"live": True})
    assert "Content-Type: application/json\r\n" in response.head
    assert "Connection: close\r\n" in response.head


@pytest.mark.parametrize(
    ("draining", "overloaded", "ledger_failing", "status"),
    [
        (False, False, False, 200),
        (True, False, False, 503),
        (False, True, False, 503),
        (False, False, True, 503),
    ],
)
async def test_it_says_whether_connections_are_welcome_and_why_not(
    draining: bool, overloaded: bool, ledger_failing: bool, status: int
) -> None:
    stage = Stage(
        Readiness(draining=draining, overloaded=overloaded, ledger_failing=ledger_failing)
    )

    response = await stage.get("/readyz")

    assert response.status == status
    assert json.loads(response.body) == {
        "ready": status == 200,
        "draining": draining,
        "overloaded": overloaded,
        "ledger_failing": ledger_failing,
    }


async def test_a_head_request_gets_the_same_head_without_the_body() -> None:
    whole = await Stage().ask(request("GET", "/readyz"))
    head, _, _ = whole.partition(b"\r\n\r\n")

    assert await Stage().ask(request("HEAD", "/readyz")) == head + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics/", 404), ("POST", "/livez", 405), ("HEAD", "/x", 404)],
)
async def test_what_it_does_not_know_it_refuses(method: str, path: str, status: int) -> None:
    response = Response.parse(await Stage().ask(request(method, path)))

    assert response.status == status
    assert bool(response.body) is (method != "HEAD")
    assert ("Allow: GET, HEAD" in response.head) is (status == 405)


async def test_no_web_page_gets_an_answer() -> None:
    response = await Stage().get("/livez", Origin="http://127.0.0.1:8766")

    assert (response.status, json.loads(response.body)["error"]["code"]) == (
        403,
        "origin_not_allowed",
    )


@pytest.mark.parametrize("host", ["127.0.0.1:8766", "localhost:1", "[::1]:8766"])
async def test_over_tcp_the_token_and_a_loopback_name_are_let_in(host: str) -> None:
    bearer = {"Host": host, "Authorization": f"Bearer {TOKEN}"}

    assert (await Stage().get("/livez", tcp=True, **bearer)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
    ],
)
async def test_over_tcp_nothing_is_told_without_the_token(headers: dict[str, str]) -> None:
    for path in ("/livez", "/nothing-here"):
        response = await Stage().get(path, tcp=True, **headers)

        assert response.status == 401
        assert "WWW-Authenticate: Bearer" in response.head
        assert TOKEN not in response.head + response.body.decode()


async def test_over_tcp_without_a_configured_token_nobody_is_let_in() -> None:
    stage = Stage(token=None)

    assert (await stage.get("/livez", tcp=True, Authorization="Bearer ")).status == 401


@pytest.mark.parametrize("host", ["rebound.example:8766", "127.0.0.1.example:80", "127.0.0.1"])
async def test_over_tcp_another_host_s_name_is_refused_before_the_token_is_looked_at(
    host: str,
) -> None:
    bearer = {"Host": host, "Authorization": f"Bearer {TOKEN}"}

    response = await Stage().get("/livez", tcp=True, **bearer)

    assert (response.status, json.loads(response.body)["error"]["param"]) == (403, "host")


async def test_on_a_unix_socket_file_modes_rule_alone() -> None:
    assert (await Stage().get("/readyz", Host="anything")).status == 200


async def test_broken_requests_are_refused_and_a_peer_that_leaves_is_no_trouble() -> None:
    stage = Stage()

    assert Response.parse(await stage.ask(b"no http at all\r\n\r\n")).status == 400
    bomb = request("GET", "/livez", X="x" * HEAD_MAX_BYTES)
    assert Response.parse(await stage.ask(bomb)).status == 431
    assert await stage.ask(b"") == b""
    assert await stage.ask(b"GET /li") == b""


async def test_a_request_that_does_not_end_is_given_up(autojump_clock: MockClock) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.send(b"GET /livez HT")
    begin = trio.current_time()

    await Admin(token=None, readiness=lambda: READY).serve(near, "unix")

    assert trio.current_time() - begin == REQUEST_S
    assert far.recv(1) == b""
    far.close()
