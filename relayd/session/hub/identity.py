"""Who a client of the hub is: a key of the configuration, or who a token was made for.

Credentials are read where every route reads them, and in two places more that browsers need, which
can set no header: the subprotocol ``bearer.<credential>`` and, for tokens alone, the parameter
``access_token``. A token lives for minutes; a key, which lives for years, is never read from a URL,
which proxies and histories keep.
"""

from __future__ import annotations

import functools
from typing import Final

import attrs

from relayd.config.hub import HubSettings
from relayd.config.keys import Role
from relayd.config.providers import Dialect
from relayd.config.snapshot import Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_topics import EVERYTHING, Scope
from relayd.protocol.head import Head, HeadError
from relayd.session.admission import check_key
from relayd.session.authentication import authenticate, presented_keys
from relayd.session.hub.tokens import Claims, Tokens, looks_like_token

BEARER_SUBPROTOCOL: Final = "bearer."
"""How a browser presents a credential where it can set no header."""

ACCESS_TOKEN: Final = "access_token"
"""The parameter of the URL that may hold a token (RFC 6750 section 2.3), and no key."""

TOKEN_KEY: Final = Key(name="(token)", tenant="", digest=b"")
"""Stands for all who come with a token where limits ask for a key; none has such a name."""

_CHALLENGE: Final = (("WWW-Authenticate", "Bearer"),)
_INVALID: Final = Refusal(
    RefusalCode.INVALID_API_KEY,
    "Neither a key of this relay, enabled, nor a token that it can verify. A key in the URL is not"
    " read.",
    headers=_CHALLENGE,
)
_SEVERAL: Final = Refusal(
    RefusalCode.INVALID_API_KEY,
    "Several different credentials were sent. Send one, in one place.",
    headers=_CHALLENGE,
)


@attrs.frozen(kw_only=True)
class Identity:
    """Who a client is, and what that allows.

    Attributes:
        name: For the log and the admin API: the key's name, or ``jwt:`` and the token's subject.
        tenant: Whose events are its own.
        role: What it may do beside following them.
        scope: Which topics it may follow, and where it may publish.
        expires_at: When it is nobody any more, in seconds since the epoch; ``None``: never.
        key: Whose key it came with; ``None`` for a token.
    """

    name: str
    tenant: str
    role: Role
    scope: Scope
    expires_at: float | None = None
    key: Key | None = None

    @classmethod
    def of_key(cls, key: Key) -> Identity:
        """Who comes with ``key``, which has been checked."""
        return cls(
            name=key.name,
            tenant=key.tenant,
            role=key.role,
            scope=Scope(
                tenant=key.tenant,
                everything=key.role is Role.OPERATOR,
                publish=() if key.role is Role.USER else (EVERYTHING,),
            ),
            expires_at=None if key.expires is None else key.expires.timestamp(),
            key=key,
        )

    @classmethod
    def of_token(cls, claims: Claims) -> Identity:
        """Who comes with a token that says so."""
        return cls(
            name=f"jwt:{claims.subject}",
            tenant=claims.tenant,
            role=Role.PUBLISHER if claims.publish else Role.USER,
            scope=Scope(tenant=claims.tenant, topics=claims.topics, publish=claims.publish),
            expires_at=claims.expires_at,
        )

    @property
    def limited_as(self) -> Key:
        """The key whose limits hold for it; there are none but the process's for tokens."""
        return self.key or TOKEN_KEY

    def is_same(self, other: Identity) -> bool:
        """Whether ``other`` may take this one's place in a session: a later token of the same."""
        return (self.name, self.tenant, self.key) == (other.name, other.tenant, other.key)


def identify(
    head: Head, client_address: str, snapshot: Snapshot, wall: float
) -> Identity | Refusal:
    """Who a request comes from.

    Args:
        head: Of an upgrade, or of any other request to the hub.
        client_address: Where it comes from: an IP address, else a word for a socket without one.
        snapshot: Holds the keys, and what tokens are verified with.
        wall: Seconds since the epoch.

    Returns:
        The identity; a refusal with ``missing_api_key`` where nothing was presented at all, which
        a client of the Centrifuge protocol may still do after the 101.
    """
    try:
        in_url = head.query.parameters(once=(ACCESS_TOKEN,)).get(ACCESS_TOKEN)
    except HeadError as error:
        return error.refusal
    presented = presented_keys(head) | set(_bearers(head))
    if not presented and in_url is None:
        return _missing(head, snapshot)
    if len(presented | {in_url} - {None}) > 1:
        return _SEVERAL
    if presented:
        return identity_of(presented.pop(), client_address, snapshot, wall)
    return _of_token(in_url or "", snapshot, wall)


def identity_of(
    presented: str, client_address: str, snapshot: Snapshot, wall: float
) -> Identity | Refusal:
    """Who presents a credential: a key, or else a token.

    What is no key is told from a disabled one by nobody: both get the same answer, after a time
    that depends on the length of what was presented alone.
    """
    key = snapshot.key_for(presented)
    if key is None or not key.enabled:
        return _of_token(presented, snapshot, wall)
    refusal = check_key(key, client_address, wall)
    if refusal is not None:
        return refusal
    if not key.permits_dialect(Dialect.HUB):
        message = f"This key may not use the dialect {Dialect.HUB}."
        return Refusal(RefusalCode.DIALECT_NOT_ALLOWED, message)
    return Identity.of_key(key)


def is_missing(refusal: Refusal) -> bool:
    """Whether a client was refused for presenting nothing."""
    return refusal.code is RefusalCode.MISSING_API_KEY


def _of_token(presented: str, snapshot: Snapshot, wall: float) -> Identity | Refusal:
    tokens = _tokens_of(snapshot.settings.hub)
    if tokens is None or not looks_like_token(presented):
        return _INVALID
    claims = tokens.verify(presented, wall)
    return claims if isinstance(claims, Refusal) else Identity.of_token(claims)


@functools.lru_cache(maxsize=1)
def _tokens_of(settings: HubSettings) -> Tokens | None:
    """Reading a public key takes longer than verifying with it."""
    return Tokens.of(settings)


def _bearers(head: Head) -> list[str]:
    return [
        item.removeprefix(BEARER_SUBPROTOCOL)
        for item in head.get_list("sec-websocket-protocol")
        if item.startswith(BEARER_SUBPROTOCOL) and item != BEARER_SUBPROTOCOL
    ]


def _missing(head: Head, snapshot: Snapshot) -> Refusal:
    refusal = authenticate(head, snapshot)
    assert isinstance(refusal, Refusal), "nothing was presented"
    message = (
        "No credential was sent. Send Authorization: Bearer <key or token>, the subprotocol"
        f" {BEARER_SUBPROTOCOL}<key or token>, or ?{ACCESS_TOKEN}=<token>; a key in the URL is not"
        " read."
    )
    return attrs.evolve(refusal, message=message)
