"""The settings of the event hub, in the manner of :mod:`relayd.config.schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from relayd.config import kinds
from relayd.config.about import about
from relayd.config.mistakes import Wrong
from relayd.config.rules import Integer, Seconds, Text, expected
from relayd.config.secret import Secret

if TYPE_CHECKING:
    from relayd.config.files import Surroundings

PUBLIC_KEY_MAX_BYTES: Final = 65_536
RSA_MIN_BITS: Final = 2048
"""RFC 7518 section 3.3."""
HS256_MIN_BYTES: Final = 32
"""RFC 7518 section 3.2: a key of the hash's size or larger."""
CLAIM_MAX_CHARS: Final = 256
EVENTS_MAX: Final = 1_000_000
BYTES_MAX: Final = 2**40

_SECONDS: Final = Seconds()


def _claim_mistake(text: str) -> str | None:
    fits = 0 < len(text) <= CLAIM_MAX_CHARS and text.isprintable()
    return None if fits else f"expected 1 to {CLAIM_MAX_CHARS} printable characters"


_CLAIM: Final = Text("a text", _claim_mistake)


@attrs.frozen
class TokenSecret:
    """The secret that tokens are signed with under HS256."""

    kind: str = attrs.field(default="a secret", init=False)

    def read(self, value: object, around: Surroundings) -> Secret:
        """The secret, resolved."""
        secret = kinds.ApiKey().read(value, around)
        if len(secret.reveal()) < HS256_MIN_BYTES:
            raise Wrong.because(
                f"the secret is shorter than {HS256_MIN_BYTES} bytes, which HS256 needs (RFC 7518"
                " section 3.2); `openssl rand -hex 32` makes one"
            )
        return secret


@attrs.frozen
class PublicKeyFile:
    """A PEM file with an RSA public key."""

    kind: str = attrs.field(default="the path of a PEM file", init=False)

    def read(self, value: object, around: Surroundings) -> str:
        """The key, in PEM form."""
        if not isinstance(value, str) or not value:
            raise expected(self.kind, value)
        content = around.read(around.beside(value), max_bytes=PUBLIC_KEY_MAX_BYTES)
        try:
            key = load_pem_public_key(content)
        except (ValueError, UnsupportedAlgorithm):
            raise Wrong.because("expected a public key in PEM form (BEGIN PUBLIC KEY)") from None
        if not isinstance(key, RSAPublicKey) or key.key_size < RSA_MIN_BITS:
            raise Wrong.because(f"expected an RSA key of {RSA_MIN_BITS} bits or more (RFC 7518)")
        return content.decode("ascii")


@attrs.frozen(kw_only=True)
class HubSettings:
    """``[hub]``: events for people and programs, and how much of the past is kept for them."""

    jwt_hs256_secret: Secret | None = attrs.field(
        default=None,
        metadata=about(
            TokenSecret(),
            "A secret reference: what JSON Web Tokens are signed with (HS256). With neither this"
            " nor the next, clients of the hub use keys alone.",
            default="none",
        ),
    )
    jwt_rs256_public_key: str | None = attrs.field(
        default=None,
        metadata=about(
            PublicKeyFile(),
            "The public key of who signs tokens (RS256), a PEM file. A relative path starts beside"
            " the configuration file.",
            default="none",
        ),
    )
    jwt_issuer: str | None = attrs.field(
        default=None,
        metadata=about(_CLAIM, "What a token's `iss` must be.", default="any"),
    )
    jwt_audience: str | None = attrs.field(
        default=None,
        metadata=about(
            _CLAIM,
            "What a token's `aud` must name. Without it, a token that names an audience is"
            " refused.",
            default="none",
        ),
    )
    jwt_tenant: str | None = attrs.field(
        default=None,
        metadata=about(
            kinds.NAME,
            "The tenant of tokens, which may not name another then. Without it each token names"
            " its own in the claim `tenant`.",
            default="none",
        ),
    )
    history_count: int = attrs.field(
        default=1000,
        metadata=about(
            Integer(0, EVENTS_MAX), "Events of a topic that are kept for who missed them."
        ),
    )
    history_bytes: int = attrs.field(
        default=1_048_576, metadata=about(Integer(0, BYTES_MAX), "Their bytes.")
    )
    history_s: float = attrs.field(default=300.0, metadata=about(_SECONDS, "Their age."))
    history_max_bytes: int = attrs.field(
        default=268_435_456,
        metadata=about(
            Integer(0, BYTES_MAX),
            "Bytes of all topics together. Over it, those that were silent for longest forget"
            " first.",
        ),
    )
    queue_count: int = attrs.field(
        default=1024,
        metadata=about(
            Integer(1, EVENTS_MAX),
            "Events that may wait for one client. Over it, parts of one stream of tokens are"
            " joined, then droppable events dropped, then the client is cut with 4008.",
        ),
    )
    queue_bytes: int = attrs.field(
        default=1_048_576, metadata=about(Integer(65_536, BYTES_MAX), "Their bytes, likewise.")
    )
