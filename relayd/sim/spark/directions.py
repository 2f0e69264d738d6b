"""What a request directs its own answer with: ``[sim:NAME]`` in the user's last words, or the uid.

``[sim:slow]`` plays a scenario, ``[sim:normal words=500]`` makes the answer so long, and
``[sim:stall s=3]`` the silence. A uid of ``sim-NAME`` or ``sim:NAME`` plays a scenario too.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

WORDS_MAX: Final = 100_000
SECONDS_MAX: Final = 86_400.0

_MARKER: Final = re.compile(
    r"\[sim:(?P<name>[a-z0-9_]{1,64})(?: words=(?P<words>[0-9]{1,6}))?"
    r"(?: s=(?P<seconds>[0-9]{1,5}(?:\.[0-9]{1,3})?))?\]"
)
_UID: Final = re.compile(r"sim[-:](?P<name>[a-z0-9_]{1,64})")


@attrs.frozen
class Directions:
    """What was asked for; ``None`` where nothing was.

    Attributes:
        scenario: The name of what is to be played, which need not exist.
        words: How many tokens the answer shall have.
        seconds: How long a scenario that is silent is silent.
    """

    scenario: str | None = None
    words: int | None = None
    seconds: float | None = None


def directions(heard: str, uid: str | None = None) -> Directions:
    """What ``heard``, the user's last words, and the ``uid`` ask for; the words go first."""
    found = _MARKER.search(heard)
    if found is not None:
        words, seconds = found["words"], found["seconds"]
        return Directions(
            found["name"],
            None if words is None else max(1, min(int(words), WORDS_MAX)),
            None if seconds is None else min(float(seconds), SECONDS_MAX),
        )
    named = _UID.fullmatch(uid or "")
    return Directions() if named is None else Directions(named["name"])


def undirected(heard: str) -> str:
    """``heard`` without its marker."""
    return _MARKER.sub("", heard).strip()
