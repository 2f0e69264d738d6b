"""Names to addresses: asked once at a time, remembered for a while.

``getaddrinfo`` costs a thread for each call, and a reconnect storm asks for the same few names
thousands of times. So answers are kept for a short time (the C library does not tell how long a
record lives), failures for a very short one, and callers that want the same name wait for the
same lookup.
"""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING, Final

import attrs
import trio

from relayd.transport.errors import KINDS_BY_ERRNO, DialError, DialErrorKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    Lookup = Callable[[str, int], Awaitable[Sequence["Address"]]]

NAMES_MAX: Final = 256
"""Names that are remembered. They come from the configuration; this is a bound, not a plan."""

TTL_S: Final = 30.0
"""How long an answer is used: short enough to follow an upstream that moves."""

NEGATIVE_TTL_S: Final = 1.0
"""How long a failure is used: just long enough to spare the name server a storm."""

LOOKUP_S: Final = 20.0
"""A lookup that takes longer has failed; the C library gives up at about this time itself."""

ADDRESSES_MAX: Final = 8
"""Addresses of one name that are kept: nobody has time to try more."""


@attrs.frozen
class Address:
    """One address of a name, ready for ``connect``."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


@attrs.frozen
class _Answer:
    """What a lookup came to, good or bad, and how long that is used."""

    addresses: tuple[Address, ...]
    expires_at: float
    error: str = ""
    kind: DialErrorKind = DialErrorKind.NAME_NOT_RESOLVED


@attrs.define(eq=False)
class _Flight:
    """A lookup under way."""

    landed: trio.Event = attrs.field(factory=trio.Event)
    answer: _Answer | None = None


class Resolver:
    """A bounded cache of addresses in front of ``getaddrinfo``."""

    def __init__(self, nursery: trio.Nursery, *, lookup: Lookup | None = None) -> None:
        """
        Args:
            nursery: Where lookups run. They belong to nobody who waits for them: a caller that is
                cancelled leaves a lookup that the others still wait for.
            lookup: Instead of ``getaddrinfo``; raises ``OSError`` for a name it does not know.
        """
        self._nursery = nursery
        self._lookup = lookup or _getaddrinfo
        self._answers: dict[tuple[str, int], _Answer] = {}
        self._flights: dict[tuple[str, int], _Flight] = {}

    async def resolve(self, host: str, port: int) -> tuple[Address, ...]:
        """The addresses of ``host``, in the order in which to try them, at least one.

        Raises:
            DialError: ``NAME_NOT_RESOLVED``, or ``RESOURCES_EXHAUSTED`` on relayd's own side.

        Cancelling this stops the waiting, not the lookup.
        """
        key = host, port
        answer = self._answers.get(key)
        if answer is None or answer.expires_at <= trio.current_time():
            answer = await self._ask(key)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        if not answer.addresses:
            message = f"the name {host} could not be resolved: {answer.error}"
            raise DialError(answer.kind, message)
        return answer.addresses

    async def _ask(self, key: tuple[str, int]) -> _Answer:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            self._nursery.start_soon(self._fly, key, flight)
        await flight.landed.wait()
        return flight.answer or _failed("the lookup was given up")

    async def _fly(self, key: tuple[str, int], flight: _Flight) -> None:
        try:
            flight.answer = await self._look_up(*key)
            self._remember(key, flight.answer)
        finally:
            del self._flights[key]
            flight.landed.set()

    async def _look_up(self, host: str, port: int) -> _Answer:
        with trio.move_on_after(LOOKUP_S):
            try:
                addresses = await self._lookup(host, port)
            except OSError as error:
                return _failed(error.strerror or "no answer", KINDS_BY_ERRNO.get(error.errno or 0))
            except RuntimeError:
                # The one thing that ``trio.to_thread`` raises itself. It must end neither the
                # nursery that all lookups share nor the trust in the upstream.
                return _failed("no thread could be started", DialErrorKind.RESOURCES_EXHAUSTED)
            except ValueError:
                return _failed("it is not a valid host name")
            expires_at = trio.current_time() + TTL_S
            ordered = interleave(addresses)[:ADDRESSES_MAX]
            return _Answer(ordered, expires_at) if ordered else _failed("it has no address")
        return _failed(f"no answer in {LOOKUP_S:.0f} s")

    def _remember(self, key: tuple[str, int], answer: _Answer) -> None:
        self._answers.pop(key, None)
        if len(self._answers) >= NAMES_MAX:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = answer


def interleave(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Alternate the families, starting with the first one's (RFC 8305 section 4).

    Within a family the resolver's order stays; duplicates are dropped.
    """
    families: dict[socket.AddressFamily, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address.family, []).append(address)
    rounds = itertools.zip_longest(*families.values())
    return tuple(address for pair in rounds for address in pair if address is not None)


def _failed(error: str, kind: DialErrorKind | None = None) -> _Answer:
    """A failure is the name's, unless the host of relayd itself had nothing left to ask with."""
    if kind is not DialErrorKind.RESOURCES_EXHAUSTED:
        kind = DialErrorKind.NAME_NOT_RESOLVED
    return _Answer((), trio.current_time() + NEGATIVE_TTL_S, error, kind)


async def _getaddrinfo(host: str, port: int) -> list[Address]:
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list[Address]()
    for family, _, _, _, sockaddr in found:
        match sockaddr:
            case (str(), *_):
                addresses.append(Address(family, sockaddr))
    return addresses
