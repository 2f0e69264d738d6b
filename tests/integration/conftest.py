"""relayd and its clients as programs of their own, each a child process of the test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent

CLIENTS = Path(__file__).parent / "clients"
RELAYD = Path(sys.executable).parent / "relayd"
KEY = "relayd-test-key"
PATIENCE_S = 30.0
CLIENT_S = 90.0

CONFIG = """\
[server]
listen = ["127.0.0.1:{port}"]
admin = "unix:{directory}/admin.sock"
drain_s = 3.0

[[keys]]
name = "test"
secret = "{key}"

[[accounts]]
name = "sim-realtime"
provider = "sim:realtime"
models = ["gpt-realtime*"]
model_map = {{ voice = "gpt-realtime" }}

[[accounts]]
name = "sim-echo"
provider = "sim:passthrough"
"""


@attrs.define
class Program:
    """A child process that prints one JSON value a line, ended with the test."""

    process: trio.Process
    lines: list[Any] = attrs.field(factory=list)
    _more: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    @classmethod
    async def start(cls, command: Sequence[str | Path], nursery: trio.Nursery) -> Self:
        """Start it, and read what it prints for as long as it does."""
        run = partial(trio.run_process, command, stdout=subprocess.PIPE)
        program = cls(await nursery.start(run))
        nursery.start_soon(program._follow)
        return program

    async def until(self, seen: Callable[[], bool]) -> None:
        """Wait until ``seen``, which is asked again whenever a line has come."""
        with trio.fail_after(PATIENCE_S):
            while not seen():
                await self._more.park()

    async def _follow(self) -> None:
        assert self.process.stdout is not None
        rest = b""
        async for chunk in self.process.stdout:
            *lines, rest = (rest + bytes(chunk)).split(b"\n")
            self.lines += map(json.loads, lines)
            self._more.unpark_all()


@attrs.define
class Relayd(Program):
    """A running ``relayd serve``."""

    @property
    def address(self) -> str:
        """``host:port``, as logged."""
        (started,) = self.of(LogEvent.SERVER_STARTED)
        return str(started["listen"][0])

    def of(self, event: LogEvent) -> list[dict[str, Any]]:
        """The lines of ``event`` so far."""
        return [line for line in self.lines if line["event"] == event]

    async def logged(self, event: LogEvent, count: int = 1) -> list[dict[str, Any]]:
        """The lines of ``event``, once there are ``count`` of them."""
        await self.until(lambda: len(self.of(event)) >= count)
        return self.of(event)


StartRelayd = Callable[..., Awaitable[Relayd]]


@pytest.fixture
def start_relayd(nursery: trio.Nursery, tmp_path: Path) -> StartRelayd:
    """Starts a relayd with simulated upstreams; it is ended with the test."""

    async def start(*, port: int = 0) -> Relayd:
        config = tmp_path / "relayd.toml"
        config.write_text(CONFIG.format(port=port, directory=tmp_path, key=KEY))
        relayd = await Relayd.start([RELAYD, "serve", "--config", config], nursery)
        await relayd.logged(LogEvent.SERVER_STARTED)
        return relayd

    return start


@pytest.fixture
async def relayd(start_relayd: StartRelayd) -> Relayd:
    """One relayd with simulated upstreams."""
    return await start_relayd()


async def run_client(command: Sequence[str | Path]) -> list[Any]:
    """Run a client to its end; what it printed, one JSON value a line."""
    with trio.fail_after(CLIENT_S):
        ended = await trio.run_process(command, capture_stdout=True)
    return [json.loads(line) for line in ended.stdout.splitlines()]


def python_client(name: str, *arguments: object) -> list[str | Path]:
    """The command that runs a script in ``clients`` with this Python."""
    return [sys.executable, CLIENTS / name, *map(str, arguments)]
