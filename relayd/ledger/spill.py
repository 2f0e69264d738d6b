"""Rows that are not in the database yet, in order, and who wants to hear when they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice

import attrs

from relayd.ledger.rows import Row
from relayd.ledger.schema import RowId, row_id


@attrs.define(eq=False)
class RowReceipt:
    """What became of a row; see :class:`relayd.dialect.meter.Receipt`.

    Attributes:
        known: Whether the row is in the ledger, or is known to be late or lost.
    """

    row: Row
    known: bool = attrs.field(default=False, init=False)
    _tells: list[Callable[[], None]] = attrs.field(factory=list, init=False)

    def then(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` exactly once, in the Trio thread: at once where it is known already.

        ``tell`` must neither wait nor raise.
        """
        if self.known:
            tell()
        else:
            self._tells.append(tell)

    def resolve(self) -> None:
        """It is known now. The second time changes nothing."""
        self.known = True
        tells, self._tells = self._tells, []
        for tell in tells:
            tell()


@attrs.define(eq=False)
class Spill:
    """A bounded queue of rows, each at most once.

    Attributes:
        rows_max: How many fit.
    """

    rows_max: int
    _receipts: OrderedDict[RowId, RowReceipt] = attrs.field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._receipts)

    def __iter__(self) -> Iterator[RowReceipt]:
        return iter(self._receipts.values())

    def add(self, row: Row) -> RowReceipt | None:
        """Put ``row`` last; ``None`` if it does not fit. One that waits already stays as it is."""
        found = self._receipts.get(row_id(row))
        if found is not None:
            return found
        if len(self._receipts) >= self.rows_max:
            return None
        receipt = self._receipts[row_id(row)] = RowReceipt(row)
        return receipt

    def first(self, count: int) -> list[RowReceipt]:
        """The ``count`` rows that have waited longest, or all. They stay."""
        return list(islice(self, count))

    def remove_first(self, count: int) -> None:
        """Take the ``count`` rows out that have waited longest."""
        for _ in range(count):
            self._receipts.popitem(last=False)

    def spent(self, key: str, since: float) -> int:
        """Nano-dollars of ``key``'s rows here that ended at ``since`` or later."""
        rows = (receipt.row for receipt in self)
        return sum(row.cost_nano or 0 for row in rows if row.key == key and row.ended_at >= since)
