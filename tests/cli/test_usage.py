"""``relayd usage``."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from relayd.cli.main import run
from relayd.ledger import report
from tests.ledger.filled import at, fill, row

STYLE = re.compile("\x1b\\[[0-9;?]*[a-zA-Z]")
NOW = at("2026-11-21T14:30")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayd.cli.usage.time.time", lambda: NOW)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose ledger is ``relayd.db`` in the state directory, not there yet."""
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("RELAYD_CONFIG", str(tmp_path / "relayd.toml"))
    path = tmp_path / "relayd.toml"
    path.write_text('[ledger]\nurl = "sqlite:relayd.db"\n')
    return path


@pytest.fixture
def ledger(config: Path) -> Path:
    """Three rows of November, one of October."""
    return fill(
        config.parent / "state" / "relayd.db",
        row(1, "2026-11-01", cost_nano=2_000_000_000),
        row(2, "2026-11-20T12:00", key="ops", cost_nano=500_000_000, tag="x"),
        row(3, "2026-11-21T14:00", key="ops", model=None, cost_nano=None, estimated=True),
        row(4, "2026-10-31T23:59", key="old", cost_nano=1),
    )


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What is printed."""
    assert run(["usage", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return list(out.splitlines())


def groups(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(capsys, "--json", *arguments)]


@pytest.mark.usefixtures("ledger")
def test_the_default_is_this_month_by_key_and_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys) == [
        "key    model         sessions  turns  in  out        cost",
        "dev    gpt-realtime         1      1  10    3   $2.0000",
        "ops    gpt-realtime         1      1  10    3   $0.5000",
        "ops    -                    1      1  10    3  unpriced~",
        "total                       3      3  30    9   $2.5000+~",
        "+ 1 row has no price: add it to prices.toml",
        "~ 1 row has estimated numbers: the upstream reported none",
    ]


def test_the_prices_file_is_called_as_it_is(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "rates.toml").write_text("")
    config.write_text(config.read_text() + 'prices = "rates.toml"\n')

    assert "add it to rates.toml" in "\n".join(lines(capsys))


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        ([], ["dev", "ops"]),
        (["--since", "2026-10-01"], ["dev", "ops", "old"]),
        (["--since", "today"], ["ops"]),
        (["--since", "1h"], ["ops"]),
        (["--since", "2026-11-20T12:00Z", "--until", "2026-11-20T12:01Z"], ["ops"]),
        (["--since", "2026-11-20T12:00:01Z"], ["ops"]),
        (["--until", "2026-11-01"], ["dev"]),
        (["--until", "2026-10-31"], ["old"]),
        (["--until", "7d"], ["dev"]),
        (["--since", "2026-10-31", "--until", "2026-10-31"], ["old"]),
    ],
)
def test_a_time_is_chosen(
    arguments: list[str], keys: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = groups(capsys, "--by", "key", *arguments)

    assert [group["key"] for group in found] == keys


@pytest.mark.usefixtures("ledger")
def test_columns_are_named_in_the_order_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    first = groups(capsys, "--by", "day, tag,key")[0]

    assert list(first)[:4] == ["day", "tag", "key", "turns"]
    assert (first["day"], first["tag"], first["cost_usd"]) == ("2026-11-01", None, 2)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "dialekt"], 'did you mean "dialect"?'),
        (["--by", "zzz"], "known: key, tenant, account, model, dialect, day, tag"),
        (["--by", ""], '"" is no column'),
        (["--by", "key,"], '"" is no column'),
        (["--by", "key,day,key"], '"key" is there more than once'),
        (["--since", "soon"], "--since: expected a date"),
        (["--until", "2026-02-30"], "--until: 2026-02-30: there is no such date"),
        (["--since", "2026-11-03", "--until", "2026-11-01"], "later than --until"),
        (["--since", "2026-12-01"], "later than now"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_says_what_is_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["usage", *arguments]) == 64

    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_an_empty_ledger_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = fill(config.parent / "state" / "relayd.db")

    assert lines(capsys) == [f"{ledger}: nothing is recorded yet"]


def test_a_time_without_usage_says_when_there_was_some(
    ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines(capsys, "--until", "2026-09-30") == [
        f"{ledger}: nothing was used 2026-09-01 to 2026-09-30 UTC; the newest row is of 2026-11-21"
    ]


@pytest.mark.usefixtures("ledger")
def test_a_program_gets_objects_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["usage", "--json", "--until", "2026-09-30"]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing was used" in err


def test_a_missing_ledger_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["usage"]) == 69

    err = capsys.readouterr().err
    assert f"there is no ledger at {config.parent / 'state' / 'relayd.db'}" in err
    assert "STATE_DIRECTORY" in err


def test_a_ledger_in_memory_cannot_be_seen_from_here(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[ledger]\nurl = "sqlite::memory:"\n')

    assert run(["usage"]) == 69
    assert "kept in memory" in capsys.readouterr().err


def test_a_file_that_is_no_ledger_is_unavailable(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = config.parent / "state" / "relayd.db"
    ledger.write_bytes(b"not a database" * 100)

    assert run(["usage"]) == 69
    assert str(ledger) in capsys.readouterr().err


@pytest.mark.usefixtures("ledger")
def test_too_many_groups_are_unavailable_and_say_what_helps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "LINES_MAX", 1)

    assert run(["usage"]) == 69
    assert "fewer columns" in capsys.readouterr().err


def test_a_mistaken_configuration_is_told_on_standard_error(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("[ledger]\ntypo = 1\n")

    assert run(["usage"]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{config}: ledger.typo: " in err


@pytest.mark.usefixtures("ledger")
def test_the_secrets_of_the_service_are_not_needed(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text() + '[[keys]]\nname = "a"\nsecret = "ENV:NOT_SET"\n')

    assert [group["key"] for group in groups(capsys, "--by", "key")] == ["dev", "ops"]


def test_a_ledger_is_named_without_any_configuration(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = ledger.rename(config.with_name("copy.db"))
    config.unlink()

    found = groups(capsys, "--ledger", str(elsewhere), "--by", "key")
    assert [group["key"] for group in found] == ["dev", "ops"]
    assert run(["usage", "--ledger", str(ledger)]) == 69
    assert f"there is no ledger at {ledger}" in capsys.readouterr().err


def test_help_says_that_rows_of_a_later_time_are_shown_too(
    ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(ledger, row(5, "2026-12-24", key="later"))

    assert [group["key"] for group in groups(capsys, "--by", "key")][-1] == "later"
    assert run(["usage", "--help"]) == 0
    assert "Default: all that is there." in capsys.readouterr().out


@pytest.mark.usefixtures("ledger")
def test_a_terminal_gets_a_table_with_colours_and_bars(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)

    styled = "\n".join(lines(capsys))

    text = STYLE.sub("", styled)
    assert STYLE.search(styled)
    assert text.startswith("Tokens and cost since 2026-11-01 UTC\n")
    assert "$2.0000" in text
    assert "█" * 20 in text


@pytest.mark.usefixtures("ledger")
def test_a_person_is_told_that_it_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")

    assert run(["usage", "--json"]) == 0

    out, err = capsys.readouterr()
    assert all(json.loads(line) for line in out.splitlines())
    assert "Reading" in err


@pytest.mark.usefixtures("ledger")
def test_a_reader_may_have_seen_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)

        assert run(["usage"]) == 0
