"""A request at an upstream: pieces of an answer, however they travel."""

from __future__ import annotations

from typing import Final, Protocol

import attrs
import trio

from relayd.dialect.behind import Exchange, Fault, Faulted, Finished, More, Piece
from relayd.pool.parting import Partings
from relayd.protocol.outcomes import Crash, Event, PeerClosed, Violation
from relayd.session.chat import verdicts
from relayd.session.chat.line import Line

CLOSED: Final = 1000
BROKEN: Final = 1002
"""RFC 6455 section 7.4.1: what an upstream is told that broke the rules."""


class Talk(Protocol):
    """One request, sent. What an upstream does raises nothing."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """What of the request is not acted on, by name."""

    @property
    def upstream_id(self) -> str | None:
        """The upstream's name for the request, once it has said it."""

    @property
    def was_ready(self) -> bool:
        """Whether its socket was opened ahead."""

    async def pieces(self) -> tuple[Piece, ...]:
        """What comes next; nothing, where frames came that say nothing.

        The last piece of all is a :class:`~relayd.dialect.behind.Finished` or a
        :class:`~relayd.dialect.behind.Faulted`; behind it there is nothing to ask for. Cancelling
        it loses no piece.
        """

    async def aclose(self) -> None:
        """It is over, or its client is gone: the upstream is told to stop where it has not.

        It goes on where it is cancelled, for a second at most.
        """


@attrs.define(eq=False, kw_only=True)
class SocketTalk:
    """A :class:`Talk` over a WebSocket of its own."""

    line: Line
    exchange: Exchange
    partings: Partings
    was_ready: bool
    _over: bool = attrs.field(default=False, init=False)
    _code: int = attrs.field(default=CLOSED, init=False)

    @property
    def ignored(self) -> tuple[str, ...]:
        """See :class:`Talk`."""
        return self.exchange.ignored

    @property
    def upstream_id(self) -> str | None:
        """See :class:`Talk`."""
        return self.exchange.upstream_id

    def begin(self) -> Fault | None:
        """Send the request; why that was not possible, if so: then there is nothing to stop."""
        self._over = not all(map(self.line.send, self.exchange.opening()))
        return verdicts.OVERLOADED if self._over else None

    async def pieces(self) -> tuple[Piece, ...]:
        """See :class:`Talk`."""
        came = await self.line.next()
        if not isinstance(came, list):
            return (self._lost(came),)
        pieces: list[Piece] = []
        for frame in came:
            for piece in self.exchange.feed(frame):
                if isinstance(piece, More):
                    if not all(map(self.line.send, piece.frames)):
                        self._over = True
                        return (*pieces, Faulted(verdicts.OVERLOADED))
                    continue
                pieces.append(piece)
                if isinstance(piece, Finished | Faulted):
                    self._over = True
                    return tuple(pieces)
        return tuple(pieces)

    async def aclose(self) -> None:
        """See :class:`Talk`. It waits for nothing."""
        line, now = self.line, trio.current_time()
        if not self._over:
            parting = self.exchange.cancelling()
            if parting is not None:
                line.send(parting)
        self.partings.part(line.endpoint, self._code, now)
        line.drop()

    def _lost(self, event: Event) -> Faulted:
        """The socket has ended before the answer had."""
        self._over = True
        match event:
            case PeerClosed(code, reason):
                return Faulted(self.exchange.closed(code, reason))
            case Violation():
                self._code = BROKEN
                return Faulted(verdicts.of_violation(event))
            case Crash(error):
                raise error
            case _:
                return Faulted(self.exchange.closed(None, ""))
