"""Which response lives where: what lets a client go on from an earlier one.

A service keeps recent responses in the memory of the connection that made them; one that was not
stored exists nowhere else. So relayd remembers for each response its account, socket and lane, for
each tool call that waits for its output the response that asked for it, and for each session that
names itself the account it was served by. All of it is kept per tenant, for an hour, and is a
memory: what is forgotten costs a client one more request, nothing else. Where there is too much of
it, a tenant that has no more than its share forgets nothing.

Keys hold SHA-256 digests of what clients and upstreams call things, so that no name of theirs is
too long or looks like another's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import attrs
import msgspec

from relayd.pool.identity import SlotRef
from relayd.session.responses.shares import Shares
from relayd.state.store import Store, StoreError

TTL_S: Final = 3600.0
"""How long it is remembered where a response lives: as long as a socket may."""

CALLS_MAX: Final = 128
"""Tool calls of one response that are remembered as waiting."""

NAMES_MAX: Final = 65_536
"""Responses, their owners, sessions and tool calls that one process remembers."""

_T = TypeVar("_T")


class Chain(msgspec.Struct, frozen=True, array_like=True):
    """Where a response lives.

    Attributes:
        account: Who made it.
        worker: The process whose socket it is.
        slot: That socket, with its generation.
        lane: The ``stream_id`` it ran in.
        stored: Whether its service can find it without the socket.
    """

    account: str
    worker: str
    slot: int
    generation: int
    lane: str | None
    stored: bool

    @property
    def ref(self) -> SlotRef:
        """The socket, if it is this process's."""
        return SlotRef(self.slot, self.generation)


_encode: Final = msgspec.json.Encoder().encode
_decode_chain: Final = msgspec.json.Decoder(Chain).decode
_decode_name: Final = msgspec.json.Decoder(str).decode


@attrs.frozen(kw_only=True)
class Chains:
    """See the module's text.

    Attributes:
        store: Where it is remembered.
        worker: This process's name in it.
        failed: Hears that the store did not answer; what it was asked for counts as forgotten.
        shares: Says who forgets something when it is too much.
    """

    store: Store
    worker: str
    failed: Callable[[StoreError], None]
    shares: Shares = attrs.field(factory=lambda: Shares(names_max=NAMES_MAX, ttl_s=TTL_S))

    @property
    def waits(self) -> bool:
        """Whether calls may take time; see :class:`~relayd.state.store.Store`."""
        return self.store.waits

    async def find(self, tenant: str, response_id: str) -> Chain | None:
        """Where the response lives, if that is known."""
        return await self._get(_name("chain", tenant, response_id), _decode_chain)

    async def note(
        self, tenant: str, response_id: str, chain: Chain, calls: Iterable[str], now: float
    ) -> None:
        """Remember where a response lives, and which tool calls of it wait for their outputs."""
        digest = _digest(response_id)
        await self._put(tenant, _named("chain", tenant, digest), _encode(chain), now)
        await self._put(tenant, _named("owner", "", digest), _encode(tenant), now)
        for call_id in list(calls)[:CALLS_MAX]:
            await self._put(tenant, _name("call", tenant, call_id), _encode(response_id), now)

    async def is_anothers(self, tenant: str, response_id: str) -> bool:
        """Whether another tenant is known to have made the response."""
        owner = await self._get(_name("owner", "", response_id), _decode_name)
        return owner is not None and owner != tenant

    async def forget(self, tenant: str, response_id: str) -> None:
        """The response is gone from its socket: a request that went on from it has failed."""
        await self._drop(tenant, _name("chain", tenant, response_id))

    async def asked_by(self, tenant: str, call_ids: Iterable[str]) -> str | None:
        """The one response whose waiting tool calls these are; ``None`` if there is no such one."""
        found = set()
        for call_id in list(call_ids)[:CALLS_MAX]:
            found.add(await self._get(_name("call", tenant, call_id), _decode_name))
        return found.pop() if len(found) == 1 else None

    async def answered(self, tenant: str, call_ids: Iterable[str]) -> None:
        """These tool calls have their outputs: they wait no longer."""
        for call_id in list(call_ids)[:CALLS_MAX]:
            await self._drop(tenant, _name("call", tenant, call_id))

    async def account_of(self, tenant: str, session: str) -> str | None:
        """The account that last served the session of this name."""
        return await self._get(_name("session", tenant, session), _decode_name)

    async def served_by(self, tenant: str, session: str, account: str, now: float) -> None:
        """Remember which account serves the session of this name."""
        await self._put(tenant, _name("session", tenant, session), _encode(account), now)

    # -- what they share

    async def _get(self, name: str, decode: Callable[[bytes], _T]) -> _T | None:
        try:
            value = await self.store.get(name)
        except StoreError as error:
            self.failed(error)
            return None
        try:
            return None if value is None else decode(value)
        except msgspec.DecodeError:
            return None  # written by another version: as good as forgotten

    async def _put(self, tenant: str, name: str, value: bytes, now: float) -> None:
        """Keep ``value``, as one of the tenant's names."""
        for_it = self.shares.keep(tenant, name, now)
        if for_it is not None:
            await self._remove(for_it)
        try:
            await self.store.put(name, value, ttl_s=TTL_S)
        except StoreError as error:
            self.failed(error)

    async def _drop(self, tenant: str, name: str) -> None:
        self.shares.drop(tenant, name)
        await self._remove(name)

    async def _remove(self, name: str) -> None:
        try:
            value = await self.store.get(name)
            if value is not None:
                await self.store.compare_and_set(name, value, None)
        except StoreError as error:
            self.failed(error)


def _name(kind: str, tenant: str, said: str) -> str:
    """The store's key; tenants are named by the operator, the rest by peers."""
    return _named(kind, tenant, _digest(said))


def _named(kind: str, tenant: str, digest: str) -> str:
    return f"responses:{kind}:{tenant}:{digest}"


def _digest(said: str) -> str:
    return hashlib.sha256(said.encode()).hexdigest()
