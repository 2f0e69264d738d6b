"""What SQLite and the kernel say, as cause and remedy."""

from __future__ import annotations

import errno
import os
import sqlite3

import pytest

from relayd.ledger.errors import from_os, from_sqlite, result_code


def sqlite_error(code: int, words: str = "words of SQLite") -> sqlite3.Error:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (sqlite3.SQLITE_FULL, "no room"),
        (sqlite3.SQLITE_IOERR_FSYNC, "the disk failed"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "cannot be written to"),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened"),
        (sqlite3.SQLITE_BUSY_RECOVERY, "locked"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "damaged"),
        (sqlite3.SQLITE_NOTADB, "no SQLite database"),
        (sqlite3.SQLITE_MISUSE, "it failed"),
    ],
)
def test_a_result_code_has_a_cause_and_a_remedy(code: int, cause: str) -> None:
    said, remedy = str(from_sqlite(sqlite_error(code), "/var/relayd.db")).split("; ")

    assert said.startswith("the ledger /var/relayd.db: ")
    assert cause in said
    assert "words of SQLite" in said
    assert remedy


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.ENOENT, "directory is missing"),
        (errno.ENOSPC, "no room"),
        (errno.EROFS, "mounted read-only"),
        (errno.ELOOP, "it failed"),
    ],
)
def test_an_error_of_the_kernel_has_them_too(code: int, cause: str) -> None:
    said, remedy = str(from_os(OSError(code, os.strerror(code)), "x.db")).split("; ")

    assert cause in said
    assert os.strerror(code).lower() in said
    assert remedy


def test_an_error_without_a_result_code_has_none() -> None:
    assert result_code(sqlite3.ProgrammingError("Cannot operate on a closed database.")) == 0
    assert result_code(sqlite_error(sqlite3.SQLITE_IOERR_WRITE)) == sqlite3.SQLITE_IOERR
