"""Which of the two APIs a connection is for."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relayd.sim.spark.first import FIRST_BYTE_S, Reread, begins_with_post


@pytest.mark.parametrize(("said", "is_post"), [(b"GET / ", False), (b"POST /", True)])
async def test_the_first_byte_tells_and_is_not_lost(said: bytes, is_post: bool) -> None:
    near, far = trio.testing.memory_stream_pair()
    await near.send_all(said)

    told, stream = await begins_with_post(far)
    head = await stream.receive_some(100)

    assert told == is_post
    assert head == said[:1]
    assert await stream.receive_some(100) == said[1:]


@pytest.mark.parametrize(("said", "is_post"), [(b"GET / ", False), (b"POST /", True)])
async def test_a_tcp_stream_stays_what_it_is(said: bytes, is_post: bool) -> None:
    near, far = trio.socket.socketpair()
    with near:
        await near.send(said)
        stream = trio.SocketStream(far)

        assert await begins_with_post(stream) == (is_post, stream)
        assert await stream.receive_some(100) == said
        await stream.aclose()


async def test_what_is_read_again_is_otherwise_the_stream() -> None:
    near, far = trio.testing.memory_stream_pair()
    await near.send_all(b"PO")
    _, stream = await begins_with_post(far)
    assert isinstance(stream, trio.abc.HalfCloseableStream)

    assert [await stream.receive_some(1), await stream.receive_some()] == [b"P", b"O"]
    await stream.wait_send_all_might_not_block()
    await stream.send_all(b"answer")
    await stream.send_eof()
    assert [await near.receive_some(10), await near.receive_some(10)] == [b"answer", b""]
    await stream.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"x")


async def test_a_stream_that_cannot_be_closed_by_half_does_not_seem_to() -> None:
    near, far = trio.testing.memory_stream_pair()
    whole: Reread[trio.abc.Stream] = Reread(far, b"GET /")

    is_post, stream = await begins_with_post(whole)

    assert not is_post
    assert not isinstance(stream, trio.abc.HalfCloseableStream)
    assert [await stream.receive_some(9), await stream.receive_some(9)] == [b"G", b"ET /"]
    await near.aclose()


async def test_nobody_and_the_silent_count_as_an_upgrade(autojump_clock: MockClock) -> None:
    near, far = trio.testing.memory_stream_pair()
    assert await begins_with_post(far) == (False, far)
    assert trio.current_time() == FIRST_BYTE_S

    await near.aclose()
    assert await begins_with_post(far) == (False, far)
    await far.aclose()
    assert await begins_with_post(far) == (False, far)
