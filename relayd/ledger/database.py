"""The ledger's SQLite database: opened, written to in transactions, and opened anew after a fault.

Write-ahead log and ``synchronous=FULL``: what was committed survives a crash of the process and a
loss of power (sqlite.org/wal.html). Everything here blocks; relayd calls it in a worker thread.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import attrs

from relayd.ledger import schema
from relayd.ledger.errors import PASSING, LedgerError, from_os, from_sqlite, result_code
from relayd.ledger.exact_sums import joined, parts_of
from relayd.ledger.rows import Row
from relayd.ledger.schema import RowId, transaction

__all__ = ["Database", "LedgerError", "open_read_only"]

BUSY_S: Final = 2.0
"""How long another program's lock is waited for."""

CLOSE_S: Final = 1.0
"""How long closing waits for a statement that still runs in another thread."""

FILE_MODE: Final = 0o640
"""Of a new file, at most: the process's umask takes its part. SQLite gives the files beside it the
same."""

GROUP_ROWS: Final = 32
"""Rows in one statement. After every statement its thread asks for the interpreter lock again, for
which it waits up to 5 ms each time while the loop is busy: 512 rows took 80 ms in groups beside a
loop that never rests, and up to 2 s one by one. A group holds the lock for some 50 µs."""

_MEMORY: Final = ":memory:"

_INSERT_ONE: Final = schema.insert(1)
_INSERT_GROUP: Final = schema.insert(GROUP_ROWS)
_SPENT: Final = (
    f'SELECT {", ".join(parts_of("cost_nano"))} FROM rows WHERE "key" = ? AND ended_at >= ?'
)
_SPENT_BY_ONE: Final = f"{_SPENT} AND session_id = ? AND entry = ?"

_UNSTORABLE: Final = (OverflowError, UnicodeEncodeError, sqlite3.DataError, sqlite3.IntegrityError)
"""A row's own fault: a number beyond 64 bits, text that is not Unicode or too long, not a number
where there must be one. Everything else is the database's."""


@attrs.define(eq=False)
class Database:
    """The rows of the ledger. Used by one thread at a time; others wait.

    After a fault of the disk the connection is given up, and every later call tries to open it
    anew: the ledger recovers by itself once there is room again, or the directory is back. A
    database in memory is never opened anew, since it would be empty.
    """

    _path: Path | None
    _connection: sqlite3.Connection | None = attrs.field(default=None, init=False)
    _inode: tuple[int, int] = attrs.field(default=(0, 0), init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    @classmethod
    def open(cls, path: Path | None) -> Self:
        """Open the file, make it if there is none, bring it up to date if it is older.

        Args:
            path: ``None`` for a database in memory, which is gone when it is closed.

        Raises:
            LedgerError: It cannot be opened, is another program's, or of a newer version; in the
                last two cases it was not changed.
        """
        database = cls(None if path is None else path.absolute())
        with database._using():
            pass
        return database

    def write(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """Write ``rows`` in one transaction. Rows that are there already stay as they are.

        Returns:
            The rows that cannot be stored, for a value of their own; all others are written.

        Raises:
            LedgerError: They could not be written. After a fault of the disk some may turn out to
                be there all the same, all of one call or none: write them again.
        """
        with self._using() as connection:
            self._check_place(connection)
            try:
                with transaction(connection):
                    _insert(connection, rows)
            except _UNSTORABLE:
                with transaction(connection):
                    return tuple(row for row in rows if not _stored(connection, row))
        return ()

    def spent(self, key: str, since: float, *, without: Sequence[RowId] = ()) -> int:
        """Nano-dollars of ``key``'s rows that ended at ``since`` or later.

        Args:
            key: The key's name.
            since: Seconds since the epoch.
            without: Rows that do not count, whether they are there or not.

        Raises:
            LedgerError: The database cannot be read.
        """
        with self._using() as connection:
            total = _sum(connection, _SPENT, key, since)
            return total - sum(_spent_by(connection, key, since, row) for row in without)

    def close(self) -> None:
        """Close it for good. Raises nothing, and waits for another thread at most a second.

        All that was committed stays, also where the files cannot be tidied up.
        """
        self._closed = True
        if not self._lock.acquire(timeout=CLOSE_S):
            return  # its disk hangs, and closing would hang there too
        try:
            self._drop()
        finally:
            self._lock.release()

    # -- the connection

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """The connection, and everything that goes wrong as a :class:`LedgerError`."""
        with self._lock:
            try:
                yield self._current()
            except sqlite3.Error as exc:
                self._drop_after(exc)
                raise from_sqlite(exc, self._name) from exc
            except OSError as exc:
                raise from_os(exc, self._name) from exc

    @property
    def _name(self) -> str:
        return "in memory" if self._path is None else str(self._path)

    def _current(self) -> sqlite3.Connection:
        if self._closed:
            raise LedgerError(f"the ledger {self._name} is closed")
        if self._path is None:
            self._connection = self._connection or _connect(_MEMORY, self._name)
        elif self._connection is None:
            self._inode = _prepare(self._path)
            self._connection = _connect(f"{self._path.as_uri()}?mode=rw", self._name)
        return self._connection

    def _check_place(self, connection: sqlite3.Connection) -> None:
        """Leave a file that was deleted, moved or replaced: what is written to it is not found.

        What stands in the write-ahead log belongs to the former file and must go there first, else
        SQLite would take it for the log of the file that comes, and damage that
        (sqlite.org/howtocorrupt.html, section 2.4).
        """
        if self._path is None or not self._is_replaced(self._path):
            return
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise LedgerError(
                f"the ledger {self._name} was replaced while another program still reads the"
                " former file; end that program"
            )
        self._drop()
        raise LedgerError(
            f"the ledger {self._name} was deleted or replaced while relayd ran; it is opened anew."
            " Rows that are missing are in the former file"
        )

    def _is_replaced(self, path: Path) -> bool:
        try:
            return _inode_of(path) != self._inode
        except (FileNotFoundError, NotADirectoryError):
            return True

    def _drop_after(self, error: sqlite3.Error) -> None:
        """Give the connection up unless it is as good as it was, or all that there is."""
        connection = self._connection
        if self._path is None or connection is None:
            return
        if result_code(error) not in PASSING or connection.in_transaction:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # what is committed is on the disk
                connection.close()


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a ledger that relayd may be writing to, for queries. The caller closes it.

    Transactions are begun and ended by the caller; another's lock is waited for ``BUSY_S``.

    Raises:
        LedgerError: There is none, it cannot be read, it is not a ledger, or it is of another
            version.
    """
    name = str(path)
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        _inode_of(path)  # SQLite has one error for all that can be wrong with a path
        with contextlib.ExitStack() as stack:
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
            stack.callback(connection.close)
            schema.check_application(_number(connection, "PRAGMA application_id"), name)
            version = schema.version_of(connection, name)
            if version < schema.VERSION:
                raise LedgerError(
                    f"{name} is a ledger of version {version}, and this is version"
                    f" {schema.VERSION}; start relayd once, which brings it up to date"
                )
            stack.pop_all()
            return connection
    except FileNotFoundError:
        raise LedgerError(f"there is no ledger at {name}") from None
    except OSError as exc:
        raise from_os(exc, name) from exc
    except sqlite3.Error as exc:
        raise from_sqlite(exc, name) from exc


def _prepare(path: Path) -> tuple[int, int]:
    """Make the file if there is none, refuse one that is not a ledger; which file it is.

    The file's own bytes are read, since SQLite may change a file in opening it. Its first page is
    written before its log begins, so the mark is always found there. No connection of this process
    may have it open: closing the file here would end that one's locks
    (sqlite.org/howtocorrupt.html, section 2.2).
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    inode = _inode_of(path)
    with path.open("r+b") as file:  # SQLite opens what it may only read without a word
        schema.check_header(file.read(schema.HEADER_BYTES), str(path))
    return inode


def _connect(uri: str, name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        schema.migrate(connection, name)
        mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        with transaction(connection):
            pass  # the log's index takes its room now, not when the disk is full
        if mode not in {"wal", "memory"}:
            raise LedgerError(
                f"the ledger {name}: its file system cannot keep a write-ahead log; name a file on"
                " a local disk in ledger.url"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _inode_of(path: Path) -> tuple[int, int]:
    """Which file ``path`` names now: device and inode. ``OSError`` if it is none."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise LedgerError(f"the ledger {path} is not a regular file; name another in ledger.url")
    return status.st_dev, status.st_ino


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert group by group, and convert each group only when it is due."""
    grouped = len(rows) - len(rows) % GROUP_ROWS
    starts = range(0, grouped, GROUP_ROWS)
    groups = (schema.values(rows[start : start + GROUP_ROWS]) for start in starts)
    connection.executemany(_INSERT_GROUP, groups)
    connection.executemany(_INSERT_ONE, (schema.values((row,)) for row in rows[grouped:]))


def _stored(connection: sqlite3.Connection, row: Row) -> bool:
    try:
        connection.execute(_INSERT_ONE, schema.values((row,)))
    except _UNSTORABLE:
        return False
    return True


def _spent_by(connection: sqlite3.Connection, key: str, since: float, row: RowId) -> int:
    try:
        return _sum(connection, _SPENT_BY_ONE, key, since, *row)
    except UnicodeEncodeError:
        return 0  # it cannot be stored, so it is not there


def _sum(connection: sqlite3.Connection, query: str, *values: str | float) -> int:
    return joined(*connection.execute(query, values).fetchone()) or 0


def _number(connection: sqlite3.Connection, query: str) -> int:
    number: int = connection.execute(query).fetchone()[0]
    return number
