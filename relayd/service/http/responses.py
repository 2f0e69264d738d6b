"""What a handler answers: a whole body, a stream, or server-sent events; and its bytes."""

from __future__ import annotations

import email.utils
import re
from collections.abc import AsyncIterable
from typing import Final

import attrs
import msgspec

from relayd.protocol.http1 import BODILESS, response_head

KEEPALIVE_S: Final = 15.0
"""A proxy cuts an idle response after 30 to 60 s; two of these fit into the shortest."""

HEARTBEAT: Final = b": keepalive\n\n"
"""A comment, which every reader of server-sent events skips."""

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_NOT_ID: Final = re.compile(r"[\r\n\0]")  # an id with a NUL would be ignored
# No proxy on the way is to store events, or to gather them.
_SSE_HEADERS: Final = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))

Headers = tuple[tuple[str, str], ...]


@attrs.frozen
class Json:
    """A JSON document.

    Attributes:
        value: Whatever msgspec encodes; bytes are sent as they are.
        headers: Besides those that say type, length and framing; printable ASCII.
    """

    value: object
    status: int = 200
    headers: Headers = ()

    @property
    def content_type(self) -> str:
        """The ``Content-Type``."""
        return "application/json"

    def content(self) -> bytes:
        """The body."""
        return self.value if isinstance(self.value, bytes) else msgspec.json.encode(self.value)


@attrs.frozen
class Text:
    """A body of any other type; an empty one for a status that has none."""

    text: str | bytes
    status: int = 200
    headers: Headers = ()
    content_type: str = "text/plain; charset=utf-8"

    def content(self) -> bytes:
        """The body."""
        return self.text if isinstance(self.text, bytes) else self.text.encode()


@attrs.frozen
class Stream:
    """A body that is made while it is sent: each item waits until the one before is on its way.

    Attributes:
        chunks: Iterated once, and closed where it is a generator; empty items are passed over.
            What it raises cuts the response off, visibly: a cut body never looks complete.
    """

    chunks: AsyncIterable[bytes]
    content_type: str
    status: int = 200
    headers: Headers = ()


@attrs.frozen
class SseEvent:
    """One server-sent event (HTML Living Standard, section 9.2).

    Attributes:
        data: UTF-8; each of its lines becomes a ``data`` field.
        event: Its type, without line ends.
        id: What a client that comes back names as the last it saw; without line ends or NUL.
        retry: Milliseconds after which a client that lost the stream comes back.
    """

    data: bytes
    event: str | None = None
    id: str | None = None
    retry: int | None = attrs.field(default=None)

    def __attrs_post_init__(self) -> None:
        """Refuse what would begin another field, or another event."""
        for text in (self.event, self.id):
            if text is not None and _NOT_ID.search(text):
                raise ValueError("an event's type and id hold no line end and no NUL")

    def encode(self) -> bytes:
        """The event with the empty line that ends it."""
        fields = [
            *([f"event: {self.event}\n".encode()] if self.event is not None else ()),
            *([f"id: {self.id}\n".encode()] if self.id is not None else ()),
            *([b"retry: %d\n" % self.retry] if self.retry is not None else ()),
            *(b"data: %b\n" % line for line in _LINE_END.split(self.data)),
        ]
        return b"".join(fields) + b"\n"


@attrs.frozen
class Sse:
    """A stream of server-sent events, with a comment where nothing else is sent for a while.

    Attributes:
        events: As :attr:`Stream.chunks`; bytes are whole events, ready to send.
        keepalive_s: Seconds without an event after which a comment is sent, again and again.
        send_buffer_bytes: What the kernel may take for a client that does not read, from this
            response on (``SO_SNDBUF`` of socket(7)); ``None``: as much as it likes.
    """

    events: AsyncIterable[SseEvent | bytes]
    keepalive_s: float = attrs.field(default=KEEPALIVE_S, validator=attrs.validators.gt(0))
    send_buffer_bytes: int | None = None
    status: int = 200
    headers: Headers = ()

    @property
    def content_type(self) -> str:
        """The ``Content-Type``."""
        return "text/event-stream"


Whole = Json | Text
Response = Json | Text | Stream | Sse


def encode_whole(response: Whole, *, request_id: str, close: bool, head_only: bool) -> bytes:
    """The complete response, ready to send.

    Args:
        request_id: Sent as ``x-request-id``.
        close: Whether the connection ends with it.
        head_only: The request was a HEAD: the body's length is told, the body is left out.

    Raises:
        ValueError: A header or the status cannot be sent; a bug of the handler.
    """
    content = response.content()
    if content and response.status in BODILESS:
        raise ValueError(f"a response with status {response.status} has no body")
    head = encode_head_of(response, request_id=request_id, close=close, length=len(content))
    return head if head_only else head + content


def encode_head_of(
    response: Response, *, request_id: str, close: bool, length: int | None
) -> bytes:
    """The response's head; ``length`` is ``None`` for a chunked body. Raises ``ValueError``."""
    headers = [
        ("Date", email.utils.formatdate(usegmt=True)),  # RFC 9110 section 6.6.1
        ("x-request-id", request_id),
        *(_SSE_HEADERS if isinstance(response, Sse) else ()),
        *response.headers,
    ]
    if response.status not in BODILESS:
        headers.insert(0, ("Content-Type", response.content_type))
    return response_head(response.status, headers, length=length, close=close)
