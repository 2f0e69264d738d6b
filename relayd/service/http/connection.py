"""One HTTP connection: requests in turn, each answered before the next is read.

Pipelining is not served: clients that are in use do not send it, and a queue of requests would be
one more buffer that a client can fill.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head, HeadError
from relayd.protocol.http1 import RequestReader, framing_of
from relayd.service.http.exchange import Exchange
from relayd.service.http.incoming import Incoming
from relayd.service.http.outgoing import ClientLost, Loss, Outgoing
from relayd.service.http.refusals import PIPELINING, HttpFault, refused_response
from relayd.service.http.responses import encode_whole
from relayd.service.http.service import Outcome, RequestFacts, Service, new_request_id
from relayd.transport import raw
from relayd.transport.errors import DialError

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
    """

    sock: socket.socket
    client_address: Callable[[Head | None], str]
    service: Service
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
        if exchange.keep and exchange.early:
            await self._refuse(PIPELINING)
            return False
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
            with trio.fail_after(limits.head_s):
                while data:
                    head = reader.feed(data)
                    if head is not None:
                        self._incoming.put_back(reader.leftover)
                        return head
                    data = await self._incoming.receive()
            return None  # it left in the middle of a head
        except HeadError as error:
            refusal = error.refusal
        except trio.TooSlowError:
            message = f"The request's head did not arrive within {limits.head_s:g} s."
            refusal = Refusal(RefusalCode.HEAD_TIMEOUT, message)
        await self._refuse(refusal)
        return None

    # -- the end

    async def _refuse(self, refusal: Refusal | HttpFault, head: Head | None = None) -> None:
        """Answer what became no request, as the connection's last word."""
        request_id = new_request_id()
        method = None if head is None else head.method
        response = refused_response(refusal)
        data = encode_whole(response, request_id=request_id, close=True, head_only=method == "HEAD")
        outcome = Outcome.STOPPED
        try:
            await self._outgoing.send(data)
            outcome = Outcome.COMPLETE
        except ClientLost as lost:
            outcome = Outcome(lost.loss.value)
            raise
        finally:
            self.service.tell(
                RequestFacts(
                    request_id=request_id,
                    method=method,
                    route=None,
                    status=response.status,
                    outcome=outcome,
                    reason=str(refusal.code),
                    key=None,
                    client_address=self.client_address(head),
                    duration_ms=0,
                    bytes_in=0,
                    bytes_out=len(data) if outcome is Outcome.COMPLETE else 0,
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
