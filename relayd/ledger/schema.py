"""The ledger's tables, and the steps that bring an older file up to date.

``PRAGMA application_id`` marks a database as a ledger of relayd's, so that a foreign one is never
altered. ``PRAGMA user_version`` is the schema's version. Both stand in the database's header and
change with the transaction that they belong to (sqlite.org/pragma.html).
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import attrgetter
from typing import Final, TypeAlias

import attrs

from relayd.ledger.errors import LedgerError
from relayd.ledger.rows import Row

APPLICATION_ID: Final = 0x726C7964
"""``rlyd``."""

HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION_ID_AT: Final = slice(68, 72)
"""The header of a database file, of which there is always a whole one (sqlite.org/fileformat2.html,
section 1.3)."""

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE rows (
            session_id TEXT NOT NULL,
            entry TEXT NOT NULL,
            source TEXT NOT NULL,
            ended_at REAL NOT NULL,
            dialect TEXT NOT NULL,
            transport TEXT NOT NULL,
            "key" TEXT NOT NULL,
            tenant TEXT NOT NULL,
            account TEXT NOT NULL,
            model TEXT,
            upstream_id TEXT,
            reason TEXT NOT NULL,
            tokens_in INTEGER NOT NULL,
            tokens_out INTEGER NOT NULL,
            tokens_in_text INTEGER NOT NULL,
            tokens_in_audio INTEGER NOT NULL,
            tokens_in_image INTEGER NOT NULL,
            tokens_in_cached_text INTEGER NOT NULL,
            tokens_in_cached_audio INTEGER NOT NULL,
            tokens_in_cached_image INTEGER NOT NULL,
            tokens_out_text INTEGER NOT NULL,
            tokens_out_audio INTEGER NOT NULL,
            seconds REAL,
            cost_nano INTEGER,
            estimated INTEGER NOT NULL,
            ttft_ms REAL,
            duration_ms REAL,
            PRIMARY KEY (session_id, entry)
        )
        """,
        # The cost is in the index too: what a key has spent is summed without a look at its rows.
        'CREATE INDEX rows_by_key ON rows ("key", ended_at, cost_nano)',
        "CREATE INDEX rows_by_time ON rows (ended_at)",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    (
        "ALTER TABLE rows ADD COLUMN upstream_model TEXT",
        "ALTER TABLE rows ADD COLUMN tag TEXT",
    ),
    (
        "ALTER TABLE rows ADD COLUMN audio_in_s REAL",
        "ALTER TABLE rows ADD COLUMN audio_out_s REAL",
        "ALTER TABLE rows ADD COLUMN hello_ms REAL",
        "ALTER TABLE rows ADD COLUMN stt_ms REAL",
    ),
)
"""Step ``n`` leads from version ``n`` to ``n + 1``. A step that was released is never changed."""

VERSION: Final = len(STEPS)

_COLUMNS: Final = tuple(field.name for field in attrs.fields(Row))
_NAMES: Final = ", ".join(f'"{name}"' for name in _COLUMNS)
_PLACES: Final = f"({', '.join('?' * len(_COLUMNS))})"

Value: TypeAlias = str | int | float | None
RowId: TypeAlias = tuple[str, str]
"""``session_id`` and ``entry``."""

row_id: Final = attrgetter("session_id", "entry")
_values: Final = attrgetter(*_COLUMNS)


def insert(rows: int) -> str:
    """The statement that inserts so many rows; those that are there already stay as they are."""
    places = ", ".join([_PLACES] * rows)
    return f"INSERT INTO rows ({_NAMES}) VALUES {places} ON CONFLICT DO NOTHING"


def values(rows: Sequence[Row]) -> tuple[Value, ...]:
    """What to bind for ``rows``, one after the other. It costs 1.5 µs a row."""
    return tuple(itertools.chain.from_iterable(map(_values, rows)))


def check_header(header: bytes, name: str) -> None:
    """Refuse a file that is not a ledger. Nothing has touched it yet.

    Args:
        header: The file's first bytes; an empty file may become a ledger.
        name: What the database is called in errors.

    Raises:
        LedgerError: It is another program's.
    """
    if not header:
        return
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        raise LedgerError(
            f"{name} is not a ledger, nor any SQLite database; it was left as it is. Name another"
            " file in ledger.url"
        )
    check_application(int.from_bytes(header[_APPLICATION_ID_AT]), name)


def check_application(application_id: int, name: str) -> None:
    """Refuse a database that does not say it is a ledger. Raises :class:`LedgerError`."""
    if application_id != APPLICATION_ID:
        raise LedgerError(
            f"{name} is a database of another program's; it was left as it is. Name another file"
            " in ledger.url"
        )


def version_of(connection: sqlite3.Connection, name: str) -> int:
    """The schema's version, at most :data:`VERSION`; 0 for an empty database.

    Raises:
        LedgerError: The file is of a version that this relayd does not know.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version <= VERSION:
        raise LedgerError(
            f"{name} is a ledger of version {version}, and this relayd knows versions up to"
            f" {VERSION}; run the newer relayd that wrote it, or name another file in ledger.url"
        )
    return version


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring an empty or older database up to date, each step in a transaction of its own.

    Another process may do the same at the same time: each step is taken once.

    Raises:
        LedgerError: The file is of a newer version; nothing was changed.
        sqlite3.Error: A step failed and was undone; those before it stay.
    """
    while (version := version_of(connection, name)) < VERSION:
        with transaction(connection):
            if version_of(connection, name) != version:
                continue  # another process was faster
            for statement in STEPS[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. The lock is taken at the beginning, so nothing fails for it later."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):  # what led here says more
                connection.execute("ROLLBACK")
        raise
