"""A stream that swallows the pongs of who writes to it, as a peer that answers no ping."""

from __future__ import annotations

from typing import Final

import attrs
import trio

_PONG: Final = 0x8A
"""The first byte of a pong (RFC 6455 section 5.2): a control frame has no fragments."""


@attrs.define(eq=False)
class Pongless(trio.abc.Stream):
    """``stream`` without the pongs; what is written must begin with a frame each time."""

    stream: trio.abc.Stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """To ``stream``, unless it is a pong."""
        if bytes(data[:1]) == bytes([_PONG]):
            await trio.lowlevel.checkpoint()
        else:
            await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Of ``stream``."""
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """What ``stream`` gives."""
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close ``stream``."""
        await self.stream.aclose()
