"""One HTTP request on one connection."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relayd.sim.spark.http_wire import (
    BODY_MAX_BYTES,
    HEAD_MAX_BYTES,
    REQUEST_S,
    STALL_S,
    ClientGone,
    HttpWire,
    Received,
)
from tests.sim.spark.http_stage import BEARER, PATH, Answer, answer_on, request_bytes
from tests.sim.spark.stage import NOW


def pair() -> tuple[trio.abc.Stream, HttpWire]:
    near, far = trio.testing.memory_stream_pair()
    return near, HttpWire(far, NOW)


async def refused(data: bytes) -> Answer:
    """What ``data`` is answered with by the wire itself."""
    near, wire = pair()
    got: list[Answer] = []

    async def read() -> None:
        got.append(await answer_on(near))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(near.send_all, data)
        with pytest.raises(ClientGone):
            await wire.receive()
        await wire.close()
    return got[0]


async def test_a_request_with_its_body() -> None:
    near, wire = pair()
    await near.send_all(request_bytes(b"{}"))

    request = await wire.receive()

    assert isinstance(request, Received)
    assert (request.method, request.target, request.body) == ("POST", PATH, b"{}")
    assert request.headers["authorization"] == "Bearer simulated"


async def test_a_chunked_body_is_joined() -> None:
    near, wire = pair()
    head = f"POST {PATH} HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    await near.send_all(head + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")

    assert (await wire.receive()).body == b"{}"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: sim\r\nX: " + b"x" * HEAD_MAX_BYTES * 2, 431),
        (request_bytes(b"x" * (BODY_MAX_BYTES + 1)), 413),
    ],
)
async def test_what_is_no_request_is_told_so(data: bytes, status: int) -> None:
    assert (await refused(data)).status == status


async def test_a_request_that_never_comes_is_not_waited_for(autojump_clock: MockClock) -> None:
    near, wire = pair()
    await near.send_all(b"POST / HT")

    with pytest.raises(ClientGone):
        await wire.receive()
    assert trio.current_time() == REQUEST_S


async def test_a_client_that_leaves_is_gone() -> None:
    near, wire = pair()
    await near.send_all(request_bytes(b"{}", headers=BEARER))
    await wire.receive()
    await near.aclose()

    await wire.wait_gone()
    with pytest.raises(ClientGone):
        await wire.answer(200, {})


async def test_a_client_that_takes_nothing_is_gone_after_a_while(autojump_clock: MockClock) -> None:
    near, far = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, request_bytes(b"{}"))
        wire = HttpWire(far, NOW)
        await wire.receive()
        with pytest.raises(ClientGone):
            await wire.answer(200, {})

    assert trio.current_time() == STALL_S


async def test_events_have_no_space_behind_the_colon() -> None:
    near, wire = pair()
    await near.send_all(request_bytes(b"{}"))
    await wire.receive()

    await wire.begin_stream()
    await wire.send_event(b"{}")
    await wire.end_stream()

    answer = await answer_on(near)
    assert (answer.body, answer.is_whole) == (b"data:{}\n\n", True)
    assert answer.headers["connection"] == "close"
