"""What servers and devices have said at ``/xiaozhi/ota/`` that sessions need.

The tokens that servers gave for devices are kept here, since a device holds relayd's own alone.
They are learned from a server's answer to a device that asks for its settings, and presented when
relayd dials that server for it. What a device said there that it is decides which servers those
are. Where it stands is the store's matter: in memory it goes with the process, and a device brings
it anew when it asks for its settings again.

Anybody may ask for settings, and by any id. So the token of a device that has come here since is
kept for longer than that of one which never has, and a store that forgets what expires first lets
go of the others before it.
"""

from __future__ import annotations

import hashlib
from typing import Final

import attrs

from relayd.dialect.xiaozhi_build import UNKNOWN, Build
from relayd.dialect.xiaozhi_identity import Identity
from relayd.dialect.xiaozhi_ota import TOKEN_MAX_CHARS
from relayd.state.store import Store

KNOWN_FACTOR: Final = 2
"""How much longer the token is kept of a device that has come here."""

_PREFIX: Final = "xiaozhi.token"
_BUILD: Final = "xiaozhi.build"


@attrs.frozen
class _Kept:
    """A token as it stands in the store.

    Attributes:
        token: As it came; of what a device is, as that is written.
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
        await self._keep(_key(account_name, identity), token, ttl_s)

    async def find(self, account_name: str, identity: Identity) -> str | None:
        """What a server gave for a device that has come; ``None`` where nothing is known of it.

        It is kept for longer from now on.

        Raises:
            StoreError: It cannot be said.
        """
        return await self._find(_key(account_name, identity))

    async def keep_build(self, identity: Identity, build: Build, *, ttl_s: float) -> None:
        """Keep what a device has said that it is, as :meth:`keep` does; nothing is not kept.

        Raises:
            StoreError: It is not kept.
        """
        if build != UNKNOWN:
            await self._keep(_key_of_build(identity), build.written().decode(), ttl_s)

    async def find_build(self, identity: Identity) -> Build:
        """What a device that has come is, as it last said, as :meth:`find` does.

        Raises:
            StoreError: It cannot be said.
        """
        found = await self._find(_key_of_build(identity))
        return UNKNOWN if found is None else Build.read(found.encode())

    async def _keep(self, key: str, text: str, ttl_s: float) -> None:
        before = await self.store.get(key)
        is_known = before is not None and _Kept.read(before).is_known
        kept = _Kept(text, ttl_s, is_known)
        await self.store.put(key, kept.written(), ttl_s=kept.lasts_s)

    async def _find(self, key: str) -> str | None:
        found = await self.store.get(key)
        if found is None:
            return None
        kept = attrs.evolve(_Kept.read(found), is_known=True)
        # Another one that came meanwhile stays as it is; the next time will do for it.
        await self.store.compare_and_set(key, found, kept.written(), ttl_s=kept.lasts_s)
        return kept.token


def _key(account_name: str, identity: Identity) -> str:
    return f"{_PREFIX}:{account_name}:{_digest(identity)}"


def _key_of_build(identity: Identity) -> str:
    return f"{_BUILD}:{_digest(identity)}"


def _digest(identity: Identity) -> str:
    # Ids are the peer's words, and a key of the store has a length.
    who = f"{identity.device_id}|{identity.client_id}".encode()
    return hashlib.sha256(who).hexdigest()
