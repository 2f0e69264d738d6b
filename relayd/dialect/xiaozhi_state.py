"""One device's session as a machine: facts and ``now`` in, steps out; no I/O, no clock.

``AWAITING_HELLO`` → ``DIALLING`` → ``GREETING`` → ``TALKING``; where a server is lost there,
``DELAYING`` → ``DIALLING`` → ``GREETING`` → ``TALKING`` again, and the device notices nothing but,
if it was being spoken to, a ``tts stop``. ``ENDED`` from anywhere.

Each method returns the steps to be carried out, in order (:mod:`relayd.dialect.xiaozhi_actions`).
What is said about a server that is no longer the present one changes nothing.
"""

from __future__ import annotations

import enum
import math
from typing import Final

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_actions import (
    ContextLost,
    Dial,
    Dropped,
    End,
    Hangup,
    Join,
    Loss,
    Part,
    Rejoined,
    Step,
    ToDevice,
    ToServer,
)
from relayd.dialect.xiaozhi_addresses import Refuses, refuses_none
from relayd.dialect.xiaozhi_messages import (
    Hello,
    TextMessage,
    Unreadable,
    hello_for,
    read_hello,
    read_text,
)
from relayd.dialect.xiaozhi_pace import TextPace
from relayd.dialect.xiaozhi_rules import (
    DIALS_MAX,
    HANGUP_REASONS,
    HELLO_RESEND_S,
    HELLO_RESENDS_MAX,
    MachineSettings,
    delay_s,
    may_reconnect,
)
from relayd.dialect.xiaozhi_talk import Conversation
from relayd.dialect.xiaozhi_usage import frame_duration_us

HELLO_MAX_BYTES: Final = 16_384
"""Of a device's hello, which is kept for the next server."""

CALL_S: Final = 10.0
_SAID_MAX_CHARS: Final = 120


class Phase(enum.StrEnum):
    """How far a session is."""

    AWAITING_HELLO = "awaiting_hello"  # of the device
    DIALLING = "dialling"  # a server is looked for
    GREETING = "greeting"  # it has been sent the device's hello
    TALKING = "talking"
    DELAYING = "delaying"  # a server was lost, the next one is dialled in a moment
    ENDED = "ended"


class NotConnected(Exception):
    """The device has not been greeted yet, or is gone."""


class Machine:
    """See the module's text.

    Attributes:
        phase: How far the session is.
        conversation: What is said, and what it comes to.
        generation: Of the present server; 0 before the first.
        reconnects: Dials since the first loss, the next one included.
        losses: Servers lost that had said hello, and after which the session went on.
        hello: What the device said of itself.
        greeted_at: When its hello was answered.
        hello_s: From the device's hello to then.
    """

    def __init__(self, settings: MachineSettings, hold: HoldBudget, now: float) -> None:
        self.phase = Phase.AWAITING_HELLO
        self.conversation = Conversation(hold)
        self.generation = 0
        self.reconnects = 0
        self.losses = 0
        self.hello: Hello | None = None
        self.greeted_at: float | None = None
        self.hello_s: float | None = None
        self._settings = settings
        self._pace = TextPace(settings.texts_per_s, settings.texts_at_once, now)
        self._said: TextMessage | None = None  # the device's hello
        self._heard_at = now  # the device's hello
        self._due = now + settings.hello_s  # of the phase
        self._resend_at = math.inf
        self._resends = 0
        self._server_version = 1
        self._lost_at = now
        self._hangup = Hangup.LOST  # of the last server tried
        self._dials = 0  # since the device's hello, or since the last delay

    @property
    def deadline(self) -> float:
        """When :meth:`timer` is to be called; infinite for never."""
        if self.phase is Phase.ENDED:
            return math.inf
        return min(self._due, self._resend_at, self.conversation.mcp.deadline)

    @property
    def has_mcp(self) -> bool:
        """Whether the device says that it has tools."""
        return self.hello is not None and self.hello.mcp

    # -- what the device says

    def device_text(self, payload: bytes, now: float) -> list[Step]:
        """One text message of the device."""
        if self.phase is Phase.ENDED:
            return []
        if not self._pace.take(now):
            return self._end(Reason.CONTROL_FLOOD, "more texts than a device may send", now)
        try:
            message = read_text(payload)
        except Unreadable as wrong:
            return [Dropped(str(wrong), from_device=True)]
        if self.phase is not Phase.AWAITING_HELLO:
            connected = self.phase is Phase.TALKING
            return self.conversation.from_device(message, now, connected=connected)
        if message.kind != "hello":
            return [Dropped("before hello", from_device=True)]
        if len(payload) > HELLO_MAX_BYTES:
            return [Dropped("a hello too long", from_device=True)]
        if not self.conversation.keeps_hello(len(payload)):
            return self._end(Reason.OVERLOAD, "relayd holds as many bytes as it may", now)
        self._said, self.hello = message, read_hello(message)
        tally = self.conversation.usage.audio_in
        tally.declared_us = frame_duration_us(self.hello.frame_duration_ms)
        self._heard_at = now
        self._due = now + self._settings.hello_s
        return [self._dial()]

    # -- servers

    def dialled(
        self, generation: int, version: int, now: float, *, refuses: Refuses = refuses_none
    ) -> list[Step]:
        """The server is connected.

        Args:
            generation: As in :class:`Dial`.
            version: The framing that it speaks.
            now: The time.
            refuses: Whether it must not name a host to its device.
        """
        if not self._concerns(generation, Phase.DIALLING):
            return []
        self.phase = Phase.GREETING
        self._server_version = version
        self.conversation.mcp.refuses = refuses
        self._resends = 0
        self._resend_at = now + HELLO_RESEND_S
        return [self._greeting()]

    def undialled(self, generation: int, now: float, *, full: bool = False) -> list[Step]:
        """No server could be reached, of any account, in time; ``full``: none has room."""
        if not self._concerns(generation, Phase.DIALLING):
            return []
        if self.greeted_at is not None:
            return self._delay(now)
        if full:
            return self._end(Reason.OVERLOAD, "every server of this device is full", now)
        return self._end(HANGUP_REASONS[self._hangup], "no server could be reached", now)

    def server_text(self, generation: int, payload: bytes, now: float) -> list[Step]:
        """One text message of a server."""
        if not self._concerns(generation, Phase.GREETING, Phase.TALKING):
            return []
        try:
            message = read_text(payload)
        except Unreadable as wrong:
            if self.phase is Phase.TALKING:
                return [Dropped(str(wrong), from_device=False)]
            said = payload[: 4 * _SAID_MAX_CHARS].decode(errors="replace")[:_SAID_MAX_CHARS]
            hangup = Hangup.REFUSED if wrong.plain else Hangup.BAD_HELLO
            return self._hang_up(hangup, now, said=said)
        if self.phase is Phase.TALKING:
            return self.conversation.from_server(message, now)
        if message.kind != "hello":
            return [Dropped("before hello", from_device=False)]
        return self._greeted(message, now)

    def server_ended(self, generation: int, loss: Loss, code: int | None, now: float) -> list[Step]:
        """A server has gone.

        Args:
            generation: As in :class:`Dial`.
            loss: How.
            code: Of its Close; ``None`` for one without (1005), and where there was none.
            now: The time.
        """
        if not self._concerns(generation, Phase.GREETING, Phase.TALKING):
            return []
        if self.phase is Phase.GREETING:
            return self._hang_up(Hangup.LOST, now)
        if not may_reconnect(loss, code):
            return self._end(Reason.UPSTREAM_CLOSED, "", now, code=code)
        return self._lost(loss, code, now)

    # -- time, and what others want

    def timer(self, now: float) -> list[Step]:
        """Do what is due. Called too early, nothing is."""
        if self.phase is Phase.ENDED:
            return []
        steps: list[Step] = [*self.conversation.mcp.expire(now)]
        if self._due <= now:
            steps += self._overdue(now)
        elif self._resend_at <= now:
            if self._resends == HELLO_RESENDS_MAX:
                return steps + self._hang_up(Hangup.NO_HELLO, now)
            self._resends += 1
            self._resend_at = now + HELLO_RESEND_S
            steps.append(self._greeting())
        return steps

    def call(
        self, method: str, params: bytes, now: float, *, timeout_s: float = CALL_S
    ) -> tuple[int, list[Step]]:
        """Ask the device something of relayd's own, such as ``tools/call``.

        Args:
            method: Of MCP.
            params: One JSON object, the caller's to have checked.
            now: The time.
            timeout_s: How long it has; then −32001.

        Returns:
            What the :class:`~relayd.dialect.xiaozhi_actions.Called` of its answer is known by, and
            the steps. Exactly one such step follows, now or later.

        Raises:
            NotConnected: The device's hello has not been answered, or the session is over.
            TooManyCalls: It has enough to answer.
        """
        if self.phase is Phase.ENDED or self.greeted_at is None:
            raise NotConnected("the device's hello has not been answered")
        return self.conversation.call(method, params, now + timeout_s)

    def end(self, reason: Reason, now: float, message: str = "") -> list[Step]:
        """End the session for a reason of the session's own, such as a device that is gone."""
        return [] if self.phase is Phase.ENDED else self._end(reason, message, now)

    # -- inside

    def _concerns(self, generation: int, *phases: Phase) -> bool:
        return generation == self.generation and self.phase in phases

    def _dial(self, *, again: bool = False) -> Dial:
        self.phase = Phase.DIALLING
        self.generation += 1
        self._dials = 1 if again else self._dials + 1
        return Dial(self.generation, again=again, deadline=self._due)

    def _greeting(self) -> ToServer:
        assert self._said is not None, "a server is dialled for a device that has said hello"
        return ToServer(hello_for(self._said, self._server_version))

    def _greeted(self, message: TextMessage, now: float) -> list[Step]:
        hello, talk = read_hello(message), self.conversation
        self.phase = Phase.TALKING
        self._due = self._resend_at = math.inf
        talk.server_id = hello.session_id
        talk.usage.audio_out.declared_us = frame_duration_us(hello.frame_duration_ms)
        if self.greeted_at is not None:
            dropped = talk.buffer.dropped
            rejoined = Rejoined(now - self._lost_at, dropped)
            return [*talk.replay(now), Join(self.generation), rejoined]
        self.greeted_at, self.hello_s = now, now - self._heard_at
        talk.device_id = hello.session_id
        answer = ToDevice(hello_for(message, self._settings.device_version))
        return [answer, *talk.replay(now), Join(self.generation)]

    def _hang_up(self, hangup: Hangup, now: float, *, said: str = "") -> list[Step]:
        """Give up a server that has not said hello, and try another one at once, in time."""
        self._resend_at = math.inf
        self._hangup = hangup
        part = Part(self.generation, hangup=hangup, said=said, holds=True)
        if now < self._due and self._dials < DIALS_MAX:
            return [part, self._dial()]
        if self.greeted_at is not None:
            return [part, *self._delay(now)]
        return [part, *self._end(HANGUP_REASONS[hangup], said, now)]

    def _lost(self, loss: Loss, code: int | None, now: float) -> list[Step]:
        if self.reconnects >= self._settings.reconnects_max:
            return self._exhausted(now)
        talk = self.conversation
        self._lost_at = now
        speaking, calls_failed = talk.lost(now)
        steps: list[Step] = [Part(self.generation, holds=True)]
        if speaking:
            steps.append(talk.silence())
        self.losses += 1
        steps.append(ContextLost(self.losses, loss, code, speaking, calls_failed))
        return [*steps, *self._delay(now)]

    def _delay(self, now: float) -> list[Step]:
        """Wait before the next dial, if there may be one."""
        if self.reconnects >= self._settings.reconnects_max:
            return self._exhausted(now)
        self.reconnects += 1
        self.phase = Phase.DELAYING
        self._due = now + delay_s(self.reconnects)
        return []

    def _exhausted(self, now: float) -> list[Step]:
        message = f"{self.reconnects} reconnects have been made"
        return self._end(Reason.RECONNECTS_EXHAUSTED, message, now)

    def _overdue(self, now: float) -> list[Step]:
        """The phase has taken as long as it may."""
        match self.phase:
            case Phase.AWAITING_HELLO:
                return self._end(Reason.FIRST_MESSAGE_TIMEOUT, "no hello from the device", now)
            case Phase.DELAYING:
                self._due = now + self._settings.hello_s
                return [self._dial(again=True)]
            case Phase.GREETING:
                return self._hang_up(Hangup.NO_HELLO, now)
            case _:
                return self.undialled(self.generation, now)

    def _end(
        self, reason: Reason, message: str, now: float, *, code: int | None = None
    ) -> list[Step]:
        self.phase = Phase.ENDED
        self._said = None
        failed = self.conversation.end(now, "the device is gone")
        return [*failed, End(reason, message, code)]
