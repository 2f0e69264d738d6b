"""What was used, by a name: of so many names the most costly, the others together.

Clients choose names of models, so there is no end of them. When a table holds twice as many as are
shown, its lesser half is added to what goes under ``other``; a name that comes back begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import attrs

from relayd.core.money import NANO

ROWS_SHOWN: Final = 100

_Name = TypeVar("_Name")


@attrs.define
class Row:
    """What went under one name."""

    turns: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nano: int = 0

    def add(self, turns: int, tokens_in: int, tokens_out: int, cost_nano: int) -> None:
        """Some more."""
        self.turns += turns
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.cost_nano += cost_nano

    @property
    def weight(self) -> tuple[int, int, int]:
        """What is shown first: what costs most, or without prices is used most."""
        return self.cost_nano, self.tokens_in + self.tokens_out, self.turns

    def shown(self) -> dict[str, object]:
        """Its numbers, by their names."""
        return {
            "turns": self.turns,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost_usd": self.cost_nano / NANO,
        }


@attrs.define(eq=False)
class Rows(Generic[_Name]):
    """One table."""

    _rows: dict[_Name, Row] = attrs.field(factory=dict, init=False)
    _other: Row = attrs.field(factory=Row, init=False)

    def of(self, name: _Name) -> Row:
        """The row of ``name``, to be added to at once: a later call may take it away."""
        row = self._rows.get(name)
        if row is None:
            if len(self._rows) >= 2 * ROWS_SHOWN:
                self._keep_half()
            row = self._rows[name] = Row()
        return row

    def shown(self) -> Iterator[tuple[_Name | None, Row]]:
        """The most costly first; behind them, under ``None``, the others together."""
        ranked, other = self._ranked(), attrs.evolve(self._other)
        yield from ranked[:ROWS_SHOWN]
        for _, row in ranked[ROWS_SHOWN:]:
            _add(other, row)
        if other != Row():
            yield None, other

    def _keep_half(self) -> None:
        ranked = self._ranked()
        for _, row in ranked[ROWS_SHOWN:]:
            _add(self._other, row)
        self._rows = dict(ranked[:ROWS_SHOWN])

    def _ranked(self) -> list[tuple[_Name, Row]]:
        return sorted(self._rows.items(), key=lambda item: item[1].weight, reverse=True)


def _add(to: Row, row: Row) -> None:
    to.add(row.turns, row.tokens_in, row.tokens_out, row.cost_nano)
