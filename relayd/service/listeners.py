"""Binding listening sockets: TCP, IPv6 and unix, from the words in the configuration."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from relayd.transport.dial import set_options

BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn."""

SOCKET_MODE: Final = 0o660


class BindError(Exception):
    """A listener could not be bound; the text says which, why, and what helps."""


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
