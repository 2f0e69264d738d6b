"""What a reload is made of; what it does to sessions is in ``tests/faults/test_reload.py``."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from operator import attrgetter
from pathlib import Path

import attrs
import pytest
import trio

from relayd.config.mistakes import ConfigError, Mistake
from relayd.config.schema import LedgerSettings, LogSettings, ServerSettings, Settings
from relayd.config.secret import Secret
from relayd.config.snapshot import Snapshot
from relayd.observe.events import LogEvent
from relayd.service import app
from relayd.service.difference import ReloadOutcome
from relayd.service.listeners import address_of, bind
from relayd.service.reload import (
    AT_START,
    SWITCH_INTERVAL_S,
    NotReadyError,
    log_mistakes,
)
from tests.conftest import LogLines
from tests.integration.pages import table_below


@attrs.define(eq=False)
class File:
    """Where configurations come from, as a test has it."""

    content: Snapshot
    refused: Exception | None = None
    not_ready: Exception | None = None
    switch_intervals_s: list[float] = attrs.field(factory=list)
    settled: list[Snapshot] = attrs.field(factory=list)

    def read(self) -> Snapshot:
        self.switch_intervals_s.append(sys.getswitchinterval())
        if self.refused is not None:
            raise self.refused
        return self.content

    async def ready(self, snapshot: Snapshot) -> Snapshot:
        if self.not_ready is not None:
            raise self.not_ready
        return snapshot

    def settle(self, snapshot: Snapshot) -> None:
        self.settled.append(snapshot)


@attrs.define(eq=False)
class Stage:
    """A configuration and its file, and relayd running with it."""

    folder: Path
    nursery: trio.Nursery
    file: File
    environ: dict[str, str] = attrs.field(factory=dict)

    async def start(self) -> app.Running:
        running: app.Running = await self.nursery.start(self._serve, self.file.content)
        return running

    async def _serve(
        self, snapshot: Snapshot, *, task_status: trio.TaskStatus[app.Running]
    ) -> None:
        await app.serve(snapshot, environ=self.environ, source=self.file, task_status=task_status)

    def listen(self, *addresses: str) -> None:
        """The file names other addresses."""
        settings = self.file.content.settings
        server = attrs.evolve(settings.server, listen=addresses)
        self.file.content = Snapshot.of(attrs.evolve(settings, server=server))


@pytest.fixture
async def stage(tmp_path: Path, log_lines: LogLines) -> AsyncIterator[Stage]:
    server = ServerSettings(listen=("127.0.0.1:0",), admin=f"unix:{tmp_path / 'admin.sock'}")
    settings = Settings(server=server, ledger=LedgerSettings(url="sqlite::memory:"))
    before = len(os.listdir("/proc/self/fd"))
    async with trio.open_nursery() as nursery:
        yield Stage(tmp_path, nursery, File(Snapshot.of(settings)))
        nursery.cancel_scope.cancel()
    assert len(os.listdir("/proc/self/fd")) == before


def every_setting() -> Iterator[str]:
    """The path of each; the tables of keys and accounts as one, prices as the file's name."""
    for section in attrs.fields(Settings):
        default = getattr(Settings(), section.name)
        if isinstance(default, tuple):
            yield section.name
        elif section.name != "prices":
            yield from (f"{section.name}.{each.name}" for each in attrs.fields(type(default)))


def test_the_page_for_operators_says_of_every_setting_what_a_reload_does_with_it() -> None:
    rows = table_below("operating.md", "## Change the configuration")
    told = {path: _rows_about(path, rows) for path in every_setting()}

    assert {path: len(about) for path, about in told.items() if len(about) != 1} == {}
    restart = {path for path, [does] in told.items() if does.startswith("need a restart")}
    assert restart == set(AT_START)


def _rows_about(path: str, rows: list[list[str]]) -> list[str]:
    """What the rows say that name a setting, or the table that it is in."""
    names = {path, path.partition(".")[0]}
    return [does for words, does in rows if names & set(re.findall(r"`([a-z_.]+)`", words))]


OTHERWISE = {
    "server.admin": "unix:elsewhere.sock",
    "server.admin_token": Secret("another-token"),
    "state.url": "memory:other",
    "state.on_failure": "closed",
    "ledger.url": "sqlite:elsewhere.db",
    "ledger.on_failure": "spill",
}


@pytest.mark.parametrize("path", AT_START)
async def test_what_takes_a_restart_is_said_and_not_done(
    stage: Stage, log_lines: LogLines, path: str
) -> None:
    running = await stage.start()
    settings, (section, name) = stage.file.content.settings, path.split(".")
    changed = attrs.evolve(getattr(settings, section), **{name: OTHERWISE[path]})
    stage.file.content = Snapshot.of(attrs.evolve(settings, **{section: changed}))

    outcome = await running.reload()

    assert (outcome.applied, outcome.postponed) == (True, (path,))
    (line,) = log_lines.of(LogEvent.CONFIG_POSTPONED)
    assert (line["path"], line["level"]) == (path, "warning")
    assert "another-token" not in str(log_lines.of(LogEvent.CONFIG_POSTPONED))


def test_what_is_used_at_the_start_alone_are_settings_that_exist_and_are_documented() -> None:
    for path in AT_START:
        attrgetter(path)(Settings())
    documented = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
    for name in ("server.admin", "server.admin_token", "[state]"):
        assert f"`{name}`" in documented


def test_a_mistake_in_another_file_names_it(log_lines: LogLines) -> None:
    log_mistakes([Mistake("keys[0]", "wrong"), Mistake("usd", "wrong", file="prices.toml")])

    lines = log_lines.of(LogEvent.CONFIG_REFUSED)
    assert [line["path"] for line in lines] == ["keys[0]", "prices.toml: usd"]


async def test_threads_change_often_while_a_file_is_read_and_as_usual_after_it(
    stage: Stage,
) -> None:
    usually_s = sys.getswitchinterval()
    running = await stage.start()

    assert (await running.reload()).applied
    stage.file.refused = ConfigError("relayd.toml", [Mistake("", "bad")])
    assert not (await running.reload()).applied

    assert stage.file.switch_intervals_s == pytest.approx([SWITCH_INTERVAL_S] * 2)
    assert sys.getswitchinterval() == usually_s


async def test_the_source_hears_what_is_in_force_whatever_came_of_it(stage: Stage) -> None:
    first = stage.file.content
    running = await stage.start()
    stage.listen("[::1]:0")
    second = stage.file.content

    stage.file.not_ready = NotReadyError("the upstream of talk cannot be started: no port")
    outcome = await running.reload()
    stage.file.not_ready = None
    await running.reload()

    assert [mistake.path for mistake in outcome.mistakes] == ["accounts"]
    assert stage.file.settled == [first, second]


async def test_the_service_manager_hears_when_a_reload_begins_and_ends(stage: Stage) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(stage.folder / "notify"))
        manager.setblocking(False)
        stage.environ["NOTIFY_SOCKET"] = str(stage.folder / "notify")
        running = await stage.start()
        manager.recv(4096)

        stage.listen("[::1]:0")
        (listening,) = (await running.reload()).listen
        stage.file.refused = ConfigError("relayd.toml", [Mistake("", "bad")])
        await running.reload()

        heard = [manager.recv(4096) for _ in range(4)]

    assert [state.partition(b"=")[0] for state in heard] == [b"RELOADING", b"READY"] * 2
    assert heard[1] == heard[3] == f"READY=1\nSTATUS=0 sessions, listening on {listening}".encode()


async def test_sockets_of_the_service_manager_stay_whatever_the_file_says(
    stage: Stage, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayd.service.listeners.FIRST_PASSED", 900)
    with bind("127.0.0.1:0", {}) as sock:
        os.dup2(sock.fileno(), 900)
        stage.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
        running = await stage.start()
        stage.listen("127.0.0.1:1", "[::1]:0")

        outcome = await running.reload()

        assert outcome.listen == running.addresses == (address_of(sock),)
        assert outcome.applied
        assert outcome.postponed == ("server.listen",)
        (line,) = log_lines.of(LogEvent.CONFIG_POSTPONED)
        assert "passed the sockets" in line["message"]


async def test_the_level_of_the_log_changes_with_the_file_alone(
    stage: Stage, log_lines: LogLines
) -> None:
    running = await stage.start()  # at info by the file, at debug by the test
    await running.reload()
    assert len(log_lines.of(LogEvent.CONFIG_RELOADED)) == 1

    settings = stage.file.content.settings
    stage.file.content = Snapshot.of(
        attrs.evolve(settings, log=LogSettings(level="error", format="console"))
    )
    await running.reload()
    stage.file.refused = ConfigError("relayd.toml", [Mistake("a.b", "bad")])
    await running.reload()

    *_, last = log_lines.stream.getvalue().decode().splitlines()
    assert last.endswith("error   config.refused     path=a.b message=bad")
    log_lines.stream.truncate(0)


def test_an_outcome_with_mistakes_is_not_applied() -> None:
    assert ReloadOutcome().applied
    assert not ReloadOutcome(mistakes=(Mistake("", "bad"),)).applied
