"""What the Responses API makes of an upgrade request."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from websockets.http11 import Request

from relayd.sim.realtime.scenario import HttpRefusal
from relayd.sim.responses.scenario import REFUSALS, Scenario

PATH_END: Final = "/responses"
"""The service is at several paths, which all end so."""

NOT_FOUND: Final = HttpRefusal(
    404, "invalid_request_error", "not_found", f"The WebSocket API is at a path with {PATH_END}."
)
NO_KEY: Final = REFUSALS[Scenario.REFUSE_HTTP_401]


def key_of(request: Request) -> str | HttpRefusal:
    """The SHA-256 of the request's API key in hexadecimal, or why it gets nothing.

    Any key will do, as long as one is given.
    """
    if not urlsplit(request.path).path.endswith(PATH_END):
        return NOT_FOUND
    scheme, _, key = ",".join(request.headers.get_all("Authorization")).partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        return NO_KEY
    return digest(key.strip())


def digest(key: str) -> str:
    """What a key is known by in all counts."""
    return hashlib.sha256(key.encode()).hexdigest()


def choose_subprotocol(_: Sequence[str]) -> None:
    """None: the service has no subprotocols."""
