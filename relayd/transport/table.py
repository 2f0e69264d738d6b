"""Which sockets the reactor serves, and what epoll is asked for each of them.

Readiness is level-triggered while something is received, so that nothing is kept in mind. A
stopped source stays registered, edge-triggered: with no event asked for, a reset would be
reported for ever and spin the loop; unregistered, its loss would be noticed too late. One that
has ended has no loss left to notice, and is not registered but to send what is pending.

Telling epoll costs as much as receiving. So a source that stops only for its owner's next move,
which most often starts it again, is left watched until something comes.
"""

from __future__ import annotations

import os
import select
from typing import Final

from relayd.transport.endpoint import Endpoint

BATCH_MAX: Final = 32
"""Descriptors that are served between two looks at epoll."""

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_NOTHING: Final = 0
_STOPPED: Final = select.EPOLLRDHUP | select.EPOLLET


class Table:
    """The adopted endpoints by descriptor, and the inner epoll that holds them.

    Attributes:
        endpoints: To be looked up per event: a descriptor's number lives on in another socket.
    """

    def __init__(self) -> None:
        self.endpoints: dict[int, Endpoint] = {}
        self._epoll = select.epoll()
        self._again: set[int] = set()  # descriptors with bytes that raise no readiness (TLS)
        self._want_write: set[int] = set()  # TLS receives that have to send first
        # Wakes the reactor for bytes that no epoll can see. Edge-triggered, so it is never read.
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, _IN | select.EPOLLET)

    def fileno(self) -> int:
        """The inner epoll's own descriptor: readable while something is ready."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close the inner epoll; every endpoint has been released before."""
        assert not self.endpoints, "an endpoint outlives its reactor"
        self._epoll.close()
        os.close(self._bell)

    def adopt(self, endpoint: Endpoint) -> None:
        """Register ``endpoint``; it is about to be armed.

        Raises:
            OSError: The kernel watches as many descriptors as it may; nothing has changed.
        """
        assert endpoint.fd not in self.endpoints, "a descriptor is adopted once"
        self._epoll.register(endpoint.fd, _IN)
        endpoint.interest = _IN
        self.endpoints[endpoint.fd] = endpoint

    def release(self, endpoint: Endpoint) -> None:
        """Forget ``endpoint``. Calling again is fine, also when its number is another's by then."""
        if self.endpoints.get(endpoint.fd) is not endpoint:
            return
        del self.endpoints[endpoint.fd]
        self._want_write.discard(endpoint.fd)
        self._again.discard(endpoint.fd)
        endpoint.armed = False
        if endpoint.interest:
            self._epoll.unregister(endpoint.fd)

    def update(self, endpoint: Endpoint) -> None:
        """Tell epoll what ``endpoint`` waits for."""
        wants = self._wants(endpoint)
        if wants == endpoint.interest or self.endpoints.get(endpoint.fd) is not endpoint:
            return
        if not wants:
            self._epoll.unregister(endpoint.fd)
        elif not endpoint.interest:
            self._epoll.register(endpoint.fd, wants)
        else:
            self._epoll.modify(endpoint.fd, wants)
        endpoint.interest = wants

    def _wants(self, endpoint: Endpoint) -> int:
        if endpoint.armed and endpoint.fd in self._want_write:
            return _OUT  # receiving is of no use before, and its readiness would spin
        wants = _IN if endpoint.armed else _NOTHING if endpoint.ended else _STOPPED
        return wants | _OUT if endpoint.sink.blocked else wants

    def ready(self, wait_s: float = 0.0) -> list[tuple[int, int]]:
        """The descriptors to serve now, each once, with what they are ready for.

        Args:
            wait_s: How long to wait for the first; the whole process waits.
        """
        events = self._epoll.poll(0 if self._again else wait_s, BATCH_MAX)
        if not self._again:
            return events
        ready = dict(events)
        for fd in self._again:
            ready[fd] = ready.get(fd, 0) | _IN
        self._again.clear()
        return list(ready.items())

    def serve_again(self, endpoint: Endpoint, *, ring: bool) -> None:
        """Have ``endpoint`` in the next batch as readable; ``ring`` where no pass is going on."""
        self._again.add(endpoint.fd)
        if ring:
            os.eventfd_write(self._bell, 1)

    def want_write(self, endpoint: Endpoint) -> None:
        """TLS has to send before more can be received from ``endpoint``."""
        self._want_write.add(endpoint.fd)
        self.update(endpoint)

    def writable(self, endpoint: Endpoint) -> bool:
        """``endpoint`` is writable; whether a receive waited for that and is due now."""
        if endpoint.fd not in self._want_write:
            return False
        self._want_write.discard(endpoint.fd)
        return True
