"""The opening handshake with an upstream: the request relayd sends, the answer it believes.

A 101 is believed only when RFC 6455 section 4.1 is kept to the letter, since everything after it
is relayed as frames. Any other answer is a decline, told with as much of its body as it takes to
see why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

import attrs
import h11

from relayd.core.redact import redact
from relayd.protocol.fields import Fields, encode_head, is_token
from relayd.protocol.raw_head import HEAD_END, HeadScanner, RawHeadError
from relayd.protocol.upgrade import accept_token

RESPONSE_HEAD_MAX_BYTES: Final = 65536
EXCERPT_MAX_BYTES: Final = 8192
"""How much of a declining body is kept: provider errors are about 300 bytes of JSON."""

INTERIM_MAX: Final = 8
"""100, 102 or 103 responses before the one that counts."""

OWN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""What the handshake writes itself, or must not hold: no setting and no client adds these."""

_AUTHORITY: Final = re.compile(r"[A-Za-z0-9._~:\[\]-]+")
_TARGET: Final = re.compile(r"/[!\"$-~]*")  # visible ASCII without "#"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] [1-5][0-9]{2}(?: [\t -~\x80-\xff]*)?")
_SWITCHED: Final = b"HTTP/1.1 101 "
# RFC 9112 section 5: a token, a colon at once, and a value of visible text and blanks.
_FIELD_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")

# Tells h11 that an upgrade was asked for; the bytes that are sent are upstream_request's.
_ASKED: Final = h11.Request(
    method="GET", target="/", headers=[("Host", "h"), ("Connection", "Upgrade"), ("Upgrade", "w")]
)


class UpstreamMalformed(Exception):
    """The upstream's answer is no HTTP, or accepts what was not asked. Never quotes its bytes."""


@attrs.frozen
class UpstreamAccepted:
    """The upstream upgraded; ``subprotocol`` is its choice among the offered, if it made one."""

    subprotocol: str | None


@attrs.frozen
class UpstreamDeclined:
    """The upstream answered with something else than a 101.

    Attributes:
        status: Its HTTP status; 200 and redirects are declines like all others.
        retry_after_s: From ``Retry-After`` in seconds; a date there is not read.
        body_excerpt: The beginning of the body as text, redacted; empty if none came.
        date: The Date header, as it came.
    """

    status: int
    retry_after_s: float | None
    body_excerpt: str
    date: str | None = None


def upstream_request(
    authority: str,
    target: str,
    headers: Sequence[tuple[str, str]],
    subprotocols: Sequence[str],
    key: str,
) -> bytes:
    """The upgrade request to an upstream, ready to send. No extension is offered.

    Args:
        authority: For the Host header.
        target: Path and query, percent-encoded, with a leading slash.
        headers: Further headers, such as Authorization.
        subprotocols: The offer, in order; none is a request without one.
        key: ``Sec-WebSocket-Key``, base64 of 16 random bytes.

    Raises:
        ValueError: A part would not survive as what it is: a line end, a blank in the target, a
            header that the handshake owns. The text names the part, never its value.
    """
    if _AUTHORITY.fullmatch(authority) is None:
        raise ValueError("the authority must be a host with an optional port")
    if _TARGET.fullmatch(target) is None:
        raise ValueError("the target must be a percent-encoded path in visible ASCII")
    if not all(map(is_token, subprotocols)):
        raise ValueError("every subprotocol must be a token")
    for name, _ in headers:
        if name.lower() in OWN_HEADERS:
            raise ValueError(f"header {name} belongs to the handshake")
    offer = [("Sec-WebSocket-Protocol", ", ".join(subprotocols))] if subprotocols else []
    own = [
        ("Host", authority),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    return encode_head(f"GET {target} HTTP/1.1", [*own, *offer, *headers])


class UpstreamResponseReader:
    """Reads an upstream's answer to :func:`upstream_request` from bytes in any chunks.

    Args:
        key: The ``Sec-WebSocket-Key`` that was sent.
        offered_subprotocols: What was offered.
        max_bytes: The longest head, interim responses included.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_declined",
        "_interim",
        "_key",
        "_max_bytes",
        "_offered",
        "_scanner",
        "leftover",
    )

    def __init__(
        self,
        key: str,
        offered_subprotocols: Iterable[str],
        max_bytes: int = RESPONSE_HEAD_MAX_BYTES,
    ) -> None:
        self._key = key
        self._offered = frozenset(offered_subprotocols)
        self._max_bytes = max_bytes  # less the interim responses already read
        self._interim = 0
        self._scanner = HeadScanner(max_bytes)
        self._connection: h11.Connection | None = None  # for all answers but a 101
        self._declined: h11.Response | None = None
        self._body = bytearray()
        self.leftover = b""
        """What followed a 101: the upstream's first frames."""

    def feed(self, data: bytes) -> UpstreamAccepted | UpstreamDeclined | None:
        """The answer, or ``None`` while it is incomplete; ``b""`` says that no more will come.

        A decline is told once its body is complete by its own framing, longer than
        :data:`EXCERPT_MAX_BYTES` or ended; a body without framing is told as far as it has come.
        Not to be called again after an answer or an error.

        Raises:
            UpstreamMalformed: This is no answer to an upgrade.
        """
        if self._declined is not None:
            return self._feed_body(self._declined, data)
        if not data:
            raise UpstreamMalformed("the connection ended before the response's head did")
        while (raw := self._scan(data)) is not None:
            data = self._scanner.leftover
            if raw.startswith(_SWITCHED):
                self.leftover = data
                return UpstreamAccepted(_accepted(_read_fields(raw), self._key, self._offered))
            response = self._parse(raw)
            if isinstance(response, h11.Response):
                self._declined = response
                return self._feed_body(response, data, first=True)
            if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                raise UpstreamMalformed("a 101 that is not HTTP/1.1")
            self._skip_interim(raw)
        return None

    def _scan(self, data: bytes) -> bytes | None:
        fault = None
        try:
            return self._scanner.feed(data)
        except RawHeadError as error:
            fault = error.fault
        raise UpstreamMalformed(f"the response's head holds {fault.value}")

    def _skip_interim(self, raw: bytes) -> None:
        self._interim += 1
        self._max_bytes -= len(raw)
        if self._interim > INTERIM_MAX or self._max_bytes < len(HEAD_END):
            raise UpstreamMalformed("too many interim responses")
        self._scanner = HeadScanner(self._max_bytes)

    def _parse(self, raw: bytes) -> h11.InformationalResponse | h11.Response:
        if _STATUS_LINE.fullmatch(raw, 0, raw.index(b"\r\n")) is None:
            raise UpstreamMalformed("the first line is no HTTP/1.1 status line")
        event = self._next_event(raw)
        if isinstance(event, h11.InformationalResponse | h11.Response):
            return event
        raise UpstreamMalformed("the response's headers break the rules of HTTP/1.1")

    def _feed_body(
        self, response: h11.Response, data: bytes, *, first: bool = False
    ) -> UpstreamDeclined | None:
        ended = not data and not first
        event = self._next_event(data if data or ended else None)
        while isinstance(event, h11.Data) and len(self._body) < EXCERPT_MAX_BYTES:
            self._body += event.data
            event = self._next_event(None)
        fields = Fields(headers=tuple(response.headers))
        # Anything but a wish for more bytes is an end: of the body, of its rules, of our interest.
        if event is h11.NEED_DATA and not ended and _is_framed(fields):
            return None
        text = self._body[:EXCERPT_MAX_BYTES].decode(errors="replace")
        return UpstreamDeclined(
            response.status_code, _retry_after_s(fields), redact(text), fields.get("date")
        )

    def _next_event(
        self, data: bytes | None
    ) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED] | None:
        """What h11 makes of ``data``, where ``b""`` is the end; ``None`` if that is no HTTP."""
        if self._connection is None:
            self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=self._max_bytes)
            self._connection.send(_ASKED)
        try:
            if data is not None:
                self._connection.receive_data(data)
            return self._connection.next_event()
        except h11.RemoteProtocolError:
            return None  # its text quotes the upstream's bytes


def _read_fields(raw: bytes) -> Fields:
    """The fields of a 101's head, which the scanner has passed: one line each, none folded.

    h11 would read the same, for several times the cost of everything else in a handshake.
    """
    if _STATUS_LINE.fullmatch(raw, 0, raw.index(b"\r\n")) is None:
        raise UpstreamMalformed("the first line is no HTTP/1.1 status line")
    headers = []
    for line in raw[: -len(HEAD_END)].split(b"\r\n")[1:]:
        field = _FIELD_LINE.fullmatch(line)
        if field is None:
            raise UpstreamMalformed("the response's headers break the rules of HTTP/1.1")
        headers.append((field[1].lower(), field[2].strip(b" \t")))
    return Fields(headers=tuple(headers))


def _accepted(fields: Fields, key: str, offered: frozenset[str]) -> str | None:
    """The chosen subprotocol of a 101 that RFC 6455 section 4.1 lets a client believe."""
    if [token.lower() for token in fields.get_list("upgrade")] != ["websocket"]:
        raise UpstreamMalformed("a 101 that upgrades to something else than websocket")
    if not fields.names_token("connection", "upgrade"):
        raise UpstreamMalformed("a 101 without Connection: Upgrade")
    if fields.get("sec-websocket-accept") != accept_token(key):
        raise UpstreamMalformed("a 101 whose Sec-WebSocket-Accept is wrong")
    if _is_framed(fields):
        raise UpstreamMalformed("a 101 with a body")
    if fields.get_list("sec-websocket-extensions"):
        raise UpstreamMalformed("a 101 with an extension that was not offered")
    chosen = fields.get("sec-websocket-protocol")
    if chosen is not None and chosen not in offered:
        raise UpstreamMalformed("a 101 with a subprotocol that was not offered")
    return chosen


def _is_framed(fields: Fields) -> bool:
    return fields.get("content-length") is not None or fields.get("transfer-encoding") is not None


def _retry_after_s(fields: Fields) -> float | None:
    value = fields.get("retry-after")
    if value is None or _SECONDS.fullmatch(value) is None:
        return None
    return float(value)
