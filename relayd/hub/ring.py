"""What one topic remembers: its newest publications, without a hole between them."""

from __future__ import annotations

from collections import deque
from itertools import islice

from relayd.hub.shared import Shared


class Ring:
    """The newest publications of a topic, and how far back they reach.

    Attributes:
        base: The offset before the first that is here; everything up to it is gone.
        lost_seq: The ``seq`` of the newest that is gone; 0 where nothing is.
        size: Bytes of what is here.
    """

    __slots__ = ("_entries", "base", "lost_seq", "size")

    def __init__(self, base: int) -> None:
        self.base = base
        self.lost_seq = 0
        self.size = 0
        # None while empty: there are many silent topics, and a deque takes 600 bytes.
        self._entries: deque[Shared] | None = None

    def __len__(self) -> int:
        return 0 if self._entries is None else len(self._entries)

    @property
    def last(self) -> int:
        """The offset of the newest publication there was, here or gone."""
        return self.base + len(self)

    @property
    def last_seq(self) -> int:
        """Its ``seq``."""
        return self._entries[-1].publication.seq if self._entries else self.lost_seq

    def append(self, shared: Shared) -> None:
        """Add the next one, whose offset is :attr:`last` and one."""
        if self._entries is None:
            self._entries = deque()
        self._entries.append(shared)
        self.size += shared.size

    def trim(self, *, messages_max: int, bytes_max: int, since: float) -> None:
        """Let go of the oldest: of what is too many, too much, or not newer than ``since``."""
        entries = self._entries
        if entries is None:
            return
        while entries and (
            len(entries) > messages_max or self.size > bytes_max or entries[0].at <= since
        ):
            gone = entries.popleft()
            self.size -= gone.size
            self.base += 1
            self.lost_seq = gone.publication.seq
        if not entries:
            self._entries = None

    def clear(self) -> None:
        """Let go of everything."""
        self.lost_seq = self.last_seq
        self.base = self.last
        self.size = 0
        self._entries = None

    def seq_at(self, offset: int) -> int:
        """The ``seq`` of the publication at ``offset``, which is :attr:`base` or is here."""
        if offset == self.base or self._entries is None:
            return self.lost_seq
        return self._entries[offset - self.base - 1].publication.seq

    def after(self, offset: int) -> list[Shared] | None:
        """Everything behind ``offset``; ``None`` where some is gone or ``offset`` never was."""
        if not self.base <= offset <= self.last:
            return None
        return (
            [] if self._entries is None else list(islice(self._entries, offset - self.base, None))
        )

    def after_seq(self, seq: int) -> list[Shared] | None:
        """Everything published after ``seq``; ``None`` where some of it is gone."""
        if self.lost_seq > seq:
            return None
        found: list[Shared] = []
        for shared in reversed(self._entries or ()):
            if shared.publication.seq <= seq:
                break
            found.append(shared)
        found.reverse()
        return found

    def before(self, offset: int) -> list[Shared]:
        """What is here in front of ``offset``, oldest first."""
        if self._entries is None:
            return []
        return list(islice(self._entries, max(0, offset - self.base - 1)))

    def skip(self, seq: int) -> None:
        """Something happened here that nobody is told: what was before is resumed from no more."""
        self.clear()
        self.base += 1
        self.lost_seq = seq
