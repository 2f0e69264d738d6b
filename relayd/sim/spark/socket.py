"""One socket of the WebSocket API from the 101 on: one request, its frames, a Close."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, assert_never

import attrs
import msgspec
import trio

from relayd.sim.link import Link, PeerGone
from relayd.sim.responses.steps import CloseWith, Distorted, Exit, Leave, Pause, Step, as_text
from relayd.sim.spark.errors import CLOSE_REASON, JsonObject, error
from relayd.sim.spark.tally import Running

_DONE: Final = CloseWith(1000)
_REFUSED: Final = CloseWith(1000, CLOSE_REASON)
_ONE_REQUEST: Final = "a connection is good for one request"


@attrs.define(eq=False)
class Socket:
    """Speaks the steps of one answer while it listens for the client.

    Attributes:
        link: The connection.
        running: What is counted.
        patience_s: How long a socket that is to be closed by its client waits for that.
        is_gone: Whether the client has ended the connection.
    """

    link: Link
    running: Running
    patience_s: float
    is_gone: bool = attrs.field(default=False, init=False)
    _interrupted: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def speak(self, steps: Iterator[Step]) -> Exit | None:
        """Send what ``steps`` give, while the client stays.

        A client that closes ends the answer at once; one that sends a second message is told
        10007, since a socket is good for one request.

        Returns:
            How the connection is to be ended; ``None``: the client has done it.
        """
        leaving: Exit | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            try:
                leaving = await self._say(steps)
            except PeerGone:
                self.is_gone = True
            nursery.cancel_scope.cancel()
        return leaving

    async def leave(self, leaving: Exit | None) -> None:
        """End the connection."""
        match leaving:
            case None:
                await self.link.close(1000)
            case CloseWith(code=code, reason=reason):
                await self.link.close(code, reason)
            case Leave.FINISH:
                await self.link.finish()
            case Leave.RESET:
                await self.link.reset()
            case Leave.FREEZE:
                await trio.sleep(self.patience_s)
            case _:
                assert_never(leaving)

    async def _listen(self, scope: trio.CancelScope) -> None:
        try:
            while True:
                await self.link.receive()
                if not self.running.is_ended:
                    self._interrupted.set()
        except PeerGone:
            self.is_gone = True
            scope.cancel()

    async def _say(self, steps: Iterator[Step]) -> Exit:
        for step in steps:
            match step:
                case Pause(seconds=seconds):
                    with trio.move_on_after(seconds):
                        await self._interrupted.wait()
                case CloseWith() | Leave():
                    return step
                case Distorted(event=event, write=write):
                    await self.link.send_raw(write(msgspec.json.encode(event)))
                    self.running.sent(event)
                case _:
                    await self._send(step)
            if self._interrupted.is_set() and not self.running.is_ended:
                await self._send(error(10007, _ONE_REQUEST).event(self.running.sid))
                break
        if self.running.is_refused:
            return _REFUSED
        if not self.running.is_closing:
            await trio.sleep(self.patience_s)
        return _DONE

    async def _send(self, frame: JsonObject) -> None:
        await self.link.send_raw(as_text(msgspec.json.encode(frame)))
        self.running.sent(frame)
