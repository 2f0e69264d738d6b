"""relayd as a program, between real clients of the Responses API and simulated upstreams."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import trio

from relayd.observe.events import LogEvent
from relayd.sim.responses.client_events import Create
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.tally import Tally
from relayd.sim.responses.upstream import ResponsesUpstream
from relayd.sim.server import SimServer, serve
from tests.integration.conftest import KEY, RELAYD, Relayd, python_client, run_client

POST_KEY: Final = "relayd-test-key-without-websocket"
UPSTREAM_KEY: Final = "key-of-the-upstream"
DRAIN_S: Final = 10.0

Told: TypeAlias = Any
"""What a client has printed, of a shape of its own."""

CONFIG: Final = """\
[server]
listen = ["127.0.0.1:{port}"]
admin = "unix:{directory}/admin-{number}.sock"
drain_s = {drain_s}

[ledger]
url = "sqlite:{directory}/relayd-{number}.db"

[[keys]]
name = "test"
secret = "{key}"

[[keys]]
name = "by-post"
secret = "{post_key}"
websocket = false

[dialects.responses]
keepalive_s = 2.0
"""

ACCOUNT: Final = """
[[accounts]]
name = "{name}"
provider = "openai"
base_url = "{base_url}"
api_key = "{api_key}"
models = ["gpt-*"]
lanes = {lanes}
"""


@attrs.define
class ScriptedUpstream(ResponsesUpstream):
    """Plays its scenario, but first what the test has written down, one scenario a turn.

    Attributes:
        script: What is still to be played.
        last_begun: Set when the last of it begins.
    """

    script: deque[Scenario] = attrs.field(factory=deque, init=False)
    last_begun: trio.Event = attrs.field(factory=trio.Event, init=False)

    def _scenario_of(self, create: Create) -> Scenario:
        if not self.script:
            return super()._scenario_of(create)
        if len(self.script) == 1:
            self.last_begun.set()
        return self.script.popleft()


@attrs.define
class Stage:
    """What a test starts.

    Attributes:
        directory: Of configurations, ledgers and sockets.
        nursery: Its end ends all programs.
        upstreams: What relayd's accounts lead to, by their names.
    """

    directory: Path
    nursery: trio.Nursery
    upstreams: dict[str, SimServer[ScriptedUpstream]] = attrs.field(factory=dict)
    _lanes: dict[str, bool] = attrs.field(factory=dict)
    _relayds: int = 0

    async def upstream(self, name: str = "sim", *, lanes: bool = True) -> ScriptedUpstream:
        """Start an upstream that relayds started from now on know."""
        upstream = ScriptedUpstream(Scenario.NORMAL if lanes else Scenario.NO_LANES)
        self.upstreams[name] = await self.nursery.start(serve, upstream)
        self._lanes[name] = lanes
        return upstream

    async def relayd(self, *, port: int = 0, nursery: trio.Nursery | None = None) -> Relayd:
        """Start a relayd with a ledger of its own, in a nursery of its own if need be."""
        self._relayds += 1
        config = self.directory / f"relayd-{self._relayds}.toml"
        head = CONFIG.format(
            port=port,
            directory=self.directory,
            number=self._relayds,
            drain_s=DRAIN_S,
            key=KEY,
            post_key=POST_KEY,
        )
        accounts = [
            ACCOUNT.format(
                name=name,
                base_url=server.base_url,
                api_key=UPSTREAM_KEY,
                lanes=str(self._lanes[name]).lower(),
            )
            for name, server in self.upstreams.items()
        ]
        config.write_text(head + "".join(accounts))
        nursery = nursery or self.nursery
        relayd = await Relayd.start([RELAYD, "serve", "--config", config], nursery)
        await relayd.logged(LogEvent.SERVER_STARTED)
        return relayd

    async def restarted(self, old: Relayd) -> Relayd:
        """Another relayd in the place of one that drains, once that has ended well."""
        await old.logged(LogEvent.SERVER_STOPPED)
        assert await old.process.wait() == 0
        return await self.relayd(port=port_of(old))

    def tally(self, name: str = "sim") -> Tally:
        """What an upstream has told relayd."""
        return self.upstreams[name].upstream.statistics().of_key(UPSTREAM_KEY)


def port_of(relayd: Relayd) -> int:
    """Where it listens."""
    return int(relayd.address.rpartition(":")[2])


def drain(relayd: Relayd) -> None:
    """Have it end as soon as what it serves has."""
    relayd.process.send_signal(signal.SIGTERM)


def base_url(relayd: Relayd) -> str:
    """What a client of it is configured with."""
    return f"http://{relayd.address}/v1"


async def said(relayd: Relayd, script: str, *arguments: object, key: str = KEY) -> Told:
    """What a script in ``clients`` reports of what it did by way of ``relayd``."""
    (result,) = await run_client(python_client(script, base_url(relayd), key, *arguments))
    return result


async def stopped_well(relayd: Relayd) -> None:
    """Have it end; nothing was in the way of that, and no bug was met."""
    drain(relayd)
    (line,) = await relayd.logged(LogEvent.SERVER_STOPPED)
    assert line["cause"] == "drained"
    assert await relayd.process.wait() == 0
    assert crashes(relayd) == []


def crashes(relayd: Relayd) -> list[dict[str, Any]]:
    """What was logged of bugs."""
    return [*relayd.of(LogEvent.SESSION_CRASHED), *relayd.of(LogEvent.REQUEST_CRASHED)]


async def turns(relayd: Relayd, count: int) -> list[dict[str, Any]]:
    """The lines of the turns, once so many have ended; there are no more."""
    lines = await relayd.logged(LogEvent.TURN_ENDED, count)
    assert len(lines) == count
    return lines


def reasons(lines: Iterable[dict[str, Any]]) -> list[str]:
    """How each of them ended."""
    return [line["reason"] for line in lines]
