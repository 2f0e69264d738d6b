"""What makes two sockets of one account interchangeable, and how a socket is remembered."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

import attrs

from relayd.config.snapshot import Account

_SALT: Final = secrets.token_bytes(32)
"""Of this process: a credential's digest cannot be compared with guesses made elsewhere."""

KNOWN_MAX: Final = 4096
"""Accounts whose digest is remembered: it is asked for at each turn, and costs as much as reading
a request. An account is never changed, only replaced; it is kept, so that its id stays its own."""

_known: dict[int, tuple[Account, str]] = {}


@attrs.frozen(kw_only=True, cache_hash=True)
class Identity:
    """Everything a socket was opened with. A lease is given on a socket of the same identity only.

    Attributes:
        tenant: Whose sockets they are: no two tenants share one.
        account: The account's name.
        credential: :func:`credential_of` the account.
        headers: The client's headers that travelled on at the handshake.
        session: The one session that it is for, where sockets are dedicated; else ``None``.
    """

    tenant: str
    account: str
    credential: str = attrs.field(repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    session: str | None = None


@attrs.frozen
class SlotRef:
    """One socket, for as long as it lives: a slot has another generation with each new socket."""

    slot: int
    generation: int


def credential_of(account: Account) -> str:
    """A digest of what the account's sockets are opened with; any change to that changes it.

    It means something in this process only, and no key can be had from it.
    """
    known = _known.get(id(account))
    if known is not None and known[0] is account:
        return known[1]
    if len(_known) >= KNOWN_MAX:
        _known.clear()
    credential = _digest_of(account)
    _known[id(account)] = account, credential
    return credential


def _digest_of(account: Account) -> str:
    proxy = account.proxy
    parts: list[str | None] = [
        str(account.provider),
        None if account.base_url is None else str(account.base_url),
        None if account.api_key is None else account.api_key.reveal(),
        account.tls_ca,
        str(account.allow_private),
    ]
    if proxy is not None:
        parts += [proxy.kind, proxy.host, str(proxy.port)]
        for secret in (proxy.username, proxy.password):
            parts.append(None if secret is None else secret.reveal())
    parts.append(str(len(account.headers)))
    for name, value in sorted(account.headers.items()):
        parts += [name, value]
    seal = hmac.new(_SALT, digestmod=hashlib.sha256)
    for part in parts:  # each with its length, so that no two lists run together into one text
        encoded = b"" if part is None else part.encode("utf-8", "surrogatepass")
        seal.update(b"-" if part is None else b"%d:" % len(encoded))
        seal.update(encoded)
    return seal.hexdigest()
