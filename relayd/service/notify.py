"""Tells systemd how the daemon is: the sender's half of sd_notify(3).

The protocol is one datagram of ``NAME=value`` lines to the Unix socket that ``$NOTIFY_SOCKET``
names. Without a service manager there is no such name, and every call does nothing.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import Final

import attrs

from relayd.core.redact import redact

SEND_TIMEOUT_S: Final = 0.2
"""Blocks the loop at most this long, should the manager's queue be full."""

STATUS_MAX: Final = 256
"""Characters of a status line; ``systemctl status`` shows one line."""


@attrs.frozen
class Notifier:
    """Reports to the service manager, if there is one.

    Attributes:
        address: A path, or an abstract name that starts with ``@``; ``None``: nobody listens.

    No method raises or awaits: a manager that does not listen is no reason to stop serving.
    """

    address: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Notifier:
        """The notifier for ``$NOTIFY_SOCKET``. Addresses of other kinds (vsock) are not used."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address.startswith(("/", "@")) else None)

    def ready(self, status: str) -> None:
        """Every listener is bound: the unit counts as started."""
        self._send(f"READY=1\n{_status(status)}")

    def status(self, text: str) -> None:
        """Replace the line that ``systemctl status`` shows."""
        self._send(_status(text))

    def stopping(self) -> None:
        """The drain has begun: the unit counts as stopping."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if self.address is None:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.settimeout(SEND_TIMEOUT_S)
            sender.connect(name)
            sender.send(state.encode())


def _status(text: str) -> str:
    # A line feed in the text would be a further assignment: redact takes control characters out.
    return f"STATUS={redact(text)[:STATUS_MAX]}"
