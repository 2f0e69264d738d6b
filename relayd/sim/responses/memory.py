"""What is remembered of responses: in a connection's own memory, and in storage.

The service keeps recent responses in the memory of the connection that made them; those of
``store`` true are also stored, and can be gone on from on any connection of the same key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import attrs

from relayd.sim.responses.errors import JsonObject

REMEMBERED_MAX: Final = 256
"""Responses in a connection's memory; over it the least recently used is forgotten."""
STORED_MAX: Final = 20_000
"""Responses in storage; over it the oldest is forgotten."""


@attrs.frozen
class Steered:
    """What was said to a running response.

    Attributes:
        id: The submission's id.
        items: Its input.
    """

    id: str
    items: tuple[JsonObject, ...]


@attrs.frozen(kw_only=True)
class Past:
    """A response that can be gone on from.

    Attributes:
        id: Its id.
        lane: Where it was made; ``None`` is the default lane.
        tokens: The tokens of the whole conversation up to its end.
        depth: How many answers the conversation has had.
        calls: The calls that wait for an output: ``call_id`` to the type of the call.
        steers: What was said to it and waits for those outputs too.
    """

    id: str
    lane: str | None
    tokens: int
    depth: int
    calls: Mapping[str, str] = attrs.field(factory=dict)
    steers: tuple[Steered, ...] = ()


@attrs.define
class Storage:
    """The responses of ``store`` true of all connections, key by key."""

    _stored: OrderedDict[tuple[str, str], Past] = attrs.field(factory=OrderedDict, init=False)

    def keep(self, key: str, past: Past) -> None:
        """Store ``past`` for whoever has ``key``."""
        self._stored[key, past.id] = past
        if len(self._stored) > STORED_MAX:
            self._stored.popitem(last=False)

    def find(self, key: str, response_id: str) -> Past | None:
        """The stored response, if ``key`` may see it."""
        return self._stored.get((key, response_id))


@attrs.define
class Memory:
    """The recent responses of one connection, of all its lanes."""

    _recent: OrderedDict[str, Past] = attrs.field(factory=OrderedDict, init=False)

    def keep(self, past: Past) -> None:
        """Remember ``past`` as the most recently used."""
        self._recent[past.id] = past
        if len(self._recent) > REMEMBERED_MAX:
            self._recent.popitem(last=False)

    def find(self, response_id: str) -> Past | None:
        """The response, which counts as used by this."""
        past = self._recent.get(response_id)
        if past is not None:
            self._recent.move_to_end(response_id)
        return past

    def evict(self, response_id: str, lane: str | None) -> None:
        """Forget a response because one that was to go on from it failed on ``lane``.

        A fork that fails on another lane leaves it to the lane it was made on.
        """
        past = self._recent.get(response_id)
        if past is not None and past.lane == lane:
            del self._recent[response_id]
