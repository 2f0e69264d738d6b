"""Whose turn it is to give something up, where all tenants together hold too much.

It is that of a tenant that holds much, so that one that floods the hub loses its own and nobody
else's. Amounts are compared by their order of magnitude, which needs no search: who gives up holds
more than half of what anybody does, so a tenant loses nothing while another holds twice as much.
"""

from __future__ import annotations


class Shares:
    """How much each tenant holds, of one thing."""

    __slots__ = ("_amounts", "_magnitudes", "_present")

    def __init__(self) -> None:
        self._amounts: dict[str, int] = {}
        self._magnitudes: dict[int, dict[str, None]] = {}
        self._present = 0  # a bit for each magnitude that somebody has

    def __len__(self) -> int:
        """Tenants that hold something."""
        return len(self._amounts)

    def add(self, tenant: str, amount: int) -> None:
        """It holds so much more, or less."""
        before = self._amounts.get(tenant, 0)
        after = before + amount
        old, new = before.bit_length(), after.bit_length()
        if after:
            self._amounts[tenant] = after
        elif before:
            del self._amounts[tenant]
        if old == new:
            return
        if old:
            others = self._magnitudes[old]
            del others[tenant]
            if not others:
                del self._magnitudes[old]
                self._present ^= 1 << old
        if new:
            self._magnitudes.setdefault(new, {})[tenant] = None
            self._present |= 1 << new

    def most(self, preferred: str) -> str:
        """One that holds about the most: ``preferred``, if it does. Somebody holds something."""
        greatest = self._magnitudes[self._present.bit_length() - 1]
        return preferred if preferred in greatest else next(iter(greatest))
