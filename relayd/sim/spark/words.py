"""Text as tokens, by a rule simple enough to add up by hand.

A word is one token; of what is written without spaces, Chinese above all, each character is.
"""

from __future__ import annotations

import re
from typing import Final

_CHARACTERS: Final = r"\u2e80-\u2fff\u3001-\u9fff\uf900-\ufaff\uff01-\uffef"
_TOKEN: Final = re.compile(rf"[{_CHARACTERS}]|[^\s{_CHARACTERS}]+")
_PIECE: Final = re.compile(rf" ?(?:[{_CHARACTERS}]|[^ {_CHARACTERS}]+)")


def tokens(text: str) -> int:
    """How many tokens ``text`` has."""
    return sum(1 for _ in _TOKEN.finditer(text))


def pieces(text: str) -> tuple[str, ...]:
    """``text`` cut into its tokens, a space before those that had space before them.

    Joined they give the text back, but for its outer space and how wide its inner one was.
    """
    return tuple(_PIECE.findall(" ".join(text.split())))
