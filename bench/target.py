"""A target: what a figure of a row is to reach."""

from __future__ import annotations

import enum

import attrs


class Better(enum.Enum):
    """Which way a figure improves."""

    LESS = "≤"
    MORE = "≥"


@attrs.frozen(kw_only=True)
class Target:
    """One line of the table.

    Attributes:
        row: The row that measures it.
        label: What it is, in words.
        figure: Which of the row's figures.
        unit: The figure's unit, for the table.
        better: Which way it improves.
        first: The first target; ``None``: the figure is only shown.
        then: The one that follows, where one is set.
        absolute: The targets speak of relayd's own figure, not of its ratio to another's.
    """

    row: str
    label: str
    figure: str
    unit: str
    better: Better
    first: float | None = None
    then: float | None = None
    absolute: bool = False

    def reached(self, value: float) -> str | None:
        """Which target ``value`` reaches: ``then``, ``first`` or ``no``; ``None`` without any."""
        if self.first is None:
            return None
        for name, bound in (("then", self.then), ("first", self.first)):
            if bound is None:
                continue
            if value <= bound if self.better is Better.LESS else value >= bound:
                return name
        return "no"
