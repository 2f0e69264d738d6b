"""Dialling: a URL to a connected, non-blocking socket that belongs to nobody's event loop yet.

A literal address costs one socket and no task. A name is resolved, its addresses are checked
(:mod:`relayd.transport.outgoing`), and those that pass are tried in a staggered race (RFC 8305), so
that one that does not answer costs a quarter of a second.
"""

from __future__ import annotations

import errno
import math
import socket
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

from relayd.transport.errors import DialError, DialErrorKind, from_errno, from_os_error
from relayd.transport.outgoing import check_learned, check_resolved
from relayd.transport.resolve import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relayd.transport.resolve import Resolver

STAGGER_S: Final = 0.25
"""RFC 8305 section 5: the recommended delay before the next address is tried as well."""

USER_TIMEOUT_MS: Final = 30_000
"""Unacknowledged bytes older than this end the connection, whatever the kernel's own patience."""

KEEPALIVE_IDLE_S: Final = 30
KEEPALIVE_EVERY_S: Final = 10

_SOCKET_TYPE: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_IN_PROGRESS: Final = (errno.EINPROGRESS, errno.EALREADY)
_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S),
)


class Destination(Protocol):
    """What can be dialled: a :class:`~relayd.config.url.Url`, or a proxy."""

    @property
    def host(self) -> str:
        """A name in lower case, or an address without brackets."""

    @property
    def port(self) -> int:
        """1 to 65535."""

    @property
    def is_literal(self) -> bool:
        """The host is an IP address, so nothing needs to be resolved."""


async def connect(
    url: Destination,
    *,
    resolver: Resolver,
    deadline: float,
    allow_private: bool = False,
    is_learned: bool = False,
) -> socket.socket:
    """Connect to where ``url`` points.

    Args:
        url: Where to.
        resolver: Asked only for a host that is a name.
        deadline: When to give up, by ``trio.current_time()``.
        allow_private: Whether a name may lead to an address that is not public.
        is_learned: ``url`` came from a peer, so that a literal address and ``localhost`` have to
            be public as well.

    Returns:
        A connected plain socket: non-blocking, close-on-exec, without Nagle's delay, with
        keepalive and a user timeout of 30 s. The caller owns it.

    Raises:
        DialError: There is no connection; ``CONNECT_TIMEOUT`` at the deadline. An
            :class:`~relayd.transport.outgoing.AddressRefused`: relayd does not go there.

    Cancelling this closes every socket that it opened.
    """
    if is_learned:
        check_learned(url.host, allow_private=allow_private)
    if url.is_literal:
        return await _connect_one(_literal(url.host, url.port), deadline)
    with trio.move_on_at(deadline):
        addresses = check_resolved(
            url.host,
            await resolver.resolve(url.host, url.port),
            allow_private=allow_private,
            is_learned=is_learned,
        )
        if len(addresses) == 1:
            return await _connect_one(addresses[0])
        return await _connect_first(addresses, f"{url.host}:{url.port}")
    raise _too_late(f"{url.host} port {url.port}")


def set_options(sock: socket.socket) -> None:
    """Give a connected or connecting TCP socket what every socket of relayd has."""
    for level, option, value in _OPTIONS:
        sock.setsockopt(level, option, value)


def _too_late(where: str) -> DialError:
    return DialError(DialErrorKind.CONNECT_TIMEOUT, f"no connection to {where} in time")


async def _connect_one(address: Address, deadline: float = math.inf) -> socket.socket:
    """Connect to one address. Raises ``DialError``; the socket is closed unless it is returned."""
    try:
        sock = socket.socket(address.family, _SOCKET_TYPE)
    except OSError as error:
        raise from_os_error(error, _where(address)) from None
    try:
        set_options(sock)
        code = sock.connect_ex(address.sockaddr)
        if code in _IN_PROGRESS:
            # Within one host the handshake is over by now, and asking again costs a microsecond
            # where waiting costs a round through the event loop.
            code = sock.connect_ex(address.sockaddr)
        if code in _IN_PROGRESS:
            with trio.move_on_at(deadline) as waiting:  # within one host it is never entered
                await trio.lowlevel.wait_writable(sock)
            if waiting.cancelled_caught:
                raise _too_late(_where(address))
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
    except OSError as error:
        sock.close()
        raise from_os_error(error, _where(address)) from None
    except BaseException:
        sock.close()
        raise
    if code and code != errno.EISCONN:
        sock.close()
        raise from_errno(code, _where(address))
    return sock


@attrs.define(eq=False)
class _Race:
    """Attempts at several addresses, and what they have come to so far."""

    scope: trio.CancelScope
    winner: socket.socket | None = None
    errors: list[DialError] = attrs.field(factory=list)

    async def run(self, address: Address, failed: trio.Event) -> None:
        try:
            sock = await _connect_one(address)
        except DialError as error:
            self.errors.append(error)
            failed.set()
            return
        if self.winner is None:
            self.winner = sock
            self.scope.cancel(reason="another address answered first")
        else:
            sock.close()


async def _connect_first(addresses: Sequence[Address], where: str) -> socket.socket:
    """Race ``addresses``: a new one starts when the one before failed, or after ``STAGGER_S``."""
    race: _Race | None = None
    try:
        async with trio.open_nursery() as nursery:
            race = _Race(nursery.cancel_scope)
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(race.run, address, failed)
                with trio.move_on_after(STAGGER_S):
                    await failed.wait()
    except BaseException:
        if race is not None and race.winner is not None:
            race.winner.close()
        raise
    if race.winner is None:
        raise _summary(race.errors, where)
    return race.winner


def _summary(errors: Sequence[DialError], where: str) -> DialError:
    """One error for all addresses: the last one's kind, unless the host itself was exhausted.

    The last, because where a family is missing altogether its addresses fail first and at once.
    """
    kinds = dict.fromkeys(error.kind for error in errors)
    exhausted = DialErrorKind.RESOURCES_EXHAUSTED
    kind = exhausted if exhausted in kinds else errors[-1].kind
    words = ", ".join(kind.replace("_", " ") for kind in kinds)
    return DialError(kind, f"no address of {where} could be reached: {words}")


def _literal(host: str, port: int) -> Address:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return Address(family, (host, port))


def _where(address: Address) -> str:
    host, port = address.sockaddr[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
