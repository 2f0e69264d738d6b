"""``systemctl reload``: what the unit runs, run as systemd runs it, beside a relayd."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent
from tests.integration.conftest import CLIENT_S, Relayd
from tests.integration.stage import BIN, Stage

pytestmark = pytest.mark.slow

UNIT = Path(__file__).parents[2] / "systemd" / "relayd.service"
CONFIG = "/etc/relayd/relayd.toml"
SOUND = """[server]
listen = ["127.0.0.1:0"]
admin = "unix:admin.sock"
[ledger]
url = "sqlite::memory:"
"""
UNUSABLE = "[limits]\nstall_s = 0\n"
UNREADABLE = "[limits\n"


def exec_reload() -> list[str]:
    """The command of the unit, as systemd understands its lines, quotes and dollar signs."""
    joined = UNIT.read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ExecReload=(.*)$", joined, re.MULTILINE)
    return [word.replace("$$", "$") for word in shlex.split(line)]


@attrs.frozen
class Ended:
    """How ``systemctl reload`` ended."""

    status: int
    printed: str


@attrs.define
class Unit:
    """The service, and the manager that it notifies."""

    stage: Stage
    manager: socket.socket
    relayd: Relayd

    def write(self, text: str) -> None:
        self.stage.write(CONFIG, text)

    async def reload(self) -> Ended:
        with trio.fail_after(CLIENT_S):
            ended = await trio.run_process(
                [self.stage.real(word) for word in exec_reload()],
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
                env=self.stage.environ | {"MAINPID": str(self.relayd.process.pid)},
            )
        return Ended(ended.returncode, self.stage.shown(ended.stdout.decode()))

    def heard(self) -> list[str]:
        """The states that the manager was told of so far, without watchdog and status."""
        states = list[str]()
        while True:
            try:
                first = self.manager.recv(4096).decode().partition("\n")[0]
            except BlockingIOError:
                return states
            if first.startswith(("RELOADING=", "READY=")):
                states.append(first)

    def refused(self) -> list[Any]:
        return [line["path"] for line in self.relayd.of(LogEvent.CONFIG_REFUSED)]


@pytest.fixture
async def unit(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Unit]:
    places = {
        "/etc/relayd": str(tmp_path / "etc"),
        "/usr/bin/relayd": str(BIN / "relayd"),
    }
    stage = Stage(tmp_path, places)
    run = tmp_path / "run"
    run.mkdir()
    stage.environ |= {"RUNTIME_DIRECTORY": str(run), "NOTIFY_SOCKET": str(run / "notify")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(stage.environ["NOTIFY_SOCKET"])
        manager.setblocking(False)
        stage.write(CONFIG, SOUND)
        relayd = await stage.serve(f"relayd serve --config {CONFIG}", nursery)
        with trio.fail_after(CLIENT_S):
            await trio.lowlevel.wait_readable(manager)
        unit = Unit(stage, manager, relayd)
        assert unit.heard() == ["READY=1"]
        yield unit


async def test_a_sound_file_is_in_force_when_systemctl_returns(unit: Unit) -> None:
    unit.write(f'{SOUND}[log]\nlevel = "debug"\n')

    ended = await unit.reload()

    assert (ended.status, ended.printed.partition(" in ")[0]) == (0, "reloaded")
    assert unit.heard() == ["RELOADING=1", "READY=1"]
    await unit.relayd.logged(LogEvent.CONFIG_RELOADED)
    assert unit.refused() == []


async def test_a_mistake_fails_it_and_is_told_and_logged_once(unit: Unit) -> None:
    unit.write(SOUND + UNUSABLE)

    ended = await unit.reload()

    assert ended.status == 78
    assert ended.printed.startswith("limits.stall_s: ")
    assert unit.heard() == ["RELOADING=1", "READY=1"], "the service goes on"
    unit.write(SOUND)
    assert (await unit.reload()).status == 0
    await unit.relayd.logged(LogEvent.CONFIG_RELOADED)
    assert unit.refused() == ["limits.stall_s"]


async def test_of_a_file_that_cannot_be_read_relayd_hears_all_the_same(unit: Unit) -> None:
    unit.write(SOUND + UNREADABLE)

    ended = await unit.reload()

    assert ended.status == 78
    assert ended.printed.startswith(f"{CONFIG}: ")
    await unit.relayd.logged(LogEvent.CONFIG_REFUSED)
    assert unit.refused() == [""]


async def test_another_admin_listener_is_said_to_need_a_restart(unit: Unit) -> None:
    unit.write(SOUND.replace("admin.sock", "elsewhere.sock"))

    ended = await unit.reload()

    assert (ended.status, "no admin socket" in ended.printed) == (69, True)
    (line,) = await unit.relayd.logged(LogEvent.CONFIG_POSTPONED)
    assert line["path"] == "server.admin"
