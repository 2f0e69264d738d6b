"""relayd as a program, between real clients of the chat API and simulated upstreams."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import trio

from relayd.observe.events import LogEvent
from relayd.sim.runtask.upstream import RunTaskUpstream
from relayd.sim.server import SimServer, serve
from relayd.sim.spark.scenario import Scenario
from relayd.sim.spark.tally import Record
from relayd.sim.spark.upstream import SIMULATED, SparkUpstream
from tests.integration.conftest import (
    KEY,
    PATIENCE_S,
    RELAYD,
    Program,
    Relayd,
    python_client,
    run_client,
)
from tests.integration.responses_stage import base_url

SCRIPT: Final = "openai_chat.py"
MODEL: Final = "xunfei-spark-max"
TASKS: Final = "tasks-1"
LOOK_EVERY_S: Final = 0.005

Told: TypeAlias = Any
"""What a client has printed, of a shape of its own."""

CONFIG: Final = """\
[server]
listen = ["127.0.0.1:0"]
admin = "unix:{directory}/admin.sock"
drain_s = 5.0

[ledger]
url = "sqlite:{directory}/relayd.db"

[pool]
prewarm = {prewarm}

[[keys]]
name = "test"
secret = "{key}"
"""


@attrs.frozen(kw_only=True)
class Account:
    """One ``accounts`` table.

    Attributes:
        upstream: Where to.
        models: The names that lead to it.
        more: Further lines.
    """

    upstream: SimServer[SparkUpstream] | SimServer[RunTaskUpstream]
    models: Sequence[str] = (MODEL,)
    more: str = ""

    def table(self, name: str) -> str:
        """As TOML."""
        lines = [
            "[[accounts]]",
            f'name = "{name}"',
            f'base_url = "{self.upstream.base_url}"',
            f'api_key = "{SIMULATED.api_key}"',
            f"models = {list(self.models)}",
        ]
        if isinstance(self.upstream.upstream, SparkUpstream):
            secrets = f'app_id = "{SIMULATED.app_id}", api_secret = "{SIMULATED.api_secret}"'
            lines += ['provider = "spark"', f'spark = {{ {secrets}, api_version = "v3.5" }}']
        else:
            lines += ['provider = "runtask"']
        return "\n".join(["", *lines, self.more, ""])


@attrs.define
class Stage:
    """What a test starts.

    Attributes:
        directory: Of the configuration, the ledger and the socket.
        nursery: Its end ends all programs.
    """

    directory: Path
    nursery: trio.Nursery

    async def spark(self, scenario: Scenario = Scenario.NORMAL) -> SimServer[SparkUpstream]:
        """Start a simulated Spark."""
        server: SimServer[SparkUpstream]
        server = await self.nursery.start(serve, SparkUpstream(scenario))
        return server

    async def tasks(self) -> SimServer[RunTaskUpstream]:
        """Start a simulated upstream that takes tasks."""
        server: SimServer[RunTaskUpstream] = await self.nursery.start(serve, RunTaskUpstream())
        return server

    async def relayd(
        self, accounts: Mapping[str, Account], *, prewarm: int = 0, more: str = ""
    ) -> Relayd:
        """Start relayd with ``accounts`` by their names, and ``more`` in its configuration."""
        config = self.directory / "relayd.toml"
        head = CONFIG.format(directory=self.directory, prewarm=prewarm, key=KEY)
        tables = [each.table(name) for name, each in accounts.items()]
        config.write_text("\n".join([head, more, *tables]))
        relayd = await Relayd.start([RELAYD, "serve", "--config", config], self.nursery)
        await relayd.logged(LogEvent.SERVER_STARTED)
        return relayd

    def ledger(self) -> list[dict[str, Any]]:
        """The rows of the ledger, of a relayd that has stopped."""
        with sqlite3.connect(self.directory / "relayd.db") as database:
            database.row_factory = sqlite3.Row
            found = database.execute("SELECT * FROM rows ORDER BY ended_at").fetchall()
        database.close()
        return [dict(row) for row in found]


def command(relayd: Relayd, mode: str, *arguments: object, key: str = KEY) -> list[str | Path]:
    """The SDK's script with what it is to do at ``relayd``."""
    return python_client(SCRIPT, base_url(relayd), key, mode, *arguments)


async def said(relayd: Relayd, mode: str, *arguments: object, key: str = KEY) -> Told:
    """What the SDK's script reports of what it did by way of ``relayd``."""
    (told,) = await run_client(command(relayd, mode, *arguments, key=key))
    return told


async def started(relayd: Relayd, nursery: trio.Nursery, mode: str, *arguments: object) -> Program:
    """The SDK's script, running; once it has told its first line."""
    client = await Program.start(command(relayd, mode, *arguments), nursery)
    await client.until(lambda: len(client.lines) == 1)
    return client


async def seen(is_so: Callable[[], bool], within_s: float = PATIENCE_S) -> float:
    """Wait until something is so that nobody tells; when that was, by ``time.monotonic()``."""
    with trio.fail_after(within_s):
        while not is_so():  # noqa: ASYNC110 - a simulator's counts have no event
            await trio.sleep(LOOK_EVERY_S)
    return time.monotonic()


def records(server: SimServer[SparkUpstream]) -> tuple[Record, ...]:
    """The requests that an upstream has been sent, of those that have ended."""
    return server.upstream.statistics().records


async def asked(relayd: Relayd, count: int) -> list[dict[str, Any]]:
    """The lines of the clients' requests, once so many have ended; there are no more."""
    lines = await relayd.logged(LogEvent.REQUEST_ENDED, count)
    assert len(lines) == count
    return lines
