"""One count of all bytes that a process holds back: messages, queues, pending output."""

from __future__ import annotations

import attrs


@attrs.define
class HoldBudget:
    """How many bytes may be held, queued or pending in this process at once.

    Every holder takes before it allocates and gives back what it took; nothing waits here, a
    holder that is refused ends its session as ``overload``.

    Attributes:
        bytes_max: The bound, ``limits.hold_max_bytes``.
        bytes_held: What is taken now.
    """

    bytes_max: int
    bytes_held: int = 0

    def take(self, count: int) -> bool:
        """Take ``count`` bytes; ``False``, and nothing taken, where they do not fit."""
        if self.bytes_held + count > self.bytes_max:
            return False
        self.bytes_held += count
        return True

    def give(self, count: int) -> None:
        """Give back ``count`` bytes taken before."""
        assert count <= self.bytes_held, "more bytes given back than were taken"
        self.bytes_held -= count

    @property
    def full(self) -> bool:
        """Whether new work should be refused: less than a sixteenth is left."""
        return self.bytes_held > self.bytes_max - self.bytes_max // 16
