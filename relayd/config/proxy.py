"""The proxy that an account's upstream is reached through, given as a URL.

The URL holds a user name and a password, so no message repeats any of it.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import attrs

from relayd.config.mistakes import Wrong
from relayd.config.rules import expected_unseen
from relayd.config.secret import Secret, resolve
from relayd.config.url import URL_MAX_CHARS, parse_authority

if TYPE_CHECKING:
    from relayd.config.files import Surroundings

CREDENTIAL_MAX_BYTES: Final = 255
"""A user name or a password in SOCKS, RFC 1929 section 2. Enough for HTTP as well."""

_URL: Final = re.compile(
    r"(?P<scheme>[^:/?#]*)://(?:(?P<userinfo>[^/?#]*)@)?(?P<authority>[^/?#@]*)/?(?P<rest>.*)"
)
_USERINFO: Final = re.compile(
    r"(?P<username>(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)"
    r"(?::(?P<password>(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*))?"
)
"""RFC 3986 section 3.2.1."""


class ProxyKind(enum.StrEnum):
    """What is spoken with a proxy. The value is the URL's scheme."""

    HTTP = "http"  # CONNECT, RFC 9110 section 9.3.6; the proxy resolves names
    SOCKS5 = "socks5"  # RFC 1928; relayd resolves names
    SOCKS5H = "socks5h"  # RFC 1928; the proxy resolves names


@attrs.frozen(kw_only=True)
class Proxy:
    """Where a proxy is, and who relayd is to it.

    Attributes:
        host: A name in lower case, or an address without brackets.
        port: 1 to 65535.
        is_literal: The host is an IP address.
        username: 1 to 255 bytes of UTF-8; ``None`` where the proxy asks for nothing.
        password: Likewise, or empty with HTTP; ``None`` exactly where ``username`` is.
    """

    kind: ProxyKind
    host: str
    port: int
    is_literal: bool
    username: Secret | None = None
    password: Secret | None = None


def parse_proxy(text: str) -> Proxy:
    """Parse ``http://``, ``socks5://`` or ``socks5h://``, ``[user:password@]host:port``.

    Raises:
        ValueError: With a message for the operator that repeats nothing of the URL.
    """
    parts = _URL.fullmatch(text) if len(text) <= URL_MAX_CHARS else None
    if parts is None or parts["scheme"].lower() not in set(ProxyKind):
        raise ValueError(
            "expected http://host:port, socks5://host:port or socks5h://host:port, with"
            " user:password@ before the host where the proxy asks for them"
        )
    if parts["rest"]:
        raise ValueError("a proxy's URL ends after its port; remove path, query and fragment")
    kind = ProxyKind(parts["scheme"].lower())
    try:
        host, port, is_literal = parse_authority(parts["authority"])
    except ValueError:
        # What its message quotes may be a password that lacks its host.
        raise ValueError(
            "expected host:port after the scheme or the @, with an IPv6 address in brackets"
        ) from None
    if not port:
        raise ValueError("the port is missing or 0; proxies have no usual one, so write it")
    username, password = _credentials(parts["userinfo"], kind)
    return Proxy(
        kind=kind,
        host=host,
        port=port,
        is_literal=is_literal,
        username=username,
        password=password,
    )


def _credentials(userinfo: str | None, kind: ProxyKind) -> tuple[Secret | None, Secret | None]:
    if userinfo is None:
        return None, None
    parts = _USERINFO.fullmatch(userinfo)
    if parts is None:
        raise ValueError(
            "the user name or password holds characters that need percent-encoding, such as"
            " %40 for @ and %3A for a colon in the user name"
        )
    username, password = _decoded(parts["username"]), _decoded(parts["password"] or "")
    if not username:
        raise ValueError("the user name before the @ is missing")
    if kind is ProxyKind.HTTP and ":" in username:
        raise ValueError("a user name with a colon cannot be sent to an HTTP proxy (RFC 7617)")
    if kind is not ProxyKind.HTTP and not password:
        raise ValueError("SOCKS takes a user name only with a password (RFC 1929)")
    return Secret(username), Secret(password)


def _decoded(text: str) -> str:
    encoded = unquote_to_bytes(text)
    if len(encoded) > CREDENTIAL_MAX_BYTES:
        raise ValueError(
            f"the user name or password is longer than {CREDENTIAL_MAX_BYTES} bytes (RFC 1929)"
        )
    try:
        decoded = encoded.decode()
    except UnicodeDecodeError:
        decoded = "\0"
    if not decoded.isprintable():
        raise ValueError("the escapes in user name and password must spell printable UTF-8")
    return decoded


@attrs.frozen
class ProxyUrl:
    """A proxy's URL as a secret reference; empty means that there is none."""

    kind: str = attrs.field(default="a proxy's URL", init=False)

    def read(self, value: object, around: Surroundings) -> Proxy | None:
        """The proxy."""
        if value == "":
            return None
        if not isinstance(value, str):
            raise expected_unseen(self.kind, value)
        try:
            return parse_proxy(resolve(value, around))
        except Wrong:  # from the reference; it is a ValueError as well
            raise
        except ValueError as exc:
            raise Wrong.because(str(exc)) from None
