"""The ways to receive: count bytes unseen, read stamps, or listen for a Close."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from array import array
from typing import TYPE_CHECKING, Final, Protocol

from bench import frames
from bench.board import Board, Counter, Tally
from bench.failures import SessionLost
from bench.loop import Peer, receive, send

if TYPE_CHECKING:
    from collections.abc import Callable

DISCARD_BYTES: Final = 1048576
_CLOSE_BYTE: Final = frames.CLOSE[0]
_SO_TIMESTAMPNS: Final = 35  # socket(7); nanoseconds of the wall clock, as a struct timespec
_TIMESPEC: Final = struct.Struct("@ll")
_TIMESTAMP_SPACE_BYTES: Final = socket.CMSG_SPACE(_TIMESPEC.size)


class Receiver(Protocol):
    """What an established session does with what arrives."""

    def on_ready(self, peer: Peer) -> None:
        """Receive once from ``peer``."""


class Counting:
    """Counts what arrives, without copying it: MSG_TRUNC has TCP drop the bytes (tcp(7))."""

    def __init__(self, tally: Tally, lose: Callable[[Peer], None]) -> None:
        self._tally = tally
        self._lose = lose
        self._nowhere = bytearray(DISCARD_BYTES)

    def on_ready(self, peer: Peer) -> None:
        """Count up to 1 MiB and drop it."""
        try:
            size = peer.sock.recv_into(self._nowhere, DISCARD_BYTES, socket.MSG_TRUNC)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if size == 0:
            self._lose(peer)
            return
        self._tally.add(Counter.RECEIVED_BYTES, size)


class Stamps:
    """Reads the stamp of every frame, and keeps how long each was under way while recording.

    A frame's arrival is when the kernel put it into the client's socket, not when this process
    came to read it: what is measured is the relay, not how the generator's processes share a CPU.
    """

    def __init__(self, board: Board, tally: Tally, lose: Callable[[Peer], None]) -> None:
        self._board = board
        self._tally = tally
        self._lose = lose
        self._readers: dict[int, frames.StampReader] = {}
        self.delays_ns = array("q")
        """The recorded delays, in nanoseconds, in order of arrival."""

    def on_ready(self, peer: Peer) -> None:
        """Read what has arrived."""
        received = receive_noted(peer)
        if received is None:
            return
        data, arrived_ns = received
        if not data:
            self._lose(peer)
            return
        reader = self._readers.get(peer.fd)
        if reader is None:
            reader = self._readers[peer.fd] = frames.StampReader()
        stamps = reader.read(data)
        self._tally.add(Counter.RECEIVED_BYTES, len(stamps) * frames.DELTA_FRAME_BYTES)
        if self._board.is_recording:
            self.delays_ns.extend(arrived_ns - stamp for stamp in stamps)


def note_arrivals(sock: socket.socket) -> None:
    """Have the kernel note when each segment arrives, for :func:`receive_noted`."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def receive_noted(peer: Peer) -> tuple[bytes, int] | None:
    """As ``receive``, and when the last of it arrived, in nanoseconds of the wall clock.

    What came before the kernel had begun to note arrivals counts as having come now.
    """
    try:
        data, ancillary, _, _ = peer.sock.recvmsg(65536, _TIMESTAMP_SPACE_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b"", 0
    if not ancillary:
        return data, time.time_ns()
    seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
    return data, seconds * 1_000_000_000 + nanoseconds


class Listening:
    """Drops what arrives, and answers a Close with a Close and the end of the connection.

    Args:
        finish: Closes a peer that has said goodbye.
        lose: Closes one that has not.
    """

    def __init__(self, finish: Callable[[Peer], None], lose: Callable[[Peer], None]) -> None:
        self._finish = finish
        self._lose = lose

    def on_ready(self, peer: Peer) -> None:
        """Receive all there is: a TLS socket's own buffer raises no readiness."""
        while data := receive(peer):
            if data[0] == _CLOSE_BYTE:
                with contextlib.suppress(SessionLost):
                    send(peer, frames.CLOSE)
                self._finish(peer)
                return
        if data is not None:
            self._lose(peer)
