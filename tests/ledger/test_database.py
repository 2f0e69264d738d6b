"""The ledger's file: what is written stays, once, and faults of the disk pass."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from relayd.ledger import database as database_module
from relayd.ledger import schema
from relayd.ledger.database import GROUP_ROWS, Database, LedgerError, open_read_only
from tests.ledger.filled import at, fill, row

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relayd.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database.open(path)) as opened:
        yield opened


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are not waited for."""
    monkeypatch.setattr(database_module, "BUSY_S", 0.0)


def entries(path: Path) -> list[str]:
    with closing(open_read_only(path)) as connection:
        return [name for (name,) in connection.execute("SELECT entry FROM rows ORDER BY rowid")]


def numbered(*numbers: int) -> list[str]:
    return [f"response:{number}" for number in numbers]


# -- opening


def test_a_new_file_is_for_its_owner_and_group_alone(path: Path) -> None:
    former = os.umask(0)
    try:
        fill(path, row(1))
        with closing(Database.open(path)) as database:
            database.write([row(2)])
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(former)

    assert modes == {"relayd.db": 0o640, "relayd.db-wal": 0o640, "relayd.db-shm": 0o640}


def test_a_commit_is_on_the_disk_before_it_is_said_to_be(database: Database) -> None:
    with database._using() as connection:
        modes = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]

    assert modes == ["wal", 2, 2000]


def test_rows_are_there_when_it_is_opened_again(path: Path) -> None:
    fill(path, row(1))
    fill(path, row(2))

    assert entries(path) == numbered(1, 2)


def test_closing_leaves_one_file(path: Path) -> None:
    fill(path, row(1))

    assert [file.name for file in path.parent.iterdir()] == ["relayd.db"]


def test_an_older_file_is_brought_up_to_date(path: Path) -> None:
    stored = Path(__file__).parent / "data" / "version_1.sql"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(stored.read_text(encoding="utf-8"))
    with pytest.raises(LedgerError, match="of version 1, and this is version 3; start relayd once"):
        open_read_only(path)

    with closing(Database.open(path)) as database:
        spent = database.spent("dev", 0.0)

    assert spent == 5_824_000 + 350_000
    assert len(entries(path)) == 4


def make_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE rows (x)")


def make_newer(path: Path) -> None:
    fill(path, row(1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 4")


def make_text(path: Path) -> None:
    path.write_text("dear ledger,\n" * 100)


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (make_foreign, "another program's"),
        (make_newer, "of version 4, and this relayd knows versions up to 3"),
        (make_text, "not a ledger, nor any SQLite database"),
    ],
)
def test_what_is_not_this_versions_ledger_is_refused_and_never_altered(
    path: Path, make: Callable[[Path], None], cause: str
) -> None:
    make(path)
    before = path.read_bytes()

    with pytest.raises(LedgerError, match=cause):
        Database.open(path)

    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["relayd.db"]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("missing/relayd.db", "its directory is missing"),
        ("file/relayd.db", "its directory is a file"),
        ("directory", "not a regular file"),
        ("pipe", "not a regular file"),
    ],
)
def test_a_path_that_cannot_be_one_says_so(tmp_path: Path, name: str, cause: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(LedgerError, match=cause):
        Database.open(tmp_path / name)


def test_names_may_be_odd(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=memory&b#c%20ö 'd.db"
    fill(path, row(1))

    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert entries(path) == numbered(1)


# -- writing


@pytest.mark.parametrize("count", [0, 1, GROUP_ROWS - 1, GROUP_ROWS, 3 * GROUP_ROWS + 5])
def test_all_rows_are_written_in_order(database: Database, path: Path, count: int) -> None:
    assert database.write([row(number) for number in range(count)]) == ()
    assert entries(path) == numbered(*range(count))


def test_a_row_that_is_there_stays_as_it_is(database: Database) -> None:
    database.write([row(1, cost_nano=5)])

    assert database.write([row(1, cost_nano=7), row(2, cost_nano=1), row(2, cost_nano=2)]) == ()
    assert database.spent("dev", 0.0) == 6


@pytest.mark.parametrize(
    "nonsense",
    [{"tokens_in": 2**63}, {"upstream_id": "\ud800"}, {"entry": "\udfff"}, {"ended_at": math.nan}],
)
def test_a_row_that_cannot_be_stored_keeps_no_other_out(
    database: Database, path: Path, nonsense: dict[str, Any]
) -> None:
    bad = row(3, **nonsense)
    good = [row(number) for number in range(GROUP_ROWS + 2) if number != 3]

    assert database.write([*good[:3], bad, *good[3:]]) == (bad,)
    assert entries(path) == [each.entry for each in good]


def test_a_transaction_is_written_whole_or_not_at_all(database: Database, path: Path) -> None:
    with pytest.raises(LedgerError, match="no room"), room_for_pages(database, 4):
        database.write([row(number, tag="x" * 500) for number in range(100)])

    assert entries(path) == []


# -- what was spent


def test_what_a_key_spent_since_a_moment(database: Database) -> None:
    database.write(
        [
            row(1, "2026-11-01", cost_nano=1),
            row(2, "2026-11-02", cost_nano=10),
            row(3, "2026-11-03", cost_nano=100),
            row(4, "2026-11-03", cost_nano=None),
            row(5, "2026-11-03", cost_nano=1000, key="other"),
        ]
    )

    assert database.spent("dev", 0.0) == 111
    assert database.spent("dev", at("2026-11-02")) == 110
    assert database.spent("dev", at("2026-11-02") + 0.001) == 100
    assert database.spent("nobody", 0.0) == 0


def test_what_was_spent_may_be_more_than_the_database_counts_to(database: Database) -> None:
    most = 2**63 - 1
    database.write([row(number, cost_nano=most) for number in range(3)])

    assert database.spent("dev", 0.0) == 3 * most
    assert database.spent("dev", 0.0, without=[("session-1", "response:1")]) == 2 * most


def test_rows_that_do_not_count_are_left_out_where_they_are_in(database: Database) -> None:
    database.write([row(number, cost_nano=10**number) for number in range(4)])
    database.write([row(7, cost_nano=5, key="other"), row(8, "2026-10-01", cost_nano=6)])
    without = [
        *[(f"session-{number}", f"response:{number}") for number in (1, 3, 7, 8, 99)],
        ("session-1", "response:\ud800"),
    ]

    assert database.spent("dev", at("2026-11-01"), without=without) == 101


# -- faults


@contextmanager
def room_for_pages(database: Database, count: int) -> Iterator[None]:
    """The database is full at so many pages."""
    with database._using() as connection:
        connection.execute(f"PRAGMA max_page_count = {count}")
    yield


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond ``size`` bytes: writing there is an I/O error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory that this user, who is not root here, may write to."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        if is_root:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.seteuid(0)
            os.chmod(name, 0o700)


def test_there_is_room_again(database: Database, path: Path) -> None:
    database.write([row(1)])
    with room_for_pages(database, 1), pytest.raises(LedgerError, match="no room for more"):
        database.write([row(number, tag="x" * 900) for number in range(2, 100)])

    with room_for_pages(database, 10_000):
        database.write([row(2)])

    assert entries(path) == numbered(1, 2)


def test_after_an_input_output_error_it_is_opened_anew(database: Database, path: Path) -> None:
    database.write([row(1)])
    former = database._connection

    with files_end_at(8192), pytest.raises(LedgerError, match="the disk failed"):
        database.write([row(number, tag="x" * 1000) for number in range(2, 50)])
    with files_end_at(8192), pytest.raises(LedgerError):
        database.write([row(number, tag="x" * 1000) for number in range(2, 50)])
    database.write([row(2)])

    assert database._connection is not former
    assert entries(path) == numbered(1, 2)
    assert database.spent("dev", 0.0) == 2000


def test_a_directory_that_may_not_be_written_to_says_so_until_it_may() -> None:
    with unprivileged() as directory:
        directory.chmod(0o500)
        with pytest.raises(LedgerError, match="let the user that relayd runs as write"):
            Database.open(directory / "relayd.db")
        directory.chmod(0o700)
        fill(directory / "relayd.db", row(1))
        (directory / "relayd.db").chmod(0o400)

        with pytest.raises(LedgerError, match="let the user that relayd runs as write"):
            Database.open(directory / "relayd.db")


@pytest.mark.usefixtures("hasty")
def test_a_lock_of_another_program_passes(path: Path) -> None:
    with closing(Database.open(path)) as database, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another program keeps it locked"):
            database.write([row(1)])
        other.execute("ROLLBACK")
        database.write([row(1)])

    assert entries(path) == numbered(1)


def test_damage_is_said_to_be(path: Path) -> None:
    fill(path, *[row(number) for number in range(50)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)

    with closing(Database.open(path)) as database:
        with pytest.raises(LedgerError, match=r"the file is damaged .*\.recover"):
            database.write([row(99)])
        with pytest.raises(LedgerError, match="damaged"):
            database.spent("dev", 0.0)


# -- a file that goes away


def test_a_deleted_file_is_noticed_and_made_anew(database: Database, path: Path) -> None:
    database.write([row(1)])
    path.unlink()

    with pytest.raises(LedgerError, match="was deleted or replaced while relayd ran"):
        database.write([row(2)])
    database.write([row(2)])

    assert entries(path) == numbered(2)


def test_a_file_that_was_moved_takes_all_its_rows_along(database: Database, path: Path) -> None:
    database.write([row(1)])
    path.rename(path.with_name("former.db"))

    with pytest.raises(LedgerError, match="was deleted or replaced"):
        database.write([row(2)])
    database.write([row(2)])

    assert entries(path) == numbered(2)
    assert entries(path.with_name("former.db")) == numbered(1)


def test_a_file_that_was_replaced_does_not_get_the_log_of_the_former(
    database: Database, path: Path
) -> None:
    other = fill(path.with_name("other.db"), *[row(number) for number in range(100, 200)])
    database.write([row(number) for number in range(50)])
    assert path.with_name("relayd.db-wal").stat().st_size > 0
    other.rename(path)

    with pytest.raises(LedgerError, match="was deleted or replaced"):
        database.write([row(50)])
    database.write([row(50)])

    assert entries(path) == numbered(*range(100, 200), 50)
    with database._using() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.usefixtures("hasty")
def test_a_replaced_file_that_is_still_read_is_waited_for(path: Path) -> None:
    other = fill(path.with_name("other.db"), row(9))
    with closing(Database.open(path)) as database:
        database.write([row(1)])
        with closing(open_read_only(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM rows").fetchall()
            database.write([row(2)])
            other.rename(path)
            for _ in range(2):
                with pytest.raises(LedgerError, match="another program still reads"):
                    database.write([row(3)])
        with pytest.raises(LedgerError, match="was deleted or replaced"):
            database.write([row(3)])
        database.write([row(3)])

    assert entries(path) == numbered(9, 3)


def test_a_directory_that_vanishes_and_comes_back(tmp_path: Path) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    with closing(Database.open(home / "relayd.db")) as database:
        database.write([row(1)])
        home.rename(away)
        with pytest.raises(LedgerError, match="was deleted or replaced"):
            database.write([row(2)])
        with pytest.raises(LedgerError, match="its directory is missing"):
            database.write([row(2)])
        with pytest.raises(LedgerError, match="its directory is missing"):
            database.spent("dev", 0.0)
        away.rename(home)
        database.write([row(2)])

        assert database.spent("dev", 0.0) == 2000

    assert entries(home / "relayd.db") == numbered(1, 2)


def test_a_directory_that_is_removed_and_made_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with closing(Database.open(home / "relayd.db")) as database:
        database.write([row(1)])
        shutil.rmtree(home)
        for _ in range(3):
            with pytest.raises(LedgerError):
                database.write([row(2)])
        home.mkdir()
        database.write([row(2)])

    assert entries(home / "relayd.db") == numbered(2)


# -- in memory, and at the end


def test_a_ledger_in_memory_outlives_its_faults() -> None:
    with closing(Database.open(None)) as database:
        database.write([row(1)])
        with (
            room_for_pages(database, 1),
            pytest.raises(LedgerError, match="in memory: there is no room"),
        ):
            database.write([row(number, tag="x" * 900) for number in range(2, 100)])
        with database._using() as connection:
            connection.execute("PRAGMA query_only = ON")
        with pytest.raises(LedgerError, match="cannot be written to"):
            database.write([row(2)])
        with room_for_pages(database, 10_000), database._using() as connection:
            connection.execute("PRAGMA query_only = OFF")
        database.write([row(2)])

        assert database.spent("dev", 0.0) == 2000


def test_after_closing_it_stays_closed(database: Database) -> None:
    database.close()
    database.close()

    with pytest.raises(LedgerError, match="is closed"):
        database.write([row(1)])


def test_closing_does_not_wait_for_a_disk_that_hangs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "CLOSE_S", 0.0)
    begun, end = threading.Event(), threading.Event()

    def hang() -> None:
        with contextlib.suppress(LedgerError), database._using():
            begun.set()
            end.wait(30)

    thread = threading.Thread(target=hang)
    thread.start()
    begun.wait(30)
    started = time.monotonic()
    database.close()
    took_s = time.monotonic() - started
    end.set()
    thread.join(30)

    assert took_s < 5
    database._drop()


# -- reading alone


def test_a_reader_cannot_write(path: Path) -> None:
    fill(path, row(1))

    with (
        closing(open_read_only(path)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM rows")


def test_a_reader_sees_what_is_written_meanwhile(database: Database, path: Path) -> None:
    with closing(open_read_only(path)) as connection:
        database.write([row(1)])

        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (1,)


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (make_foreign, "another program's"),
        (make_newer, "of version 4, and this relayd knows versions up to 3"),
        (make_text, "no SQLite database"),
        (Path.touch, "another program's"),
        (Path.mkdir, "not a regular file"),
        (lambda _: None, "there is no ledger at"),
    ],
)
def test_a_reader_refuses_what_is_not_this_versions_ledger(
    path: Path, make: Callable[[Path], None], cause: str
) -> None:
    make(path)

    with pytest.raises(LedgerError, match=cause):
        open_read_only(path)


def test_a_reader_is_told_why_it_cannot_read() -> None:
    with unprivileged() as directory:
        path = fill(directory / "relayd.db", row(1))
        path.chmod(0o000)

        with pytest.raises(LedgerError, match="cannot be opened"):
            open_read_only(path)


def test_the_mark_is_in_the_file_before_its_log_begins(database: Database, path: Path) -> None:
    schema.check_header(path.read_bytes()[: schema.HEADER_BYTES], "x")
