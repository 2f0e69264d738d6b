"""The admin listener's connections: bounds, broken requests, bugs, lines."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.observe.events import LogEvent
from relayd.service.admin.listener import (
    BODY_MAX_BYTES,
    CONNECTIONS_MAX,
    CONNECTIONS_REFUSED_FROM,
    HEAD_MAX_BYTES,
    REQUEST_S,
)
from relayd.service.http.connection import HttpConnection
from relayd.service.http.service import Outcome
from tests.conftest import LogLines
from tests.service.admin.stage import BEARER, LOOPBACK, Stage, error_of
from tests.service.http.stage import pair

ASK = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_connection_serves_request_after_request(stage: Stage) -> None:
    async with stage.client() as client:
        for _ in range(3):
            assert (await client.ask("GET", "/livez")).status == 200
        assert (await client.ask("GET", "/nowhere")).status == 404
        assert (await client.ask("POST", "/admin/v1/drain", b"{}")).status == 202


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no http at all\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * HEAD_MAX_BYTES, 431),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", 400),
    ],
)
async def test_broken_requests_are_refused(stage: Stage, sent: bytes, status: int) -> None:
    async with stage.client() as client:
        await client.send(sent)
        reply = await client.reply()

    assert reply.status == status
    assert reply.closes
    assert error_of(reply)["message"]
    (told,) = stage.requests
    assert (told.status, told.outcome, told.route) == (status, Outcome.COMPLETE, None)
    assert (told.client_address, told.bytes_out > len(reply.body)) == ("unix", True)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/admin/v1/pools"])
async def test_a_client_that_half_closes_behind_its_request_is_answered(
    stage: Stage, path: str
) -> None:
    for _ in range(5):
        async with stage.client() as client:
            await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            client.finish()

            assert (await client.rest()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", b"GET /li", ASK[:-2]])
async def test_a_client_that_leaves_is_no_trouble(stage: Stage, sent: bytes) -> None:
    async with stage.client() as client:
        await client.send(sent)
        client.finish()
        assert await client.rest() == b""
    assert stage.requests == []


async def test_a_head_that_does_not_end_gets_408(autojump_clock: MockClock, stage: Stage) -> None:
    begin = trio.current_time()
    async with stage.client() as client:
        await client.send(b"GET /livez HT")
        reply = await client.reply()

        assert (reply.status, error_of(reply)["code"]) == (408, "head_timeout")
        assert trio.current_time() - begin == REQUEST_S


async def test_a_body_is_passed_over(stage: Stage) -> None:
    async with stage.client() as client:
        reply = await client.ask("POST", "/admin/v1/reload", b"x" * BODY_MAX_BYTES)
        assert reply.status == 200
        assert (await client.ask("GET", "/livez")).status == 200


async def test_over_its_bound_those_that_only_wait_are_ended(stage: Stage) -> None:
    admin = stage.admin()
    ends: list[socket.socket] = []
    async with trio.open_nursery() as nursery:
        for number in range(CONNECTIONS_MAX):
            near, far = pair(tcp=False)
            near.setblocking(False)
            ends.append(far)
            nursery.start_soon(admin.serve, near, "unix")
            if number % 2:  # has asked once already
                far.send(ASK)
        await wait_all_tasks_blocked()
        async with stage.client(admin=admin) as client:
            assert (await client.ask("GET", "/livez")).status == 200
        await wait_all_tasks_blocked()
        for far in ends:
            far.settimeout(1)
            while far.recv(65536):
                pass
            far.close()


async def test_with_as_many_requests_being_answered_further_ones_are_turned_away(
    stage: Stage,
) -> None:
    gate = stage.reload_waits_for = trio.Event()
    admin = stage.admin()
    ends: list[socket.socket] = []
    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS_REFUSED_FROM):
            near, far = pair(tcp=False)
            near.setblocking(False)
            ends.append(far)
            nursery.start_soon(admin.serve, near, "unix")
            far.send(b"POST /admin/v1/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await wait_all_tasks_blocked()
        async with stage.client(admin=admin) as client:
            assert await client.rest() == b""
        gate.set()
        for far in ends:
            far.setblocking(False)
            await trio.lowlevel.wait_readable(far)
            assert far.recv(12) == b"HTTP/1.1 200"
            far.close()
        await wait_all_tasks_blocked()


async def test_a_bug_ends_one_request_and_is_told(
    stage: Stage, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom() -> None:
        raise RuntimeError("canary of a bug")

    monkeypatch.setattr(Stage, "snapshot", property(lambda _: boom()))

    reply = await stage.ask("GET", "/admin/v1/keys")

    assert (reply.status, error_of(reply)["code"]) == (500, "internal_error")
    assert b"canary" not in reply.body
    (line,) = log_lines.of(LogEvent.REQUEST_CRASHED)
    assert line["route"] == "/admin/v1/keys"
    assert "RuntimeError" in line["traceback"]
    assert [told.outcome for told in stage.requests] == [Outcome.CRASHED]
    assert stage.crashes == 0


async def test_a_bug_that_ends_a_connection_is_told_apart(
    stage: Stage, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def boom(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(HttpConnection, "serve", boom)

    async with stage.client() as client:
        await client.send(ASK)
        assert await client.rest() == b""

    assert stage.crashes == 1
    assert stage.requests == []
    (line,) = log_lines.of(LogEvent.REQUEST_CRASHED)
    assert "RuntimeError" in line["traceback"]


async def test_who_leaves_before_hearing_why_it_was_refused_is_told_so(stage: Stage) -> None:
    near, far = pair(tcp=False)
    near.setblocking(False)
    far.send(b"no http at all\r\n\r\n")
    far.close()

    await stage.admin().serve(near, "unix")

    (told,) = stage.requests
    assert (told.outcome, told.bytes_out) == (Outcome.CLIENT_GONE, 0)


async def test_actions_leave_a_line_at_info_and_looks_at_debug(
    stage: Stage, log_lines: LogLines
) -> None:
    stage.session(1)
    await stage.get("/admin/v1/sessions")
    await stage.ask("POST", "/admin/v1/sessions/sess_1/kill")
    await stage.ask("POST", "/nowhere")

    told = [(line["level"], line["route"]) for line in log_lines.of(LogEvent.REQUEST_ENDED)]
    assert told == [
        ("debug", "/admin/v1/sessions"),
        ("info", "/admin/v1/sessions/{session_id}/kill"),
        ("debug", None),
    ]


async def test_who_was_kept_out_is_a_line_at_info(stage: Stage, log_lines: LogLines) -> None:
    for headers in ((), ("Authorization: Bearer wrong",), (BEARER,)):
        async with stage.client(tcp=True) as client:
            lines = "".join(f"{line}\r\n" for line in (f"Host: {LOOPBACK}", *headers))
            await client.send(f"GET /livez HTTP/1.1\r\n{lines}\r\n".encode())
            await client.reply()

    told = [(line["level"], line["status"]) for line in log_lines.of(LogEvent.REQUEST_ENDED)]
    assert told == [("info", 401), ("info", 401), ("debug", 200)]
    assert [facts.status for facts in stage.requests] == [401, 401, 200]
