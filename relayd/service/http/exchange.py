"""One request and its response, while the client is watched."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable
from functools import partial
from typing import Final

import attrs
import trio

from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head
from relayd.protocol.http1 import (
    BODILESS,
    LAST_CHUNK,
    Framing,
    decoder_of,
    encode_chunk,
    expects_continue,
)
from relayd.service.http.incoming import Incoming
from relayd.service.http.outgoing import ClientLost, Loss, Outgoing
from relayd.service.http.refusals import (
    EXPECTATION_FAILED,
    HttpFault,
    HttpRefused,
    refused_response,
)
from relayd.service.http.request import Body, Request
from relayd.service.http.responses import (
    HEARTBEAT,
    Response,
    Sse,
    SseEvent,
    Stream,
    Whole,
    encode_head_of,
    encode_whole,
)
from relayd.service.http.service import Outcome, RequestFacts, Service, new_request_id

UNWELCOME: Final = frozenset({401, 403})
"""Statuses after which a connection ends: without a key nobody keeps one for long."""


@attrs.define(eq=False, kw_only=True)
class Exchange:
    """Serves one request.

    Attributes:
        keep: Whether another request may follow, once it has run.
        early: Whether bytes of a next request came before the response was complete. They are
            not answered, and ``keep`` is not set.
        outcome: How it ended.
    """

    service: Service
    head: Head
    framing: Framing
    client_address: str
    incoming: Incoming
    outgoing: Outgoing
    keep: bool = attrs.field(default=False, init=False)
    early: bool = attrs.field(default=False, init=False)
    outcome: Outcome = attrs.field(default=Outcome.STOPPED, init=False)
    _body: Body = attrs.field(init=False)
    _request: Request = attrs.field(init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _heartbeat: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _status: int = attrs.field(default=0, init=False)
    _reason: str | None = attrs.field(default=None, init=False)
    _error: Exception | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Put the request together."""
        limits = self.service.limits
        self._body = Body(
            decoder=decoder_of(self.framing),
            awaited=expects_continue(self.head) is not False,
            max_bytes=limits.body_max_bytes,
            stall_s=limits.stall_s,
            incoming=self.incoming,
            outgoing=self.outgoing,
            hold=self.service.hold,
        )
        self._request = Request(
            head=self.head,
            client_address=self.client_address,
            request_id=new_request_id(),
            body=self._body,
        )

    async def run(self) -> None:
        """Answer the request. Raises nothing for what the client or the handler did.

        Cancelling it cuts a response that has begun; the connection is then of no use.
        """
        started_at, sent_before = trio.current_time(), self.outgoing.bytes_out
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._request.nursery = nursery
                    nursery.start_soon(self._watch)
                    await self._answer(nursery)
                    if self.keep:
                        self.keep = await self._body.drain()
                    self._scope.cancel(reason="the request has ended")
        finally:
            self._body.release()
            self.service.tell(
                RequestFacts(
                    request_id=self._request.request_id,
                    method=self.head.method,
                    route=self._request.route,
                    status=self._status,
                    outcome=self.outcome,
                    reason=self._reason,
                    key=self._request.key,
                    client_address=self.client_address,
                    duration_ms=math.floor((trio.current_time() - started_at) * 1000),
                    bytes_in=self._body.bytes_in,
                    bytes_out=self.outgoing.bytes_out - sent_before,
                    error=self._error,
                )
            )

    # -- the client

    async def _watch(self) -> None:
        await self.incoming.watch()
        self._lose(Loss.CLIENT_GONE)

    def _lose(self, loss: Loss) -> None:
        """Stop at once: nobody is left to answer."""
        self.keep = False
        self.outgoing.loss = self.outgoing.loss or loss
        if self.outcome is Outcome.STOPPED:
            self.outcome = Outcome(loss.value)
        self._scope.cancel(reason=loss.value)

    # -- the answer

    async def _answer(self, nursery: trio.Nursery) -> None:
        """From the request to the last byte of its response."""
        try:
            await self._respond(await self._ask(), nursery)
        except HttpRefused as refused:  # by a stream
            self.outcome = Outcome.CUT_OFF
            self._reason = str(refused.refusal.code)
        except ClientLost as lost:
            self._lose(lost.loss)
        except Exception as error:  # noqa: BLE001 - the boundary of a request: a bug here ends one request
            if self.outgoing.loss is not None:  # a handler's nursery has wrapped it
                self._lose(self.outgoing.loss)
            else:
                await self._crash(error)

    async def _ask(self) -> Response | Refusal | HttpFault:
        try:
            if expects_continue(self.head) is None:
                raise HttpRefused(EXPECTATION_FAILED)
            return await self.service.handler(self._request)
        except HttpRefused as refused:
            return refused.refusal

    async def _respond(self, answer: Response | Refusal | HttpFault, nursery: trio.Nursery) -> None:
        if isinstance(answer, Refusal | HttpFault):
            self._reason = str(answer.code)
            if answer.status == 0:  # the handler knows that nobody is left
                self._lose(Loss.CLIENT_GONE)
                return
            answer = refused_response(answer)
        close = self._must_close() or answer.status in UNWELCOME
        if isinstance(answer, Stream | Sse):
            # The body may still be read, while the response is made.
            self.early = not close and self._is_overtaken()
            close = close or self.early
            await self._send_stream(answer, nursery, close=close)
        else:
            if not close:
                self._look()
                close = self.early or not self._body.drainable
            await self._send_whole(answer, close=close)
        # No other task has run since the last byte was sent: what is held now came before it.
        self._heartbeat.cancel(reason="the response is complete")
        self.outcome = Outcome.COMPLETE
        self.early = self.early or (not close and self._is_overtaken())
        self.keep = not (close or self.early)

    def _look(self) -> None:
        """Look for bytes of a next request, at the last moment at which they are early."""
        self.early = self._body.overtaken() or self.early

    def _is_overtaken(self) -> bool:
        """Whether bytes of a next request have been received; what may be body counts for none."""
        return self._body.decoder.complete and bool(self.incoming.held)

    def _must_close(self) -> bool:
        return (
            self.head.names_token("connection", "close")
            or not self._body.drainable
            or self.service.closing()
        )

    async def _send_whole(self, response: Whole, *, close: bool) -> None:
        data = encode_whole(
            response,
            request_id=self._request.request_id,
            close=close,
            head_only=self.head.method == "HEAD",
        )
        self._status = response.status
        await self.outgoing.send(data, before_end=None if close else self._look)

    async def _send_stream(
        self, response: Stream | Sse, nursery: trio.Nursery, *, close: bool
    ) -> None:
        request_id = self._request.request_id
        before_end = None if close else self._look
        items: AsyncIterable[bytes | SseEvent]
        items = response.events if isinstance(response, Sse) else response.chunks
        iterator = aiter(items)
        try:
            head = encode_head_of(response, request_id=request_id, close=close, length=None)
            self._status = response.status
            if self.head.method == "HEAD" or response.status in BODILESS:
                await self.outgoing.send(head, before_end=before_end)
                return
            if isinstance(response, Sse) and response.send_buffer_bytes is not None:
                self.outgoing.bound_buffer(response.send_buffer_bytes)
            await self.outgoing.send(head)
            if isinstance(response, Sse):
                nursery.start_soon(partial(self._keep_alive, response.keepalive_s))
            async for item in iterator:
                data = item.encode() if isinstance(item, SseEvent) else item
                if data:
                    await self.outgoing.send(encode_chunk(data))
        finally:
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
        await self.outgoing.send(LAST_CHUNK, before_end=before_end)

    async def _keep_alive(self, every_s: float) -> None:
        with self._heartbeat:
            try:
                await self.outgoing.keep_alive(HEARTBEAT, every_s)
            except ClientLost as lost:
                self._lose(lost.loss)

    async def _crash(self, error: Exception) -> None:
        """Answer for a bug, unless the response has begun: then the cut must be seen."""
        self._error, self.outcome = error, Outcome.CRASHED
        if self._status:
            return
        self._reason = RefusalCode.INTERNAL_ERROR.value
        message = f"A bug in relayd; its log has the details under {self._request.request_id}."
        refusal = Refusal(RefusalCode.INTERNAL_ERROR, message)
        try:
            await self._send_whole(refused_response(refusal), close=True)
        except ClientLost:
            return  # the bug is told all the same
