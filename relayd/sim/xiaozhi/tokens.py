"""The token of a device as xiaozhi-esp32-server signs it, and whether one is good."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final

VALID_S: Final = 2_592_000
"""Thirty days from when it was signed."""

_TOKEN: Final = re.compile(r"(?P<signature>[A-Za-z0-9_-]{43})\.(?P<at>[0-9]{1,12})")


def sign(auth_key: str, client_id: str, device_id: str, at: int) -> str:
    """The token that a device gets at ``at``, in Unix seconds."""
    signed = f"{client_id}|{device_id}|{at}".encode()
    digest = hmac.digest(auth_key.encode(), signed, hashlib.sha256)
    return f"{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}.{at}"


def is_good(token: str, auth_key: str, client_id: str, device_id: str, now: float) -> bool:
    """Whether ``token`` was signed for that device, not too long before ``now``."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return False
    at = int(found["at"])
    wanted = sign(auth_key, client_id, device_id, at)
    return hmac.compare_digest(wanted, token) and now <= at + VALID_S
