"""Decimals in the configuration: money and factors, exact to the digit."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import attrs

from relayd.config.mistakes import Wrong
from relayd.config.rules import expected

if TYPE_CHECKING:
    from relayd.config.files import Surroundings

DIGITS_MAX: Final = 24
"""Characters of an amount. A decimal of 28 digits, Python's default, holds it exactly."""

_DECIMAL: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?P<fraction>[0-9]+))?")


@attrs.frozen(kw_only=True)
class Amount:
    """A decimal between two bounds, both included, written as text.

    TOML's own numbers with a point are binary: ``0.1`` would not be a tenth any more. Whole ones
    are exact and may stand without quotes.

    Attributes:
        decimals_max: Digits after the point.
    """

    least: Decimal = Decimal(0)
    most: Decimal
    decimals_max: int = 9

    @property
    def kind(self) -> str:
        """The upper bound is a safeguard; only the lower one carries meaning."""
        return f'a decimal in quotes such as "12.50", at least {self.least}'

    def read(self, value: object, around: Surroundings) -> Decimal:
        """The decimal, with the digits as they were written."""
        match value:
            case bool():
                raise expected(self.kind, value)
            case int():
                # Compared as an integer: a decimal of millions of digits takes its time.
                amount = Decimal(min(max(value, -1), int(self.most) + 1))
            case float():
                raise expected(self.kind, value, hint='write it in quotes, as in "0.4"')
            case str():
                amount = self._parsed(value)
            case _:
                raise expected(self.kind, value)
        if amount < self.least:
            raise expected(self.kind, value)
        if amount > self.most:
            raise expected(f"at most {self.most}", value)
        return amount

    def _parsed(self, text: str) -> Decimal:
        written = _DECIMAL.fullmatch(text)
        if written is None or len(text) > DIGITS_MAX:
            raise expected(self.kind, text)
        if len(written["fraction"] or "") > self.decimals_max:
            raise Wrong.because(f"expected at most {self.decimals_max} digits after the point")
        return Decimal(text)
