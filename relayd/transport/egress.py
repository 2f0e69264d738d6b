"""Dialling an upstream as its account says: straight, or in a tunnel through a proxy.

Two kinds of tunnel: HTTP's CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928, with user name
and password after RFC 1929). Either ends as a bare connected socket on which TLS to the upstream,
or its plain HTTP, begins as on any other. What the proxy answers is bounded and never quoted.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs
import trio

from relayd.config.proxy import Proxy, ProxyKind
from relayd.protocol.fields import encode_head
from relayd.protocol.raw_head import HeadScanner, RawHeadError
from relayd.transport import dial, raw
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.outgoing import check_learned, check_resolved

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from relayd.config.snapshot import Account
    from relayd.transport.dial import Destination
    from relayd.transport.resolve import Resolver

ANSWER_MAX_BYTES: Final = 16_384
"""The longest head of a proxy's answer to CONNECT, each interim response by itself."""

INTERIM_MAX: Final = 4
"""1xx responses of a proxy before the one that counts."""

_RECEIVE_BYTES: Final = 16_384
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?")

_SOCKS: Final = 5
_NO_AUTHENTICATION, _PASSWORD, _NO_METHOD = 0, 2, 0xFF  # RFC 1928 section 3
_PASSWORD_VERSION: Final = 1  # RFC 1929 section 2
_CONNECT: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_BOUND_BYTES: Final = {_IPV4: 4, _IPV6: 16}

_REPLIES: Final[dict[int, tuple[DialErrorKind, str]]] = {
    1: (DialErrorKind.NETWORK_UNREACHABLE, "it failed"),
    2: (DialErrorKind.CONNECTION_REFUSED, "its rules do not allow it"),
    3: (DialErrorKind.NETWORK_UNREACHABLE, "the network is unreachable from there"),
    4: (DialErrorKind.NETWORK_UNREACHABLE, "the host is unreachable from there"),
    5: (DialErrorKind.CONNECTION_REFUSED, "the upstream refused the connection"),
    6: (DialErrorKind.CONNECT_TIMEOUT, "the upstream did not answer it"),
    7: (DialErrorKind.CONNECTION_REFUSED, "it cannot connect to anything"),
    8: (DialErrorKind.NETWORK_UNREACHABLE, "it does not know this kind of address"),
}
"""RFC 1928 section 6."""


class ProxyError(DialError):
    """The tunnel through the account's proxy could not be made.

    Attributes:
        is_of_address: It is the address asked for that failed; another one may do.
    """

    def __init__(self, kind: DialErrorKind, message: str, *, is_of_address: bool = False) -> None:
        super().__init__(kind, f"the account's proxy: {message}")
        self.is_of_address: Final = is_of_address


@attrs.frozen
class _Target:
    """What a proxy is asked to connect to: a name that it resolves itself, or an address."""

    host: str
    port: int
    is_literal: bool


async def connect(
    url: Destination,
    account: Account,
    *,
    resolver: Resolver,
    deadline: float,
    is_learned: bool = False,
) -> socket.socket:
    """Connect to where ``url`` points, through the proxy of ``account`` if it has one.

    A name in the configuration goes to a proxy that resolves names as it stands, and the proxy's
    rules say where it may lead. A name that a peer handed out is resolved here, whatever the proxy
    can do, and the proxy is asked for an address that was checked (docs/decisions/0010). The
    proxy's own address is the operator's word, as a name too: proxies stand in private networks.

    Args:
        url: Where to: the account's address, or one that its upstream handed out.
        account: Says through which proxy, and whether names may lead to private addresses.
        resolver: Asked for names: of the proxy, and of the upstream unless the proxy does that.
        deadline: When to give up, by ``trio.current_time()``.
        is_learned: ``url`` came from a peer, so that it leads to public addresses only, by name and
            by number, unless the account has ``allow_private``.

    Returns:
        A connected plain socket as :func:`relayd.transport.dial.connect` returns it. Nothing of
        the upstream's has been read. The caller owns it.

    Raises:
        DialError: There is no connection; a :class:`ProxyError` where it is the tunnel that could
            not be made; ``CONNECT_TIMEOUT`` at the deadline. An
            :class:`~relayd.transport.outgoing.AddressRefused`: relayd does not go there.

    Cancelling this closes every socket that it opened.
    """
    proxy, allow_private = account.proxy, account.allow_private
    if proxy is None:
        return await dial.connect(
            url,
            resolver=resolver,
            deadline=deadline,
            allow_private=allow_private,
            is_learned=is_learned,
        )
    if is_learned:
        check_learned(url.host, allow_private=allow_private)
    with trio.move_on_at(deadline):
        targets: Sequence[_Target] = [_Target(url.host, url.port, url.is_literal)]
        if not url.is_literal and (
            proxy.kind is ProxyKind.SOCKS5 or (is_learned and not allow_private)
        ):
            addresses = check_resolved(
                url.host,
                await resolver.resolve(url.host, url.port),
                allow_private=allow_private,
                is_learned=is_learned,
            )
            targets = [_Target(each.sockaddr[0], url.port, is_literal=True) for each in addresses]
        return await _tunnel_to_one_of(targets, proxy, resolver, deadline)
    raise ProxyError(DialErrorKind.CONNECT_TIMEOUT, "there was no tunnel to the upstream in time")


async def _tunnel_to_one_of(
    targets: Sequence[_Target], proxy: Proxy, resolver: Resolver, deadline: float
) -> socket.socket:
    """A tunnel to the first of ``targets`` that the proxy can reach; a connection for each."""
    for target in targets[:-1]:
        try:
            return await _tunnel(target, proxy, resolver, deadline)
        except ProxyError as error:
            if not error.is_of_address:
                raise
    return await _tunnel(targets[-1], proxy, resolver, deadline)


async def _tunnel(
    target: _Target, proxy: Proxy, resolver: Resolver, deadline: float
) -> socket.socket:
    sock: socket.socket | None = None
    try:
        sock = await dial.connect(proxy, resolver=resolver, deadline=deadline, allow_private=True)
        if proxy.kind is ProxyKind.HTTP:
            await _ask_http(sock, proxy, target)
        else:
            await _ask_socks(sock, proxy, target)
    except BaseException as error:
        if sock is not None:
            sock.close()
        if isinstance(error, DialError) and not isinstance(error, ProxyError):
            raise ProxyError(error.kind, error.message) from None
        raise
    return sock


# -- HTTP


async def _ask_http(sock: socket.socket, proxy: Proxy, target: _Target) -> None:
    await raw.send_all(sock, connect_request(target.host, target.port, proxy))
    reader = ConnectReader()
    while (status := reader.feed(await _some(sock, _RECEIVE_BYTES))) is None:
        pass
    if status // 100 == HTTPStatus.OK // 100:
        if reader.leftover:
            # The upstream has been told nothing yet, so whatever this is, it is not its answer.
            raise _garbled("bytes behind its answer to CONNECT, before any were sent")
        return
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise _unauthorized(proxy)
    kind = DialErrorKind.CONNECTION_REFUSED
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        kind = DialErrorKind.CONNECT_TIMEOUT
    raise ProxyError(
        kind,
        f"it answered CONNECT with status {status}; its log should say why",
        is_of_address=status // 100 == HTTPStatus.INTERNAL_SERVER_ERROR // 100,
    )


def connect_request(host: str, port: int, proxy: Proxy) -> bytes:
    """CONNECT to ``host``, with the user name and password of ``proxy`` (RFC 7617)."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [("Host", authority)]
    if proxy.username is not None and proxy.password is not None:
        pair = f"{proxy.username.reveal()}:{proxy.password.reveal()}"
        headers.append(("Proxy-Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    return encode_head(f"CONNECT {authority} HTTP/1.1", headers)


class ConnectReader:
    """Reads the answer to CONNECT from bytes in any chunks; only its status matters.

    Content-Length and Transfer-Encoding mean nothing in a 2xx (RFC 9110 section 9.3.6), and the
    body of any other answer is not read.
    """

    __slots__ = ("_interim", "_scanner", "leftover")

    def __init__(self) -> None:
        self._scanner = HeadScanner(ANSWER_MAX_BYTES)
        self._interim = 0
        self.leftover = b""
        """What followed the answer's head."""

    def feed(self, data: bytes) -> int | None:
        """The status, or ``None`` while the head is incomplete.

        Raises:
            ProxyError: This is no answer in HTTP/1.
        """
        while (head := self._scan(data)) is not None:
            line = _STATUS_LINE.fullmatch(head, 0, head.index(b"\r\n"))
            if line is None:
                raise _garbled("no HTTP")
            status = int(line[1])
            data = self._scanner.leftover
            if status >= HTTPStatus.OK or status == HTTPStatus.SWITCHING_PROTOCOLS:
                self.leftover = data
                return status
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise _garbled("too many interim responses")
            self._scanner = HeadScanner(ANSWER_MAX_BYTES)
        return None

    def _scan(self, data: bytes) -> bytes | None:
        fault = None
        try:
            return self._scanner.feed(data)
        except RawHeadError as error:
            fault = error.fault
        raise _garbled(f"a head with {fault.value}")


# -- SOCKS5


async def _ask_socks(sock: socket.socket, proxy: Proxy, target: _Target) -> None:
    methods = [_NO_AUTHENTICATION] if proxy.username is None else [_NO_AUTHENTICATION, _PASSWORD]
    await raw.send_all(sock, bytes([_SOCKS, len(methods), *methods]))
    version, method = await _exactly(sock, 2)
    if version != _SOCKS:
        raise _garbled("no SOCKS5")
    if method == _NO_METHOD:
        raise _unauthorized(proxy)
    if method not in methods:
        raise _garbled("a way to authenticate that was not offered")
    if method == _PASSWORD:
        await raw.send_all(sock, password_request(proxy))
        version, status = await _exactly(sock, 2)
        if version != _PASSWORD_VERSION:
            raise _garbled("no RFC 1929")
        if status != 0:
            raise _unauthorized(proxy)
    await raw.send_all(sock, socks_request(target.host, target.port, is_literal=target.is_literal))
    await _read_reply(sock)


async def _read_reply(sock: socket.socket) -> None:
    """Read the reply to the very last byte and no further: what follows is the upstream's."""
    version, reply, reserved, kind = await _exactly(sock, 4)
    if version != _SOCKS or reserved != 0:
        raise _garbled("no SOCKS5")
    if reply != 0:
        dial_kind, words = _REPLIES.get(reply, (DialErrorKind.CONNECTION_REFUSED, "it refused"))
        message = f"it cannot connect to the upstream: {words} (SOCKS reply {reply})"
        raise ProxyError(dial_kind, message, is_of_address=True)
    if kind == _NAME:
        (size,) = await _exactly(sock, 1)
    elif kind in _BOUND_BYTES:
        size = _BOUND_BYTES[kind]
    else:
        raise _garbled("an unknown kind of address")
    await _exactly(sock, size + 2)


def password_request(proxy: Proxy) -> bytes:
    """User name and password, RFC 1929 section 2."""
    assert proxy.username is not None, "offered only with a user name"
    assert proxy.password is not None, "the two come together"
    username, password = proxy.username.reveal().encode(), proxy.password.reveal().encode()
    return b"".join(
        [bytes([_PASSWORD_VERSION, len(username)]), username, bytes([len(password)]), password]
    )


def socks_request(host: str, port: int, *, is_literal: bool) -> bytes:
    """The request to connect, RFC 1928 section 4."""
    if is_literal:
        address = ipaddress.ip_address(host.partition("%")[0])
        kind = _IPV4 if isinstance(address, ipaddress.IPv4Address) else _IPV6
        where = bytes([kind]) + address.packed
    else:
        where = bytes([_NAME, len(host)]) + host.encode("ascii")
    return bytes([_SOCKS, _CONNECT, 0]) + where + port.to_bytes(2)


# -- both


async def _exactly(sock: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        received += await _some(sock, count - len(received))
    return received


async def _some(sock: socket.socket, max_bytes: int) -> bytes:
    data = await raw.receive(sock, max_bytes)
    if not data:
        raise ProxyError(DialErrorKind.CONNECTION_LOST, "it hung up instead of making a tunnel")
    return data


def _unauthorized(proxy: Proxy) -> ProxyError:
    message = "it wants a user name and password; write them into accounts.proxy"
    if proxy.username is not None:
        message = "it does not take the user name and password in accounts.proxy"
    return ProxyError(DialErrorKind.CONNECTION_REFUSED, message)


def _garbled(found: str) -> ProxyError:
    message = f"it sent {found}; does the scheme in accounts.proxy fit it?"
    return ProxyError(DialErrorKind.CONNECTION_LOST, message)
