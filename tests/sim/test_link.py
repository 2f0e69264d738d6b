"""The simulated upstreams' end of a WebSocket, against peers that behave and peers that do not."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock
from websockets.frames import Close, Frame, Opcode

from relayd.sim import link as links
from relayd.sim.link import Link, PeerGone, frame
from relayd.sim.passthrough import PassthroughUpstream
from tests.sim.peer import connected, served

HEAD = (
    b"GET / HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


async def test_a_message_in_fragments_arrives_as_one() -> None:
    async with connected(PassthroughUpstream()) as peer:
        await peer.send_raw(masked(Opcode.TEXT, b"h\xc3", fin=False))
        await peer.send_raw(masked(Opcode.PING, b"between"))
        await peer.send_raw(masked(Opcode.CONT, b"\xa9llo"))

        pong, echo = await peer.frame(), await peer.frame()

    assert (pong.opcode, pong.data) == (Opcode.PONG, b"between")
    assert (echo.opcode, echo.data, echo.fin) == (
        Opcode.TEXT,
        "h\N{LATIN SMALL LETTER E WITH ACUTE}llo".encode(),
        True,
    )


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(Opcode.TEXT, b"not masked"), 1002),
        (masked(Opcode.CONT, b"of nothing"), 1002),
        (masked(Opcode.TEXT, b"\xff\xfe"), 1007),
        (masked(Opcode.TEXT, b"a", fin=False) + masked(Opcode.CONT, b"", fin=False) * 65, 1008),
        (b"\x82\xff" + (2**40).to_bytes(8, "big") + bytes(4), 1009),
    ],
    ids=["unmasked", "stray continuation", "not UTF-8", "empty fragments", "declared too long"],
)
async def test_a_peer_that_breaks_the_protocol_is_told_why(wire: bytes, code: int) -> None:
    async with connected(PassthroughUpstream()) as peer:
        await peer.send_raw(wire)

        assert (await peer.end()).code == code


async def test_a_close_is_answered_with_its_own_code() -> None:
    async with connected(PassthroughUpstream()) as peer:
        peer.protocol.send_close(4321, "done")

        await peer.send_raw(b"".join(peer.protocol.data_to_send()))

        ended = await peer.end()

    assert (ended.code, ended.reason) == (4321, "done")


async def test_a_close_behind_a_message_is_answered() -> None:
    async with connected(PassthroughUpstream()) as peer:
        close = masked(Opcode.CLOSE, Close(1000, "").serialize())

        await peer.send_raw(masked(Opcode.BINARY, b"last words") + close)

        assert (await peer.end()).code == 1000


async def test_a_head_that_does_not_come_ends_after_its_deadline(autojump_clock: MockClock) -> None:
    async with served(PassthroughUpstream()) as peer:
        await peer.send_raw(b"GET / HTTP/1.1\r\n")

        assert await peer.stream.receive_some() == b""
        assert trio.current_time() == pytest.approx(links.HANDSHAKE_S)


async def test_a_head_without_end_is_not_read_for_ever() -> None:
    async with served(PassthroughUpstream()) as peer:
        line = b"X-Padding: " + b"x" * 4000 + b"\r\n"
        with contextlib.suppress(trio.BrokenResourceError):
            await peer.send_raw(b"GET / HTTP/1.1\r\n" + line * (links.HEAD_MAX_BYTES // 4000 + 1))

        assert b"101" not in await peer.stream.receive_some()


async def test_a_peer_that_speaks_before_the_101_is_not_upgraded() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(PassthroughUpstream().serve_stream, far)
        await near.send_all(HEAD + masked(Opcode.PING, b"early"))

        received = b""
        while chunk := await near.receive_some():
            received += chunk

    assert b"101" not in received


async def test_a_peer_that_takes_nothing_is_given_up(autojump_clock: MockClock) -> None:
    near, far = trio.testing.lockstep_stream_pair()
    link = Link(far, choose_subprotocol=lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_upgrade_only, near)
        await link.accept(await link.request())

        with pytest.raises(PeerGone):
            await link.send("nobody reads this")

        assert trio.current_time() == pytest.approx(links.STALL_S)


async def _upgrade_only(stream: trio.abc.Stream) -> None:
    await stream.send_all(HEAD)
    await stream.receive_some()


async def test_nothing_follows_a_send_that_was_cancelled_inside_a_frame(
    autojump_clock: MockClock,
) -> None:
    near, far = trio.testing.lockstep_stream_pair()
    link = Link(far, choose_subprotocol=lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_upgrade_only, near)
        await link.accept(await link.request())
    with trio.move_on_after(1):
        await link.send("cut short")

    with pytest.raises(PeerGone):
        await link.send("must not land inside the open frame")

    assert trio.current_time() == 1


async def test_a_peer_that_never_answers_a_close_is_left(autojump_clock: MockClock) -> None:
    near, far = trio.testing.memory_stream_pair()
    link = Link(far, choose_subprotocol=lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_upgrade_only, near)
        await link.accept(await link.request())

    await link.close(1001, "bye")

    assert trio.current_time() == pytest.approx(links.CLOSE_WAIT_S)


async def _play_to_the_end(stream: trio.abc.Stream, chunks: list[bytes]) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        for chunk in chunks:
            await stream.send_all(chunk)
    await stream.aclose()


@given(st.lists(st.binary(max_size=200), max_size=5))
async def test_any_bytes_only_end_their_own_connection(chunks: list[bytes]) -> None:
    near, far = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_play_to_the_end, near, chunks)
        nursery.start_soon(PassthroughUpstream().serve_stream, far)

    with pytest.raises(trio.ClosedResourceError):
        await far.receive_some()


@given(st.binary(max_size=300), st.integers(1, 50))
async def test_any_frames_only_end_their_own_connection(wire: bytes, chunk_bytes: int) -> None:
    near, far = trio.testing.memory_stream_pair()
    chunks = [wire[start : start + chunk_bytes] for start in range(0, len(wire), chunk_bytes)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(PassthroughUpstream().serve_stream, far)
        await _upgrade_only(near)
        await _play_to_the_end(near, chunks)

    with pytest.raises(trio.ClosedResourceError):
        await far.receive_some()
