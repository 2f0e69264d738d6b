"""Who a request comes from: one function for every route.

A key is looked for in headers and in the browser's subprotocol, never in the URL, which proxies
and histories keep.
"""

from __future__ import annotations

import re
from typing import Final

from relayd.config.snapshot import Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.fields import Fields
from relayd.protocol.upgrade import KEY_SUBPROTOCOL

KEY_HEADERS: Final = ("api-key", "x-api-key")

_BEARER: Final = re.compile(r"bearer +([^ \t]+)", re.IGNORECASE)
_CHALLENGE: Final = (("WWW-Authenticate", "Bearer"),)
_MISSING: Final = Refusal(
    RefusalCode.MISSING_API_KEY,
    "No API key was sent. Send Authorization: Bearer <key>, api-key, x-api-key, or the subprotocol"
    f" {KEY_SUBPROTOCOL}<key>; a key in the URL is not read.",
    headers=_CHALLENGE,
)
_INVALID: Final = Refusal(
    RefusalCode.INVALID_API_KEY,
    "The API key is not valid here. Check that it is one of this relay's keys, and enabled.",
    headers=_CHALLENGE,
)
_SEVERAL: Final = Refusal(
    RefusalCode.INVALID_API_KEY,
    "Several different API keys were sent. Send one, in one place.",
    headers=_CHALLENGE,
)


def authenticate(head: Fields, snapshot: Snapshot) -> Key | Refusal:
    """The key that the request presents, or a 401.

    A wrong and a disabled key get the same answer. The time it takes depends on the length of
    what was presented alone: it is hashed first, and digests are compared in constant time.

    Args:
        head: The request's header fields, of an upgrade or of any other request.
        snapshot: Holds the keys.
    """
    presented = presented_keys(head)
    if not presented:
        return _MISSING
    if len(presented) > 1:
        return _SEVERAL
    key = snapshot.key_for(presented.pop())
    return key if key is not None and key.enabled else _INVALID


def presented_keys(head: Fields) -> set[str]:
    """Every different key that the request presents; more than one is for nobody to choose from."""
    bearer = _BEARER.fullmatch(head.get("authorization") or "")
    found = {bearer[1] if bearer else None, *map(head.get, KEY_HEADERS)}
    found.update(
        item.removeprefix(KEY_SUBPROTOCOL)
        for item in head.get_list("sec-websocket-protocol")
        if item.startswith(KEY_SUBPROTOCOL)
    )
    return {key for key in found if key}
