"""Requests that go over an upstream's HTTP interface, for what its WebSockets cannot do.

httpx speaks the protocol. Connections are relayd's own: dialled under the account's rules about
addresses, through its proxy, trusting its authorities; each serves one request. No redirect is
followed, and nothing of the environment is looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import attrs
import httpcore
import httpx
import trio

from relayd.config.accounts import Transport
from relayd.config.secret import Secret
from relayd.config.snapshot import Account
from relayd.config.url import Url
from relayd.core.refusals import RefusalCode
from relayd.dialect.behind import Faulted, Finished, Piece
from relayd.dialect.chat_faults import broken_protocol
from relayd.dialect.chat_values import ChatRequest, ToolMode
from relayd.dialect.spark_http import Events, HttpExchange, http_url
from relayd.dialect.spark_http_request import http_prepared
from relayd.routing.classify import unreachable
from relayd.session.attempts import AttemptFailed
from relayd.session.chat import verdicts
from relayd.session.chat.http_transport import RelayedTransport
from relayd.session.connecting import Connector
from relayd.transport.errors import DialError, DialErrorKind

REFUSAL_MAX_BYTES: Final = 8192
"""Of an answer other than a 200 that is read."""

REST_MAX_BYTES: Final = 65_536
REST_S: Final = 0.25
"""How long the end of a body may take to come, behind the end of the answer in it."""

LAST_S: Final = 1.0
"""How long closing may take."""

CLOSE: Final = {"Connection": "close", "Accept-Encoding": "identity"}


def goes_over_http(request: ChatRequest, account: Account) -> bool:
    """Whether a request goes over the account's HTTP interface."""
    if account.spark is None or account.spark.http_password is None:
        return False
    match account.transport:
        case Transport.WS:
            return False
        case Transport.HTTP:
            return True
        case Transport.AUTO:
            must_call = request.tool_choice.mode is ToolMode.REQUIRED
            return must_call or request.response_format is not None


@attrs.frozen
class HttpOpening:
    """Begins requests over HTTP. One per process."""

    connector: Connector

    async def talk(self, account: Account, request: ChatRequest) -> HttpTalk:
        """The request at ``account``; it is sent when its pieces are first asked for."""
        await trio.lowlevel.checkpoint()
        assert account.spark is not None, "only such accounts have the interface"
        assert account.spark.http_password is not None, "likewise"
        prepared = http_prepared(request, account)
        url = http_url(account)
        transport = RelayedTransport(self.connector, account, url)
        client = httpx.AsyncClient(
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            timeout=None,
        )
        return HttpTalk(
            client=client,
            transport=transport,
            url=url,
            headers=dict(account.headers),
            password=account.spark.http_password,
            body=prepared.body,
            exchange=HttpExchange.of(account, prepared.limit, prepared.ignored),
        )


@attrs.define(eq=False, kw_only=True)
class HttpTalk:
    """See :class:`~relayd.session.chat.talk.Talk`."""

    client: httpx.AsyncClient
    transport: RelayedTransport
    url: Url
    headers: dict[str, str] = attrs.field(repr=False)
    password: Secret
    body: bytes = attrs.field(repr=False)
    exchange: HttpExchange
    was_ready: bool = attrs.field(default=False, init=False)
    _response: httpx.Response | None = attrs.field(default=None, init=False)
    _chunks: AsyncIterator[bytes] | None = attrs.field(default=None, init=False)
    _events: Events = attrs.field(factory=Events, init=False)
    _is_whole: bool = attrs.field(default=False, init=False)

    @property
    def ignored(self) -> tuple[str, ...]:
        """See :class:`~relayd.session.chat.talk.Talk`."""
        return self.exchange.ignored

    @property
    def upstream_id(self) -> str | None:
        """See :class:`~relayd.session.chat.talk.Talk`."""
        return self.exchange.upstream_id

    async def pieces(self) -> tuple[Piece, ...]:
        """See :class:`~relayd.session.chat.talk.Talk`. After cancelling it there are no more."""
        try:
            if self._chunks is None:
                refused = await self._send()
                if refused is not None:
                    return (refused,)
            assert self._chunks is not None, "it has been sent"
            data = await anext(self._chunks)
        except StopAsyncIteration:
            return (Faulted(self.exchange.closed("the body ended")),)
        except DialError as error:
            if self._response is not None:
                return (Faulted(self.exchange.closed(error.message)),)
            ours = error.kind is DialErrorKind.RESOURCES_EXHAUSTED
            code = RefusalCode.OVERLOAD if ours else None
            failed = AttemptFailed(unreachable(error.kind, error.message), code)
            return (Faulted(verdicts.of_attempt(failed)),)
        except httpcore.ProtocolError as error:
            return (Faulted(self.exchange.closed(f"broken HTTP: {error}")),)
        return self._said(data)

    async def aclose(self) -> None:
        """See :class:`~relayd.session.chat.talk.Talk`: the connection is closed."""
        with trio.move_on_after(LAST_S, shield=True):
            await self._end_body()
            if self._response is not None:
                await self._response.aclose()
            await self.client.aclose()

    async def _end_body(self) -> None:
        """Read to the end of the body: what is left of it, or that the connection is closed.

        httpx reads through generators inside each other. One that is left alone before its end is
        closed by the garbage collector, at any time; so each is brought there.
        """
        if self._is_whole and self._chunks is not None:
            with trio.move_on_after(REST_S):
                await self._exhaust(self._chunks)
        self.transport.hang_up()
        if self._chunks is not None:
            await self._exhaust(self._chunks)

    async def _exhaust(self, chunks: AsyncIterator[bytes]) -> None:
        left = REST_MAX_BYTES
        try:
            async for data in chunks:
                left -= len(data)
                if left < 0:
                    self.transport.hang_up()
        except (DialError, httpcore.ProtocolError):
            return  # it was hung up, here or there

    async def _send(self) -> Faulted | None:
        scheme = "https" if self.url.tls else "http"
        request = self.client.build_request(
            "POST",
            f"{scheme}://{self.url.authority}{self.url.path}",
            headers={
                **self.headers,
                **CLOSE,
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.password.reveal()}",
            },
            content=self.body,
        )
        self._response = await self.client.send(request, stream=True)
        self._chunks = self._response.aiter_raw()
        if self._response.status_code == HTTPStatus.OK:
            return None
        body = b""
        async for data in self._chunks:
            body += data
            if len(body) >= REFUSAL_MAX_BYTES:
                break
        body = body[:REFUSAL_MAX_BYTES]
        return Faulted(self.exchange.refused(self._response.status_code, body))

    def _said(self, data: bytes) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        for event in self._events.feed(data):
            for piece in self.exchange.feed(event):
                pieces.append(piece)
                if isinstance(piece, Finished | Faulted):
                    self._is_whole = isinstance(piece, Finished)
                    return tuple(pieces)
        if self._events.too_big:
            pieces.append(Faulted(broken_protocol("an event without an end", self.upstream_id)))
        return tuple(pieces)
