"""The admin listener tells probes the truth, and tells nobody else anything."""

from __future__ import annotations

import json

import pytest
import trio

from relayd.observe.events import LogEvent
from tests.faults.harness import ADMIN_TOKEN, CREATE, Relay, Stage, account
from tests.faults.wire import TEXT, Response, Wire, frame

TCP = "127.0.0.1:0"
TOKEN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


async def ask(relay: Relay, path: str, headers: dict[str, str], method: str = "GET") -> Response:
    """One request to the admin listener."""
    where = relay.running.admin
    if where.startswith("unix:"):
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.connect(where.removeprefix("unix:"))
        wire = Wire(sock)
        headers = {"Host": "localhost"} | headers
    else:
        wire = await Wire.to(where)
        headers = {"Host": where} | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    await wire.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
    await wire.end()
    wire.close()
    return Response.parse(bytes(wire.seen))


async def test_only_readyz_fails_while_relayd_drains(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, admin=TCP, drain_s=30.0) as relay:
        assert (await ask(relay, "/readyz", TOKEN)).status == 200
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        await far.frame()
        relay.running.drain()
        await relay.log.wait(LogEvent.DRAIN_STARTED)

        ready = await ask(relay, "/readyz", TOKEN)
        live = await ask(relay, "/livez", TOKEN)
        client.reset()
        await far.goodbye()
        await relay.stopped()

    assert (live.status, ready.status) == (200, 503)
    assert json.loads(ready.body) == {
        "ready": False,
        "draining": True,
        "overloaded": False,
        "ledger_failing": False,
    }


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/livez", TOKEN, 200),
        ("/livez", {}, 401),
        ("/livez", {"Authorization": "Bearer not-the-admin-token"}, 401),
        ("/livez", {"Authorization": ADMIN_TOKEN[:-1]}, 401),
        ("/livez", TOKEN | {"Host": "attacker.example:80"}, 403),
        ("/livez", TOKEN | {"Host": "attacker.example"}, 403),
        ("/livez", TOKEN | {"Origin": "http://127.0.0.1"}, 403),
        ("/nowhere", TOKEN, 404),
        ("/nowhere", {}, 401),
    ],
)
async def test_over_tcp_the_token_the_host_and_the_origin_are_checked(
    stage: Stage, path: str, headers: dict[str, str], status: int
) -> None:
    async with stage.relay(admin=TCP) as relay:
        response = await ask(relay, path, headers)

    assert response.status == status
    assert ADMIN_TOKEN.encode() not in response.body


async def test_another_method_than_get_is_405(stage: Stage) -> None:
    async with stage.relay(admin=TCP) as relay:
        assert (await ask(relay, "/livez", TOKEN, "DELETE")).status == 405


async def test_a_unix_socket_is_kept_by_its_mode_and_removed_at_the_end(stage: Stage) -> None:
    path = stage.folder / "admin.sock"
    async with stage.relay() as relay:
        mode = path.stat().st_mode & 0o777
        response = await ask(relay, "/livez", {})

    assert (mode, response.status) == (0o660, 200)
    assert not path.exists()


async def test_the_public_port_knows_no_admin_path(stage: Stage) -> None:
    async with stage.relay() as relay:
        response = await relay.refusal(await relay.asking("/livez"))

    assert response.status == 404


@pytest.mark.parametrize("sent", [b"", b"\x00" * 50, b"GET / HT", b"x" * 20000])
async def test_bytes_that_are_no_request_do_no_harm(stage: Stage, sent: bytes) -> None:
    async with stage.relay(admin=TCP) as relay:
        wire = await Wire.to(relay.running.admin, source="127.0.0.2")
        await wire.send(sent)
        wire.reset()
        assert (await ask(relay, "/livez", TOKEN)).status == 200
