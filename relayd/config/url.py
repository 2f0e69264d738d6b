"""The base URL of an upstream, parsed strictly and once.

Shapes after RFC 3986 section 3. What relayd would have to guess about is refused: user names,
queries, fragments, dot segments, hosts that only look like addresses.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import attrs

URL_MAX_CHARS: Final = 2048
HOST_MAX_CHARS: Final = 253
"""RFC 1035 section 2.3.4, without the root's dot."""
PORT_MAX: Final = 65_535

_SCHEMES: Final = {"http": False, "ws": False, "https": True, "wss": True}
_HTTP_PORT: Final = 80
_HTTPS_PORT: Final = 443

_URL: Final = re.compile(
    r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)"
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMERIC: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@attrs.frozen
class Url:
    """Where an upstream is.

    Attributes:
        tls: Whether the connection is encrypted: ``https`` and ``wss``.
        host: A name in lower case, or an address without brackets.
        port: 1 to 65535.
        path: Empty, or ``/…`` without a trailing slash.
        is_literal: The host is an IP address, so nothing needs to be resolved.
    """

    tls: bool
    host: str
    port: int
    path: str
    is_literal: bool

    @property
    def authority(self) -> str:
        """The Host header's value: the default port is left out, IPv6 stands in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _HTTPS_PORT if self.tls else _HTTP_PORT
        return host if self.port == default else f"{host}:{self.port}"


def parse_base_url(text: str) -> Url:
    """Parse an ``http``, ``https``, ``ws`` or ``wss`` URL.

    Raises:
        ValueError: With a message for the operator that does not repeat the URL, since a key may
            have been written into it.
    """
    if len(text) > URL_MAX_CHARS or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"expected a URL of at most {URL_MAX_CHARS} printable ASCII characters")
    parts = _URL.fullmatch(text)
    if parts is None or parts["scheme"].lower() not in _SCHEMES:
        raise ValueError("expected a URL that starts with http://, https://, ws:// or wss://")
    if "@" in parts["authority"]:
        raise ValueError("a user name or password does not belong into the URL; use api_key")
    if parts["rest"]:
        raise ValueError("a query or fragment does not belong into the URL; end it after the path")
    tls = _SCHEMES[parts["scheme"].lower()]
    host, port, is_literal = parse_authority(parts["authority"])
    default = _HTTPS_PORT if tls else _HTTP_PORT
    if port == 0:
        raise ValueError(f"expected a port of 1 to {PORT_MAX}")
    return Url(tls, host, default if port is None else port, _path(parts["path"]), is_literal)


def parse_authority(text: str) -> tuple[str, int | None, bool]:
    """``host:port``, with IPv6 in brackets, as (host, port or None, is an IP address).

    Raises:
        ValueError: With a message for the operator.
    """
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        raise ValueError('expected "host:port", with an IPv6 address in brackets: "[::1]:8765"')
    port = None if parts["port"] is None else int(parts["port"])
    if port is not None and port > PORT_MAX:
        raise ValueError(f"expected a port of at most {PORT_MAX}, found {port}")
    host, is_literal = _host(parts["host"])
    return host, port, is_literal


def _host(text: str) -> tuple[str, bool]:
    if text.startswith("["):
        if "%" in text:
            raise ValueError("an IPv6 address with a zone means something on one machine only")
        try:
            return str(ipaddress.IPv6Address(text[1:-1])), True
        except ValueError:
            raise ValueError("the text in brackets is no IPv6 address") from None
    labels = text.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(text)), True
        except ValueError:
            raise ValueError("a host that ends in a number must be an IPv4 address") from None
    if len(text) > HOST_MAX_CHARS or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("the host is missing or no valid name (write it in punycode)")
    return text.lower(), False


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError("the path holds characters that need percent-encoding")
    if any(segment in {".", ".."} for segment in text.split("/")):
        raise ValueError('the path holds "." or ".." segments; write it without them')
    return text.rstrip("/")
