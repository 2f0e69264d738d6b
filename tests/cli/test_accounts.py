"""``relayd accounts``."""

from __future__ import annotations

import json

import pytest
import trio

from relayd.cli import accounts
from relayd.cli.main import run
from relayd.routing.classify import Failure, FailureKind
from relayd.routing.roster import Seat
from relayd.session.attempts import AttemptFailed
from tests.cli.conftest import Ops

FATAL = Failure(FailureKind.FATAL, "invalid_api_key", "the key is wrong")


def fail(ops: Ops, name: str, failure: Failure) -> None:
    standing = ops.stage.roster.standing(name)
    assert standing is not None
    with Seat(standing, trio.current_time()) as seat:
        seat.fail(failure, trio.current_time())


async def test_a_pipe_gets_every_account_in_order(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ops.run("accounts") == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["account", "talk", "echo", "asleep"]
    assert [line.split()[2] for line in lines] == ["state", "ready", "ready", "off"]
    assert [line.split()[3] for line in lines] == ["sessions", "0", "0/2", "0"]
    assert "realtime, responses" in lines[1]
    assert "passthrough" in lines[2]


async def test_a_disabled_account_says_why_and_what_helps(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(ops, "talk", FATAL)

    assert await ops.run("accounts") == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[2] == "disabled"
    assert "talk: invalid_api_key: the key is wrong" in lines
    assert "relayd doctor NAME" in lines[-1]


async def test_a_full_account_says_so(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    echo = ops.stage.roster.standing("echo")
    assert echo is not None
    with Seat(echo, trio.current_time()), Seat(echo, trio.current_time()):
        await ops.run("accounts")

    assert capsys.readouterr().out.splitlines()[2].split()[2:4] == ["full", "2/2"]


async def test_a_program_gets_objects_of_all_pages(
    ops: Ops, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "LIMIT_MAX", 1)

    assert await ops.run("accounts", "--json") == 0

    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["name"] for each in objects] == ["talk", "echo", "asleep"]


async def test_without_accounts_it_says_so(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    ops.stage.roster.update([])

    assert await ops.run("accounts") == 0
    assert capsys.readouterr().out == "no account is configured\n"


async def test_an_account_is_disabled_and_enabled(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ops.run("accounts", "disable", "talk") == 0
    assert capsys.readouterr().out == (
        "talk off*: it takes no new session until the next reload or restart\n"
    )
    assert await ops.run("accounts") == 0
    assert "* by an operator's word" in capsys.readouterr().out

    assert await ops.run("accounts", "enable", "talk") == 0
    assert capsys.readouterr().out == (
        "talk ready: it takes sessions\nconnected in 12 ms, its first frame took 5 ms more\n"
    )


async def test_an_account_that_does_not_work_yet_exits_69(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    ops.stage.connector.failures["talk"] = AttemptFailed(FATAL)

    assert await ops.run("accounts", "enable", "talk") == 69

    out, err = capsys.readouterr()
    assert out.startswith("talk disabled: ")
    assert err == "its probe failed: invalid_api_key: the key is wrong\n"


async def test_what_cannot_be_enabled_exits_69(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ops.run("accounts", "enable", "asleep") == 69
    assert "was not started" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"), [("tolk", 'did you mean "talk"?'), ("zzz", "known: talk, echo, asleep")]
)
@pytest.mark.parametrize("action", ["enable", "disable"])
async def test_a_name_that_is_not_there_exits_64(
    ops: Ops, capsys: pytest.CaptureFixture[str], action: str, name: str, words: str
) -> None:
    assert await ops.run("accounts", action, name) == 64
    assert words in capsys.readouterr().err


async def test_the_options_may_stand_before_the_action(ops: Ops) -> None:
    arguments = ["accounts", "--config", str(ops.config), "disable", "talk"]

    assert await trio.to_thread.run_sync(run, arguments) == 0
    talk = ops.stage.roster.standing("talk")
    assert talk is not None
    assert talk.account.enabled is False


async def test_a_terminal_gets_a_table(
    ops: Ops,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("TERM", "dumb"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    assert await ops.run("accounts") == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert await ops.run("accounts", "enable", "talk") == 0
    assert "talk ready: it takes sessions" in capsys.readouterr().out
