"""The ledger's tables and how older ones are brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from relayd.ledger import schema
from relayd.ledger.errors import LedgerError
from relayd.ledger.rows import Row
from tests.ledger.filled import row

STORED = (Path(__file__).parent / "data" / "version_1.sql").read_text(encoding="utf-8")
COLUMNS = [field.name for field in attrs.fields(Row)]


def connect(path: Path | str = ":memory:") -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(connect()) as made:
        yield made


@pytest.fixture
def older() -> Iterator[sqlite3.Connection]:
    """A ledger of version 1."""
    with closing(connect()) as made:
        made.executescript(STORED)
        yield made


def structure(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name")
    return [(name, " ".join((sql or "").split())) for name, sql in found]


def test_a_new_ledger_has_a_column_for_every_field_and_no_other(
    connection: sqlite3.Connection,
) -> None:
    schema.migrate(connection, "x")

    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(rows)")}

    assert columns == set(COLUMNS)
    assert schema.version_of(connection, "x") == schema.VERSION == 3
    assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)


def test_the_rows_of_an_older_file_survive(older: sqlite3.Connection) -> None:
    before = [dict(zip(COLUMNS_1, found, strict=True)) for found in older.execute(ALL_1)]

    schema.migrate(older, "x")

    after = [
        dict(zip(COLUMNS, found, strict=True))
        for found in older.execute(f"SELECT {quoted(COLUMNS)} FROM rows ORDER BY ended_at")
    ]
    assert len(after) == 4
    assert after == [found | dict.fromkeys(LATER) for found in before]
    assert schema.version_of(older, "x") == schema.VERSION


def test_an_older_file_becomes_what_a_new_one_is(
    older: sqlite3.Connection, connection: sqlite3.Connection
) -> None:
    schema.migrate(older, "x")
    schema.migrate(connection, "x")

    assert structure(older) == structure(connection)


def test_an_older_file_takes_new_rows(older: sqlite3.Connection) -> None:
    schema.migrate(older, "x")

    older.execute(schema.insert(1), schema.values([row(1, tag="night")]))

    assert older.execute("SELECT tag FROM rows WHERE tag NOT NULL").fetchall() == [("night",)]


def test_the_first_step_is_the_one_that_was_released(
    older: sqlite3.Connection, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "VERSION", 1)

    schema.migrate(connection, "x")

    assert structure(connection) == structure(older)


def test_migrating_again_changes_nothing(connection: sqlite3.Connection) -> None:
    schema.migrate(connection, "x")
    changes = connection.total_changes, structure(connection)

    schema.migrate(connection, "x")

    assert (connection.total_changes, structure(connection)) == changes


@pytest.mark.parametrize("version", [4, 2**31 - 1, -1])
def test_an_unknown_version_is_refused_and_left_alone(
    older: sqlite3.Connection, version: int
) -> None:
    older.execute(f"PRAGMA user_version = {version}")
    before = structure(older)

    with pytest.raises(LedgerError, match=rf"^x .* version {version}, .* up to 3; run the newer"):
        schema.migrate(older, "x")

    assert structure(older) == before


def test_a_step_that_fails_is_undone_and_those_before_it_stay(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = ("CREATE TABLE half (x)", "CREATE TABLE rows (x)")
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, failing))
    monkeypatch.setattr(schema, "VERSION", 4)

    with pytest.raises(sqlite3.OperationalError, match="rows already exists"):
        schema.migrate(connection, "x")

    assert "half" not in dict(structure(connection))
    assert schema.version_of(connection, "x") == 3
    assert not connection.in_transaction


def test_each_step_is_taken_once_though_several_processes_come(tmp_path: Path) -> None:
    path = tmp_path / "x.db"

    def come(_: int) -> int:
        with closing(connect(path)) as connection:
            schema.migrate(connection, "x")
            return schema.version_of(connection, "x")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(come, range(8))) == [3] * 8


def header(path: Path) -> bytes:
    return path.read_bytes()[: schema.HEADER_BYTES]


def test_a_ledger_is_known_by_its_header(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "x.db")) as connection:
        schema.migrate(connection, "x")

    schema.check_header(header(tmp_path / "x.db"), "x")
    schema.check_header(b"", "an empty file may become one")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "x.db")) as connection:
        connection.execute("CREATE TABLE rows (x)")

    with pytest.raises(LedgerError, match="x is a database of another program's; it was left"):
        schema.check_header(header(tmp_path / "x.db"), "x")


@pytest.mark.parametrize("content", [b"\0", b"SQLite format 3\0", b"# a letter\n" * 20])
def test_what_is_no_database_is_refused(content: bytes) -> None:
    with pytest.raises(LedgerError, match="x is not a ledger, nor any SQLite database"):
        schema.check_header(content[: schema.HEADER_BYTES], "x")


def test_several_rows_go_into_one_statement(connection: sqlite3.Connection) -> None:
    schema.migrate(connection, "x")
    rows = [row(number, cost_nano=number) for number in range(3)]

    connection.execute(schema.insert(3), schema.values(rows))

    found = connection.execute(f"SELECT {quoted(COLUMNS)} FROM rows ORDER BY cost_nano").fetchall()
    assert [Row(**dict(zip(COLUMNS, each, strict=True))) for each in found] == rows


def test_what_a_key_spent_is_summed_in_the_index_alone(connection: sqlite3.Connection) -> None:
    schema.migrate(connection, "x")

    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT sum(cost_nano) FROM rows WHERE \"key\" = 'k' AND ended_at >= 1"
    ).fetchall()

    assert "COVERING INDEX rows_by_key" in plan[0][3]


def quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


LATER = {"upstream_model", "tag", "audio_in_s", "audio_out_s", "hello_ms", "stt_ms"}
COLUMNS_1 = [name for name in COLUMNS if name not in LATER]
ALL_1 = f"SELECT {quoted(COLUMNS_1)} FROM rows ORDER BY ended_at"
