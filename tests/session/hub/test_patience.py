"""A client that stops is told so when it goes on, in time; who does not is cut."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from relayd.core.endings import Reason
from relayd.hub.bounds import Bounds
from relayd.session.closing import CLOSE_GRACE_S
from relayd.session.hub.lifetime import WRITE_S
from relayd.session.hub.patience import GOODBYE_S, KEPT_MAX_BYTES, SEND_BUFFER_BYTES
from tests.conftest import LogLines
from tests.faults.wire import CLOSE, Ending
from tests.session.hub.stage import CENTRIFUGE, WORKFLOW, Client, Stage, staged
from tests.session.hub.test_session import DRAINING

NEAR = 0.5


async def stopped(stage: Stage, path: str = "/ws", *, each_bytes: int = 20_000) -> Client:
    """A client that takes nothing, with a full socket; what was published is numbered."""
    client = await stage.client(path, send_buffer=4096)
    if path == CENTRIFUGE:
        await client.connect()
        await client.ask(subscribe={"channel": WORKFLOW})
    else:
        await client.json()
    for number in range(3):
        stage.publish(data=[number, "x" * each_bytes])
    await trio.sleep(0.1)
    for number in range(3, 12):
        stage.publish(data=[number, "x" * each_bytes])
    await trio.sleep(0.1)
    assert client.session.client.sink.blocked
    return client


async def rest(client: Client) -> tuple[list[int], int | None]:
    """The numbers of all events that still come, and the code of the Close behind them."""
    numbers = []
    while (got := await client.wire.frame()).opcode != CLOSE:
        message = json.loads(got.payload or b"{}")
        event = message.get("push", {}).get("pub", {}).get("data", message)
        if "event" in event:
            numbers.append(event["data"][0])
    await client.wire.finish()
    return numbers, got.close_code


@pytest.mark.parametrize("path", ["/ws", CENTRIFUGE])
async def test_who_goes_on_in_time_gets_what_it_was_sent_and_why_it_ended(
    stage: Stage, patient: MockClock, path: str
) -> None:
    client = await stopped(stage, path)
    await trio.sleep(WRITE_S + GOODBYE_S - CLOSE_GRACE_S - 1)
    assert client.session.verdict.reason is Reason.CLIENT_STALLED
    assert stage.hub.listeners == 0
    began = trio.current_time()
    assert await rest(client) == ([0, 1, 2], 4008)
    assert trio.current_time() - began < NEAR
    line = await stage.line(client)
    assert (line["reason"], line["client_close"]) == ("client_stalled", 4008)


async def test_likewise_who_is_too_slow(log_lines: LogLines, patient: MockClock) -> None:
    bounds = Bounds(outbox_messages_max=4, outbox_grace_s=0.0)
    async with staged(log_lines, bounds=bounds) as stage:
        client = await stopped(stage)
        assert client.session.verdict.reason is Reason.CLIENT_SLOW
        await trio.sleep(GOODBYE_S - CLOSE_GRACE_S - 1)
        assert await rest(client) == ([0, 1, 2], 4008)
        assert (await stage.line(client))["client_close"] == 4008


async def test_who_does_not_is_reset_and_was_told_nothing(stage: Stage, patient: MockClock) -> None:
    client, began = await stopped(stage), trio.current_time()
    await client.over.wait()
    assert trio.current_time() - began == pytest.approx(WRITE_S + GOODBYE_S, abs=NEAR)
    line = await stage.line(client)
    assert (line["reason"], line["client_close"]) == ("client_stalled", None)
    assert await client.wire.end() in (Ending.FIN, Ending.RESET)


async def test_who_leaves_meanwhile_is_not_waited_for(stage: Stage, patient: MockClock) -> None:
    client, began = await stopped(stage), trio.current_time()
    await trio.sleep(WRITE_S + 1)
    assert not client.over.is_set()
    await client.send({"type": "ping"})  # what it says is heard no more
    client.wire.close()
    await client.over.wait()
    assert trio.current_time() - began == pytest.approx(WRITE_S + 1, abs=NEAR)


HASTY: list[Callable[[Client], object]] = [
    lambda client: client.session.leave(Reason.DRAIN, at=1e6, refuse=DRAINING),
    lambda client: client.session.kill(),
    lambda client: client.scope.cancel(),
]


@pytest.mark.parametrize("hasten", HASTY)
async def test_whoever_ends_it_waits_no_longer_than_for_others(
    stage: Stage, patient: MockClock, hasten: Callable[[Client], object]
) -> None:
    client = await stopped(stage)
    await trio.sleep(WRITE_S + 1)
    assert client.session.verdict.reason is Reason.CLIENT_STALLED
    assert not client.over.is_set()
    began = trio.current_time()
    hasten(client)
    await client.over.wait()
    assert trio.current_time() - began == pytest.approx(CLOSE_GRACE_S, abs=NEAR)
    assert (await stage.line(client))["reason"] == "client_stalled"


async def test_no_more_is_kept_than_little(stage: Stage, patient: MockClock) -> None:
    client = await stopped(stage)
    await trio.sleep(WRITE_S + 1)
    assert client.session.verdict.reason is Reason.CLIENT_STALLED
    assert 0 < stage.desk.hold.bytes_held <= KEPT_MAX_BYTES
    assert not client.session.guest.subscriber.outbox


async def test_for_who_was_sent_much_at_once_nobody_waits(stage: Stage, patient: MockClock) -> None:
    client = await stopped(stage, each_bytes=KEPT_MAX_BYTES)
    began = trio.current_time()
    await client.over.wait()
    assert trio.current_time() - began == pytest.approx(WRITE_S + CLOSE_GRACE_S, abs=NEAR)


async def test_the_kernel_keeps_little(stage: Stage) -> None:
    client = await stage.welcomed()
    sock = client.session.client.sock
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER_BYTES
