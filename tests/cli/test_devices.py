"""``relayd devices``."""

from __future__ import annotations

import json

import pytest

from relayd.cli import devices
from tests.cli.conftest import Ops
from tests.service.admin.desk import LAMP, PlayedDesk

ONE, OTHER = "24:0a:c4:00:00:01", "24:0a:c4:00:00:02"
HEAD = "device tenant key account state age turns heard spoken hello lost tools client session"
RESULT = b'{"result":{"content":[{"type":"text","text":"on\\nat 40 %\\u001b[2J"}]}}'


@pytest.fixture
def desk(ops: Ops) -> PlayedDesk:
    assert ops.stage.desk is not None
    return ops.stage.desk


async def test_a_pipe_gets_every_column(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.device(ONE)
    desk.device(OTHER, tenant="other", account="", hello_ms=None, losses=2, has_tools=False)

    assert await ops.run("devices") == 0

    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert " ".join(lines[0]) == HEAD
    assert " ".join(lines[1]) == (
        f"{ONE} team devices kitchen idle 1m00s 2 3.1s 12.5s 190 ms 0 yes 192.0.2.7 sess_1"
    )
    assert lines[2][1:5] == ["other", "devices", "-", "idle"]
    assert lines[2][-5:] == ["-", "2", "no", "192.0.2.7", "sess_2"]
    assert err == ""


async def test_a_program_gets_objects_of_all_pages_of_one_tenant(
    ops: Ops,
    desk: PlayedDesk,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "LIMIT_MAX", 1)
    for number, tenant in enumerate(["team", "other", "team"]):
        desk.device(f"d{number}", tenant=tenant)

    assert await ops.run("devices", "--tenant", "team", "--json") == 0

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["device_id"] for each in found] == ["d0", "d2"]


async def test_where_none_is_it_says_why(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    assert await ops.run("devices") == 0
    assert capsys.readouterr().out.startswith("no device is here")


@pytest.mark.parametrize(
    ("verb", "said", "told"),
    [("kick", "kill", "sess_1 ends"), ("reboot", "reboot", "was told to start anew")],
)
async def test_a_device_is_kicked_or_rebooted(
    ops: Ops,
    desk: PlayedDesk,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    said: str,
    told: str,
) -> None:
    device, other = desk.device(ONE), desk.device(OTHER)

    assert await ops.run("devices", verb, ONE) == 0

    assert (device.said, other.said) == ([said], [])
    out = capsys.readouterr().out
    assert out.startswith(ONE)
    assert told in out


async def test_a_message_is_shown_on_one_device(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    device, other = desk.device(ONE), desk.device(OTHER)

    assert await ops.run("devices", "alert", ONE, "Dinner", "--emotion", "happy") == 0

    assert (device.said, other.said) == (["alert Alert: Dinner (happy)"], [])
    assert capsys.readouterr().out == f"{ONE} was told\n"


async def test_a_message_is_shown_on_all_of_a_tenant(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    device, deaf, foreign = desk.device(ONE), desk.device(OTHER), desk.device("d", tenant="other")
    deaf.busy = True

    assert await ops.run("devices", "--tenant", "team", "alert", "Dinner", "--all") == 0

    assert (len(device.said), len(deaf.said), len(foreign.said)) == (1, 0, 0)
    assert capsys.readouterr().out == "1 device told; 1 could not be\n"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--all",),
        ("Dinner",),
        (ONE, "Dinner", "--all"),
        (ONE, "Dinner", "is"),
        ("--all", "a", "b"),
    ],
)
async def test_whom_a_message_is_for_has_to_be_said(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    device = desk.device(ONE)

    assert await ops.run("devices", "alert", *words) == 64
    assert device.said == []
    assert "DEVICE MESSAGE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("kick", OTHER),
        ("reboot", OTHER),
        ("alert", OTHER, "Dinner"),
        ("tools", OTHER),
        ("call", OTHER, "self.lamp"),
    ],
)
async def test_a_device_that_is_not_here_is_a_wrong_argument_with_a_hint(
    ops: Ops,
    desk: PlayedDesk,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    desk.device(ONE)

    assert await ops.run("devices", *arguments) == 64

    err = capsys.readouterr().err
    assert f"there is no device {OTHER}" in err
    assert f'did you mean "{ONE}"' in err


async def test_what_a_device_cannot_do_now_is_said(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.device(ONE).busy = True

    assert await ops.run("devices", "reboot", ONE) == 69
    assert "does not read" in capsys.readouterr().err


# -- tools


async def test_tools_are_listed_with_what_they_are_for(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.device(ONE).tools = [LAMP, b'{"name":"self.long","description":"One.\\nTwo."}', b"5"]

    assert await ops.run("devices", "tools", ONE) == 0
    assert capsys.readouterr().out.splitlines() == [
        "self.lamp  Light.",
        "self.long  One.",
        "-          cannot be read; see --json",
    ]

    assert await ops.run("devices", "tools", ONE, "--json") == 0
    assert capsys.readouterr().out.splitlines()[0] == LAMP.decode()


async def test_a_device_without_tools_has_none(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.device(ONE).tools = []

    assert await ops.run("devices", "tools", ONE) == 0
    assert capsys.readouterr().out == f"{ONE} has no tools\n"


async def test_a_tool_is_called_and_its_text_shown_harmlessly(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.device(ONE).answer = RESULT

    assert await ops.run("devices", "call", ONE, "self.lamp", '{"on": true}') == 0

    ((tool, arguments),) = desk.called
    assert (tool, json.loads(arguments)) == ("self.lamp", {"on": True})
    assert capsys.readouterr().out.splitlines() == ["on", "at 40 %\N{REPLACEMENT CHARACTER}[2J"]


async def test_a_program_gets_the_whole_answer(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.device(ONE).answer = RESULT

    assert await ops.run("devices", "call", ONE, "self.lamp", "--json") == 0

    answer = json.loads(capsys.readouterr().out)
    assert (answer["tool"], answer["error"]) == ("self.lamp", None)
    assert answer["result"] == json.loads(RESULT)["result"]


async def test_a_result_with_more_than_text_is_shown_as_it_is(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.device(ONE).answer = b'{"result":{"content":[{"type":"image","data":"aGk="}]}}'

    assert await ops.run("devices", "call", ONE, "self.lamp") == 0
    assert json.loads(capsys.readouterr().out)["content"][0]["type"] == "image"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b'{"error":{"code":-32602,"message":"no such value"}}', "no such value"),
        (b'{"result":{"isError":true,"content":[]}}', "says that it failed"),
        (b'{"error":{"code":-32001,"message":"late"}}', "did not answer in time"),
    ],
)
async def test_a_call_that_came_to_nothing_has_its_exit_code(
    ops: Ops,
    desk: PlayedDesk,
    capsys: pytest.CaptureFixture[str],
    answer: bytes,
    told: str,
) -> None:
    desk.device(ONE).answer = answer

    assert await ops.run("devices", "call", ONE, "self.lamp") == 69
    assert told in capsys.readouterr().err


async def test_a_tool_that_may_not_be_called_says_what_would_allow_it(
    ops: Ops, desk: PlayedDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.device(ONE)

    assert await ops.run("devices", "call", ONE, "self.reboot") == 69
    assert "xiaozhi.tools_allowed" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["[1]", "canary", "", "[" * 5000])
async def test_arguments_are_one_object(ops: Ops, desk: PlayedDesk, arguments: str) -> None:
    desk.device(ONE)

    assert await ops.run("devices", "call", ONE, "self.lamp", arguments) == 64
    assert desk.called == []
