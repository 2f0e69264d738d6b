"""Upstreams that fail before the 101: the next account is tried, or the client hears why."""

from __future__ import annotations

import json

import attrs
import pytest
import trio

from relayd.config.accounts import AccountSettings
from relayd.observe.events import LogEvent
from tests.faults.harness import (
    CREATED,
    LIMITS,
    REALTIME,
    Stage,
    Upstream,
    accepted,
    account,
    one_end,
)
from tests.faults.wire import TEXT, close, frame


def error(code: str, kind: str = "invalid_request_error") -> bytes:
    """The bytes of an error event, as an upstream's first frame."""
    said = {"type": kind, "code": code, "message": "no"}
    return frame(TEXT, json.dumps({"type": "error", "error": said}).encode(), masked=False)


def realtime(*upstreams: Upstream | int) -> list[AccountSettings]:
    """One account for each upstream, tried in this order."""
    return [
        account(upstream, f"account-{number}", provider="compatible", priority=number)
        for number, upstream in enumerate(upstreams, 1)
    ]


REFUSALS = [
    (error("invalid_api_key"), "account.disabled"),
    (error("insufficient_quota"), "account.disabled"),
    (error("rate_limit_exceeded", "rate_limit_error"), "account.cooled"),
    (error("server_error", "server_error"), None),
    (close(1011, masked=False), None),
    (close(4000, "invalid_request_error.model_not_found", masked=False), None),
    (b"", None),
    (frame(TEXT, CREATED, masked=True), None),
    (b"\x81\x7f" + (1 << 50).to_bytes(8, "big"), None),
]
IDS = [
    *("bad-key", "no-quota", "limited", "server-error", "closes"),
    *("closes-4000", "leaves", "masked", "huge"),
]


@pytest.mark.parametrize(("behind", "change"), REFUSALS, ids=IDS)
async def test_an_upstream_that_refuses_behind_its_101_is_passed_over_unseen(
    stage: Stage, behind: bytes, change: str | None
) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    async with stage.relay(*realtime(first, second)) as relay:
        client = await relay.asking(REALTIME)
        refusing = await first.accept_upgrade(behind)
        await refusing.finish()
        await refusing.end()
        far = await second.accept_realtime()
        await accepted(client)
        assert (await client.frame()).payload == CREATED
        await client.send(close(1000))
        assert await far.goodbye() == 1000
        await client.goodbye()
        line = await relay.log.session_ended()

    assert one_end(stage.log)["account"] == "account-2"
    (failed,) = stage.log.of(LogEvent.UPSTREAM_FAILED)
    assert (failed["account"], failed["session_id"]) == ("account-1", line["session_id"])
    changes = stage.log.of(LogEvent.ACCOUNT_DISABLED, LogEvent.ACCOUNT_COOLED)
    assert [line["event"] for line in changes] == ([change] if change else [])


@pytest.mark.parametrize(
    ("behind", "status", "reason"),
    [
        (error("invalid_api_key"), 502, "upstream_refused"),
        (error("rate_limit_exceeded", "rate_limit_error"), 503, "no_account"),
        (error("server_error", "server_error"), 502, "upstream_unreachable"),
        (error("invalid_value"), 400, "invalid_parameter"),
        (b"", 502, "upstream_unreachable"),
    ],
    ids=["bad-key", "limited", "server-error", "client-fault", "leaves"],
)
async def test_where_no_account_is_left_the_client_hears_why(
    stage: Stage, behind: bytes, status: int, reason: str
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(*realtime(upstream)) as relay:
        client = await relay.asking(REALTIME)
        far = await upstream.accept_upgrade(behind)
        await far.finish()
        response = await relay.refusal(client)
        await far.end()

    line = one_end(stage.log)
    assert (response.status, line["status"], line["reason"]) == (status, status, reason)
    assert json.loads(response.body)["error"]["code"] == reason
    assert (line["dialect"], line["key"], line["client_address"]) == (
        *("realtime", "dev", "127.0.0.1"),
    )


async def test_a_disabled_account_gets_no_further_session(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(*realtime(upstream)) as relay:
        client = await relay.asking(REALTIME)
        await upstream.accept_upgrade(error("invalid_api_key"))
        assert (await relay.refusal(client)).status == 502
        response = await relay.refusal(await relay.asking(REALTIME))

    assert response.status == 503
    assert "Retry-After" in response.head
    assert stage.log.of(LogEvent.CONNECTION_REFUSED)[1]["reason"] == "no_account"


async def test_an_upstream_silent_behind_its_101_is_passed_over(stage: Stage) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    async with stage.relay(*realtime(first, second)) as relay:
        client = await relay.asking(REALTIME)
        silent = await first.accept_upgrade()
        far = await second.accept_realtime()
        await accepted(client)
        await silent.end()
        client.reset()
        assert await far.goodbye() == 1001
        line = await relay.log.session_ended()

    assert line["account"] == "account-2"
    (failed,) = stage.log.of(LogEvent.UPSTREAM_FAILED)
    assert failed["reason"] == "first_frame_timeout"


async def test_where_the_only_upstream_is_silent_the_client_hears_504(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(*realtime(upstream)) as relay:
        client = await relay.asking(REALTIME)
        silent = await upstream.accept_upgrade()
        response = await relay.refusal(client)
        await silent.end()

    assert response.status == 504
    assert one_end(stage.log)["reason"] == "first_frame_timeout"


async def test_all_attempts_share_the_admission_time(stage: Stage) -> None:
    silent = await stage.upstream()
    limits = attrs.evolve(LIMITS, admission_s=0.4)
    async with stage.relay(*realtime(*[silent] * 30), limits=limits) as relay:
        asked_at = trio.current_time()
        response = await relay.refusal(await relay.asking(REALTIME))
        took_s = trio.current_time() - asked_at

    assert response.status == 504
    assert one_end(stage.log)["reason"] == "admission_timeout"
    assert 0.39 <= took_s < 1.4


async def test_where_nobody_listens_the_client_hears_502(stage: Stage) -> None:
    gone = await stage.upstream()
    port = gone.port
    gone.close()
    async with stage.relay(*realtime(port)) as relay:
        response = await relay.refusal(await relay.asking(REALTIME))

    assert response.status == 502
    assert one_end(stage.log)["reason"] == "upstream_unreachable"


@pytest.mark.parametrize(
    "answered",
    [
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00" * 70000,
        b"HTTP/1.1 101 Sw",
    ],
    ids=["500", "200", "redirect", "wrong-accept", "ssh", "zeros", "cut"],
)
async def test_an_upstream_that_does_not_upgrade_is_502(stage: Stage, answered: bytes) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await relay.asking()
        far = await upstream.accept()
        await far.head()
        await far.send(answered)
        await far.finish()
        response = await relay.refusal(client)
        await far.end()

    assert response.status == 502
    assert one_end(stage.log)["reason"] in ("upstream_refused", "upstream_unreachable")


async def test_an_error_inside_a_session_that_is_fatal_disables_the_account(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(*realtime(upstream)) as relay:
        client, far = await relay.conversation(upstream)
        await far.send(error("insufficient_quota"))
        assert json.loads((await client.frame()).payload)["type"] == "error"
        disabled = await relay.log.wait(LogEvent.ACCOUNT_DISABLED)
        await far.send(frame(TEXT, b'{"type":"x"}', masked=False))
        assert (await client.frame()).payload == b'{"type":"x"}'  # the session goes on

    assert (disabled["account"], disabled["reason"]) == ("account-1", "insufficient_quota")


@pytest.mark.parametrize("how", ["refused", "client-leaves", "ended"])
async def test_a_seat_is_free_again_however_its_session_came_to_nothing(
    stage: Stage, how: str
) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible", sessions_max=1)
    async with stage.relay(only) as relay:
        for number in range(1, 4):
            client = await relay.asking(REALTIME)
            match how:
                case "refused":
                    far = await upstream.accept_upgrade(error("server_error", "server_error"))
                    assert (await relay.refusal(client)).status == 502
                case "client-leaves":
                    far = await upstream.accept_upgrade()
                    client.reset()
                    await far.end()
                case _:
                    far = await upstream.accept_realtime()
                    await accepted(client)
                    busy = await relay.refusal(await relay.asking(REALTIME))
                    assert (busy.status, b"account_busy" in busy.body) == (503, True)
                    await client.send(close(1000))
                    await far.goodbye()
                    await client.goodbye()
                    await relay.log.session_ended(number)
            client.close()
            far.close()
        await relay.conversation(upstream)
