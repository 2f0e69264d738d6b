"""The store: small values and counters that limits stand on, in memory or shared.

The interface is async from the first day, so that a shared store can stand behind it. Times to
live are seconds; a key that has outlived its time is as if it had never been.
"""

from __future__ import annotations

from typing import Protocol

import attrs


class StoreError(Exception):
    """The store did not answer, or cannot take more."""


@attrs.frozen
class Counted:
    """What became of an :meth:`Store.add`.

    Attributes:
        value: The counter afterwards.
        applied: ``False`` where the bound stood against it and nothing was changed.
    """

    value: int
    applied: bool


class Store(Protocol):
    """Values and counters by key. Cancelling a call may or may not have applied it."""

    @property
    def waits(self) -> bool:
        """Whether calls may take time. Where they do not, they need no deadline."""

    async def get(self, key: str) -> bytes | None:
        """The value; ``None`` where there is none. Raises :class:`StoreError`."""

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Set the value, whatever it was. Raises :class:`StoreError`."""

    async def compare_and_set(
        self, key: str, expected: bytes | None, value: bytes | None, *, ttl_s: float | None = None
    ) -> bool:
        """Set the value (``None``: remove it) if it is ``expected`` (``None``: absent).

        Returns whether it was. Raises :class:`StoreError`.
        """

    async def add(
        self, key: str, amount: int, *, at_most: int | None = None, ttl_s: float | None = None
    ) -> Counted:
        """Add to a counter, which starts at 0, in one step.

        With ``at_most``, an addition that would go beyond it changes nothing. A counter is kept as
        decimal digits, so :meth:`get` and :meth:`compare_and_set` see and set it too.
        Raises :class:`StoreError`.
        """
