"""The items of one conversation, in order and within bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from relayd.sim.realtime.client_events import Rejected
from relayd.sim.realtime.items import Item
from relayd.sim.realtime.usage import Tokens

ITEMS_MAX: Final = 1_024
SOUND_MAX_BYTES: Final = 32 * 1024 * 1024
"""Audio kept for ``conversation.item.retrieve``; the oldest is forgotten first."""

ROOT: Final = "root"
"""The ``previous_item_id`` that means: at the beginning."""


def weight(items: Iterable[Item]) -> Tokens:
    """What it costs to read ``items``."""
    return sum((item.tokens for item in items), Tokens())


def heard(items: Iterable[Item]) -> str:
    """The last thing in ``items`` that an answer can refer to."""
    return next((item.said for item in reversed(list(items)) if item.said), "")


@attrs.define
class History:
    """What a conversation consists of."""

    _items: dict[str, Item] = attrs.field(factory=dict, init=False)
    _sound_bytes: int = attrs.field(default=0, init=False)

    @property
    def items(self) -> tuple[Item, ...]:
        """All items, in order."""
        return tuple(self._items.values())

    @property
    def last_id(self) -> str | None:
        """The item a new one follows."""
        return next(reversed(self._items), None)

    def find(self, item_id: str, event: str) -> Item:
        """The item called ``item_id``.

        Raises:
            Rejected: There is none; the code word names ``event``, as the service's does.
        """
        if item_id not in self._items:
            message = f"Error {event[:-1]}ing item: the item with id '{item_id}' does not exist."
            raise Rejected(f"item_{event}_invalid_item_id", message, "item_id")
        return self._items[item_id]

    def check_new(self, item_id: str) -> None:
        """Raise :class:`Rejected` unless an item of this id can be added."""
        if item_id in self._items:
            message = f"Error adding item: an item with id '{item_id}' already exists."
            raise Rejected("item_create_duplicate_item_id", message, "item.id")
        if len(self._items) >= ITEMS_MAX:
            message = f"A conversation holds at most {ITEMS_MAX} items."
            raise Rejected("conversation_full", message)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put ``item`` behind the one called ``after``, by default at the end.

        Returns:
            The id of the item it follows.

        Raises:
            Rejected: ``after`` is no item, or ``item`` cannot be added.
        """
        self.check_new(item.id)
        if after is not None and after != ROOT and after not in self._items:
            message = f"Error adding item: the previous item with id '{after}' does not exist."
            raise Rejected("invalid_value", message, "previous_item_id")
        follows = self.last_id if after is None else after
        if follows in (None, self.last_id):
            self._items[item.id] = item
        else:
            self._insert(item, "" if follows == ROOT else str(follows))
        self._keep_sound_bounded(item)
        return None if follows == ROOT else follows

    def remove(self, item: Item) -> None:
        """Take ``item`` out."""
        del self._items[item.id]
        self._sound_bytes -= len(item.sound)

    def _insert(self, new: Item, after: str) -> None:
        kept = self._items
        self._items = {} if after else {new.id: new}
        for item_id, item in kept.items():
            self._items[item_id] = item
            if item_id == after:
                self._items[new.id] = new

    def _keep_sound_bounded(self, new: Item) -> None:
        self._sound_bytes += len(new.sound)
        for item in self._items.values():
            if self._sound_bytes <= SOUND_MAX_BYTES:
                return
            self._sound_bytes -= len(item.sound)
            item.sound = b""
