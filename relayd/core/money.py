"""Money as integers: nano-dollars, a thousand-millionth of a US dollar.

Prices are decimals; an amount is computed exactly and rounded once, half to even, to a whole
nano-dollar. From there on only integers are added, so sums are exact in memory, in counters that
other processes share and in SQL. A signed 64-bit integer holds nine thousand million dollars.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

NANO: Final = 10**9
"""Nano-dollars in a dollar."""

_NANO_USD: Final = Decimal(1).scaleb(-9)


def nano_of(usd: Decimal) -> int:
    """``usd`` dollars as whole nano-dollars, rounded half to even."""
    return int(usd.scaleb(9).to_integral_value(ROUND_HALF_EVEN))


def usd_of(nano: int) -> Decimal:
    """Nano-dollars as dollars, exactly; nothing as a plain 0, which would else be 0E-9."""
    return Decimal(nano) * _NANO_USD if nano else Decimal(0)
