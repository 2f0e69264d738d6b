"""A loop over one epoll, and the sockets on it.

No scheduler, no futures: what a socket does next is the function that is called when it is
ready. The load must cost less than the relay it loads.
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import TYPE_CHECKING, Final

from bench.failures import SessionLost

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[["Peer"], None]

TICK_S: Final = 0.02
"""How long a process may sleep before it looks at the phase again."""
TICK_NS: Final = 20_000_000
WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT


class Peer:
    """One connection, and what is known about it.

    Attributes:
        sock: The non-blocking socket, plain or TLS.
        on_ready: What to do when it is ready.
        received: Bytes of a handshake that is not complete.
        unsent: What a send left over, to be sent before anything else.
        offset: Where a flood stands in its batch.
    """

    __slots__ = ("fd", "offset", "on_ready", "received", "sock", "unsent")

    def __init__(self, sock: socket.socket, on_ready: Handler) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.on_ready = on_ready
        self.received = bytearray()
        self.unsent = b""
        self.offset = 0


class Loop:
    """Calls each peer that is ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._peers: dict[int, Peer] = {}

    def add(self, peer: Peer, events: int) -> None:
        """Call ``peer`` on ``events`` from now on."""
        self._peers[peer.fd] = peer
        self._epoll.register(peer.fd, events)

    def change(self, peer: Peer, events: int) -> None:
        """Call ``peer`` on other events."""
        self._epoll.modify(peer.fd, events)

    def close(self, peer: Peer) -> None:
        """Forget ``peer`` and close its socket; the kernel drops the registration with it."""
        del self._peers[peer.fd]
        peer.sock.close()

    def end(self) -> None:
        """Close every peer, and the loop."""
        for peer in [*self._peers.values()]:
            self.close(peer)
        self._epoll.close()

    def has(self, peer: Peer) -> bool:
        """Whether ``peer`` is here and not closed."""
        return self._peers.get(peer.fd) is peer

    def turn(self, wait_s: float) -> None:
        """Serve what is ready, after waiting at most ``wait_s`` seconds for something to be."""
        peers = self._peers
        for fd, _ in self._epoll.poll(wait_s):
            peer = peers.get(fd)
            if peer is not None:  # else an earlier one of this turn closed it
                peer.on_ready(peer)


def receive(peer: Peer, size: int = 65536) -> bytes | None:
    """What ``peer`` has to say: ``None`` for nothing now, empty for its end, however it ended."""
    try:
        return peer.sock.recv(size)
    except WOULD_BLOCK:
        return None
    except OSError:  # a reset is an end too, and ssl.SSLError is an OSError
        return b""


def send(peer: Peer, data: bytes | bytearray | memoryview) -> int:
    """Send what the socket takes; the number of bytes taken, 0 where it takes none now.

    Raises:
        SessionLost: The connection is gone.
    """
    try:
        return peer.sock.send(data)
    except WOULD_BLOCK:
        return 0
    except OSError as error:
        raise SessionLost(f"a session was lost while sending: {error}") from error


def prepare(sock: socket.socket) -> None:
    """Make ``sock`` non-blocking and send small segments at once."""
    sock.settimeout(0)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
