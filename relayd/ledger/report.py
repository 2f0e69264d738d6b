"""What the ledger adds up to: rows grouped and summed by the database itself.

Sums are exact: tokens and nano-dollars are integers in the database and here. Times are seconds
since the epoch, days are UTC's.
"""

from __future__ import annotations

import datetime
import enum
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from relayd.ledger.errors import LedgerError, from_sqlite
from relayd.ledger.exact_sums import dearest_first, joined, parts_of

LINES_MAX: Final = 50_000
"""Groups that are kept in memory. Clients choose tags and models, so there is no other bound."""


class By(enum.StrEnum):
    """What rows can be grouped by."""

    KEY = "key"
    TENANT = "tenant"
    ACCOUNT = "account"
    MODEL = "model"
    DIALECT = "dialect"
    DAY = "day"
    TAG = "tag"


_COLUMNS: Final = {
    By.KEY: 'rows."key"',
    By.TENANT: "rows.tenant",
    By.ACCOUNT: "rows.account",
    By.MODEL: "rows.model",
    By.DIALECT: "rows.dialect",
    # Whole seconds first: the quotient of a fraction could be rounded into the next day.
    By.DAY: "CAST(rows.ended_at AS INTEGER) / 86400",
    By.TAG: "rows.tag",
}
"""All that is ever written into a query; values are bound."""


@attrs.frozen(kw_only=True)
class Sums:
    """What some rows add up to.

    Attributes:
        rows: How many they are.
        turns: How many of them are responses, or turns of devices.
        transcriptions: How many of them are transcriptions.
        sessions: How many sessions they belong to.
        tokens_in: Input tokens, the cached ones among them.
        seconds: Durations that are billed by time.
        cost_nano: Nano-dollars of the rows that have a price; ``None`` if none has.
        unpriced: Rows without a price.
        estimated: Rows whose numbers are estimates.
    """

    rows: int = 0
    turns: int = 0
    transcriptions: int = 0
    sessions: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_in_text: int = 0
    tokens_in_audio: int = 0
    tokens_in_image: int = 0
    tokens_in_cached_text: int = 0
    tokens_in_cached_audio: int = 0
    tokens_in_cached_image: int = 0
    tokens_out_text: int = 0
    tokens_out_audio: int = 0
    seconds: float = 0.0
    cost_nano: int | None = None
    unpriced: int = 0
    estimated: int = 0

    @property
    def tokens_in_cached(self) -> int:
        """Cached input tokens of every kind."""
        return (
            self.tokens_in_cached_text + self.tokens_in_cached_audio + self.tokens_in_cached_image
        )


NO_USE: Final = Sums()
"""No rows at all."""


@attrs.frozen
class Line:
    """One group and its sums.

    Attributes:
        group: A value for each column that was grouped by, in that order; ``None`` where the rows
            have none. A day is a :class:`datetime.date`.
    """

    group: tuple[str | datetime.date | None, ...]
    sums: Sums


_TOKENS: Final = (
    "tokens_in",
    "tokens_out",
    "tokens_in_text",
    "tokens_in_audio",
    "tokens_in_image",
    "tokens_in_cached_text",
    "tokens_in_cached_audio",
    "tokens_in_cached_image",
    "tokens_out_text",
    "tokens_out_audio",
)
_SUMS: Final = {
    "rows": "count(*)",
    "turns": (
        "count(*) FILTER (WHERE rows.source = 'response'"
        " OR (rows.source = 'device' AND rows.entry GLOB 'turn:*'))"
    ),
    "transcriptions": "count(*) FILTER (WHERE rows.source = 'transcription')",
    "sessions": "count(DISTINCT rows.session_id)",
    "seconds": "total(rows.seconds)",
    "unpriced": "count(*) FILTER (WHERE rows.cost_nano IS NULL)",
    "estimated": "count(*) FILTER (WHERE rows.estimated)",
}
"""The other fields of :class:`Sums`, as SQL."""

_PARTS: Final = [part for name in (*_TOKENS, "cost_nano") for part in parts_of(f"rows.{name}")]
_SELECTED: Final = ", ".join([*_SUMS.values(), *_PARTS])
_RANGE: Final = "rows.ended_at >= :since AND rows.ended_at < :until"
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()


def summarize(
    connection: sqlite3.Connection, *, since: float, until: float, by: Sequence[By]
) -> list[Line]:
    """What was used from ``since`` to before ``until``, in groups. Blocks while it reads.

    Args:
        connection: An open ledger.
        since: The first moment.
        until: The moment after the last one; infinity for all that is there.
        by: What makes a group, each at most once.

    Returns:
        The groups that have rows: by day, where days are asked for, then the dearest first.

    Raises:
        LedgerError: The database cannot be read, or there are more than ``LINES_MAX`` groups.
    """
    assert by, "one group is what total() is for"
    assert len(set(by)) == len(by)
    columns = [_COLUMNS[each] for each in by]
    first = [_COLUMNS[By.DAY]] if By.DAY in by else []
    order = ", ".join([*first, dearest_first("rows.cost_nano"), *columns])
    query = (
        f"SELECT {', '.join(columns)}, {_SELECTED} FROM rows WHERE {_RANGE}"
        f" GROUP BY {', '.join(columns)} ORDER BY {order}"
    )
    lines: list[Line] = []
    with _reading(connection):
        for row in connection.execute(query, {"since": since, "until": until}):
            if len(lines) == LINES_MAX:
                raise LedgerError(
                    f"more than {LINES_MAX:,} groups; ask for a shorter time or fewer columns"
                )
            group = tuple(
                _day(value) if each is By.DAY else value
                for each, value in zip(by, row, strict=False)
            )
            lines.append(Line(group, _sums(row[len(by) :])))
    return lines


def total(connection: sqlite3.Connection, *, since: float, until: float) -> Sums:
    """What was used from ``since`` to before ``until``, all of it. Blocks while it reads.

    Its sessions are not the sum of those of groups: one session can be in several.

    Raises:
        LedgerError: The database cannot be read.
    """
    query = f"SELECT {_SELECTED} FROM rows WHERE {_RANGE}"
    with _reading(connection):
        return _sums(connection.execute(query, {"since": since, "until": until}).fetchone())


def newest(connection: sqlite3.Connection) -> float | None:
    """When the newest row ended; ``None`` for a ledger without rows. Blocks while it reads.

    Raises:
        LedgerError: The database cannot be read.
    """
    with _reading(connection):
        found: float | None = connection.execute("SELECT max(ended_at) FROM rows").fetchone()[0]
    return found


@contextmanager
def unchanging(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read inside is of one moment, though relayd goes on writing.

    Raises:
        LedgerError: The database cannot be read.
    """
    with _reading(connection):
        connection.execute("BEGIN")
    try:
        yield
    finally:
        with _reading(connection):
            connection.execute("ROLLBACK")


@contextmanager
def _reading(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        path: str = connection.execute("PRAGMA database_list").fetchone()[2]
        raise from_sqlite(exc, path or "in memory") from exc


def _sums(values: Sequence[int]) -> Sums:
    parts = iter(values[len(_SUMS) :])
    *totals, cost_nano = map(joined, parts, parts)
    # Only a cost may be unknown: of no rows at all, the tokens are 0.
    tokens = {name: total or 0 for name, total in zip(_TOKENS, totals, strict=True)}
    return Sums(**dict(zip(_SUMS, values, strict=False)), **tokens, cost_nano=cost_nano)


def _day(number: int) -> datetime.date:
    return datetime.date.fromordinal(_EPOCH + number)
