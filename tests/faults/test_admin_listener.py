"""The admin listener tells probes the truth, does what operators say, and tells nobody else."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent
from relayd.service.admin import listener
from relayd.service.admin.listener import Admin
from relayd.service.admin.routes import OPERATIONS, Operation
from relayd.service.public import PublicApi
from tests.faults.harness import (
    ADMIN_TOKEN,
    CANARIES,
    CLIENT_KEY,
    CREATE,
    KEY,
    PASSTHROUGH,
    Relay,
    Stage,
    account,
)
from tests.faults.wire import TEXT, Response, Wire, frame

TCP = "127.0.0.1:0"
TOKEN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


async def ask(relay: Relay, path: str, headers: dict[str, str], method: str = "GET") -> Response:
    """One request to the admin listener, on a connection of its own."""
    where = relay.running.admin
    if where.startswith("unix:"):
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.connect(where.removeprefix("unix:"))
        wire = Wire(sock)
        headers = {"Host": "localhost"} | headers
    else:
        wire = await Wire.to(where)
        headers = {"Host": where} | headers
    headers = {"Connection": "close"} | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    await wire.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
    await wire.end()
    wire.close()
    return Response.parse(bytes(wire.seen))


async def told(relay: Relay, path: str, method: str = "GET", status: int = 200) -> dict[str, Any]:
    """The JSON of an answer with ``status``."""
    response = await ask(relay, path, TOKEN, method)
    assert response.status == status, response.body
    answer: dict[str, Any] = json.loads(response.body)
    return answer


# -- probes


async def test_only_readyz_fails_while_relayd_drains(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, admin=TCP, drain_s=30.0) as relay:
        assert (await told(relay, "/readyz"))["ready"]
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        await far.frame()
        relay.running.drain()
        await relay.log.wait(LogEvent.DRAIN_STARTED)

        ready = await told(relay, "/readyz", status=503)
        live = await told(relay, "/livez")
        client.reset()
        await far.goodbye()
        await relay.stopped()

    assert live == {"live": True}
    assert ready == {
        "ready": False,
        "draining": True,
        "overloaded": False,
        "ledger_failing": False,
    }


async def test_without_an_account_relayd_is_not_ready(stage: Stage) -> None:
    async with stage.relay(admin=TCP) as relay:
        said = await told(relay, "/readyz?verbose", status=503)

    assert [check["name"] for check in said["checks"] if not check["ok"]] == ["accounts"]


# -- who may ask


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/livez", TOKEN, 200),
        ("/livez", {}, 401),
        ("/livez", {"Authorization": "Bearer not-the-admin-token"}, 401),
        ("/livez", {"Authorization": f"Bearer {CLIENT_KEY}"}, 401),
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


async def test_the_address_that_it_listens_on_names_it_and_no_other_name_there_does(
    stage: Stage,
) -> None:
    async with stage.relay(admin="127.0.0.2:0") as relay:
        where = relay.running.admin
        port = where.rpartition(":")[2]
        hosts = [where, f"localhost:{port}", f"rebound.example:{port}", "127.0.0.2:1", "127.0.0.2"]
        found = [(await ask(relay, "/livez", TOKEN | {"Host": host})).status for host in hosts]

    assert found == [200, 200, 403, 403, 403]


async def test_a_unix_socket_is_kept_by_its_mode_and_removed_at_the_end(stage: Stage) -> None:
    path = stage.folder / "admin.sock"
    async with stage.relay() as relay:
        mode = path.stat().st_mode & 0o777
        response = await ask(relay, "/livez", {})

    assert (mode, response.status) == (0o660, 200)
    assert not path.exists()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_the_public_port_knows_no_admin_path(stage: Stage, operation: Operation) -> None:
    async with stage.relay() as relay:
        client = await relay.client()
        path = operation.pattern.replace("{session_id}", "sess_1").replace("{name}", "echo")
        lines = f"Host: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nConnection: close\r\n"
        await client.send(f"{operation.method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
        response = await relay.refusal(client)

    assert response.status == 404


@pytest.mark.parametrize("sent", [b"", b"\x00" * 50, b"GET / HT", b"x" * 20000])
async def test_bytes_that_are_no_request_do_no_harm(stage: Stage, sent: bytes) -> None:
    async with stage.relay(admin=TCP) as relay:
        wire = await Wire.to(relay.running.admin, source="127.0.0.2")
        await wire.send(sent)
        wire.reset()
        assert (await ask(relay, "/livez", TOKEN)).status == 200


# -- what runs


async def test_a_session_is_shown_while_it_runs_and_no_longer(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream), admin=TCP) as relay:
        client, far = await relay.session(upstream)
        await client.send(frame(TEXT, b"hello"))
        await far.frame()
        await far.send(frame(TEXT, b"hello yourself", masked=False))
        await client.frame()

        page = await told(relay, "/admin/v1/sessions")
        (shown,) = page["sessions"]
        assert shown == await told(relay, f"/admin/v1/sessions/{shown['session_id']}") | {
            "duration_s": shown["duration_s"],
            "since": shown["since"],
        }
        client.reset()
        await far.goodbye()
        line = await relay.log.session_ended()
        after = await told(relay, "/admin/v1/sessions")

    assert (page["total"], after["total"], after["sessions"]) == (1, 0, [])
    assert shown["session_id"] == line["session_id"]
    for name in ("dialect", "key", "account", "model", "messages_up", "messages_down"):
        assert shown[name] == line[name], name
    assert (shown["bytes_up"], shown["bytes_down"]) == (5, 14)
    assert (shown["busy"], shown["leaving"], shown["client_address"]) == (False, None, "127.0.0.1")


async def test_a_running_turn_is_shown_as_busy(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, provider="compatible"), admin=TCP) as relay:
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        await far.frame()

        (shown,) = (await told(relay, "/admin/v1/sessions"))["sessions"]
        client.reset()
        await far.goodbye()
        await relay.log.session_ended()

    assert shown["busy"] is True


async def test_what_a_key_has_open_is_shown(stage: Stage) -> None:
    upstream = await stage.upstream()
    key = attrs.evolve(KEY, sessions_max=3, requests_per_minute=60)
    async with stage.relay(account(upstream), admin=TCP, key=key) as relay:
        client, far = await relay.session(upstream)

        (shown,) = (await told(relay, "/admin/v1/keys"))["keys"]
        client.reset()
        await far.goodbye()
        await relay.log.session_ended()

    assert (shown["name"], shown["sessions"], shown["sessions_max"]) == ("dev", 1, 3)
    assert (shown["requests_left"], shown["spent_usd"]) == (60.0, None)


async def test_no_route_tells_a_secret(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream), admin=TCP) as relay:
        client, far = await relay.session(upstream)
        (shown,) = (await told(relay, "/admin/v1/sessions"))["sessions"]
        for operation in OPERATIONS:
            path = operation.pattern.replace("{session_id}", shown["session_id"])
            response = await ask(relay, path.replace("{name}", "echo"), TOKEN)

            whole = response.head.encode() + response.body
            assert not [word for word in CANARIES if word.encode() in whole], operation.name
        client.reset()
        await far.goodbye()
        await relay.log.session_ended()


# -- what is done


async def test_killing_ends_one_session_at_once(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream), admin=TCP) as relay:
        client, far = await relay.session(upstream)
        other, other_far = await relay.session(upstream)
        first, _ = (await told(relay, "/admin/v1/sessions"))["sessions"]

        path = f"/admin/v1/sessions/{first['session_id']}/kill"
        answer = await told(relay, path, "POST", 202)

        assert await client.goodbye() == 1008
        assert await far.goodbye() == 1001
        line = await relay.log.session_ended()
        assert await told(relay, path, "POST", 404)
        await other.send(frame(TEXT, b"still here"))
        assert (await other_far.frame()).payload == b"still here"
        other.reset()
        await other_far.goodbye()
        await relay.log.session_ended(2)

    assert answer == {"session_id": line["session_id"], "reason": "killed"}
    assert (line["reason"], line["fault"]) == ("killed", "none")


async def test_a_disabled_account_keeps_its_sessions_and_gets_no_other(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream), admin=TCP) as relay:
        client, far = await relay.session(upstream)
        answer = await told(relay, "/admin/v1/accounts/echo/disable", "POST")
        refused = await relay.refusal(await relay.asking(PASSTHROUGH))
        await client.send(frame(TEXT, b"still here"))
        assert (await far.frame()).payload == b"still here"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstream.accept_upgrade)  # the probe
            enabled = await told(relay, "/admin/v1/accounts/echo/enable", "POST")
        again, again_far = await relay.session(upstream)
        for each, its_far in ((client, far), (again, again_far)):
            each.reset()
            await its_far.goodbye()
        await relay.log.session_ended(2)

    assert "1 session under way" in answer["message"]
    assert (refused.status, enabled["probe"]["ok"]) == (503, True)
    assert relay.log.of(LogEvent.ACCOUNT_ENABLED)[0]["cause"] == "operator"


async def test_a_drain_can_be_asked_for(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream), admin=TCP) as relay:
        client, far = await relay.session(upstream)

        answer = await told(relay, "/admin/v1/drain", "POST", 202)

        assert await client.goodbye() == 1012
        await far.goodbye()
        await relay.stopped()

    assert answer == {"draining": True, "sessions": 1, "drain_s": 1.0}


async def test_a_drain_of_nobody_is_answered_too(stage: Stage) -> None:
    for _ in range(10):
        async with stage.relay(admin=TCP) as relay:
            assert (await told(relay, "/admin/v1/drain", "POST", 202))["sessions"] == 0
            await relay.stopped()


async def test_without_a_file_there_is_nothing_to_reload(stage: Stage) -> None:
    async with stage.relay(admin=TCP) as relay:
        answer = await told(relay, "/admin/v1/reload", "POST", 422)

    assert "no file" in answer["mistakes"][0]["message"]


async def test_what_is_asked_of_either_listener_is_counted(stage: Stage) -> None:
    async with stage.relay(admin=TCP) as relay:
        for path, headers in (("/livez", TOKEN), ("/livez", {}), ("/of-a-stranger", TOKEN)):
            await ask(relay, path, headers)
        wire = await relay.client()
        await wire.send(b"GET /v1/models HTTP/1.1\r\nHost: relayd.test\r\n\r\n")
        await wire.end()
        await relay.log.wait(LogEvent.REQUEST_ENDED, 2)
        text = (await ask(relay, "/metrics", TOKEN)).body.decode()

    counted = re.findall(
        r'relayd_http_requests_total{listener="(.+)",outcome="complete",route="(.+)",'
        r'status="(\d+)"} 1.0\n',
        text,
    )
    assert sorted(counted) == [
        ("admin", "/livez", "200"),
        ("admin", "other", "401"),
        ("admin", "other", "404"),
        ("public", "/v1/models", "401"),
    ]
    assert "of-a-stranger" not in text


async def test_bugs_in_answering_are_counted_as_bugs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    async with stage.relay(admin=TCP) as relay:
        with monkeypatch.context() as patched:
            patched.setattr(PublicApi, "_authenticated", boom)
            wire = await relay.client()
            await wire.send(b"GET /v1/models HTTP/1.1\r\nHost: relayd.test\r\n\r\n")
            await wire.head()
            await relay.log.wait(LogEvent.REQUEST_CRASHED)
        with monkeypatch.context() as patched:
            patched.setattr(listener, "refuse_access", boom)
            assert (await ask(relay, "/livez", TOKEN)).status == 500
        with monkeypatch.context() as patched:
            patched.setattr(Admin, "_serve", boom)
            wire = await Wire.to(relay.running.admin)
            await wire.end()
            wire.close()
        text = (await ask(relay, "/metrics", TOKEN)).body.decode()

    assert "\nrelayd_bugs_caught_total 3.0\n" in text


async def test_metrics_are_scraped(stage: Stage) -> None:
    async with stage.relay(admin=TCP) as relay:
        response = await ask(relay, "/metrics", TOKEN)

    assert response.status == 200
    assert b"\nrelayd_sessions_max " in response.body
    assert "Transfer-Encoding: chunked" in response.head
