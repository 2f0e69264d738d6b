"""One HTTP connection: requests in turn, each answered before the next is read.

Pipelining is not served: clients that are in use do not send it, and a queue of requests would be
one more buffer that a client can fill. Where bytes of a next request come before the response to
the first is complete, that response is the connection's last, and they are neither read nor
answered (docs/decisions/0009-pipelining.md).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.core.refusals import Refusal
from relayd.protocol.head import Head, HeadError
from relayd.protocol.http1 import RequestReader, framing_of
from relayd.service.acceptor import Reading, read_within
from relayd.service.http.exchange import Exchange
from relayd.service.http.incoming import Incoming
from relayd.service.http.outgoing import ClientLost, Loss, Outgoing
from relayd.service.http.refusals import refused_response
from relayd.service.http.responses import encode_whole
from relayd.service.http.service import Outcome, RequestFacts, Service, new_request_id
from relayd.transport import raw
from relayd.transport.errors import DialError

PIPELINING: Final = "pipelining_not_supported"
"""The code word for what came behind a request too early."""

PART_S: Final = 1.0
"""How long a client gets to take the last response and hang up."""


@attrs.define(eq=False, kw_only=True)
class HttpConnection:
    """Serves one client's connection, from behind its first head.

    Attributes:
        sock: Connected and non-blocking, plain or TLS; the caller closes it afterwards, which
            resets the connection of a client that was stuck.
        client_address: Where the client is, for requests and the log, by a request's head: a proxy
            may send those of several clients over one connection. ``None`` where no head came.
        service: Who answers, and within which limits.
        reading: What the heads of later requests are read within, from their first byte on.
    """

    sock: socket.socket
    client_address: Callable[[Head | None], str]
    service: Service
    reading: Reading = read_within
    _incoming: Incoming = attrs.field(init=False)
    _outgoing: Outgoing = attrs.field(init=False)
    _idle: trio.CancelScope | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Both sides of the socket."""
        self._incoming = Incoming(self.sock, b"")
        self._outgoing = Outgoing(self.sock, self.service.limits.stall_s)

    async def serve(self, head: Head, leftover: bytes) -> None:
        """Serve requests until one side has had enough. Raises nothing for a peer.

        Args:
            head: The first request, read by :class:`~relayd.protocol.http1.RequestReader`.
            leftover: What followed it.

        Cancelling it ends it at once, in the middle of a response too, which then looks cut.
        """
        self._incoming.put_back(leftover)
        following: Head | None = head
        try:
            while following is not None and await self._exchange(following):
                following = await self._next_head()
        except ClientLost:
            pass  # before it could be told why it was refused
        match self._outgoing.loss:
            case Loss.CLIENT_STALLED:
                self._outgoing.reset()
            case Loss.CLIENT_GONE:
                pass  # nobody hears an end, and the last send may have been cut
            case None:
                await self._part()

    def close_if_idle(self) -> None:
        """End the connection now if it only waits for a next request; relayd drains.

        One that is being answered ends with its response, once ``closing`` says so.
        """
        if self._idle is not None:
            self._idle.cancel(reason="relayd drains")

    # -- one request

    async def _exchange(self, head: Head) -> bool:
        """Answer one request; whether another may follow."""
        try:
            framing = framing_of(head)
        except HeadError as error:
            await self._refuse(error.refusal, head)
            return False
        exchange = Exchange(
            service=self.service,
            head=head,
            framing=framing,
            client_address=self.client_address(head),
            incoming=self._incoming,
            outgoing=self._outgoing,
        )
        await exchange.run()
        if exchange.early and exchange.outcome is Outcome.COMPLETE:
            self._tell(reason=PIPELINING, outcome=Outcome.CUT_OFF)
        return exchange.keep

    # -- between requests

    async def _next_head(self) -> Head | None:
        """The next request; ``None`` where there is none to answer."""
        limits = self.service.limits
        data = b""
        if self.service.closing():  # it began while the last response was sent
            return None
        with trio.move_on_after(limits.idle_s) as self._idle:
            data = await self._incoming.receive()
        self._idle = None
        if not data:
            return None
        reader = RequestReader(limits.head_max_bytes)
        try:
            head = reader.feed(data)
            if head is None:  # most come whole
                with self.reading(limits.head_s):
                    head = await self._rest_of_head(reader)
        except HeadError as error:
            await self._refuse(error.refusal)
            return None
        if head is not None:
            self._incoming.put_back(reader.leftover)
        return head

    async def _rest_of_head(self, reader: RequestReader) -> Head | None:
        """A head that has begun; ``None`` where the client leaves in the middle of it."""
        while data := await self._incoming.receive():
            head = reader.feed(data)
            if head is not None:
                return head
        return None

    # -- the end

    async def _refuse(self, refusal: Refusal, head: Head | None = None) -> None:
        """Answer what became no request, as the connection's last word."""
        request_id = new_request_id()
        head_only = head is not None and head.method == "HEAD"
        response = refused_response(refusal)
        data = encode_whole(response, request_id=request_id, close=True, head_only=head_only)
        outcome = Outcome.STOPPED
        try:
            await self._outgoing.send(data)
            outcome = Outcome.COMPLETE
        except ClientLost as lost:
            outcome = Outcome(lost.loss.value)
            raise
        finally:
            self._tell(
                reason=refusal.code.value,
                outcome=outcome,
                request_id=request_id,
                status=response.status,
                head=head,
                bytes_out=len(data) if outcome is Outcome.COMPLETE else 0,
            )

    def _tell(
        self,
        *,
        reason: str,
        outcome: Outcome,
        request_id: str | None = None,
        status: int = 0,
        head: Head | None = None,
        bytes_out: int = 0,
    ) -> None:
        """What became no request is told like one."""
        self.service.tell(
            RequestFacts(
                request_id=request_id or new_request_id(),
                method=None if head is None else head.method,
                route=None,
                status=status,
                outcome=outcome,
                reason=reason,
                key=None,
                client_address=self.client_address(head),
                duration_ms=0,
                bytes_in=0,
                bytes_out=bytes_out,
            )
        )

    async def _part(self) -> None:
        """Send the end of the stream, and let the client take what came before it."""
        with trio.move_on_after(PART_S):
            try:
                if isinstance(self.sock, ssl.SSLSocket):
                    _notify(self.sock)
                self.sock.shutdown(socket.SHUT_WR)
                await raw.drop_rest(self.sock)
            except (DialError, OSError):
                return  # it left


def _notify(sock: ssl.SSLSocket) -> None:
    """Send TLS's own end of stream, once; the client's is not waited for."""
    try:
        sock.unwrap()
    except (OSError, ValueError):
        pass  # the client's has not come, or the connection is gone
