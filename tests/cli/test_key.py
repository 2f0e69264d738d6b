"""``relayd key new``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from relayd.cli.key import make_key, snippet
from relayd.cli.main import run
from relayd.config.load import load
from relayd.config.snapshot import Snapshot
from relayd.core.redact import redact

KEY = re.compile(r"rk_[A-Za-z0-9]{40}")


def test_a_new_key_is_printed_once_with_a_table_that_lets_it_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["key", "new", "voice-app"]) == 0

    out = capsys.readouterr().out
    (secret,) = KEY.findall(out)
    (tmp_path / "relayd.toml").write_text(out[out.index("[[keys]]") :])
    snapshot = Snapshot.of(load(tmp_path / "relayd.toml", environ={}))
    key = snapshot.key_for(secret)
    assert key is not None
    assert (key.name, key.enabled) == ("voice-app", True)


def test_the_table_does_not_hold_the_key() -> None:
    secret = make_key()

    table = snippet("a", secret)

    assert secret not in table
    assert tomllib.loads(table)["keys"][0].keys() == {"name", "secret"}


def test_no_two_keys_are_alike_and_all_are_known_as_secrets() -> None:
    keys = {make_key() for _ in range(100)}

    assert len(keys) == 100
    assert all(KEY.fullmatch(key) and redact(key) == "[redacted]" for key in keys)


@pytest.mark.parametrize("name", ["", "two words", "a\nb", '"', "-a", "a" * 65])
def test_a_name_the_configuration_would_refuse_is_wrong_usage(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["key", "new", "--", name]) == 64

    out, err = capsys.readouterr()
    assert out == ""
    assert "expected a name" in err


def test_a_missing_name_is_wrong_usage() -> None:
    assert run(["key", "new"]) == 64
    assert run(["key"]) == 64
