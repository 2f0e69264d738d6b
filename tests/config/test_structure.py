"""From TOML's tables to frozen values, with every mistake noted on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from relayd.config.files import Surroundings
from relayd.config.schema import AccountSettings, KeySettings, LimitSettings, ServerSettings
from relayd.config.structure import TABLES, TableReader, unknown


@pytest.fixture
def reader() -> TableReader:
    return TableReader(Surroundings(environ={}, directory=Path("/nonexistent")))


def paths(reader: TableReader) -> list[str]:
    return [mistake.path for mistake in reader.mistakes]


def test_a_sound_table_is_read(reader: TableReader) -> None:
    assert reader.table(LimitSettings, {"stall_s": 1}, "limits") == LimitSettings(stall_s=1.0)
    assert paths(reader) == []


def test_every_table_that_is_mistaken_through_and_through_still_has_a_value(
    reader: TableReader,
) -> None:
    for table in TABLES[2:]:
        assert isinstance(reader.table(table, "nonsense", "there"), table)
        assert isinstance(reader.table(table, {"nonsense": 1}, "there"), table)


def test_the_sound_part_of_a_table_is_kept(reader: TableReader) -> None:
    raw = {"name": "a b", "weight": 7, "priority": "x", "timeouts": {"idle_s": 0}}

    account = reader.table(AccountSettings, raw, "accounts[3]")

    assert account.weight == 7
    assert sorted(paths(reader)) == [
        "accounts[3].name",
        "accounts[3].priority",
        "accounts[3].provider",
        "accounts[3].timeouts.idle_s",
    ]


def test_mistakes_of_inner_tables_have_whole_paths(reader: TableReader) -> None:
    reader.table(ServerSettings, {"tls": {"certificate": 3, "other": 1}}, "server")

    assert set(paths(reader)) == {
        "server.tls.certificate",
        "server.tls.private_key",
        "server.tls.other",
    }


def test_an_array_of_tables_is_numbered(reader: TableReader) -> None:
    keys = reader.tables(KeySettings, [{"name": "a"}, 3, {"name": ""}], "keys")

    assert [key.name for key in keys] == ["a", "unnamed", "unnamed"]
    assert paths(reader) == ["keys[1]", "keys[2].name"]


def test_what_is_missing_outside_matters_only_where_it_is_enabled(reader: TableReader) -> None:
    raw = {"name": "a", "secret": "ENV:NOPE"}

    reader.tables(KeySettings, [raw, raw | {"enabled": False}, raw | {"enabled": 0}], "keys")

    assert paths(reader) == ["keys[0].secret", "keys[2].enabled", "keys[2].secret"]


def test_an_unknown_setting_is_answered_with_the_nearest_or_with_all() -> None:
    names = ("name", "enabled", "secret")
    (near,), (far,) = unknown("nme", names).mistakes, unknown("x", names).mistakes

    assert near.message == 'unknown setting; did you mean "name"?'
    assert far.message == "unknown setting; known here: name, enabled, secret"
