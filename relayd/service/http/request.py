"""A request as its handler sees it, with a body that is read as it is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Self

import attrs
import trio

from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head, Query
from relayd.protocol.http1 import CONTINUE, BodyError, Decoder
from relayd.service.http.incoming import Incoming
from relayd.service.http.outgoing import Outgoing
from relayd.service.http.refusals import BODY_TIMEOUT, HttpFault, HttpRefused, body_too_large

DRAIN_MAX_BYTES: Final = 65536
"""An unread body up to this long is read and dropped, so that its connection can go on."""

DRAIN_S: Final = 1.0

MIN_BYTES_PER_S: Final = 500.0
"""A body that comes slower than this for long is given up: the default of Apache's mod_reqtimeout.

Each byte gives its client that much time back of the ``stall_s`` it may be waited for, and never
more than that: bytes that came fast buy no longer pause.
"""

_OVERLOAD: Final = Refusal(
    RefusalCode.OVERLOAD,
    "relayd holds as many bytes as it may; try again later.",
    retry_after_s=1.0,
)


@attrs.define(eq=False, kw_only=True)
class Body:
    """The body of one request. Iterating over it reads it, piece by piece, once.

    Attributes:
        awaited: The client waits for a 100 before it sends; asking for the body sends it.
        stall_s: For how long it may be waited for, beside a second for each
            :data:`MIN_BYTES_PER_S`. What the handler takes between two pieces does not count.
        bytes_in: Of the body, so far.
        failed: Why the rest cannot be read; nothing behind it can be read either.
    """

    decoder: Decoder
    awaited: bool
    max_bytes: int
    stall_s: float
    incoming: Incoming
    outgoing: Outgoing
    hold: HoldBudget
    bytes_in: int = attrs.field(default=0, init=False)
    failed: Refusal | HttpFault | None = attrs.field(default=None, init=False)
    _kept: bytearray = attrs.field(factory=bytearray, init=False)
    _whole: bytes | None = attrs.field(default=None, init=False)
    _held: int = attrs.field(default=0, init=False)
    _patience_s: float = attrs.field(init=False)
    _droppable: int = attrs.field(default=DRAIN_MAX_BYTES, init=False)

    def __attrs_post_init__(self) -> None:
        """The client may pause at once."""
        self._patience_s = self.stall_s

    def __aiter__(self) -> Self:
        """Itself: a body is read once."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece, never empty. Raises ``HttpRefused``; cancelling loses no byte."""
        part = await self._next(self.max_bytes)
        if not part:
            raise StopAsyncIteration
        return part

    async def read(self, max_bytes: int | None) -> bytes:
        """All of it; see :meth:`Request.body`."""
        if self._whole is None:
            assert self.bytes_in == len(self._kept), "the body is already read in pieces"
            limit = self.max_bytes if max_bytes is None else min(max_bytes, self.max_bytes)
            while part := await self._next(limit):
                if not self.hold.take(len(part)):
                    raise self._fail(_OVERLOAD)
                self._held += len(part)
                self._kept += part
            self._whole = bytes(self._kept)
            self._kept.clear()
        return self._whole

    @property
    def drainable(self) -> bool:
        """Whether the connection may go on behind this body, as far as can be told."""
        if self.decoder.complete:
            return True
        if self.awaited or self.failed is not None:
            return False  # with an answer instead of the 100, a body may follow or not
        return (self.decoder.remaining or 1) <= self._droppable

    def overtaken(self) -> bool:
        """Drop what has come of the rest; whether something has come behind it, which is lost.

        Not to be called while a handler may still read. No other task runs in between.
        """
        while self.drainable:
            data = self.incoming.take_now()
            if self.decoder.complete or not data:
                return bool(data)
            self._drop(data)
        return False

    async def drain(self) -> bool:
        """Read the rest and drop it; whether it ended soon enough for another request."""
        if self.decoder.complete:  # as for most: a deadline costs as much as a small body
            return True
        with trio.move_on_after(DRAIN_S):
            while self.drainable and not self.decoder.complete:
                self._drop(await self.incoming.take())
        return self.decoder.complete

    def release(self) -> None:
        """Give back what is held for it. Calling again is fine."""
        self.hold.give(self._held)
        self._held = 0
        self._kept.clear()
        self._whole = None

    async def _next(self, max_bytes: int) -> bytes:
        """The next piece; empty at the end."""
        if self.failed is not None:
            raise HttpRefused(self.failed)
        while not self.decoder.complete:
            if self.bytes_in + (self.decoder.remaining or 0) > max_bytes:
                raise self._fail(body_too_large(max_bytes))
            await self._invite()
            part = self._decode(await self._wait())
            self.bytes_in += len(part)
            self._patience_s = min(self.stall_s, self._patience_s + len(part) / MIN_BYTES_PER_S)
            if self.bytes_in > max_bytes:
                raise self._fail(body_too_large(max_bytes))
            if part:
                return part
        return b""

    async def _wait(self) -> bytes:
        """The next bytes, while patience lasts."""
        if self.incoming.held:  # nothing to wait for, and so no deadline to set
            return await self.incoming.take()
        began_at = trio.current_time()
        try:
            with trio.fail_after(self._patience_s):
                return await self.incoming.take()
        except trio.TooSlowError:
            raise self._fail(BODY_TIMEOUT) from None
        finally:
            self._patience_s = max(0.0, self._patience_s - (trio.current_time() - began_at))

    async def _invite(self) -> None:
        """Send the 100 that the client waits for, unless it has begun without it."""
        if self.awaited:
            self.awaited = False
            if not self.incoming.held:
                await self.outgoing.send(CONTINUE)

    def _decode(self, data: bytes) -> bytes:
        try:
            part = self.decoder.feed(data)
        except BodyError as error:
            raise self._fail(error.refusal) from None
        if self.decoder.complete:
            self.incoming.put_back(self.decoder.leftover)
        return part

    def _drop(self, data: bytes) -> None:
        self._droppable -= len(data)
        try:
            self._decode(data)
        except HttpRefused:
            pass  # it has failed: nothing behind it is read

    def _fail(self, refusal: Refusal | HttpFault) -> HttpRefused:
        self.failed = refusal
        return HttpRefused(refusal)


@attrs.define(eq=False, kw_only=True)
class Request:
    """One request. Its repr holds nothing that a client sent: any of it may be a key.

    Attributes:
        head: Its head; ``method``, ``path`` and ``query`` are taken from it.
        client_address: Where it comes from.
        request_id: ``req_…``; the response carries it, and the log.
        route: The pattern that matched, once a router has found one; for the log and metrics.
        parameters: The decoded values of the pattern's names.
        key: The name of the client's key, once a handler has authenticated it; for the log.
        nursery: What runs beside the handler and its response; both are cancelled together.
    """

    head: Head = attrs.field(repr=False)
    client_address: str
    request_id: str
    _body: Body = attrs.field(repr=False)
    route: str | None = attrs.field(default=None, init=False)
    parameters: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)
    key: str | None = attrs.field(default=None, init=False)
    nursery: trio.Nursery | None = attrs.field(default=None, init=False, repr=False)

    def start_soon(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run something beside the handler and its response. It must not raise.

        It is cancelled when the response is complete, or the client is gone.
        """
        assert self.nursery is not None, "the request is being served"
        self.nursery.start_soon(run)

    @property
    def method(self) -> str:
        """As sent; methods are case-sensitive."""
        return self.head.method

    @property
    def path(self) -> str:
        """Still percent-encoded."""
        return self.head.path

    @property
    def query(self) -> Query:
        """Still percent-encoded."""
        return self.head.query

    async def body(self, max_bytes: int | None = None) -> bytes:
        """The whole body; asking again gives the same.

        Its bytes are counted as held until the response is complete, each before it is kept.

        Args:
            max_bytes: Less than the connection's own limit, which always stands.

        Raises:
            HttpRefused: 413 where it is longer, and as early as that is known; 503 where relayd
                holds too much; 408 where it stopped for ``stall_s`` or came too slowly
                (:data:`MIN_BYTES_PER_S`); 400 where it is malformed.
                Where the body had not come whole, the connection ends with that response.

        Cancelling it loses no byte: what was read is kept for the next call.
        """
        return await self._body.read(max_bytes)

    def chunks(self) -> Body:
        """The body piece by piece, as it arrives, at most one receive ahead of the handler.

        Iterating raises what :meth:`body` raises, but for the 503: nothing is held. Pieces have
        nothing to do with how the client cut it.
        """
        return self._body
