"""One line that says what runs now: on a terminal, and nowhere else."""

from __future__ import annotations

import sys
from typing import Final, TextIO

_CLEAR: Final = "\r\x1b[K"


class Progress:
    """A status line that is overwritten.

    Args:
        stream: Where to; nothing is written to what is no terminal.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._visible = stream.isatty()

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._visible:
            self._stream.write(f"{_CLEAR}{text}")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        self.show("")
