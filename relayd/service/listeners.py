"""Listening sockets: bound from the words in the configuration, or passed by the service manager.

Passed ones follow sd_listen_fds(3): descriptors from 3 on, counted by ``$LISTEN_FDS``, meant for
the process ``$LISTEN_PID``, called as ``$LISTEN_FDNAMES`` says. The one called ``admin`` is the
admin listener; any other is a public one. They win over ``server.admin`` and ``server.listen``.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Final, Self

import attrs
import trio

from relayd.config.schema import ServerSettings
from relayd.transport.dial import set_options

BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn."""

SOCKET_MODE: Final = 0o660

FIRST_PASSED: Final = 3
"""SD_LISTEN_FDS_START: the descriptor behind standard error."""

PASSED_MAX: Final = 1024
"""More descriptors than any unit passes."""

FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)

ADMIN_NAME: Final = "admin"
"""The ``FileDescriptorName=`` of the admin listener's socket unit."""


class BindError(Exception):
    """A listener could not be bound; the text says which, why, and what helps."""


@attrs.define(eq=False)
class Listener:
    """A listening socket, which it owns.

    Attributes:
        where: What the configuration calls it; a passed one is called by its address.
        sock: Non-blocking and listening.
        is_passed: It is the service manager's: a copy stays open there, and a Unix socket's file
            stays.
        address: Where it listens, with the port it was given.
        scope: What accepts from it runs in this.
    """

    where: str
    sock: socket.socket
    is_passed: bool = False
    address: str = attrs.field(init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    @address.default
    def _address(self) -> str:
        return address_of(self.sock)

    def close(self) -> None:
        """Stop accepting, then listening; a bound Unix socket's file goes. Again is fine."""
        self.scope.cancel(reason="the listener is closed")
        if self.sock.fileno() < 0:
            return
        if self.is_passed:
            self.sock.close()
        else:
            close(self.sock)


@attrs.define(eq=False)
class Listeners:
    """All that relayd listens on.

    Attributes:
        public: For clients.
        admin: For operators.
    """

    public: list[Listener]
    admin: Listener

    @classmethod
    def open(cls, server: ServerSettings, environ: Mapping[str, str]) -> Self:
        """Take what was passed and bind what else is wanted.

        Raises:
            BindError: For the first that cannot be used; nothing is left open.
        """
        opened: list[Listener] = []
        try:
            opened += passed(environ)
            admins = [each for each in opened if each.where == ADMIN_NAME]
            if len(admins) > 1:
                raise BindError(f"several sockets called {ADMIN_NAME} were passed; there is one")
            public = [each for each in opened if each.where != ADMIN_NAME]
            if not public:
                public = bind_all(server.listen, environ)
                opened += public
            if not admins:
                admins = bind_all((server.admin,), environ)
                opened += admins
        except BaseException:
            close_all(opened)
            raise
        return cls(public, admins[0])

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where clients can connect now."""
        return tuple(each.address for each in self.public if each.sock.fileno() >= 0)

    @property
    def are_passed(self) -> bool:
        """Whether the public ones were passed, so that ``server.listen`` does not count."""
        return any(listener.is_passed for listener in self.public)

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Those of ``wanted`` that are not there; ``host:0`` may be wanted several times."""
        there = Counter(listener.where for listener in self.public)
        return [] if self.are_passed else list((Counter(wanted) - there).elements())

    def superfluous(self, wanted: Iterable[str]) -> list[Listener]:
        """The public ones that are not ``wanted``."""
        left, unwanted = Counter(wanted), list[Listener]()
        for listener in () if self.are_passed else self.public:
            if left[listener.where] > 0:
                left[listener.where] -= 1
            else:
                unwanted.append(listener)
        return unwanted

    def close(self) -> None:
        """Close all of them. Closing again is fine."""
        close_all((*self.public, self.admin))


def passed(environ: Mapping[str, str]) -> list[Listener]:
    """The sockets that the service manager passed to this process; to be called once.

    The one called ``admin`` has that as its ``where``. Children do not inherit them.

    Raises:
        BindError: What was passed is no listening stream socket. Nothing is left open.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit() and int(count) <= PASSED_MAX):
        raise BindError(f"LISTEN_FDS is no number up to {PASSED_MAX}; the service manager sets it")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    descriptors = range(FIRST_PASSED, FIRST_PASSED + int(count))
    listeners: list[Listener] = []
    try:
        for descriptor, name in zip_longest(descriptors, names[: int(count)]):
            listeners.append(_adopted(descriptor, name))
    except BaseException:
        close_all(listeners)
        raise
    return listeners


def bind_all(wanted: Iterable[str], environ: Mapping[str, str]) -> list[Listener]:
    """Bind every address; may block for as long as a name takes to resolve.

    Raises:
        BindError: For the first that cannot be bound; none is.
    """
    bound: list[Listener] = []
    try:
        for where in wanted:
            bound.append(Listener(where, bind(where, environ)))  # noqa: PERF401 - each is known if one fails
    except BaseException:
        close_all(bound)
        raise
    return bound


def close_all(listeners: Iterable[Listener]) -> None:
    """Close each of them."""
    for listener in listeners:
        listener.close()


def bind(where: str, environ: Mapping[str, str]) -> socket.socket:
    """A listening, non-blocking socket at ``where``: ``host:port``, ``[v6]:port`` or ``unix:path``.

    Raises:
        BindError: It is taken, forbidden, or no address of this host.
    """
    try:
        return _bind_unix(where, environ) if where.startswith("unix:") else _bind_tcp(where)
    except OSError as error:
        # A resolver's error numbers are not the system's; its text says what they mean.
        text = error.strerror or str(error)
        if error.errno and not isinstance(error, socket.gaierror):
            text = os.strerror(error.errno)
        unix = where.startswith("unix:")
        remedy = _remedy(error, unix=unix)
        raise BindError(f"cannot listen on {where}: {text.lower()}{remedy}") from None


def address_of(sock: socket.socket) -> str:
    """Where ``sock`` listens, in the configuration's words, with the port it was given."""
    name = sock.getsockname()
    match sock.family:
        case socket.AF_UNIX:
            return f"unix:{name}"
        case socket.AF_INET6:
            return f"[{name[0]}]:{name[1]}"
        case _:
            return f"{name[0]}:{name[1]}"


def close(sock: socket.socket) -> None:
    """Stop listening; a unix socket's file goes with it."""
    name = sock.getsockname() if sock.family == socket.AF_UNIX else None
    sock.close()
    if isinstance(name, str) and name:
        Path(name).unlink(missing_ok=True)


def _adopted(descriptor: int, name: str | None) -> Listener:
    """The listener that was passed as ``descriptor``."""
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise BindError(f"the passed descriptor {descriptor} is no socket: {why}") from None
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if sock.type != socket.SOCK_STREAM or not listens or sock.family not in FAMILIES:
            raise BindError(
                f"the passed descriptor {descriptor} is not what relayd can accept from; its socket"
                " unit needs ListenStream= and Accept=no"
            )
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            set_options(sock)
        where = ADMIN_NAME if name == ADMIN_NAME else address_of(sock)
        return Listener(where, sock, is_passed=True)
    except BaseException:
        sock.close()
        raise


def _bind_tcp(where: str) -> socket.socket:
    host, _, port = where.rpartition(":")
    info = socket.getaddrinfo(
        host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = info[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        set_options(sock)  # accepted connections inherit these options (tcp(7))
        sock.bind(address)
        return _listening(sock)
    except BaseException:
        sock.close()
        raise


def _bind_unix(where: str, environ: Mapping[str, str]) -> socket.socket:
    path = Path(environ.get("RUNTIME_DIRECTORY", "").split(":")[0], where.removeprefix("unix:"))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(str(path))
    except BaseException:
        sock.close()
        raise
    try:
        path.chmod(SOCKET_MODE)
        return _listening(sock)
    except BaseException:
        close(sock)
        raise


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on any more; a living one stays and is an error."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)


def _listening(sock: socket.socket) -> socket.socket:
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _remedy(error: OSError, *, unix: bool) -> str:
    match error:
        case PermissionError() if unix:
            return "; its directory must be writable for relayd's user"
        case PermissionError():
            return "; ports below 1024 need CAP_NET_BIND_SERVICE or a systemd socket unit"
        case FileNotFoundError():
            return "; create its directory first"
    if error.errno == errno.EADDRINUSE:
        return "; stop the other process or choose another address"
    return ""
