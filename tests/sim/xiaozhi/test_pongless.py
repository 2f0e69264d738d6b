"""A stream that swallows pongs."""

from __future__ import annotations

import trio
import trio.testing
from websockets.frames import Opcode

from relayd.sim.link import frame
from relayd.sim.xiaozhi.pongless import Pongless


async def test_pongs_are_swallowed_and_nothing_else_is() -> None:
    near, far = trio.testing.memory_stream_pair()
    stream = Pongless(far)
    sent = [frame(opcode, b"x") for opcode in (Opcode.PING, Opcode.PONG, Opcode.TEXT)]
    for one in sent:
        await stream.wait_send_all_might_not_block()
        await stream.send_all(one)
    await near.send_all(b"in")

    assert await stream.receive_some(1) == b"i"
    await stream.aclose()
    assert await near.receive_some() == sent[0] + sent[2]
