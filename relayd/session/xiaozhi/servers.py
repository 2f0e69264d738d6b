"""The servers of one session, one at a time: found, heard, joined to the device, parted with."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Final

import attrs
import trio

from relayd.core.endings import Reason, Side
from relayd.dialect.xiaozhi_actions import Dial, Loss, Part, Step
from relayd.dialect.xiaozhi_frames import AudioFrame
from relayd.dialect.xiaozhi_state import Machine, Phase
from relayd.protocol.outcomes import Crash, Violation
from relayd.session.verdict import Verdict
from relayd.session.xiaozhi.carrier import Carrier, Finder, Gone, Heard, Said
from relayd.session.xiaozhi.device import DeviceSide
from relayd.session.xiaozhi.views import Downstream
from relayd.session.xiaozhi.websocket import refuses_of

_TAKEN_AWAY: Final = 1001


@attrs.define(eq=False, kw_only=True)
class Servers:
    """One per session.

    Attributes:
        machine: Decides which server is the present one.
        device: What it is joined to.
        verdict: Falls for what a server breaks.
        downstream: Counts what the device was sent.
        do: Carries out what the machine says.
        permits: Whether an account is still one to be used, once a server of it is connected.
        connected: Told of each server that is connected, before it is greeted.
        crashed: Told of a bug.
        finder: Finds them; set by whoever makes the session.
        nursery: Where they are heard; set by the session, for as long as it relays.
        carrier: The present one.
    """

    machine: Machine
    device: DeviceSide
    verdict: Verdict
    downstream: Downstream
    do: Callable[[list[Step], float], None]
    permits: Callable[[str], bool]
    connected: Callable[[Carrier, float], None]
    crashed: Callable[[BaseException], None]
    finder: Finder = attrs.field(init=False)
    nursery: trio.Nursery = attrs.field(init=False)
    carrier: Carrier | None = attrs.field(default=None, init=False)
    _connected_at: float = attrs.field(default=0.0, init=False)
    _serving: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def dial(self, dial: Dial, last: str) -> None:
        """Find a server; the device's audio is held for it.

        Args:
            dial: Which one, and by when.
            last: The account of the server before it, which then comes behind the others.
        """
        self.device.hold()
        if dial.again:
            self.finder.start_over(last)
        self._serving = trio.CancelScope()
        self.nursery.start_soon(self._serve, dial, self._serving)

    def join(self, now: float) -> None:
        """The present one has said hello: audio passes."""
        carrier = self.carrier
        assert carrier is not None, "who has said hello is connected"
        carrier.greeted(now - self._connected_at, now)
        carrier.join(self.device)
        self.finder.settled()

    def say(self, text: bytes, now: float) -> bool:
        """Send the present one a text; ``False`` where the process has no room for it."""
        return self.carrier is None or self.carrier.say(text, now)

    def say_audio(self, packets: Collection[AudioFrame], now: float) -> None:
        """Send the present one what was held for it."""
        if self.carrier is not None:
            self.carrier.say_audio(packets, now)

    def part(self, step: Part, now: float) -> None:
        """Let go of the present one; before its hello routing is told why."""
        if step.hangup is not None and self.carrier is not None:
            self.carrier.blame(step.hangup, step.said, now)
        self.leave(step.code, now, holds=step.holds)

    def leave(self, code: int, now: float, *, holds: bool = False) -> None:
        """Let go of the server, if there is one. Whoever waits for it is cancelled before."""
        carrier, self.carrier = self.carrier, None
        self._serving.cancel(reason="the server is parted with")
        if carrier is None:
            return
        self.device.unlink(now, holds=holds)
        self.downstream.gone()
        carrier.part(code, now)

    def look(self, now: float) -> float:
        """See to the present one by time; returns when to be called again."""
        if self.machine.phase is Phase.DELAYING:
            self._serving.cancel(reason="its time is up")
        if self.carrier is None:
            return math.inf
        look_at = self.carrier.look(now)
        if look_at is None:
            generation = self.machine.generation
            self.do(self.machine.server_ended(generation, Loss.TIMEOUT, None, now), now)
            return now
        return look_at

    async def _serve(self, dial: Dial, scope: trio.CancelScope) -> None:
        """Find a server and hear it, until it is parted with, which cancels ``scope``."""
        with scope:
            carrier = await self._find(dial.deadline)
            now = trio.current_time()
            if carrier is None:
                full = self.finder.full
                self.do(self.machine.undialled(dial.generation, now, full=full), now)
                return
            refuses = refuses_of(carrier.account)
            steps = self.machine.dialled(dial.generation, carrier.version, now, refuses=refuses)
            if not steps:
                carrier.part(1000, now)
                return
            self.carrier = self.downstream.carrier = carrier
            self._connected_at = now
            self.connected(carrier, now)
            self.do(steps, now)
            while self.carrier is carrier:
                heard = await carrier.hear()
                self._heard(dial.generation, heard, trio.current_time())

    async def _find(self, deadline: float) -> Carrier | None:
        """A server of an account that was not taken away while it was dialled."""
        while (carrier := await self.finder.find(deadline)) is not None:
            if self.permits(carrier.account.name):
                break
            carrier.part(_TAKEN_AWAY, trio.current_time())
        return carrier

    def _heard(self, generation: int, heard: Heard, now: float) -> None:
        machine = self.machine
        match heard:
            case Said(text):
                self.do(machine.server_text(generation, text, now), now)
            case Gone(loss, code):
                self.do(machine.server_ended(generation, loss, code, now), now)
            case Violation() if machine.phase is Phase.GREETING:
                self.do(machine.server_ended(generation, Loss.CONNECTION, None, now), now)
            case Violation(reason, message):
                self._broke(reason, message)
            case Crash(error):
                self.crashed(error)

    def _broke(self, reason: Reason, message: str) -> None:
        """A server that breaks the protocol would do it again: no other one is looked for."""
        self.verdict.end(reason, sender=Side.UPSTREAM, message=message)
