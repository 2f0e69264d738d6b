"""The kinds of value that relayd's settings take, beyond numbers and words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from relayd.config.address import parse_address
from relayd.config.files import authority_mistake
from relayd.config.mistakes import Unavailable, Wrong, quoted
from relayd.config.networks import Network, NetworkRule
from relayd.config.patterns import Patterns
from relayd.config.providers import Dialect
from relayd.config.rules import (
    TEXT_MAX_CHARS,
    Items,
    Pairs,
    Text,
    expected,
    expected_unseen,
    nearest,
)
from relayd.config.secret import (
    DIGEST_PREFIX,
    KeyDigest,
    Secret,
    parse_digest,
    resolve,
)
from relayd.config.url import parse_base_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from relayd.config.files import Surroundings

SECRET_MIN_CHARS: Final = 4
"""Of what opens relayd's own doors. How long an upstream's key is, its provider decides."""
SECRET_MAX_CHARS: Final = 4096
UNIX_PEER: Final = "unix"
"""What the peer of a Unix socket, which has no address of its own, is called."""

TrustedProxy: TypeAlias = Network | Literal["unix"]

CERTIFICATES_MAX_BYTES: Final = 16 * 1024 * 1024
"""A system's whole store of authorities has some 200 kB."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*]+")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_OWN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OWN_PREFIXES: Final = ("sec-", "proxy-")


def name_mistake(text: str) -> str | None:
    """What keeps ``text`` from naming a key, a tenant or an account, if anything does."""
    if _NAME.fullmatch(text):
        return None
    return (
        "expected a name of 1 to 64 letters, digits, dots, dashes and underscores"
        f" that starts with a letter or digit, found {quoted(text)}"
    )


def _parses(parse: Callable[[str], object]) -> Callable[[str], str | None]:
    """A check out of a parser that raises ``ValueError`` with a message for the operator."""

    def mistake_in(text: str) -> str | None:
        try:
            parse(text)
        except ValueError as exc:
            return str(exc)
        return None

    return mistake_in


def _model_mistake(text: str) -> str | None:
    if text and len(text) <= TEXT_MAX_CHARS and text.isprintable() and text == text.strip():
        return None
    return f"expected a model's name, found {quoted(text)}"


def _exact_model_mistake(text: str) -> str | None:
    if "*" in text:
        return "expected one model's name; a * has no meaning here"
    return _model_mistake(text)


def _dialect_mistake(pattern: str) -> str | None:
    """A pattern that matches no dialect is a slip that would lock a client out silently."""
    words = tuple(map(str, Dialect))
    if any(Patterns.of([pattern]).matches(word) for word in words):
        return None
    hint = nearest(pattern, words) or f"known: {', '.join(words)}"
    return f"no dialect is named {quoted(pattern)}; {hint}"


def _origin_mistake(text: str) -> str | None:
    if text == "*" or _ORIGIN.fullmatch(text):
        return None
    return (
        'expected "*" or an origin as browsers send it: scheme://host, with the port if it is not'
        f" the scheme's own, in lower case and without a path; found {quoted(text)}"
    )


def _header_name_mistake(name: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "expected a header name (RFC 9110 section 5.1)"
    if name.lower() in _OWN_HEADERS or name.lower().startswith(_OWN_PREFIXES):
        return "relayd sets this header itself; remove it"
    return None


NAME: Final = Text("a name", name_mistake)
ADDRESS: Final = Text('"host:port", "[::1]:port" or "unix:/path"', _parses(parse_address))
ADDRESSES: Final = Items("a list of addresses", ADDRESS, "expected at least one address")
ORIGINS: Final = Items("a list of origins", Text("an origin", _origin_mistake))
BASE_URL: Final = Text("an http, https, ws or wss URL", _parses(parse_base_url))
MODELS: Final = Items(
    "a list of models",
    Text("a model's name", _model_mistake),
    'an empty list lets no model through; write ["*"] for all, or leave the setting out',
)
PRICED_MODELS: Final = Items(
    "a list of models", Text("a model's name", _model_mistake), "expected at least one model"
)
DIALECTS: Final = Items(
    "a list of dialects",
    Text("a dialect", _dialect_mistake),
    'an empty list lets nothing through; write ["*"] for all, or leave the setting out',
)
MODEL_MAP: Final = Pairs(
    "a table of model names", _exact_model_mistake, Text("a model's name", _exact_model_mistake)
)


@attrs.frozen
class HeaderValue:
    """A header's value: text, ``ENV:NAME`` or ``FILE:path``. It may be a secret."""

    kind: str = attrs.field(default="a header's value", init=False)

    def read(self, value: object, around: Surroundings) -> str:
        """The value to send."""
        if not isinstance(value, str):
            raise expected_unseen(self.kind, value)
        text = resolve(value, around) if value.startswith(("ENV:", "FILE:")) else value
        if len(text) > SECRET_MAX_CHARS or not _HEADER_VALUE.fullmatch(text):
            raise Wrong.because(
                f"expected 1 to {SECRET_MAX_CHARS} printable ASCII characters,"
                " with no line break and no space at either end"
            )
        return text


HEADERS: Final = Pairs("a table of headers", _header_name_mistake, HeaderValue())


@attrs.frozen
class TrustedProxyRule:
    """An address, a network, or the peers of Unix sockets."""

    kind: str = attrs.field(default='an address, a network or "unix"', init=False)

    def read(self, value: object, around: Surroundings) -> TrustedProxy:
        """The network, or the word."""
        return UNIX_PEER if value == UNIX_PEER else NetworkRule().read(value, around)


TRUSTED_PROXIES: Final = Items('a list of addresses, networks and "unix"', TrustedProxyRule())


@attrs.frozen
class ApiKey:
    """A secret that is sent to an upstream, so its text must be known."""

    kind: str = attrs.field(default="a secret", init=False)

    def read(self, value: object, around: Surroundings) -> Secret:
        """The secret, resolved."""
        text = _secret_text(value, around)
        if text.startswith(DIGEST_PREFIX):
            raise Wrong.because("a digest cannot be sent; only a client's key can be given as one")
        return Secret(_visible(text))


@attrs.frozen
class AdminToken:
    """A secret that opens the admin listener; empty means that there is none."""

    kind: str = attrs.field(default="a secret", init=False)

    def read(self, value: object, around: Surroundings) -> Secret | None:
        """The secret, resolved."""
        if value == "":
            return None
        text = _secret_text(value, around)
        if text.startswith(DIGEST_PREFIX):
            raise Wrong.because("only a client's key can be given as its digest")
        return Secret(_visible(_long_enough(text)))


@attrs.frozen
class ClientKey:
    """A secret that a client presents. Nothing but its digest is kept."""

    kind: str = attrs.field(default="a secret, or its SHA-256", init=False)

    def read(self, value: object, around: Surroundings) -> KeyDigest:
        """The digest of the secret."""
        text = _secret_text(value, around)
        if text.startswith(DIGEST_PREFIX):
            return parse_digest(text)
        if not _TOKEN.fullmatch(_long_enough(text)):
            raise Wrong.because(
                "a client's key is made of letters, digits and !#$%&'*+-.^_`|~ only, since browsers"
                " send it as a subprotocol (RFC 7230 section 3.2.6); `relayd key new` makes one"
            )
        return KeyDigest.of(text)


@attrs.frozen
class PemFile:
    """A readable file, named relative to the configuration or absolutely."""

    kind: str = attrs.field(default="the path of a PEM file", init=False)

    def read(self, value: object, around: Surroundings) -> str:
        """Its path."""
        if not isinstance(value, str) or not value:
            raise expected(self.kind, value)
        path = around.beside(value)
        around.read(path, max_bytes=CERTIFICATES_MAX_BYTES)
        return str(path)


@attrs.frozen
class AuthorityFile:
    """A PEM file of certificates to trust; empty means that there is none."""

    kind: str = attrs.field(default="the path of a PEM file", init=False)

    def read(self, value: object, around: Surroundings) -> str | None:
        """Its path."""
        if value == "":
            return None
        path = PemFile().read(value, around)
        if mistake := authority_mistake(path):
            raise Unavailable.because(mistake)
        return path


def _secret_text(value: object, around: Surroundings) -> str:
    if not isinstance(value, str):
        raise expected_unseen("a secret as text", value)
    text = resolve(value, around)
    if not text:
        raise Wrong.because("the secret is empty; give one, or remove the line")
    if len(text) > SECRET_MAX_CHARS:
        raise Wrong.because(f"the secret is longer than {SECRET_MAX_CHARS} characters")
    return text


def _visible(text: str) -> str:
    """``text`` if it can stand in a header. RFC 9110 section 5.5, without spaces."""
    if all("!" <= character <= "~" for character in text):
        return text
    raise Wrong.because("the secret holds a space, a line break or a character outside ASCII")


def _long_enough(text: str) -> str:
    if len(text) < SECRET_MIN_CHARS:
        raise Wrong.because(
            f"the secret is shorter than {SECRET_MIN_CHARS} characters; `relayd key new NAME` makes"
            " a good one"
        )
    return text
