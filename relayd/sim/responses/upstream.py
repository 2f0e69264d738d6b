"""The simulated Responses upstream: one connection from the upgrade to its end."""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Final, assert_never

import attrs
import msgspec
import trio

from relayd.sim.link import Link, PeerGone
from relayd.sim.realtime.handshake import http_response
from relayd.sim.realtime.scenario import HttpRefusal
from relayd.sim.responses import errors
from relayd.sim.responses.client_events import Create
from relayd.sim.responses.connection import Connection, Service
from relayd.sim.responses.errors import Rejected, invalid
from relayd.sim.responses.faults import RANDOM_FAULTS
from relayd.sim.responses.handshake import choose_subprotocol, digest, key_of
from relayd.sim.responses.memory import Storage
from relayd.sim.responses.quota import Quota
from relayd.sim.responses.scenario import REFUSALS, SCENARIO_KEY, Scenario
from relayd.sim.responses.steps import CloseWith, Exit, Leave, as_text
from relayd.sim.responses.tally import Book, Tally, TurnRecord

CONNECTION_MAX_S: Final = 3600.0
MESSAGE_MAX_BYTES: Final = 16 * 1024 * 1024 - 1
"""A message of 16 MiB is closed with 1009, without an event."""
FAULT_SHARE: Final = 0.05
TURNS_REMEMBERED: Final = 10_000


@attrs.frozen
class Statistics:
    """A snapshot of what a simulated upstream has done.

    Attributes:
        upgrades: Upgrade requests read.
        running: Connections open now.
        total: The sum over all turns that have ended.
        turns: The last turns that have ended, the oldest first, within ``turns_remembered``.
        by_key: The sums by the SHA-256 of the API key; see :meth:`of_key`.
    """

    upgrades: int
    running: int
    total: Tally
    turns: tuple[TurnRecord, ...]
    by_key: Mapping[str, Tally]

    def of_key(self, key: str) -> Tally:
        """The sum over the turns of the API key ``key``."""
        return self.by_key.get(digest(key), Tally())


@attrs.define
class ResponsesUpstream:
    """Plays the Responses API in WebSocket mode.

    Attributes:
        scenario: What connections that come and turns that begin are played, unless a create
            names another in its ``metadata``; may be changed at any time.
        fault_share: The share of the turns that a fault is drawn for under ``RANDOM_FAULTS``.
        faults: What is drawn from.
        seed: Of the draw; the same seed draws the same for the n-th turn.
        connection_max_s: The age that a connection may reach.
        quota: What each key may use; ``None``: as much as it likes.
        turns_remembered: How many turns :meth:`statistics` lists.
        name: What makes its ids differ from those of other upstreams.
    """

    scenario: Scenario = Scenario.NORMAL
    fault_share: float = attrs.field(default=FAULT_SHARE, kw_only=True)
    faults: Sequence[Scenario] = attrs.field(default=RANDOM_FAULTS, kw_only=True)
    seed: int = attrs.field(default=0, kw_only=True)
    connection_max_s: float = attrs.field(default=CONNECTION_MAX_S, kw_only=True)
    quota: Quota | None = attrs.field(default=None, kw_only=True)
    turns_remembered: int = attrs.field(default=TURNS_REMEMBERED, kw_only=True)
    name: str = attrs.field(factory=lambda: secrets.token_hex(4), kw_only=True)
    base_path: str = attrs.field(default="/v1", init=False)
    _random: random.Random = attrs.field(init=False)
    _service: Service = attrs.field(init=False)
    _upgrades: int = attrs.field(default=0, init=False)
    _connections: int = attrs.field(default=0, init=False)
    _running: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)
        book = Book(self.turns_remembered)
        self._service = Service(
            choose=self._scenario_of, book=book, storage=Storage(), quota=self.quota
        )

    def statistics(self) -> Statistics:
        """What it has done so far."""
        book = self._service.book
        return Statistics(self._upgrades, self._running, book.total, book.turns(), book.by_key())

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Play one connection until it is over; the stream is closed then.

        Cancelling this cuts the connection.
        """
        scenario = self.scenario
        try:
            if scenario is Scenario.SILENT_HANDSHAKE:
                await _swallow(stream, self.connection_max_s)
                return
            link = Link(
                stream, choose_subprotocol=choose_subprotocol, message_max_bytes=MESSAGE_MAX_BYTES
            )
            with contextlib.suppress(PeerGone):
                await self._serve_link(link, scenario)
            await link.close(1000)
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_link(self, link: Link, scenario: Scenario) -> None:
        request = await link.request()
        self._upgrades += 1
        key = REFUSALS.get(scenario) or key_of(request)
        if isinstance(key, HttpRefusal):
            await link.refuse(http_response(key))
            return
        await link.accept(request)
        if scenario is Scenario.BAD_KEY:
            await link.send_raw(as_text(msgspec.json.encode(errors.INVALID_API_KEY.event())))
            await link.close(1008, "invalid_api_key")
            return
        self._connections += 1
        now = trio.current_time()
        connection = Connection(
            name=f"{self.name}_{self._connections}",
            key=key,
            service=self._service,
            expires_at=now + self.connection_max_s,
            epoch=time.time() - now,
            has_lanes=scenario is not Scenario.NO_LANES,
        )
        await self._converse(link, connection)

    async def _converse(self, link: Link, connection: Connection) -> None:
        self._running += 1
        try:
            await _leave(link, await _play(link, connection), self.connection_max_s)
        finally:
            self._running -= 1
            connection.end()

    def _scenario_of(self, create: Create) -> Scenario:
        """What the turn of ``create`` is played."""
        named = (create.metadata or {}).get(SCENARIO_KEY)
        if named is not None:
            return _scenario_named(named)
        if self.scenario is Scenario.RANDOM_FAULTS:
            is_hit = self._random.random() < self.fault_share
            return self._random.choice(self.faults) if is_hit else Scenario.NORMAL
        return self.scenario if self.scenario.is_of_turns else Scenario.NORMAL


def _scenario_named(name: str) -> Scenario:
    known = {scenario.value: scenario for scenario in Scenario if scenario.is_of_turns}
    if name in known:
        return known[name]
    path = f"metadata.{SCENARIO_KEY}"
    raise Rejected(invalid("invalid_value", f"Invalid value: '{name}'.", path))


async def _play(link: Link, connection: Connection) -> Exit | None:
    """Speak and listen until the connection ends; ``None``: the peer ended it."""
    into_inbox, inbox = trio.open_memory_channel[str | bytes](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_listen, link, into_inbox)
        try:
            return await _speak(link, connection, inbox)
        except (PeerGone, trio.EndOfChannel):
            return None
        finally:
            nursery.cancel_scope.cancel()


async def _listen(link: Link, into_inbox: trio.MemorySendChannel[str | bytes]) -> None:
    async with into_inbox:
        with contextlib.suppress(PeerGone):
            while True:
                await into_inbox.send(await link.receive())


async def _speak(
    link: Link, connection: Connection, inbox: trio.MemoryReceiveChannel[str | bytes]
) -> Exit:
    while True:
        while connection.has_room:
            try:
                message = inbox.receive_nowait()
            except trio.WouldBlock:
                break
            await _answer(link, connection, message)
        frame = connection.advance(trio.current_time())
        match frame:
            case bytes():
                await link.send_raw(frame)
                connection.delivered()
            case CloseWith() | Leave():
                return frame
            case None:
                # Only the wait has a deadline: a send cut short would leave half a frame behind.
                await _wait(link, connection, inbox)
            case _:
                assert_never(frame)


async def _wait(
    link: Link, connection: Connection, inbox: trio.MemoryReceiveChannel[str | bytes]
) -> None:
    """Wait for a message, or for something that is due."""
    message: str | bytes | None = None
    with trio.move_on_at(connection.due_at):
        if connection.has_room:
            message = await inbox.receive()
        else:
            await trio.sleep_forever()
    if message is not None:
        await _answer(link, connection, message)


async def _answer(link: Link, connection: Connection, message: str | bytes) -> None:
    for frame in connection.receive(message):
        await link.send_raw(frame)


async def _leave(link: Link, leaving: Exit | None, patience_s: float) -> None:
    match leaving:
        case None:
            pass
        case CloseWith(code=code, reason=reason):
            await link.close(code, reason)
        case Leave.FINISH:
            await link.finish()
        case Leave.RESET:
            await link.reset()
        case Leave.FREEZE:
            await trio.sleep(patience_s)
        case _:
            assert_never(leaving)


async def _swallow(stream: trio.abc.Stream, patience_s: float) -> None:
    with trio.move_on_after(patience_s), contextlib.suppress(trio.BrokenResourceError):
        while await stream.receive_some(4096):
            pass
