"""A relayd whose hub real clients use, a path to it that can be cut, and somebody who publishes."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import jwt
import trio

from relayd.observe.events import LogEvent
from tests.integration.conftest import CONFIG, KEY, PATIENCE_S, RELAYD, Program, Relayd

PUBLISHER_KEY: Final = "relayd-publisher-key"
OPERATOR_KEY: Final = "relayd-operator-key"
OTHER_KEY: Final = "relayd-key-of-another-tenant"
JWT_SECRET: Final = "a-secret-of-more-than-thirty-two-bytes"
TENANT: Final = "test"
OTHER_TENANT: Final = "other"
TOPIC: Final = "workflow:w1"
TICK: Final = "tick"

CONNECT: Final = "/connection/websocket"
COUNCIL: Final = "/api/v1/ws"
EVENTS: Final = "/api/v1/events"

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close() sends RST
_CHUNK_BYTES: Final = 65_536

HUB: Final = f"""
[hub]
jwt_hs256_secret = "{JWT_SECRET}"
history_count = 100_000
history_bytes = 104_857_600

[[keys]]
name = "publisher"
secret = "{PUBLISHER_KEY}"
tenant = "{TENANT}"
role = "publisher"

[[keys]]
name = "operator"
secret = "{OPERATOR_KEY}"
role = "operator"

[[keys]]
name = "other"
secret = "{OTHER_KEY}"
tenant = "{OTHER_TENANT}"
role = "publisher"
"""


def token_for(expires_at: float, **claims: object) -> str:
    """A token of the tenant, good until ``expires_at`` in seconds since the epoch."""
    said = {"sub": "ada", "tenant": TENANT, "exp": int(expires_at)} | claims
    return jwt.encode(said, JWT_SECRET, algorithm="HS256")


@attrs.define
class House:
    """A relayd that can be started again at its address.

    Attributes:
        relayd: The one that runs, or ran last.
    """

    directory: Path
    nursery: trio.Nursery
    relayd: Relayd | None = None

    @property
    def address(self) -> str:
        """``host:port``, the same for every relayd of this house."""
        assert self.relayd is not None
        return self.relayd.address

    async def start(self) -> Relayd:
        """Start it: the first time at an address of its own choice."""
        port = 0 if self.relayd is None else int(self.address.rpartition(":")[2])
        config = self.directory / "relayd.toml"
        text = CONFIG.format(port=port, directory=self.directory, key=KEY)
        await trio.Path(config).write_text(text + HUB)
        self.relayd = await Relayd.start([RELAYD, "serve", "--config", config], self.nursery)
        await self.relayd.logged(LogEvent.SERVER_STARTED)
        return self.relayd

    async def stop(self) -> None:
        """Stop it, and wait until its address is free."""
        assert self.relayd is not None
        self.relayd.process.send_signal(signal.SIGTERM)
        await self.relayd.logged(LogEvent.SERVER_STOPPED)
        await self.relayd.process.wait()

    async def publish(self, *events: dict[str, Any], key: str = PUBLISHER_KEY) -> list[Any]:
        """Publish over HTTP; the results, in their order."""
        return await trio.to_thread.run_sync(_publish, self.address, events, key)


def tick(number: int, *, topic: str = TOPIC, **data: object) -> dict[str, Any]:
    """An event that says its number."""
    return {"topic": topic, "event": TICK, "data": {"number": number, **data}}


def _publish(address: str, events: Sequence[dict[str, Any]], key: str) -> list[Any]:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        body = json.dumps({"events": events})
        connection.request("POST", "/api/v1/publish", body, headers)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        assert answer.status == 200, said
        return list(said["results"])
    finally:
        connection.close()


@attrs.define
class Ticking:
    """Somebody who publishes at a steady pace, until told to stop.

    Attributes:
        published: So far.
    """

    house: House
    pause_s: float
    published: int = 0
    _stopped: bool = False
    _ended: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        """Publish tick by tick."""
        next_at = trio.current_time()
        while not self._stopped:
            await self.house.publish(tick(self.published + 1))
            self.published += 1
            next_at += self.pause_s
            await trio.sleep_until(next_at)
        self._ended.set()

    async def stop(self) -> int:
        """Stop; how many there were."""
        self._stopped = True
        await self._ended.wait()
        return self.published


@attrs.define
class Forwarder:
    """Stands between clients and relayd, and resets their connections when told to.

    Attributes:
        target: Where it forwards to: ``host:port``.
        port: Its own, on 127.0.0.1.
        cuts: Connections that were reset.
    """

    target: str
    port: int = 0
    cuts: int = 0
    _next_after: int | None = None
    _open: set[_Pair] = attrs.field(factory=set)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Forward until cancelled."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self._forward, [listener], task_status=_Started(task_status))

    async def cut(self, *, next_after: int | None = None) -> None:
        """Reset what is open; where nothing is, the next connection when it comes.

        Args:
            next_after: How many bytes the one behind it may bring its client; ``None``: any number.
        """
        await self._until(lambda: bool(self._open))
        for pair in tuple(self._open):
            self._reset(pair)
        self._next_after = next_after

    async def until_cut(self, count: int) -> None:
        """Wait until so many connections have been reset."""
        await self._until(lambda: self.cuts >= count)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not is_so():
                await self._changed.park()

    async def _forward(self, client: trio.SocketStream) -> None:
        host, _, port = self.target.rpartition(":")
        try:
            relayd = await trio.open_tcp_stream(host, int(port))
        except OSError:
            await client.aclose()  # relayd is being started again
            return
        pair = _Pair(client, relayd, self._next_after)
        self._next_after = None
        self._open.add(pair)
        self._changed.unpark_all()
        try:
            with pair.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._up, pair)
                    await self._down(pair)
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one side is gone, and so is the other
        finally:
            self._open.discard(pair)
            client.socket.close()
            relayd.socket.close()

    async def _up(self, pair: _Pair) -> None:
        async for data in pair.client:
            await pair.relayd.send_all(data)
        pair.scope.cancel()

    async def _down(self, pair: _Pair) -> None:
        async for data in pair.relayd:
            if pair.left is None:
                await pair.client.send_all(data)
                continue
            await pair.client.send_all(data[: pair.left])
            pair.left -= len(data)
            if pair.left <= 0:
                self._reset(pair)

    def _reset(self, pair: _Pair) -> None:
        for side in (pair.client, pair.relayd):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        pair.scope.cancel()
        self._open.discard(pair)
        self.cuts += 1
        self._changed.unpark_all()


@attrs.define(eq=False)
class _Pair:
    client: trio.SocketStream
    relayd: trio.SocketStream
    left: int | None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


@attrs.define
class _Started:
    """Tells that something has started, and not what."""

    told: trio.TaskStatus[None]

    def started(self, value: object = None) -> None:
        """It has."""
        self.told.started()


@attrs.define
class Client(Program):
    """A client that prints what happens to it."""

    def of(self, what: str) -> list[dict[str, Any]]:
        """What happened of this kind."""
        return [line for line in self.lines if line["what"] == what]

    async def told(self, what: str, count: int = 1) -> list[dict[str, Any]]:
        """The same, once there are ``count`` of them."""
        await self.until(lambda: len(self.of(what)) >= count)
        return self.of(what)

    async def one_more(self) -> None:
        """Wait for another event."""
        seen = len(self.lines)
        await self.until(lambda: any(line["what"] == "event" for line in self.lines[seen:]))

    async def up_to(self, offset: int) -> None:
        """Wait until the event of this offset has come, or a later one."""
        await self.until(lambda: self._newest() >= offset)

    def _newest(self) -> int:
        newest = (line["offset"] for line in reversed(self.lines) if line["what"] == "event")
        return int(next(newest, 0))

    @property
    def offsets(self) -> list[int]:
        """Of the events, as they came."""
        return [each["offset"] for each in self.of("event")]

    @property
    def numbers(self) -> list[int]:
        """What the ticks say, as they came."""
        return [each["envelope"]["data"]["number"] for each in self.of("event")]
