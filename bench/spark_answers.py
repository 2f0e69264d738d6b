"""The upstream's half of chat: a request is one frame, its answer some ready-made ones."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

from bench import frames
from bench.failures import SessionLost
from bench.later import Later
from bench.loop import Loop, Peer, receive, send
from bench.turn_frames import take_client_frame

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT: Final = 0x1
_CLOSE: Final = 0x8


class SparkAnswers:
    """Answers requests and Closes. A peer that has said nothing yet is a socket opened ahead.

    Args:
        answer: What every request is answered with, in one call.
        delay_s: How long its first byte takes.
        later: Where that is waited for.
        loop: Where the peers are.
        finish: Closes a peer that has said goodbye.
        lose: Closes one that has not.
    """

    def __init__(
        self,
        answer: bytes,
        *,
        delay_s: float,
        later: Later,
        loop: Loop,
        finish: Callable[[Peer], None],
        lose: Callable[[Peer], None],
    ) -> None:
        self._answer = answer
        self._delay_s = delay_s
        self._later = later
        self._loop = loop
        self._finish = finish
        self._lose = lose

    def on_ready(self, peer: Peer) -> None:
        """Answer all that has come from ``peer``: a TLS socket's own buffer raises no readiness."""
        while data := receive(peer):
            peer.received += data
        has_ended = data is not None
        while (frame := take_client_frame(peer.received)) is not None:
            opcode, _ = frame
            if opcode == _TEXT:
                self._later.after(self._delay_s, partial(self._speak, peer))
            elif opcode == _CLOSE:
                with contextlib.suppress(SessionLost):
                    send(peer, frames.CLOSE)
                self._finish(peer)
                return
        if has_ended:
            self._lose(peer)

    def _speak(self, peer: Peer) -> None:
        if not self._loop.has(peer):
            return  # its client has left meanwhile
        if send(peer, self._answer) < len(self._answer):  # far smaller than an empty buffer
            raise SessionLost("the relay does not read what the upstream answers")
