"""What can go wrong with the ledger, in one vocabulary: the cause, then the remedy.

Whatever SQLite or the kernel raise is translated here, once; above the database nobody names a
result code.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import Final


class LedgerError(Exception):
    """The ledger cannot be read or written. Its text is for a person and holds no row's values."""


_PRIMARY: Final = 0xFF
"""The low byte of an extended result code is the primary one (sqlite.org/rescode.html)."""

_UNKNOWN: Final = ("it failed", "see the message of SQLite")
_NO_ACCESS: Final = (
    "it cannot be written to",
    "let the user that relayd runs as write to the file and to its directory",
)
_LOCKED: Final = ("another program keeps it locked", "end that program, or wait for it")

_SQLITE: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_FULL: ("there is no room for more", "make room on its disk"),
    sqlite3.SQLITE_IOERR: (
        "the disk failed",
        "see whether it is full, or what the kernel's log says about it",
    ),
    sqlite3.SQLITE_READONLY: _NO_ACCESS,
    sqlite3.SQLITE_PERM: _NO_ACCESS,
    sqlite3.SQLITE_CANTOPEN: (
        "the file, or one that SQLite keeps beside it, cannot be opened",
        "make sure that its directory is there, has room and may be written to",
    ),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged",
        "stop relayd, put the file aside and mend it with the .recover command of sqlite3",
    ),
    sqlite3.SQLITE_NOTADB: ("the file is no SQLite database", "name another one in ledger.url"),
    sqlite3.SQLITE_NOMEM: ("there is no memory", "give this host more"),
}
"""Primary result codes, with cause and remedy."""

PASSING: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""After these the connection is as good as it was."""

_OS: Final[dict[int, tuple[str, str]]] = {
    errno.ENOENT: ("its directory is missing", "create it, or name another one in ledger.url"),
    errno.ENOTDIR: ("its directory is a file", "name another one in ledger.url"),
    errno.EISDIR: ("it is a directory", "name a file in ledger.url"),
    errno.ENOSPC: _SQLITE[sqlite3.SQLITE_FULL],
    errno.EDQUOT: ("the quota of relayd's user is used up", "make room on its disk"),
    errno.EACCES: _NO_ACCESS,
    errno.EPERM: _NO_ACCESS,
    errno.EROFS: ("its disk is mounted read-only", "mount it for writing"),
    errno.EMFILE: ("relayd has no descriptor left", "raise LimitNOFILE"),
}


def result_code(error: sqlite3.Error) -> int:
    """The primary result code; 0 where the error is not SQLite's own, but its module's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & _PRIMARY


def from_sqlite(error: sqlite3.Error, name: str) -> LedgerError:
    """The error of the database called ``name``."""
    return _said(name, *_SQLITE.get(result_code(error), _UNKNOWN), str(error))


def from_os(error: OSError, name: str) -> LedgerError:
    """The error of a system call on the database called ``name``."""
    words = (error.strerror or "no reason given").lower()
    return _said(name, *_OS.get(error.errno or 0, ("it failed", "see the reason given")), words)


def _said(name: str, cause: str, remedy: str, words: str) -> LedgerError:
    return LedgerError(f"the ledger {name}: {cause} ({words}); {remedy}")
