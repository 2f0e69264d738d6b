"""Addresses that relayd listens on: ``host:port``, ``[::1]:8765``, ``unix:/path``."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.config.url import parse_authority

UNIX_PREFIX: Final = "unix:"
UNIX_PATH_MAX_BYTES: Final = 107
"""``sun_path`` of unix(7), without the terminating NUL."""


@attrs.frozen
class TcpAddress:
    """A TCP listener. Port 0 asks the system for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class UnixAddress:
    """A Unix socket. A relative path starts in ``$RUNTIME_DIRECTORY``, else where relayd runs."""

    path: str

    def __str__(self) -> str:
        return UNIX_PREFIX + self.path


def parse_address(text: str) -> TcpAddress | UnixAddress:
    """Parse what ``server.listen`` and ``server.admin`` take.

    Raises:
        ValueError: With a message for the operator.
    """
    if text.startswith(UNIX_PREFIX):
        return UnixAddress(_unix_path(text.removeprefix(UNIX_PREFIX)))
    host, port, _ = parse_authority(text)
    if port is None:
        raise ValueError('expected "host:port", "[::1]:8765" or "unix:/path"; the port is missing')
    return TcpAddress(host, port)


def _unix_path(path: str) -> str:
    if not path or not path.isprintable():
        raise ValueError('expected a path after "unix:"')
    if len(path.encode("utf-8", "surrogatepass")) > UNIX_PATH_MAX_BYTES:
        raise ValueError(f"the path of a Unix socket has at most {UNIX_PATH_MAX_BYTES} bytes")
    return path
