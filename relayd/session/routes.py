"""Which path means which dialect."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from relayd.config.providers import Dialect
from relayd.core.refusals import Refusal, RefusalCode

if TYPE_CHECKING:
    from collections.abc import Mapping

DIALECT_PATHS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "/v1/realtime": Dialect.REALTIME,
        "/realtime": Dialect.REALTIME,
        "/openai/v1/realtime": Dialect.REALTIME,
        "/openai/realtime": Dialect.REALTIME,
        "/v1/responses": Dialect.RESPONSES,
        "/responses": Dialect.RESPONSES,
        "/openai/v1/responses": Dialect.RESPONSES,
        "/api/v1/ws": Dialect.HUB,
        "/ws": Dialect.HUB,
        "/connection/websocket": Dialect.HUB,
        "/xiaozhi/v1/": Dialect.XIAOZHI,
        "/xiaozhi/v1": Dialect.XIAOZHI,
    }
)
"""Paths that name a dialect by themselves."""

RELAY_PREFIX: Final = "/relay/"
"""What follows it is the name of an account, then the tail for its upstream."""

_ACCOUNT: Final = re.compile(r"[A-Za-z0-9._-]+")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
# Dots, slashes, backslashes and control characters: two programs that decode at different times
# would see two different paths.
_AMBIGUOUS: Final = re.compile(r"\\|%(?:2[eEfF]|5[cC]|[01][0-9A-Fa-f]|7[fF])")
_EXISTING: Final = ", ".join([*DIALECT_PATHS, f"{RELAY_PREFIX}{{account}}/…"])


@attrs.frozen
class Route:
    """Where a path leads.

    Attributes:
        dialect: The protocol spoken there.
        account_name: The account that a passthrough path names, not yet looked up.
        tail: What follows the account's name in the path, as it came: empty, or from a slash on.
    """

    dialect: Dialect
    account_name: str | None = None
    # Names what the client wants of its upstream, and might hold a key.
    tail: str = attrs.field(default="", repr=False)


def find_route(path: str) -> Route | Refusal:
    """Where ``path``, still percent-encoded and without its query, leads.

    Refuses with 404 what leads nowhere, and with 400 a tail that could be read as another path
    than the one it seems to be.
    """
    dialect = DIALECT_PATHS.get(path)
    if dialect is not None:
        return Route(dialect)
    if path.startswith(RELAY_PREFIX):
        name, slash, rest = path[len(RELAY_PREFIX) :].partition("/")
        if _ACCOUNT.fullmatch(name):
            return _checked_tail(name, slash + rest)
    return Refusal(RefusalCode.NOT_FOUND, f"There is nothing at this path. Known: {_EXISTING}.")


def _checked_tail(account_name: str, tail: str) -> Route | Refusal:
    if _AMBIGUOUS.search(tail) or len(_ESCAPE.findall(tail)) != tail.count("%"):
        message = "The path holds an encoded dot, slash or control character, or a broken escape."
        return Refusal(RefusalCode.MALFORMED_REQUEST, message)
    if tail.startswith("//") or any(segment in {".", ".."} for segment in tail.split("/")):
        message = "The path holds dot segments or begins with two slashes; send the final path."
        return Refusal(RefusalCode.MALFORMED_REQUEST, message)
    return Route(Dialect.PASSTHROUGH, account_name, tail)
