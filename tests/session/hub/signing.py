"""Tokens as an application would sign them for its users."""

from __future__ import annotations

import functools
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "an HS256 secret, long enough for HS512 too: sixty-four bytes and more"
OTHER_SECRET = "another one, which is nobody's at all"
NOW = 1_800_000_000.0


@functools.cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@functools.cache
def public_pem() -> str:
    encoded = (
        private_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return encoded.decode()


def token(
    secret: str = SECRET,
    *,
    without: tuple[str, ...] = (),
    algorithm: str = "HS256",
    key: rsa.RSAPrivateKey | str | None = None,
    headers: dict[str, object] | None = None,
    **claims: Any,  # noqa: ANN401 - a token may claim anything
) -> str:
    """A token that is good, but for what the test says."""
    said = {"sub": "alice", "exp": NOW + 300, "tenant": "acme"} | claims
    said = {name: value for name, value in said.items() if name not in without}
    payload = json.dumps(said).encode()
    return jwt.PyJWS().encode(payload, key or secret, algorithm=algorithm, headers=headers)
