"""The admin listener: whether relayd lives, and whether it wants connections.

``/livez`` says 200 as long as the loop turns: a probe that fails while relayd drains would kill
the sessions it is waiting for. Only ``/readyz`` says 503 then. Over TCP every request carries the
admin token, names a host of its own, and comes from no web page.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Callable
from typing import Final

import attrs
import msgspec
import trio

from relayd.config.secret import Secret
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.fields import encode_head
from relayd.protocol.head import Head, HeadError, HeadReader
from relayd.protocol.upgrade import refusal_response
from relayd.transport import raw
from relayd.transport.errors import DialError

REQUEST_S: Final = 10.0
HEAD_MAX_BYTES: Final = 16384
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_PATHS: Final = ("/livez", "/readyz")


@attrs.frozen(kw_only=True)
class Readiness:
    """Why new connections would be refused; nothing of it is true when relayd is ready."""

    draining: bool
    overloaded: bool
    ledger_failing: bool

    @property
    def ready(self) -> bool:
        """Whether connections are welcome."""
        return not (self.draining or self.overloaded or self.ledger_failing)


@attrs.frozen(kw_only=True)
class Admin:
    """Answers one request a connection.

    Attributes:
        token: Demanded from TCP clients; ``None`` on a unix socket, where file modes rule.
        readiness: Asked for each ``/readyz``.
    """

    token: Secret | None
    readiness: Callable[[], Readiness]

    async def serve(self, sock: socket.socket, address: str, number: int = 0) -> None:
        """Serve one accepted connection. Owns ``sock``; raises nothing for a peer."""
        with sock, trio.move_on_after(REQUEST_S):
            try:
                await raw.send_all(sock, await self._answer(sock))
                sock.shutdown(socket.SHUT_WR)
                while await raw.receive(sock, HEAD_MAX_BYTES):
                    pass
            except (DialError, OSError):
                return  # it left

    async def _answer(self, sock: socket.socket) -> bytes:
        reader = HeadReader(HEAD_MAX_BYTES)
        head = None
        try:
            while head is None:
                data = await raw.receive(sock, HEAD_MAX_BYTES)
                if not data:
                    return b""
                head = reader.feed(data)
        except HeadError as error:
            return refusal_response(error.refusal)
        refusal = self._refusal(head, tcp=sock.family != socket.AF_UNIX)
        if refusal is not None:
            return refusal_response(refusal, head_only=head.method == "HEAD")
        if head.path == "/livez":
            return _response(200, {"live": True}, head)
        state = self.readiness()
        checks = attrs.asdict(state)
        return _response(200 if state.ready else 503, {"ready": state.ready, **checks}, head)

    def _refusal(self, head: Head, *, tcp: bool) -> Refusal | None:
        if head.get("origin") is not None:
            return Refusal(
                RefusalCode.ORIGIN_NOT_ALLOWED, "The admin listener is not for web pages."
            )
        if tcp and (head.get("host") or "").rpartition(":")[0] not in _LOOPBACK:
            return Refusal(
                RefusalCode.ADDRESS_NOT_ALLOWED,
                "Name the admin listener by its loopback address, with its port.",
                "host",
            )
        if tcp and not self._authorized(head):
            return Refusal(
                RefusalCode.INVALID_API_KEY,
                "Send Authorization: Bearer with the admin token (server.admin_token).",
                headers=(("WWW-Authenticate", "Bearer"),),
            )
        if head.path not in _PATHS:
            return Refusal(
                RefusalCode.NOT_FOUND, f"There is nothing here. Known: {', '.join(_PATHS)}."
            )
        if head.method not in ("GET", "HEAD"):
            return Refusal(
                RefusalCode.METHOD_NOT_ALLOWED, "Send GET.", headers=(("Allow", "GET, HEAD"),)
            )
        return None

    def _authorized(self, head: Head) -> bool:
        if self.token is None:
            return False
        presented = head.get("authorization") or ""
        wanted = f"Bearer {self.token.reveal()}"
        return hmac.compare_digest(presented.encode(), wanted.encode())


def _response(status: int, body: dict[str, bool], head: Head) -> bytes:
    encoded = msgspec.json.encode(body) + b"\n"
    phrase = {200: "OK", 503: "Service Unavailable"}[status]
    headers = [
        ("Connection", "close"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(encoded))),
    ]
    start = encode_head(f"HTTP/1.1 {status} {phrase}", headers)
    return start if head.method == "HEAD" else start + encoded
