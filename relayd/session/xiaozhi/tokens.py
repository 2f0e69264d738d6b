"""The tokens that servers gave for devices: kept here, since a device holds relayd's own alone.

They are learned from a server's answer to a device that asks for its settings, and presented when
relayd dials that server for it. Where they stand is the store's matter: in memory they go with the
process, and a device gets a new one when it asks for its settings again.

Anybody may ask for settings, and by any id. So the token of a device that has come here since is
kept for longer than that of one which never has, and a store that forgets what expires first lets
go of the others before it.
"""

from __future__ import annotations

import hashlib
from typing import Final

import attrs

from relayd.dialect.xiaozhi_identity import Identity
from relayd.dialect.xiaozhi_ota import TOKEN_MAX_CHARS
from relayd.state.store import Store

KNOWN_FACTOR: Final = 2
"""How much longer the token is kept of a device that has come here."""

_PREFIX: Final = "xiaozhi.token"


@attrs.frozen
class _Kept:
    """A token as it stands in the store.

    Attributes:
        token: As it came.
        ttl_s: How long it is worth keeping, in seconds.
        is_known: Whether its device has come here.
    """

    token: str = attrs.field(repr=False)
    ttl_s: float
    is_known: bool

    @classmethod
    def read(cls, raw: bytes) -> _Kept:
        """What :meth:`written` wrote."""
        is_known, ttl_s, token = raw.decode().split(" ", 2)
        return cls(token, float(ttl_s), is_known == "1")

    def written(self) -> bytes:
        """For the store."""
        return f"{self.is_known:d} {self.ttl_s} {self.token}".encode()

    @property
    def lasts_s(self) -> float:
        """How long it is kept from now on, in seconds."""
        return self.ttl_s * (KNOWN_FACTOR if self.is_known else 1)


@attrs.frozen
class ServerTokens:
    """See the module's text."""

    store: Store

    async def keep(
        self, account_name: str, identity: Identity, token: str, *, ttl_s: float
    ) -> None:
        """Keep what a server gave for a device; "" says that it wants none.

        Args:
            account_name: Of the server.
            identity: Which device it is for.
            token: As it came.
            ttl_s: How long it is worth keeping, in seconds; twice that for a device that came.

        Raises:
            StoreError: It is not kept.
        """
        assert len(token) <= TOKEN_MAX_CHARS, "what is longer was refused when it was read"
        key = _key(account_name, identity)
        before = await self.store.get(key)
        is_known = before is not None and _Kept.read(before).is_known
        kept = _Kept(token, ttl_s, is_known)
        await self.store.put(key, kept.written(), ttl_s=kept.lasts_s)

    async def find(self, account_name: str, identity: Identity) -> str | None:
        """What a server gave for a device that has come; ``None`` where nothing is known of it.

        It is kept for longer from now on.

        Raises:
            StoreError: It cannot be said.
        """
        key = _key(account_name, identity)
        found = await self.store.get(key)
        if found is None:
            return None
        kept = attrs.evolve(_Kept.read(found), is_known=True)
        # Another one that came meanwhile stays as it is; the next time will do for it.
        await self.store.compare_and_set(key, found, kept.written(), ttl_s=kept.lasts_s)
        return kept.token


def _key(account_name: str, identity: Identity) -> str:
    # A digest: ids are the peer's words, and a key of the store has a length.
    who = f"{identity.device_id}|{identity.client_id}".encode()
    return f"{_PREFIX}:{account_name}:{hashlib.sha256(who).hexdigest()}"
