"""The simulated Realtime upstream: one connection from the upgrade to its end."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Final, assert_never

import attrs
import msgspec
import trio

from relayd.sim.link import Link, PeerGone
from relayd.sim.realtime.billing import billing_of
from relayd.sim.realtime.conversation import Conversation
from relayd.sim.realtime.delivery import MAX_AGE_REASON, CloseWith, Exit, Leave, Send, delivery_of
from relayd.sim.realtime.handshake import (
    PATH,
    Wanted,
    choose_subprotocol,
    http_response,
    wanted,
)
from relayd.sim.realtime.scenario import REFUSALS, HttpRefusal, InBandRefusal, Scenario
from relayd.sim.realtime.tally import Tally

SESSION_MAX_S: Final = 3600.0
SESSIONS_REMEMBERED: Final = 10_000
"""Ended sessions whose own tallies are kept; the total forgets none."""


@attrs.frozen
class SessionTally:
    """What one session has reported.

    Attributes:
        session_id: As in its ``session.created``.
        model: The model of its handshake; ``None`` for a transcription session.
        tally: What its responses and transcriptions have reported.
    """

    session_id: str
    model: str | None
    tally: Tally


@attrs.frozen
class Statistics:
    """A snapshot of what a simulated upstream has done.

    Attributes:
        upgrades: Upgrade requests read.
        running: Sessions open now.
        ended: Sessions that have ended, the oldest first, within ``SESSIONS_REMEMBERED``.
        total: The sum over all sessions, the running ones too.
    """

    upgrades: int
    running: int
    ended: tuple[SessionTally, ...]
    total: Tally


@attrs.define
class RealtimeUpstream:
    """Plays the GA Realtime API.

    Attributes:
        scenario: What the next connection is played; may be changed at any time.
    """

    scenario: Scenario = Scenario.NORMAL
    base_path: str = attrs.field(default=PATH.removesuffix("/realtime"), init=False)
    _upgrades: int = attrs.field(default=0, init=False)
    _sessions: int = attrs.field(default=0, init=False)
    _running: dict[str, Conversation] = attrs.field(factory=dict, init=False)
    _ended: deque[SessionTally] = attrs.field(
        factory=lambda: deque(maxlen=SESSIONS_REMEMBERED), init=False
    )
    _total: Tally = attrs.field(factory=Tally, init=False)

    def statistics(self) -> Statistics:
        """What it has done so far."""
        live = sum((conversation.tally for conversation in self._running.values()), Tally())
        return Statistics(
            upgrades=self._upgrades,
            running=len(self._running),
            ended=tuple(self._ended),
            total=self._total + live,
        )

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Play one connection until it is over; the stream is closed then.

        Cancelling this cuts the connection.
        """
        scenario = self.scenario
        try:
            if scenario is Scenario.SILENT_HANDSHAKE:
                await _swallow(stream)
                return
            link = Link(stream, choose_subprotocol=choose_subprotocol)
            with contextlib.suppress(PeerGone):
                await self._serve_link(link, scenario)
            await link.close(1000)
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_link(self, link: Link, scenario: Scenario) -> None:
        request = await link.request()
        self._upgrades += 1
        answer = REFUSALS.get(scenario) or wanted(request)
        if isinstance(answer, HttpRefusal):
            await link.refuse(http_response(answer))
            return
        await link.accept(request)
        if isinstance(answer, InBandRefusal):
            await _refuse_in_band(link, answer)
        elif scenario is Scenario.SILENT_FIRST_FRAME:
            await _stay_mute(link)
        else:
            await self._converse(link, answer, scenario)

    async def _converse(self, link: Link, asked: Wanted, scenario: Scenario) -> None:
        self._sessions += 1
        name = f"sim{self._sessions:06d}"
        expires_at = int(time.time() + SESSION_MAX_S)
        billing = billing_of(scenario)
        conversation = Conversation(name, asked.kind, asked.model, expires_at, billing)
        self._running[name] = conversation
        try:
            await _leave(link, await _play(link, conversation, delivery_of(scenario)))
        finally:
            del self._running[name]
            self._total += conversation.tally
            self._ended.append(SessionTally(f"sess_{name}", asked.model, conversation.tally))


async def _play(link: Link, conversation: Conversation, send: Send) -> Exit | None:
    """Speak and listen until the session ends; ``None``: the peer ended it.

    One task listens, this one speaks; a message that comes between two deltas is answered
    between them.
    """
    deadline = trio.current_time() + SESSION_MAX_S
    into_inbox, inbox = trio.open_memory_channel[str | bytes](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_listen, link, into_inbox)
        try:
            return await _speak(link, conversation, send, inbox, deadline)
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
    link: Link,
    conversation: Conversation,
    send: Send,
    inbox: trio.MemoryReceiveChannel[str | bytes],
    deadline: float,
) -> Exit:
    events = conversation.opening()
    while True:
        for event in events:
            leaving = await send(link, event)
            if leaving is not None:
                return leaving
        if conversation.is_speaking:
            try:
                events = conversation.receive(inbox.receive_nowait())
            except trio.WouldBlock:
                events = conversation.advance()
            continue
        # Only the wait has a deadline: a send cut short would leave half a frame behind.
        with trio.move_on_at(deadline):
            events = conversation.receive(await inbox.receive())
            continue
        return CloseWith(1001, MAX_AGE_REASON)


async def _leave(link: Link, leaving: Exit | None) -> None:
    match leaving:
        case None:
            pass
        case CloseWith(code=code, reason=reason):
            await link.close(code, reason)
        case Leave.FINISH:
            await link.finish()
        case Leave.RESET:
            await link.reset()
        case Leave.MUTE:
            await _stay_mute(link)
        case Leave.FREEZE:
            await trio.sleep(SESSION_MAX_S)
        case _:
            assert_never(leaving)


async def _refuse_in_band(link: Link, refusal: InBandRefusal) -> None:
    error = {"type": refusal.kind, "code": refusal.code, "message": refusal.message}
    event = {"type": "error", "event_id": "event_refused", "error": error | {"param": None}}
    await link.send(msgspec.json.encode(event).decode())
    await link.close(4000, refusal.close_reason)


async def _stay_mute(link: Link) -> None:
    """Read, and so answer pings, until the peer has had enough."""
    with trio.move_on_after(SESSION_MAX_S):
        while True:
            await link.receive()


async def _swallow(stream: trio.abc.Stream) -> None:
    with trio.move_on_after(SESSION_MAX_S), contextlib.suppress(trio.BrokenResourceError):
        while await stream.receive_some(4096):
            pass
