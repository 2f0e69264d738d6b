"""Tells systemd how the daemon is: the sender's half of sd_notify(3).

The protocol is one datagram of ``NAME=value`` lines to the Unix socket that ``$NOTIFY_SOCKET``
names. Without a service manager there is no such name, and every call does nothing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Final

import attrs

from relayd.core.redact import redact

SEND_TIMEOUT_S: Final = 0.2
"""A change of state blocks the loop at most this long, should the manager's queue be full."""

STATUS_MAX: Final = 256
"""Characters of a status line; ``systemctl status`` shows one line."""


@attrs.frozen
class Notifier:
    """Reports to the service manager, if there is one.

    Attributes:
        address: A path, or an abstract name that starts with ``@``; ``None``: nobody listens.

    No method raises or awaits: a manager that does not listen is no reason to stop serving. Each
    says whether the manager was told. Changes of state are worth a short wait; what is said again
    soon is not waited for.
    """

    address: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Notifier:
        """The notifier for ``$NOTIFY_SOCKET``. Addresses of other kinds (vsock) are not used."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address.startswith(("/", "@")) else None)

    def ready(self, status: str) -> bool:
        """Every listener is bound, or a reload is over: the unit counts as started."""
        return self._send(f"READY=1\n{_status(status)}", wait=True)

    def reloading(self) -> bool:
        """A reload has begun; :meth:`ready` ends it, whatever came of it.

        systemd tells by the time whether a ``READY=1`` is this reload's (``Type=notify-reload``).
        """
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={now_usec}", wait=True)

    def stopping(self) -> bool:
        """The drain has begun: the unit counts as stopping."""
        return self._send("STOPPING=1", wait=True)

    def status(self, text: str) -> bool:
        """Replace the line that ``systemctl status`` shows."""
        return self._send(_status(text))

    def extend(self, seconds: float) -> bool:
        """What the unit does now takes ``seconds`` more, whatever its timeouts say."""
        return self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def alive(self) -> bool:
        """A sign of life for the watchdog."""
        return self._send("WATCHDOG=1")

    def _send(self, state: str, *, wait: bool = False) -> bool:
        if self.address is None:
            return False
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_TIMEOUT_S if wait else 0.0)
                sender.connect(name)
                sender.send(state.encode())
        except OSError:
            return False
        return True


def _status(text: str) -> str:
    # A line feed in the text would be a further assignment: redact takes control characters out.
    return f"STATUS={redact(text)[:STATUS_MAX]}"
