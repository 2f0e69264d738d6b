"""The upstream's half of turns: every request is answered with twenty ready-made events."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

from bench import frames
from bench.failures import SessionLost
from bench.loop import TICK_S, Loop, Peer, send
from bench.receivers import receive_noted
from bench.turn_frames import EVENTS, Answer, request_stamp, take_client_frame

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT: Final = 0x1
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG_BYTE: Final = b"\x8a"
_NUMBERS_PER_PROCESS: Final = 10**12  # of the 20 digits; a process id has seven at most


@attrs.frozen
class _Due:
    """One event that is to be sent.

    Attributes:
        at_ns: When, by the monotonic clock.
        upward_ns: How long the request was under way.
    """

    at_ns: int
    peer: Peer
    index: int
    number: int
    upward_ns: int


class Answers:
    """Answers requests, pings and Closes.

    Args:
        gap_ms: Between two events of an answer; 0 sends all twenty in one call.
        loop: Where the peers are.
        finish: Closes a peer that has said goodbye.
        lose: Closes one that has not.
    """

    def __init__(
        self,
        *,
        gap_ms: float,
        loop: Loop,
        finish: Callable[[Peer], None],
        lose: Callable[[Peer], None],
    ) -> None:
        self._gap_ns = round(gap_ms * 1e6)
        self._loop = loop
        self._finish = finish
        self._lose = lose
        self._answer = Answer()
        self._numbers = itertools.count(os.getpid() * _NUMBERS_PER_PROCESS)
        self._due: deque[_Due] = deque()  # in order, since the gap is the same for all

    def turn(self) -> None:
        """Send what is due, and serve what is ready, waiting at most a tick for either."""
        wait_s = TICK_S
        while self._due:
            now_ns = time.monotonic_ns()
            if self._due[0].at_ns > now_ns:
                wait_s = min(wait_s, (self._due[0].at_ns - now_ns) / 1e9)
                break
            self._send_event(self._due.popleft())
        self._loop.turn(wait_s)

    def on_ready(self, peer: Peer) -> None:
        """Answer what has come from ``peer``."""
        received = receive_noted(peer)
        if received is None:
            return
        data, arrived_ns = received
        if not data:
            self._lose(peer)
            return
        peer.received += data
        while (frame := take_client_frame(peer.received)) is not None:
            opcode, payload = frame
            if opcode == _TEXT:
                self._begin(peer, arrived_ns - request_stamp(payload))
            elif opcode == _PING:
                send(peer, _PONG_BYTE + bytes([len(payload)]) + payload)
            elif opcode == _CLOSE:
                with contextlib.suppress(SessionLost):
                    send(peer, frames.CLOSE)
                self._finish(peer)
                return

    def _begin(self, peer: Peer, upward_ns: int) -> None:
        number = next(self._numbers)
        if self._gap_ns:
            self._send_event(_Due(time.monotonic_ns(), peer, 0, number, upward_ns))
        else:
            _send_whole(peer, self._answer.whole(number, time.time_ns() - upward_ns))

    def _send_event(self, due: _Due) -> None:
        if not self._loop.has(due.peer):
            return  # its client has left meanwhile
        stamp_ns = time.time_ns() - due.upward_ns
        _send_whole(due.peer, self._answer.event(due.index, due.number, stamp_ns))
        if due.index + 1 < EVENTS:
            at_ns = time.monotonic_ns() + self._gap_ns
            self._due.append(attrs.evolve(due, at_ns=at_ns, index=due.index + 1))


def _send_whole(peer: Peer, data: bytearray | memoryview) -> None:
    """A turn is far smaller than a socket's buffer, and the one before it has been read."""
    if send(peer, data) < len(data):
        raise SessionLost("the relay does not read what the upstream answers")
