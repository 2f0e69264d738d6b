"""What can go wrong before a connection to a peer stands, in one vocabulary.

Whatever the resolver, the kernel or OpenSSL raise is translated here, once; above this package
nobody names an ``errno`` or an ``SSLError``.
"""

from __future__ import annotations

import enum
import errno
import os
from typing import Final

from relayd.core.endings import Fault


class DialErrorKind(enum.StrEnum):
    """Why there is no connection. The value is the code word used in logs."""

    NAME_NOT_RESOLVED = "name_not_resolved"
    CONNECTION_REFUSED = "connection_refused"
    NETWORK_UNREACHABLE = "network_unreachable"
    ADDRESS_REFUSED = "address_refused"  # by relayd: it does not dial there unless it is allowed to
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECTION_LOST = "connection_lost"
    TLS_FAILED = "tls_failed"
    CERTIFICATE_REFUSED = "certificate_refused"
    RESOURCES_EXHAUSTED = "resources_exhausted"  # relayd's own host has no more to give


KINDS_BY_ERRNO: Final[dict[int, DialErrorKind]] = {
    errno.ECONNREFUSED: DialErrorKind.CONNECTION_REFUSED,
    errno.ETIMEDOUT: DialErrorKind.CONNECT_TIMEOUT,
    errno.ECONNRESET: DialErrorKind.CONNECTION_LOST,
    errno.ECONNABORTED: DialErrorKind.CONNECTION_LOST,
    errno.EPIPE: DialErrorKind.CONNECTION_LOST,
    errno.ENOTCONN: DialErrorKind.CONNECTION_LOST,
    errno.EMFILE: DialErrorKind.RESOURCES_EXHAUSTED,
    errno.ENFILE: DialErrorKind.RESOURCES_EXHAUSTED,
    errno.ENOBUFS: DialErrorKind.RESOURCES_EXHAUSTED,
    errno.ENOMEM: DialErrorKind.RESOURCES_EXHAUSTED,
    # No local port is left for this destination.
    errno.EADDRNOTAVAIL: DialErrorKind.RESOURCES_EXHAUSTED,
    errno.EAGAIN: DialErrorKind.RESOURCES_EXHAUSTED,
}
"""What the kernel's word means; any other says that the network does not reach there."""


class DialError(Exception):
    """A connection could not be made.

    Attributes:
        kind: Why.
        message: A sentence for a person, with the remedy where there is one. Never a secret.
    """

    def __init__(self, kind: DialErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: Final = kind
        self.message: Final = message

    @property
    def fault(self) -> Fault:
        """Who is to blame: an upstream must not be judged by relayd's own lack of descriptors."""
        return Fault.RELAY if self.kind is DialErrorKind.RESOURCES_EXHAUSTED else Fault.UPSTREAM


class TlsError(DialError):
    """The connection stands, but TLS on it does not. On a client's connection it is its fault."""


def from_errno(code: int, where: str) -> DialError:
    """The error of a system call on the way to ``where``, such as ``"[::1]:443"``."""
    return from_os_error(OSError(code, os.strerror(code)), where)


def from_os_error(error: OSError, where: str) -> DialError:
    """Likewise where it was raised; the C library's own errors, which have no errno, are, too."""
    kind = KINDS_BY_ERRNO.get(error.errno or 0, DialErrorKind.NETWORK_UNREACHABLE)
    words = (error.strerror or "no reason given").lower()
    return DialError(kind, f"connecting to {where} failed: {words}")


def describe(code: int) -> str:
    """The kernel's words for an errno."""
    return os.strerror(code).lower()
