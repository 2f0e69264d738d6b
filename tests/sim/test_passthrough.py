"""The echo."""

from __future__ import annotations

import pytest

from relayd.sim.passthrough import PassthroughUpstream, choose_subprotocol
from tests.sim.peer import connected, served


@pytest.mark.parametrize(
    "message", [b"", b"\x00\xff" * 50_000, b"x" * (3 * 1024 * 1024)], ids=["empty", "100 K", "3 M"]
)
async def test_binary_comes_back_byte_for_byte(message: bytes) -> None:
    async with connected(PassthroughUpstream(), "/any/path?with=query") as peer:
        await peer.send(message)

        assert await peer.message() == message


async def test_any_number_of_empty_messages_comes_back() -> None:
    async with connected(PassthroughUpstream(), "/") as peer:
        for _ in range(200):
            await peer.send(b"")
            assert await peer.message() == b""


async def test_text_comes_back_as_text() -> None:
    async with connected(PassthroughUpstream(), "/") as peer:
        await peer.send("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n")

        frame = await peer.frame()

    assert frame.opcode.name == "TEXT"
    assert bytes(frame.data).decode() == "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n"


async def test_the_first_subprotocol_is_chosen() -> None:
    async with served(PassthroughUpstream(), "/", subprotocols=("b", "a")) as peer:
        response = await peer.upgrade({})

    assert response.headers["Sec-WebSocket-Protocol"] == "b"


def test_no_subprotocol_is_chosen_where_none_is_offered() -> None:
    assert choose_subprotocol([]) is None


async def test_what_is_no_upgrade_gets_an_http_error() -> None:
    async with served(PassthroughUpstream(), "/") as peer:
        await peer.send_raw(b"GET / HTTP/1.1\r\nHost: sim\r\n\r\n")

        assert (await peer.stream.receive_some()).startswith(b"HTTP/1.1 426")
