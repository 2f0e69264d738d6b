"""Sums of integers in SQL that no values can make too large.

SQLite gives a query up whose sum of integers leaves 64 bits ("integer overflow",
sqlite.org/lang_aggfunc.html#sumunc), and one row may hold nearly as much. So thousand-millions
and the rest are summed apart, which is exact for more rows than a database has room for.
"""

from __future__ import annotations

from typing import Final

PART: Final = 10**9


def parts_of(column: str) -> tuple[str, str]:
    """The two SQL sums of ``column``, both NULL where it has no value."""
    return f"sum({column} / {PART})", f"sum({column} % {PART})"


def dearest_first(column: str) -> str:
    """ORDER BY terms for the sum of ``column``, the largest first and NULL last."""
    whole, rest = parts_of(column)
    return f"{whole} + {rest} / {PART} DESC, {rest} % {PART} DESC"


def joined(whole: int | None, rest: int | None) -> int | None:
    """The sum whose parts these are."""
    return None if whole is None or rest is None else whole * PART + rest
