"""Where relayd keeps things."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from relayd.config.files import Surroundings
from relayd.config.mistakes import Unavailable, Wrong
from relayd.config.storage import (
    LEDGER_URL,
    STATE_URL,
    LedgerSettings,
    PricesFile,
    StateSettings,
    StorageUrl,
    parse_ledger_url,
)


def around(directory: Path) -> Surroundings:
    return Surroundings(environ={}, directory=directory)


def test_the_defaults() -> None:
    assert attrs.asdict(StateSettings()) == {"url": "memory:", "on_failure": "open"}
    assert attrs.asdict(LedgerSettings()) == {
        "url": "sqlite:relayd.db",
        "prices": None,
        "on_failure": "refuse",
    }


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:relayd.db", "relayd.db"),
        ("sqlite:/var/lib/relayd/relayd.db", "/var/lib/relayd/relayd.db"),
        ("sqlite:a:b c", "a:b c"),
        ("sqlite::memory:", None),
    ],
)
def test_a_ledger_is_a_file_or_in_memory(url: str, path: str | None) -> None:
    assert parse_ledger_url(url) == path


@pytest.mark.parametrize(
    ("rule", "url", "message"),
    [
        (STATE_URL, "redis://:canary@host:6379/0", "not in this version"),
        (STATE_URL, "rediss://canary", "not in this version"),
        (STATE_URL, "valkey://canary", "not in this version"),
        (STATE_URL, "memory:canary", 'expected "memory:"'),
        (STATE_URL, "", 'expected "memory:"'),
        (STATE_URL, ["canary"], "found a list"),
        (LEDGER_URL, "postgresql://u:canary@host/db", "not in this version"),
        (LEDGER_URL, "postgres://u:canary@host/db", "not in this version"),
        (LEDGER_URL, "canary.db", 'expected "sqlite:path"'),
        (LEDGER_URL, "SQLITE:canary.db", 'expected "sqlite:path"'),
        (LEDGER_URL, "sqlite:", "the path of a file"),
        (LEDGER_URL, "sqlite:///canary.db", "the path of a file"),
        (LEDGER_URL, "sqlite::canary:", "the path of a file"),
        (LEDGER_URL, "sqlite:canary/", "the path of a file"),
        (LEDGER_URL, "sqlite:canary\0", "printable"),
        (LEDGER_URL, "sqlite:" + "a" * 1025, "at most 1024"),
        (LEDGER_URL, {"canary": 1}, "found a table"),
    ],
)
def test_another_url_is_refused_and_not_repeated(
    rule: StorageUrl, url: object, message: str
) -> None:
    with pytest.raises(Wrong, match=message) as caught:
        rule.read(url, around(Path("/nonexistent")))

    assert "canary" not in str(caught.value)


def test_the_prices_file_is_named_relative_to_the_configuration_or_absolutely(
    tmp_path: Path,
) -> None:
    (tmp_path / "p.toml").touch()

    assert PricesFile().read("p.toml", around(tmp_path)) == str(tmp_path / "p.toml")
    assert PricesFile().read(str(tmp_path / "p.toml"), around(Path("/"))) == f"{tmp_path}/p.toml"


@pytest.mark.parametrize("value", ["", 3, [], "a\nb"])
def test_what_is_no_path_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(Wrong, match="the path of a TOML file"):
        PricesFile().read(value, around(tmp_path))


@pytest.mark.parametrize("value", ["missing.toml", "."])
def test_a_prices_file_that_is_named_must_be_there(tmp_path: Path, value: str) -> None:
    with pytest.raises(Unavailable, match="cannot read"):
        PricesFile().read(value, around(tmp_path))
