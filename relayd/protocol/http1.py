"""HTTP/1.1 around the head: how a request's body is framed, and how a response is written.

RFC 9112 sections 6 and 7, read strictly. The decoders are relayd's own, not h11's: h11 0.16 reads
trailers with bare line feeds and folded lines, takes any number of chunk extensions, and holds
whatever it was fed until it is asked; refusing all that from outside would take a second parser
before it. What two readers could frame differently is refused here, so that nobody in front of
relayd can be made to see other requests than relayd does.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import attrs

from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.fields import encode_head
from relayd.protocol.head import Head, HeadReader, malformed, parse_head

CHUNK_LINE_MAX_BYTES: Final = 256
"""One chunk-size line without its line end: up to eight digits, and an extension."""

EXTENSIONS_MAX_BYTES: Final = 4096
"""All chunk extensions of one body together. They mean nothing to relayd and are dropped."""

TRAILERS_MAX_BYTES: Final = 8192
"""All trailer lines of one body together. They are dropped."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

LAST_CHUNK: Final = b"0\r\n\r\n"
"""Ends a chunked body; without it the body counts as truncated (RFC 9112 section 8)."""

BODILESS: Final = frozenset({204, 304})
"""Statuses whose response ends with its head (RFC 9112 section 6.3)."""

FRAMING_HEADERS: Final = frozenset({"connection", "content-length", "transfer-encoding"})
"""What :func:`response_head` writes itself."""

_CODING_LINE: Final = re.compile(
    rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*(?=\r\n)", re.IGNORECASE
)
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})((?:;[\t\x20-\x7e]*)?)")
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


# -- the request's head


class RequestReader(HeadReader):
    """A :class:`~relayd.protocol.head.HeadReader` that takes requests with bodies.

    It differs in one thing: a single ``Transfer-Encoding: chunked`` is taken. That line is set
    aside, the rest must be a head that is taken from everybody, and the line must not contradict
    it. Nothing that has passed needs another look by :func:`framing_of`, and a ``GET`` has no
    body, so that an upgrade is still refused with either header.
    """

    __slots__ = ()

    def _parse(self, raw: bytes, early_bytes: int) -> Head:
        plain, codings = _CODING_LINE.subn(b"", raw)
        head = parse_head(plain, early_bytes=early_bytes)
        if codings:
            line = (b"transfer-encoding", b"chunked")
            head = attrs.evolve(head, headers=(*head.headers, *[line] * codings))
        framing_of(head)
        return head


@attrs.frozen
class Framing:
    """How long a request's body is.

    Attributes:
        length: Its bytes, 0 where there is none; ``None`` where it is chunked.
    """

    length: int | None


def framing_of(head: Head) -> Framing:
    """How the body behind ``head`` is framed (RFC 9112 section 6.3).

    Raises:
        HeadError: Both headers, either of them twice or with another value than one number or
            ``chunked``, or a body on a GET or HEAD.
    """
    codings = head.get_all("transfer-encoding")
    lengths = head.get_all("content-length")
    if codings and lengths:
        message = "Send Content-Length or Transfer-Encoding, never both."
        raise malformed(message, "transfer-encoding")
    if codings:
        if len(codings) > 1 or codings[0].lower() != "chunked":
            message = "Transfer-Encoding must be chunked, named once."
            raise malformed(message, "transfer-encoding")
        if head.method in {"GET", "HEAD"}:
            message = f"A {head.method} request must not carry a body."
            raise malformed(message, "transfer-encoding")
        return Framing(None)
    if not lengths:
        return Framing(0)
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise malformed("Content-Length must be one number.", "content-length")
    length = int(lengths[0])
    if length and head.method in {"GET", "HEAD"}:
        raise malformed(f"A {head.method} request must not carry a body.", "content-length")
    return Framing(length)


def expects_continue(head: Head) -> bool | None:
    """Whether the client waits for a 100 before it sends its body (RFC 9110 section 10.1.1).

    ``None``: it expects something else, which nobody here can meet (417).
    """
    expectation = head.get("expect")
    if expectation is None:
        return False
    return True if expectation.lower() == "100-continue" else None


# -- the request's body


class BodyError(Exception):
    """A body that breaks its framing; what follows it can no longer be told from it.

    The text never holds what the client sent.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(RefusalCode.MALFORMED_REQUEST, message)


class LengthDecoder:
    """Takes a body of known length out of what is received."""

    __slots__ = ("leftover", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining: int | None = length
        """Bytes still to come."""
        self.leftover = b""
        """What followed the body, once it is complete."""

    @property
    def complete(self) -> bool:
        """Whether the whole body has been fed."""
        return self.remaining == 0

    def feed(self, data: bytes) -> bytes:
        """The part of ``data`` that is body. Not to be called once it is complete."""
        assert self.remaining, "the body is complete"
        if len(data) <= self.remaining:
            self.remaining -= len(data)
            return data
        body, self.leftover = data[: self.remaining], data[self.remaining :]
        self.remaining = 0
        return body


class _Part(enum.Enum):
    """What of a chunked body comes next (RFC 9112 section 7.1)."""

    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()  # the empty rest of the line behind a chunk's data
    TRAILERS = enum.auto()
    NOTHING = enum.auto()


class ChunkedDecoder:
    """Takes a chunked body out of what is received; holds at most one unfinished line."""

    __slots__ = ("_chunk", "_extensions", "_line", "_part", "_trailers", "leftover")

    def __init__(self) -> None:
        self._part = _Part.SIZE
        self._chunk = 0  # bytes of the current chunk still to come
        self._line = bytearray()  # the beginning of a line whose end has not come
        self._extensions = 0
        self._trailers = 0
        self.leftover = b""
        """What followed the body, once it is complete."""

    @property
    def complete(self) -> bool:
        """Whether the whole body has been fed, its last empty line included."""
        return self._part is _Part.NOTHING

    @property
    def remaining(self) -> int | None:
        """Bytes still to come: 0 once it is complete, otherwise nobody knows."""
        return 0 if self.complete else None

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in ``data``, never more than it. Not to be called once complete.

        Raises:
            BodyError: This is no chunked body. The decoder is of no further use.
        """
        assert not self.complete, "the body is complete"
        body: list[bytes] = []
        at = 0
        while at < len(data) and not self.complete:
            if self._part is _Part.DATA:
                piece = data[at : at + self._chunk]
                body.append(piece)
                at += len(piece)
                self._chunk -= len(piece)
                if not self._chunk:
                    self._part = _Part.DATA_END
            else:
                at = self._read_line(data, at)
        if self.complete:
            self.leftover = data[at:]
        return b"".join(body)

    def _read_line(self, data: bytes, start: int) -> int:
        """Collect a line from ``data``, and act on it if it is whole; where to go on."""
        found = data.find(b"\n", start)
        end = len(data) if found < 0 else found + 1
        self._line += data[start : min(end, start + self._line_max_bytes() + 3)]
        if len(self._line) > self._line_max_bytes() + 2:
            raise BodyError("A line between the chunks is longer than it may be.")
        if found < 0:
            return end
        line = bytes(self._line)
        self._line.clear()
        if not line.endswith(b"\r\n"):
            raise BodyError("Lines between chunks must end with CRLF.")
        self._take_line(line[:-2])
        return end

    def _line_max_bytes(self) -> int:
        match self._part:
            case _Part.SIZE:
                return CHUNK_LINE_MAX_BYTES
            case _Part.TRAILERS:
                return TRAILERS_MAX_BYTES - self._trailers
            case _:
                return 0

    def _take_line(self, line: bytes) -> None:
        match self._part:
            case _Part.SIZE:
                self._take_size(line)
            case _Part.DATA_END:
                # One that was not empty has been too long.
                self._part = _Part.SIZE
            case _ if not line:
                self._part = _Part.NOTHING
            case _:
                self._trailers += len(line)
                if _TRAILER_LINE.fullmatch(line) is None:
                    raise BodyError("A trailer breaks the rules of a header.")

    def _take_size(self, line: bytes) -> None:
        size = _CHUNK_LINE.fullmatch(line)
        if size is None:
            raise BodyError("A chunk must begin with its size, up to eight hexadecimal digits.")
        self._extensions += len(size[2])
        if self._extensions > EXTENSIONS_MAX_BYTES:
            raise BodyError("The chunks carry more extensions than they may.")
        self._chunk = int(size[1], 16)
        self._part = _Part.DATA if self._chunk else _Part.TRAILERS


Decoder = LengthDecoder | ChunkedDecoder


def decoder_of(framing: Framing) -> Decoder:
    """What takes the body out of the bytes behind the head."""
    return ChunkedDecoder() if framing.length is None else LengthDecoder(framing.length)


# -- the response


def response_head(
    status: int, headers: Sequence[tuple[str, str]], *, length: int | None, close: bool
) -> bytes:
    """The head of a response, ready to send.

    Args:
        status: 200 to 599, one that has a name.
        headers: All but those that frame the response, which are written here.
        length: Of the body; ``None`` where it is chunked. A status without a body has neither.
        close: Whether the connection ends with this response.

    Raises:
        ValueError: Another status, a framing header, or a header that encode_head refuses. The
            text names a header, never its value.
    """
    if status < 200:
        raise ValueError("a response's status is at least 200")
    lines = list(headers)
    if FRAMING_HEADERS.intersection(name.lower() for name, _ in lines):
        raise ValueError("Connection and the body's framing are written with the response's head")
    if status not in BODILESS:
        chunked = ("Transfer-Encoding", "chunked")
        lines.append(chunked if length is None else ("Content-Length", str(length)))
    # RFC 9110 section 7.8: who sends Upgrade names it in Connection.
    upgrade = any(name.lower() == "upgrade" for name, _ in headers)
    options = ["Upgrade"] * upgrade + ["close"] * close
    if options:
        lines.append(("Connection", ", ".join(options)))
    return encode_head(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", lines)


def encode_chunk(data: bytes) -> bytes:
    """``data`` as one chunk. An empty one would end the body, so there is none."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
