"""What a client of the chat dialect reads: a head, then server-sent events in HTTP chunks.

The events are not parsed: what is looked for are the digits at the beginning of each piece of text,
which :mod:`bench.spark_frames` puts there. They stand in the same bytes behind any relay that keeps
a chunk's ``delta`` as OpenAI's clients know it.
"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING, Final

from bench.board import Board, Counter, Tally
from bench.failures import UnexpectedAnswer
from bench.loop import Peer
from bench.receivers import receive_noted
from bench.spark_frames import DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable

DONE: Final = b"data: [DONE]\n\n"
LAST_CHUNK: Final = b"\r\n0\r\n\r\n"  # RFC 9112 section 7.1, behind the chunk before it

_BEFORE: Final = b'"delta":{"content":"'
_PIECE: Final = re.compile(re.escape(_BEFORE) + b"([0-9]{%d})" % DIGITS)
_KEPT_BYTES: Final = len(_BEFORE) + DIGITS - 1  # of a piece that is not whole
_ERROR: Final = b'data: {"error"'


class PieceReader:
    """Finds the pieces in a stream of events, however its bytes arrive."""

    def __init__(self) -> None:
        self._tail = b""

    def read(self, chunk: bytes) -> list[int]:
        """The digits of the pieces that ``chunk`` completes, as numbers, in order.

        Raises:
            UnexpectedAnswer: The relay says that something went wrong.
        """
        data = self._tail + chunk if self._tail else chunk
        if (wrong := data.find(_ERROR)) >= 0:
            raise UnexpectedAnswer(f"a stream was cut: {data[wrong : wrong + 400]!r}")
        found, end = [], 0
        for piece in _PIECE.finditer(data):
            found.append(int(piece[1]))
            end = piece.end()
        self._tail = data[max(end, len(data) - _KEPT_BYTES) :]
        return found


class Pieces:
    """Counts the pieces of streams, and keeps how long each was under way while recording.

    Args:
        lose: Closes a peer whose stream has ended.
        timed: Whether the digits are times of sending.
    """

    def __init__(
        self, board: Board, tally: Tally, lose: Callable[[Peer], None], *, timed: bool
    ) -> None:
        self._board = board
        self._tally = tally
        self._lose = lose
        self._timed = timed
        self._readers: dict[int, PieceReader] = {}
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
            reader = self._readers[peer.fd] = PieceReader()
        stamps = reader.read(data)
        self._tally.add(Counter.COMPLETED, len(stamps))
        if self._timed and self._board.is_recording:
            self.delays_ns.extend(arrived_ns - stamp for stamp in stamps)
