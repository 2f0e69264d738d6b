"""Tokens of devices: relayd's own, which they present here, and those that a server expects.

relayd's own is ``v1.<expiry>.<signature>``. It is not told from the token whose it is: the device
says who it is, in two headers, and the signature is over what it says. So a token opens nothing for
another device, another client id, another tenant, or after its time.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import re
from typing import Final

from relayd.dialect.xiaozhi_identity import Identity

_OWN: Final = re.compile(r"v1\.([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{43})")
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]+)")


class TokenVerdict(enum.Enum):
    """What a presented token is worth."""

    GOOD = enum.auto()
    EXPIRED = enum.auto()  # it was good once
    WRONG = enum.auto()


def device_token(secret: str, identity: Identity, *, tenant: str, expires_at: int) -> str:
    """A token of relayd's own.

    Args:
        secret: ``xiaozhi.token_secret``.
        identity: Whose it is.
        tenant: What it counts to.
        expires_at: From then on it opens nothing, in whole seconds since the epoch.
    """
    return f"v1.{expires_at}.{_signature(secret, identity, tenant, str(expires_at))}"


def check_device_token(
    token: str, secret: str, identity: Identity, *, tenant: str, wall: float
) -> TokenVerdict:
    """Judge a token that was presented; how long it takes does not tell how much of it is right.

    Args:
        token: Without ``Bearer``.
        secret: As it was made with; likewise the identity and the tenant.
        identity: What the device says that it is.
        tenant: What it would count to.
        wall: Seconds since the epoch.
    """
    found = _OWN.fullmatch(token)
    if found is None:
        return TokenVerdict.WRONG
    expected = _signature(secret, identity, tenant, found[1])
    if not hmac.compare_digest(expected.encode(), found[2].encode()):
        return TokenVerdict.WRONG
    return TokenVerdict.GOOD if wall < int(found[1]) else TokenVerdict.EXPIRED


def is_device_token(token: str) -> bool:
    """Whether ``token`` has the shape of relayd's own, which no key has."""
    return _OWN.fullmatch(token) is not None


def bearer(authorization: str) -> str | None:
    """The token of an ``Authorization`` value; a device whose token has a space sends it bare."""
    found = _BEARER.fullmatch(authorization)
    return None if found is None else found[1]


def server_token(auth_key: str, identity: Identity, *, wall: float) -> str:
    """What a server with this ``auth_key`` expects: ``<signature>.<time>``, good for its 30 days.

    Args:
        auth_key: ``accounts.xiaozhi.auth_key``.
        identity: Which device relayd stands for.
        wall: Seconds since the epoch.
    """
    made_at = int(wall)
    signed = f"{identity.client_id}|{identity.device_id}|{made_at}"
    return f"{_hmac(auth_key, signed)}.{made_at}"


def _signature(secret: str, identity: Identity, tenant: str, expires_at: str) -> str:
    # No field but the last can hold a bar: what is signed has one reading.
    signed = f"v1|{identity.device_id}|{identity.client_id}|{expires_at}|{tenant}"
    return _hmac(secret, signed)


def _hmac(key: str, signed: str) -> str:
    digest = hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
