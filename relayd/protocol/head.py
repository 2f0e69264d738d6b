"""The head of a request, read strictly: what a client says before anything is decided.

The raw bytes are checked first (:mod:`relayd.protocol.raw_head`), then h11 parses them, then
what h11 lets pass is refused: HTTP/1.0, bodies announced twice or chunked, repeated headers that
may stand once, targets that are no path. One reader serves every listener.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs
import h11

from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.fields import Fields
from relayd.protocol.raw_head import HeadScanner, RawFault, RawHeadError

PARAMETERS_MAX: Final = 64
"""Parameters in one query string."""

SINGLETONS: Final = frozenset(
    {
        b"api-key",
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"openai-organization",
        b"openai-project",
        b"openai-safety-identifier",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"user-agent",
        b"x-api-key",
    }
)
"""Headers that may stand once: with two of them, two readers may each believe another one."""

# The target is visible ASCII, and has no fragment.
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (/[!\"$-~]*) HTTP/1\.1")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_CONTENT_LENGTH: Final = re.compile(rb"\ncontent-length:([^\r]*)", re.IGNORECASE)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class HeadError(Exception):
    """A request that is refused. The text never holds what the client sent."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def malformed(message: str, param: str | None = None) -> HeadError:
    """A 400 for a request that breaks HTTP's rules."""
    return HeadError(Refusal(RefusalCode.MALFORMED_REQUEST, message, param))


@attrs.frozen
class Query:
    """A query string as it came. Its text may hold a key, so it is in no repr."""

    raw: str = attrs.field(repr=False)
    """Without the question mark, still percent-encoded; empty where there is none."""

    def parameters(self, *, once: Collection[str] = ()) -> dict[str, str]:
        """Decode the query; of a repeated name the first value counts.

        A passthrough query is the upstream's to read and is never decoded here.

        Args:
            once: Names that may stand once.

        Raises:
            HeadError: ``invalid_parameter``: a broken escape, no UTF-8, too many parameters, or
                one of ``once`` repeated.
        """
        pairs = [pair.partition("=") for pair in self.raw.split("&") if pair]
        if len(pairs) > PARAMETERS_MAX:
            raise _invalid(f"The query holds more than {PARAMETERS_MAX} parameters.")
        decoded: dict[str, str] = {}
        for name, _, value in pairs:
            plain = _decode(name)
            if plain in decoded and plain in once:
                raise _invalid(f"The query names {plain!r} twice; name it once.", plain)
            decoded.setdefault(plain, _decode(value))
        return decoded


@attrs.frozen(repr=False, kw_only=True)
class Head(Fields):
    """One request head. Its repr counts: path, query and headers may all hold a key.

    Attributes:
        method: As sent; methods are case-sensitive.
        target: Path and query, printable ASCII that starts with a slash.
        path: The target up to the question mark, still percent-encoded.
        query: The rest of it.
        early_bytes: How many bytes had already followed the head when it was complete.
    """

    method: str
    target: str
    path: str
    query: Query
    early_bytes: int


class HeadReader:
    """Reads one request head from bytes that come in any chunks.

    Args:
        max_bytes: The longest head, its empty line included.
    """

    __slots__ = ("_scanner",)

    def __init__(self, max_bytes: int) -> None:
        self._scanner = HeadScanner(max_bytes)

    @property
    def leftover(self) -> bytes:
        """What followed the head, once it is complete."""
        return self._scanner.leftover

    def feed(self, data: bytes) -> Head | None:
        """The head, or ``None`` while it is incomplete. Not to be called again after either end.

        Raises:
            HeadError: These bytes can no longer become a request that relayd takes.
        """
        try:
            raw = self._scanner.feed(data)
        except RawHeadError as error:
            raise HeadError(_raw_refusal(error.fault)) from None
        if raw is None:
            return None
        return self._parse(raw, len(self._scanner.leftover))

    def _parse(self, raw: bytes, early_bytes: int) -> Head:
        """The head in ``raw``, behind which so many bytes have come."""
        return parse_head(raw, early_bytes=early_bytes)


def parse_head(raw: bytes, *, early_bytes: int = 0) -> Head:
    """Parse a complete head that :class:`HeadScanner` has passed.

    Raises:
        HeadError: It breaks HTTP's rules, or uses what relayd takes from nobody.
    """
    line = _REQUEST_LINE.fullmatch(raw, 0, raw.index(b"\r\n"))
    if line is None:
        raise malformed("The request line must read: METHOD /path HTTP/1.1, in visible ASCII.")
    request = _parse_with_h11(raw)
    if request is None:
        raise malformed("The headers break the rules of HTTP/1.1 (RFC 9112 section 5).")
    headers = tuple(request.headers)
    method, target = line[1].decode(), line[2].decode()
    _check_headers(method, headers, raw)
    path, _, query = target.partition("?")
    return Head(
        method=method,
        target=target,
        path=path,
        query=Query(query),
        headers=headers,
        early_bytes=early_bytes,
    )


def _parse_with_h11(raw: bytes) -> h11.Request | None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw))
    connection.receive_data(raw)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None  # its text quotes the client's bytes, so it is not chained to ours
    return event if isinstance(event, h11.Request) else None


def _check_headers(method: str, headers: tuple[tuple[bytes, bytes], ...], raw: bytes) -> None:
    names = [name for name, _ in headers]
    for name in SINGLETONS.intersection(names):
        if names.count(name) > 1:
            raise malformed("A header that may stand once is repeated.", name.decode())
    if b"transfer-encoding" in names:
        raise malformed("Transfer-Encoding is not taken; send no body.", "transfer-encoding")
    if b"content-length" in names:
        _check_content_length(method, raw)
    # h11 has made sure that there is a Host, and not two.
    if _HOST.fullmatch(dict(headers)[b"host"].decode("latin-1")) is None:
        raise malformed("The Host header must hold one host name or address.", "host")


def _check_content_length(method: str, raw: bytes) -> None:
    """h11 folds "0, 0" and repeated lines into one value, so the raw line is what counts."""
    lengths = [length.strip(b" \t") for length in _CONTENT_LENGTH.findall(raw)]
    if len(lengths) != 1 or not lengths[0].isdigit():
        raise malformed("Content-Length must be one number.", "content-length")
    if method in {"GET", "HEAD"} and int(lengths[0]) != 0:
        raise malformed(f"A {method} request must not carry a body.", "content-length")


def _raw_refusal(fault: RawFault) -> Refusal:
    match fault:
        case RawFault.TOO_LONG | RawFault.TOO_MANY:
            code = RefusalCode.HEAD_TOO_LARGE
        case RawFault.NOT_TEXT | RawFault.FOLDED:
            code = RefusalCode.MALFORMED_REQUEST
    return Refusal(code, f"The request's head holds {fault.value}.")


def _decode(text: str) -> str:
    if "%" not in text:
        return text.replace("+", " ")
    if _BAD_ESCAPE.search(text):
        raise _invalid("The query holds a percent sign that is no escape; write it as %25.")
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError:
        pass  # the error would carry the bytes; what follows does not
    raise _invalid("The query's escapes must spell UTF-8.")


def _invalid(message: str, param: str | None = None) -> HeadError:
    return HeadError(Refusal(RefusalCode.INVALID_PARAMETER, message, param))
