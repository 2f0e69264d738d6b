"""``relayd check``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relayd.cli.check import NAMES_SHOWN_MAX, summary
from relayd.cli.main import run
from relayd.config.schema import AccountSettings, KeySettings, ServerSettings, Settings, TlsSettings

STYLE = re.compile("\x1b\\[[0-9;]*m")

SOUND = """
[[keys]]
name = "dev"
secret = "canary-secret"
[[accounts]]
name = "echo"
provider = "sim:passthrough"
"""
PRICE = """
[[prices]]
models = ["a"]
date = 2026-11-01
source = "a list"
per_second = "0.1"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "relayd.toml"


def test_a_sound_configuration_is_summed_up(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(SOUND)

    assert run(["check", "--config", str(config)]) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"{config}: no mistakes",
        "listen    127.0.0.1:8765",
        "admin     unix:relayd-admin.sock",
        "keys      1 (dev)",
        "accounts  1 (echo)",
        "dialects  passthrough",
        "ledger    sqlite:relayd.db",
        "prices    none: no cost is known",
    ]


def test_the_prices_file_is_counted_and_named(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(SOUND + '[ledger]\nurl = "sqlite::memory:"\n')
    prices = config.with_name("prices.toml")
    prices.write_text(PRICE)

    assert run(["check", "--config", str(config)]) == 0

    assert capsys.readouterr().out.splitlines()[-2:] == [
        "ledger    sqlite::memory:",
        f"prices    1 ({prices})",
    ]


def test_a_budget_that_bears_no_response_is_a_note(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(SOUND.replace("[[accounts]]", 'budget_usd = "0.04"\n[[accounts]]'))
    price = PRICE.replace('per_second = "0.1"', 'per_million = { text_out = "10" }')
    config.with_name("prices.toml").write_text(price)

    assert run(["check", "--config", str(config)]) == 0

    assert capsys.readouterr().out.splitlines()[-1].startswith("note      key dev has a budget")


def test_mistakes_of_the_prices_file_are_told_with_those_of_the_configuration(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(SOUND + 'weight = "x"\n')
    prices = config.with_name("prices.toml")
    prices.write_text(PRICE + "per_request = 0.5\n")

    assert run(["check", "--config", str(config)]) == 78

    assert capsys.readouterr().out.splitlines() == [
        f'{config}: accounts[0].weight: expected an integer of at least 1, found "x"',
        f'{prices}: prices[0].per_request: expected a decimal in quotes such as "12.50",'
        ' at least 0, found 0.5; write it in quotes, as in "0.4"',
    ]


def test_every_mistake_is_a_line_with_its_path_and_the_exit_code_is_78(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(SOUND + 'weight = "x"\n[limits]\nstall_s = -1\n')

    assert run(["check", "--config", str(config)]) == 78

    assert capsys.readouterr().out.splitlines() == [
        f"{config}: limits.stall_s: expected a number of seconds above 0, found -1",
        f'{config}: accounts[0].weight: expected an integer of at least 1, found "x"',
    ]


def test_the_configuration_may_be_named_by_the_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("typo = 1")
    monkeypatch.setenv("RELAYD_CONFIG", str(config))

    assert run(["check"]) == 78


def test_a_configuration_that_is_not_there_is_a_mistake(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", "--config", str(config)]) == 78

    assert capsys.readouterr().out == (
        f"{config}: cannot read the file: No such file or directory\n"
    )


@pytest.mark.parametrize("text", [SOUND, SOUND + "typo = 1\n", "[ledger]\nprices = 'b.toml'\n"])
def test_a_terminal_is_told_the_same(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    config.write_text(text)
    config.with_name("b.toml").write_text(PRICE + "typo = 1\n")
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    code = run(["check", "--config", str(config)])
    plain = capsys.readouterr().out

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    assert run(["check", "--config", str(config)]) == code
    styled = capsys.readouterr().out
    assert STYLE.search(styled)
    assert STYLE.sub("", styled).split() == plain.split()


def test_no_secret_is_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (SOUND, SOUND + SOUND):
        config.write_text(text)
        run(["check", "--config", str(config)])

    assert "canary" not in "".join(capsys.readouterr())


def test_the_summary_says_what_is_missing() -> None:
    lines = dict(summary(Settings()))

    assert "nobody can come in" in lines["keys"]
    assert "nowhere to go" in lines["accounts"]
    assert lines["dialects"] == "none"


def test_the_summary_counts_what_it_does_not_name() -> None:
    names = [f"k{index}" for index in range(NAMES_SHOWN_MAX + 2)]
    keys = tuple(KeySettings(name=name) for name in names)
    account = AccountSettings(name="a", provider="openai", enabled=False)
    tls = TlsSettings(certificate="a", private_key="b")

    lines = dict(summary(Settings(server=ServerSettings(tls=tls), keys=keys, accounts=(account,))))

    assert lines["keys"] == "10 (k0, k1, k2, k3, k4, k5, k6, k7, and 2 more)"
    assert lines["accounts"] == "0, 1 disabled"
    assert lines["listen"] == "127.0.0.1:8765 (TLS)"
