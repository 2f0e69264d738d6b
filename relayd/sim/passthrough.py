"""A simulated passthrough upstream: a WebSocket that says everything back."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Sequence

import attrs
import trio

from relayd.sim.link import Link, PeerGone


class Scenario(enum.Enum):
    """What the echo can be asked to play."""

    NORMAL = "normal"


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """The first one offered."""
    return offered[0] if offered else None


@attrs.define
class PassthroughUpstream:
    """Echoes each message, text or binary, of up to ``link.MESSAGE_MAX_BYTES``.

    Fragments come back as one frame, a Close with its own code and reason. Any path will do.
    """

    scenario: Scenario = Scenario.NORMAL
    base_path: str = attrs.field(default="", init=False)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Echo until the connection is over; ``stream`` is closed then."""
        link = Link(stream, choose_subprotocol=choose_subprotocol)
        try:
            with contextlib.suppress(PeerGone):
                await link.accept(await link.request())
                while True:
                    await link.send(await link.receive())
            await link.close(1000)
        finally:
            await trio.aclose_forcefully(stream)
