"""Asking one server over HTTP, on a connection of its own, dialled under its account's rules.

No redirect is followed, nothing of the environment is looked at, and no more is read than may be.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

import attrs
import httpcore
import httpx
import trio

from relayd.config.snapshot import Account
from relayd.config.url import Url, parse_base_url
from relayd.core.refusals import RefusalCode
from relayd.dialect.xiaozhi_identity import Identity
from relayd.dialect.xiaozhi_ota import BODY_MAX_BYTES
from relayd.protocol.head import Head
from relayd.routing.classify import unreachable
from relayd.session.attempts import AttemptFailed
from relayd.session.chat.http_transport import RelayedTransport
from relayd.session.connecting import Connector
from relayd.transport.errors import DialError, DialErrorKind

ACTIVATE: Final = "activate"
CONTENT_TYPE: Final = "application/json"

TRAVELLING: Final = (
    "activation-version",
    "serial-number",
    "user-agent",
    "accept-language",
    "content-type",
)
"""What a device says of itself that its server hears; where it is, and as whom it speaks to relayd,
is not among it."""

LAST_S: Final = 1.0
"""How long closing may take."""

_CLOSE: Final = {"Connection": "close", "Accept-Encoding": "identity"}
_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:; ?[A-Za-z0-9=._-]+)*")
_TYPE_MAX_CHARS: Final = 128


@attrs.frozen(kw_only=True)
class Question:
    """What a device asks.

    Attributes:
        method: GET or POST.
        identity: Which device it is.
        headers: Of the device, those that travel on.
        body: As it came.
        activates: Whether it is about its activation.
    """

    method: str
    identity: Identity
    headers: tuple[tuple[str, str], ...]
    body: bytes = attrs.field(repr=False)
    activates: bool = False

    @classmethod
    def of(cls, head: Head, identity: Identity, body: bytes, *, activates: bool) -> Question:
        """The question of a request with this head and body."""
        headers = tuple(
            (name.title(), value) for name in TRAVELLING if (value := head.get(name)) is not None
        )
        method = "POST" if head.method == "POST" else "GET"
        return cls(
            method=method, identity=identity, headers=headers, body=body, activates=activates
        )


@attrs.frozen
class Answered:
    """What the server said, unchecked.

    Attributes:
        status: Its status.
        content_type: Its type, where that is one that can be sent on.
        body: At most :data:`~relayd.dialect.xiaozhi_ota.BODY_MAX_BYTES`.
    """

    status: int
    content_type: str
    body: bytes = attrs.field(repr=False)


def where(ota_url: str, *, activates: bool) -> tuple[Url, str]:
    """Where a server is asked: what is dialled, and the path, whose last slash is significant."""
    url = parse_base_url(ota_url)
    if activates:
        return url, f"{url.path}/{ACTIVATE}"
    return url, f"{url.path}/" if ota_url.endswith("/") or not url.path else url.path


async def ask(connector: Connector, account: Account, question: Question) -> Answered:
    """Ask the server of ``account``. The caller's cancel scope is the only deadline.

    Raises:
        AttemptFailed: It was not reached, or what it said is no HTTP, or is too long.

    Cancelling it closes the connection.
    """
    assert account.xiaozhi.ota_url is not None, "only such accounts are asked"
    url, path = where(account.xiaozhi.ota_url, activates=question.activates)
    transport = RelayedTransport(connector, account, url)
    client = httpx.AsyncClient(
        transport=transport, follow_redirects=False, trust_env=False, timeout=None
    )
    chunks: AsyncIterator[bytes] | None = None
    response: httpx.Response | None = None
    try:
        request = _request(client, url, path, account, question)
        response = await client.send(request, stream=True)
        chunks = response.aiter_raw()
        body = await _read(chunks)
        return Answered(response.status_code, _type_of(response), body)
    except DialError as error:
        ours = error.kind is DialErrorKind.RESOURCES_EXHAUSTED
        code = RefusalCode.OVERLOAD if ours else None
        raise AttemptFailed(unreachable(error.kind, error.message), code) from None
    except httpcore.ProtocolError:  # its words would be the server's
        raise _broken("its answer is no HTTP, or stops before its end") from None
    finally:
        transport.hang_up()
        with trio.move_on_after(LAST_S, shield=True):
            if chunks is not None:
                await _exhaust(chunks)
            if response is not None:
                await response.aclose()
            await client.aclose()


def _request(
    client: httpx.AsyncClient, url: Url, path: str, account: Account, question: Question
) -> httpx.Request:
    identity = question.identity
    headers = httpx.Headers([("Device-Id", identity.device_id), ("Client-Id", identity.client_id)])
    headers.update(dict(question.headers))
    headers.update(account.headers)
    headers.update(_CLOSE)
    scheme = "https" if url.tls else "http"
    made = client.build_request(
        question.method,
        f"{scheme}://{url.authority}{path}",
        headers=headers,
        content=question.body or None,
    )
    if "user-agent" not in headers:
        del made.headers["user-agent"]  # httpx would name itself
    return made


async def _read(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for data in chunks:
        body += data
        if len(body) > BODY_MAX_BYTES:
            raise _broken(f"its answer has more than {BODY_MAX_BYTES} bytes")
    return bytes(body)


async def _exhaust(chunks: AsyncIterator[bytes]) -> None:
    """Read to the end, which is near: the connection is closed.

    httpx reads through generators inside each other. One that is left alone before its end is
    closed by the garbage collector, at any time.
    """
    try:
        async for _ in chunks:
            pass
    except (DialError, httpcore.ProtocolError):
        return


def _type_of(response: httpx.Response) -> str:
    given: str = response.headers.get("content-type", "")
    fits = len(given) <= _TYPE_MAX_CHARS and _TYPE.fullmatch(given) is not None
    return given if fits else CONTENT_TYPE


def _broken(message: str) -> AttemptFailed:
    return AttemptFailed(unreachable("malformed_response", message))
