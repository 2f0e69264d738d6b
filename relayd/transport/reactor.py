"""The byte path's pass: one inner epoll holds every relayed socket, one task serves all of them.

A single task waits until the inner epoll has something, then serves all that is ready in one go:
receive into one shared buffer, walk, send to the other side. The sessions' own tasks stay parked
and are woken only with an event (``relayd.protocol.outcomes``).

The pass opens and closes no descriptor, awaits nothing, and logs nothing: it runs in no session's
context. An exception while serving one endpoint is that session's :class:`Crash`.
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final

import trio

from relayd.core.endings import Reason
from relayd.protocol.directions import ClientFlow
from relayd.protocol.flow import WHOLE_MAX_BYTES
from relayd.protocol.frames import HEAD_MAX_BYTES
from relayd.protocol.outcomes import Action, Crash, Notice, Taken, Violation
from relayd.transport.delivery import Delivery
from relayd.transport.endpoint import Endpoint
from relayd.transport.pace import Pace
from relayd.transport.records import More, below_tls, receive_records
from relayd.transport.table import Table

RECEIVE_MAX_BYTES: Final = 65536
"""What one descriptor may have of one pass."""

BUFFER_BYTES: Final = WHOLE_MAX_BYTES + HEAD_MAX_BYTES + RECEIVE_MAX_BYTES

_OUT: Final = select.EPOLLOUT
_LOST: Final = select.EPOLLERR | select.EPOLLHUP
_READ: Final = select.EPOLLIN | select.EPOLLRDHUP | _LOST


class Reactor:
    """Serves every adopted endpoint. One per process.

    Attributes:
        passes: Batches served so far.
        crashes: Exceptions caught at a single endpoint.
    """

    def __init__(self) -> None:
        self._table = Table()
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._passing = False
        self._pace = Pace()
        self._delivery = Delivery(self._table, self._pace, self.arm)
        self.passes = 0
        self.crashes = 0

    def __len__(self) -> int:
        return len(self._table.endpoints)

    def __repr__(self) -> str:
        return f"<Reactor(endpoints={len(self)}, passes={self.passes}, crashes={self.crashes})>"

    async def run(self) -> None:
        """Serve until cancelled. Adopt, arm and release may be called from any task meanwhile."""
        while True:
            await trio.lowlevel.wait_readable(self._table.fileno())
            while self.serve_ready():
                await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close the inner epoll; every endpoint has been released before."""
        self._table.close()

    # -- what the owners of endpoints call

    def adopt(self, endpoint: Endpoint) -> None:
        """Register ``endpoint``, disarmed.

        Raises:
            OSError: The kernel watches as many descriptors as it may; nothing has changed.
        """
        self._table.adopt(endpoint)
        self._pace.came_or_went()

    def release(self, endpoint: Endpoint) -> None:
        """Forget ``endpoint``; its owner closes it afterwards. Calling again is fine.

        Its sources are detached, or it is from its client. Whether that tears a message only
        :meth:`detach` says.
        """
        endpoint.deferred = False
        if endpoint.siblings is not None:
            self.detach(endpoint, trio.current_time())
        self._delivery.dismiss(endpoint)
        self._table.release(endpoint)
        self._pace.came_or_went()

    def arm(self, endpoint: Endpoint, now: float) -> None:
        """Let the pass receive; what waits in the tail is served at once, by hand.

        Where another source of its client is inside a message, that happens when it is whole.
        """
        if endpoint.armed or endpoint.ended:
            return
        if endpoint.flow is not None and isinstance(endpoint.flow.event, Notice | Taken):
            endpoint.flow.event = None
        siblings = endpoint.siblings
        if siblings is not None and siblings.keeps_waiting(endpoint):
            return
        endpoint.armed, endpoint.armed_since = True, now
        self.update(endpoint)
        self._guarded_kick(endpoint, now)

    def woke(self) -> None:
        """A reader has woken a task by itself, in the pass: that shall run soon, and not wait for
        more traffic."""
        self._pace.woke()

    def disarm(self, endpoint: Endpoint) -> None:
        """Stop receiving. Its loss is still noticed."""
        endpoint.armed = False
        siblings = endpoint.siblings
        if siblings is not None:
            siblings.withdraw(endpoint)
        self.update(endpoint)

    def look(self, endpoint: Endpoint, now: float) -> bool:
        """Serve an armed endpoint once, by hand: what has come is read under its present reader.

        Returns:
            ``False`` where a receive would block: nothing has come, and no end. An endpoint that
            is not armed is not looked at, which is ``True``.
        """
        if not endpoint.armed:
            return True
        try:
            return self._receive(endpoint, now)
        except Exception as error:  # noqa: BLE001 - the pass's boundary again, for a receive by hand
            self._crash(endpoint, error)
            return True

    def attach(self, source: Endpoint, client: Endpoint) -> None:
        """Let ``source``, a pooled upstream at a message boundary, send to ``client``.

        A client may have several sources; each message arrives whole, and those of one source in
        order. A source that is armed goes on, or waits until no other is inside a message.
        """
        self._delivery.attach(source, client)

    def detach(self, source: Endpoint, now: float) -> bool:
        """Let ``source`` send no more to its client. Calling again is fine.

        What it sent whole still arrives. An event that waited for that is given at once. If it
        was stopped, it stays so until it is armed.

        Returns:
            Whether the client has been left inside a message, over 1 MiB, that nobody can finish:
            it is to be closed, and gets nothing more of other sources until it is.
        """
        return self._delivery.detach(source, now)

    def resume(self, endpoint: Endpoint, action: Action | None, now: float) -> None:
        """Do what was decided about the message that waits, then go on receiving."""
        flow = endpoint.flow
        assert isinstance(flow, ClientFlow)
        flow.resume(action)
        if self._delivery.deliver(endpoint, flow, now):
            self.arm(endpoint, now)

    def finish(self, endpoint: Endpoint, code: int | None, reason: str, now: float) -> None:
        """Say Close behind what was accepted, half-close, and throw away what still comes.

        The owner then waits for :class:`EndOfStream`, for as long as it cares to, releases the
        endpoint and closes it.
        """
        endpoint.deferred = False
        self._delivery.detach(endpoint, now)
        self._delivery.dismiss(endpoint)
        endpoint.close_flow()
        endpoint.keep_tail(None)
        endpoint.flow = endpoint.peer = None
        if endpoint.sink.close(code, reason, now):
            endpoint.half_close()
        endpoint.armed, endpoint.armed_since = not endpoint.ended, now
        self.update(endpoint)

    def update(self, endpoint: Endpoint) -> None:
        """Let epoll know after something was put into ``endpoint``'s sink by hand."""
        self._table.update(endpoint)

    # -- the pass

    def serve_ready(self) -> bool:
        """One pass. Returns whether it stopped for its bounds, so that more may be ready."""
        self._passing = True
        try:
            return self._pass()
        finally:
            self._passing = False

    def _pass(self) -> bool:
        now = trio.current_time()
        self._pace.begin(now)
        endpoints = self._table.endpoints
        wait_s: float | None = 0.0
        while wait_s is not None:
            events = self._table.ready(wait_s)
            if not events:
                return False
            self.passes += 1
            for fd, mask in events:
                endpoint = endpoints.get(fd)
                if endpoint is not None:
                    try:
                        self._serve(endpoint, mask, now)
                    except Exception as error:  # noqa: BLE001 - the pass's one boundary: no socket ends another's session
                        self._crash(endpoint, error)
            now = trio.current_time()
            wait_s = self._pace.next_wait_s(len(events), now)
        return True

    def _serve(self, endpoint: Endpoint, mask: int, now: float) -> None:
        if mask & _OUT:
            if self._table.writable(endpoint):
                mask |= select.EPOLLIN
            if endpoint.sink.blocked and endpoint.sink.flush(now):
                self._delivery.drained(endpoint, now)
        if mask & _OUT or not endpoint.armed:  # a stopped source may have been left watched
            self.update(endpoint)
        if endpoint.armed:
            if mask & _READ:
                self._receive(endpoint, now)
        elif mask & _LOST:
            self._lost(endpoint, mask)

    def _lost(self, endpoint: Endpoint, mask: int) -> None:
        """A stopped source broke: that is its end, where nothing of it stands before that."""
        flow = endpoint.flow
        if endpoint.ended or (flow is not None and flow.event is not None):
            return  # once the event is dealt with, receiving finds the loss
        siblings = endpoint.siblings
        if siblings is not None and siblings.goes_on_later(endpoint):
            return  # what it has sent is received before
        if not mask & select.EPOLLERR and endpoint.sock.family == socket.AF_UNIX:
            return  # a unix socket hangs up as soon as its peer has closed, unread bytes or not
        endpoint.ended = True
        self._delivery.wake(endpoint, endpoint.end_of_stream("the connection broke"))

    def _receive(self, endpoint: Endpoint, now: float) -> bool:
        """One receive of this descriptor, walked and sent on. ``False``: nothing has come."""
        flow = endpoint.flow
        if flow is None:
            return self._discard(endpoint, now)
        kept = 0
        if endpoint.tail is not None:
            kept = len(endpoint.tail)
            self._buffer[:kept] = endpoint.tail
        try:
            if endpoint.tls:
                count = self._receive_tls(endpoint, kept)
            else:
                view = self._view[kept:] if kept else self._view
                count = endpoint.sock.recv_into(view, RECEIVE_MAX_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            self._end(endpoint, now, error.strerror or type(error).__name__)
            return True
        if count > 0:
            endpoint.last_received = now
            size = kept + count
            consumed = flow.feed(self._view, self._buffer, size, now)
            if consumed < size or kept:
                self._delivery.keep_tail(endpoint, flow, bytes(self._view[consumed:size]))
            self._delivery.deliver(endpoint, flow, now)
        elif count == 0:
            self._end(endpoint, now, None)
        else:
            return False
        return True

    def _receive_tls(self, endpoint: Endpoint, kept: int) -> int:
        """Receive records; what is left of them inside OpenSSL is served in the next batch."""
        sock = endpoint.sock
        assert isinstance(sock, ssl.SSLSocket)
        got, more = receive_records(sock, self._view[kept : kept + RECEIVE_MAX_BYTES])
        match more:
            case More.INSIDE:
                self._table.serve_again(endpoint, ring=not self._passing)
            case More.AFTER_SEND:
                self._table.want_write(endpoint)
        return got

    def _discard(self, endpoint: Endpoint, now: float) -> bool:
        """Throw away what comes; before the 101 that it comes at all is an event."""
        early = endpoint.on_event is not None
        receive = endpoint.sock.recv_into if early else below_tls(endpoint.sock)
        try:
            count = receive(self._view, RECEIVE_MAX_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self._end(endpoint, now, error.strerror or type(error).__name__)
            return True
        if count == 0:
            self._end(endpoint, now, None)
            return True
        endpoint.discarded += count
        if early:
            self.disarm(endpoint)
            early_bytes = Violation(Reason.PROTOCOL_ERROR_CLIENT, "bytes before the 101")
            self._delivery.wake(endpoint, early_bytes)
        return True

    def _guarded_kick(self, endpoint: Endpoint, now: float) -> None:
        """Serve by hand what an armed endpoint already has: its tail, or TLS's own bytes."""
        flow = endpoint.flow
        try:
            if endpoint.tail is not None and flow is not None:
                buffer = bytearray(endpoint.tail)
                consumed = flow.feed(memoryview(buffer), buffer, len(buffer), now)
                self._delivery.keep_tail(endpoint, flow, bytes(buffer[consumed:]))
                self._delivery.deliver(endpoint, flow, now)
            sock = endpoint.sock
            if endpoint.armed and isinstance(sock, ssl.SSLSocket) and sock.pending():
                self._table.serve_again(endpoint, ring=not self._passing)
        except Exception as error:  # noqa: BLE001 - the pass's boundary again, for bytes served by hand
            self._crash(endpoint, error)

    def _end(self, endpoint: Endpoint, now: float, error: str | None) -> None:
        endpoint.ended, endpoint.last_received = True, now
        self.disarm(endpoint)
        self._delivery.wake(endpoint, endpoint.end_of_stream(error))

    def _crash(self, endpoint: Endpoint, error: Exception) -> None:
        self.crashes += 1
        crash = Crash(error)
        if endpoint.flow is not None:
            endpoint.flow.event = crash  # bytes may be missing: nothing may start it again
        self.disarm(endpoint)
        self._delivery.wake(endpoint, crash)
