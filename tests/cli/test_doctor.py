"""``relayd doctor``."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.cli.main import run

SIMULATED = """
[[accounts]]
name = "talk"
provider = "sim:realtime"
[[accounts]]
name = "echo"
provider = "sim:passthrough"
[[accounts]]
name = "asleep"
provider = "sim:passthrough"
enabled = false
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "relayd.toml"
    path.write_text(SIMULATED)
    monkeypatch.setenv("RELAYD_CONFIG", str(path))
    return path


@pytest.fixture
def broken(config: Path) -> Iterator[Path]:
    """The same, with an account at a port where nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        config.write_text(
            f'{SIMULATED}[[accounts]]\nname = "dead"\nprovider = "compatible"\n'
            f'base_url = "http://127.0.0.1:{port}/v1"\napi_key = "canary-of-upstream"\n'
        )
        yield config


@pytest.mark.usefixtures("config")
def test_every_enabled_account_is_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0

    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert err == ""
    assert lines[0] == ["account", "step", "result", "time", "found"]
    assert {line[0] for line in lines[1:]} == {"talk", "echo"}
    assert [line[1] for line in lines[1:7]] == [
        "name",
        "dial",
        "tls",
        "clock",
        "key",
        "first_frame",
    ]
    assert {line[2] for line in lines[1:]} == {"ok", "skipped"}


@pytest.mark.usefixtures("broken")
def test_one_that_does_not_work_exits_69_and_says_what_helps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["doctor"]) == 69

    out = capsys.readouterr().out
    assert "nothing listens there: check the port in base_url" in out
    assert "canary" not in out


@pytest.mark.usefixtures("broken")
def test_only_those_that_are_named_are_tried_even_if_disabled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["doctor", "asleep", "echo", "--json"]) == 0

    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["account"] for each in objects] == ["echo", "asleep"]
    assert all(each["ok"] for each in objects)
    assert list(objects[0]["steps"][1]) == ["step", "result", "message", "remedy", "duration_ms"]
    assert objects[0]["steps"][1]["step"] == "dial"


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    ("name", "words"), [("tolk", 'did you mean "talk"?'), ("zzz", "known: talk, echo, asleep")]
)
def test_a_name_that_is_not_there_exits_64(
    capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    assert run(["doctor", name]) == 64
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("text", "code"), [("typo = 1\n", 78), ("", 69)])
def test_what_cannot_be_tried_exits_with_why(
    config: Path, capsys: pytest.CaptureFixture[str], text: str, code: int
) -> None:
    config.write_text(text)

    assert run(["doctor"]) == code

    out, err = capsys.readouterr()
    assert out == ""
    assert ("typo" if text else "no account is enabled") in err


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_terminal_gets_marks_and_remedies(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    for name, value in (("TERM", "dumb"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    if encoding == "ascii":
        monkeypatch.setattr("rich.console.ConsoleOptions.ascii_only", property(lambda _: True))

    assert run(["doctor", "talk", "dead"]) == 69

    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.splitlines()[0].startswith("talk  http://127.0.0.1:")
    marks = ("✓", "✗", "→") if encoding == "utf-8" else ("+", "x", "->")
    assert f"{marks[0]}  key" in out
    assert f"{marks[1]}  dial" in out
    assert f"{marks[2]} nothing listens there" in out
    assert out.isascii() is (encoding == "ascii")
