"""``relayd sessions``."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest

from relayd.cli import sessions
from relayd.core.endings import Reason
from tests.cli.conftest import Ops

STYLE = re.compile("\x1b\\[[0-9;]*m")


def fill(ops: Ops) -> None:
    stage = ops.stage
    busy = stage.session(1, began_at=0.0)
    busy.conversation.busy, busy.reporter.turns = True, 1234
    busy.reporter.meter.tokens_in, busy.reporter.meter.cost_usd = 34_500, Decimal("1.25")
    stage.session(2, began_at=0.0, key="ops", model="gpt\x1b[31m").leaving = Reason.DRAIN
    last = stage.session(3, began_at=0.0, account="echo", dialect="passthrough", model=None)
    last.reporter.meter.cost_usd = None


async def test_a_pipe_gets_every_column(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    fill(ops)

    assert await ops.run("sessions") == 0

    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert lines[0].split("  ")[0] == "session"
    head = "session dialect key tenant account model client age turns state"
    assert lines[0].split()[:10] == head.split()
    first = lines[1].split()
    assert first[:7] == ["sess_1", "realtime", "dev", "team", "talk", "gpt-realtime", "192.0.2.7"]
    assert first[7][-1] in "smh", "its age"
    assert first[8:10] == ["1,234", "busy"]
    assert lines[1].split()[-3:] == ["34.5k", "0", "$1.2500"]
    assert "drain" in lines[2]
    assert "gpt\N{REPLACEMENT CHARACTER}[31m" in lines[2]
    assert lines[3].split()[5] == "-"
    assert lines[3].endswith("unpriced")
    assert len(lines) == 4


async def test_a_session_without_an_account_of_its_own_has_a_dash(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    ops.stage.session(1, dialect="responses", account="", model=None)

    assert await ops.run("sessions") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:6] == [
        "sess_1",
        "responses",
        "dev",
        "team",
        "-",
        "-",
    ]
    assert await ops.run("sessions", "--json") == 0
    assert json.loads(capsys.readouterr().out)["account"] is None


async def test_a_program_gets_objects(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    fill(ops)

    assert await ops.run("sessions", "--json") == 0

    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["session_id"] for each in objects] == ["sess_1", "sess_2", "sess_3"]
    assert (objects[0]["cost_usd"], objects[2]["cost_usd"]) == (1.25, None)


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["--key", "ops"], [2]),
        (["--account", "echo"], [3]),
        (["--dialect", "realtime"], [1, 2]),
        (["--dialect", "realtime", "--key", "dev"], [1]),
        (["--key", "nobody"], []),
    ],
)
async def test_filters_are_passed_on(
    ops: Ops, capsys: pytest.CaptureFixture[str], arguments: list[str], numbers: list[int]
) -> None:
    fill(ops)

    assert await ops.run("sessions", "--json", *arguments) == 0

    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["session_id"] for each in objects] == [f"sess_{n}" for n in numbers]


@pytest.mark.parametrize(
    ("limit", "shown", "noted"),
    [("0", 10, False), ("10", 10, False), ("7", 7, True), ("1", 1, True)],
)
async def test_pages_are_put_together_up_to_the_limit(
    ops: Ops,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    shown: int,
    noted: bool,
) -> None:
    monkeypatch.setattr(sessions, "LIMIT_MAX", 3)
    for number in range(10):
        ops.stage.session(number, began_at=float(number))

    assert await ops.run("sessions", "--limit", limit) == 0

    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("sess_") for line in lines) == shown
    assert (lines[-1] == f"the first {shown}; 10 run in all: --limit 0 shows them") is noted


async def test_nothing_is_said_in_words_to_people_alone(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ops.run("sessions") == 0
    assert capsys.readouterr().out == "no session runs\n"
    assert await ops.run("sessions", "--json") == 0
    assert capsys.readouterr().out == ""
    fill(ops)
    assert await ops.run("sessions", "--key", "nobody") == 0
    assert capsys.readouterr().out == "no session fits, of 3\n"


@pytest.mark.parametrize("width", [80, 120])
async def test_a_terminal_gets_what_fits(
    ops: Ops,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
) -> None:
    for name, value in (("TERM", "xterm"), ("COLUMNS", str(width)), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    ops.stage.session(10**23, began_at=0.0, account="openai-main")

    assert await ops.run("sessions") == 0

    lines = STYLE.sub("", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert f"sess_{10**23}" in text, "an id is never cut"
    assert ("192.0.2.7" in text) is (width == 120)


@pytest.mark.parametrize("arguments", [["--limit", "-1"], ["--dialect", "x"], ["extra"]])
async def test_wrong_usage_exits_64(ops: Ops, arguments: list[str]) -> None:
    assert await ops.run("sessions", *arguments) == 64
