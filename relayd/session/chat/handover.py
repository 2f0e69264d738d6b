"""What comes of a request, on its way from its upstream to whoever answers the client.

The pieces of a stream are handed on as they come: with the first of them the client's status is
decided. An answer that is wanted as one object is gathered here. Of that its client is told nothing
before it is whole, so that another upstream can give it anew where the first one fails.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

import attrs
import trio

from relayd.dialect.behind import (
    Fault,
    Faulted,
    Finished,
    FinishReason,
    Piece,
    Reasoning,
    Text,
    ToolCall,
    Used,
)
from relayd.dialect.chat_reply import Collected
from relayd.dialect.meter import Usage

BATCHES_MAX: Final = 4
"""Batches of pieces between an upstream and a client that does not read; then both wait."""


@attrs.frozen
class Opened:
    """There is an answer, which is told piece by piece.

    Attributes:
        upstream_id: The upstream's name for it, if it gave one.
        ignored: What of the request is not acted on.
    """

    upstream_id: str | None
    ignored: tuple[str, ...]


@attrs.frozen
class Whole:
    """There is an answer, and this is all of it.

    Attributes:
        usage: ``None`` where the upstream did not tell.
    """

    opened: Opened
    collected: Collected
    reason: FinishReason
    usage: Usage | None


@attrs.frozen
class Denied:
    """There is none.

    Attributes:
        ignored: As far as an upstream was asked.
    """

    fault: Fault
    ignored: tuple[str, ...] = ()


Said = tuple[Piece, ...]


@attrs.define(eq=False)
class Handover:
    """Of one request. Used as a context: who waits for more behind it hears that there is none.

    Attributes:
        streams: Whether the client wants the answer piece by piece.
        is_open: Whether its status is decided. From then on no other upstream can answer.
    """

    streams: bool
    is_open: bool = attrs.field(default=False, init=False)
    _opened: Opened | None = attrs.field(default=None, init=False)
    _collected: Collected = attrs.field(factory=Collected, init=False)
    _usage: Usage | None = attrs.field(default=None, init=False)
    _send: trio.MemorySendChannel[Opened | Whole | Denied | Said] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Opened | Whole | Denied | Said] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Opened | Whole | Denied | Said](
            BATCHES_MAX
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._send.close()

    # -- for whoever answers the client

    async def opened(self) -> Opened | Whole | Denied:
        """What the client's status follows from. Asked once, first."""
        first = await self._receive.receive()
        assert not isinstance(first, tuple), "nothing is said before"
        return first

    async def said(self) -> Said | None:
        """Some more pieces of an answer; ``None`` behind the last.

        The last of them is a Finished or a Faulted. Cancelling this loses none.
        """
        try:
            more = await self._receive.receive()
        except trio.EndOfChannel:
            return None
        assert isinstance(more, tuple), "it was opened once"
        return more

    # -- for the turn

    async def begin(self, opened: Opened) -> None:
        """An upstream has said its first word. What another one has said before is forgotten."""
        self._opened = opened
        if self.streams:
            self.is_open = True
            await self._send.send(opened)
        else:
            self._collected, self._usage = Collected(), None

    async def pass_on(self, pieces: Said) -> Fault | None:
        """Some more of what that upstream has said; a last piece that is a fault is left out.

        It waits for a client that reads slowly, and is a checkpoint only where it waits.

        Returns:
            Why it cannot go on. Cancelling it hands on all of these pieces, or none.
        """
        last = pieces[-1] if pieces else None
        if isinstance(last, Faulted):
            pieces = pieces[:-1]
        if not pieces:
            return None
        if not self.streams:
            return await self._gather(pieces)
        try:
            self._send.send_nowait(pieces)
        except trio.WouldBlock:
            await self._send.send(pieces)
        return None

    async def end(self, fault: Fault, ignored: tuple[str, ...]) -> None:
        """There is no more of it, or there never was any."""
        await self._send.send((Faulted(fault),) if self.is_open else Denied(fault, ignored))
        self.is_open = True

    async def _gather(self, pieces: Said) -> Fault | None:
        for piece in pieces:
            match piece:
                case Text() | Reasoning() | ToolCall():
                    too_big = self._collected.add(piece)
                    if too_big is not None:
                        return too_big
                case Used(usage):
                    self._usage = usage
                case Finished(reason):
                    assert self._opened is not None, "an answer ends that has begun"
                    whole = Whole(self._opened, self._collected, reason, self._usage)
                    self.is_open = True
                    await self._send.send(whole)
                case _:
                    pass
        return None
