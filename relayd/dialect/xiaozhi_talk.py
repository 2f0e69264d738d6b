"""What is said between a device and its servers, and what of it outlives a server.

A text goes on as it came but for its session id: the device keeps that of its first server, each
server has its own. Of ``mcp`` the payload is relayd's to read (:mod:`relayd.dialect.xiaozhi_mcp`).
Messages of type ``server`` are for a server's own manager and never go on from a device. A ``ping``
goes on: whether it is answered is the server's setting, and a second answer would be relayd's.
"""

from __future__ import annotations

import enum
from typing import Final

from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_actions import (
    AudioToServer,
    Called,
    Dropped,
    Step,
    ToDevice,
    ToServer,
)
from relayd.dialect.xiaozhi_buffer import AudioBuffer, HeldPacket, TextBuffer
from relayd.dialect.xiaozhi_frames import AudioFrame
from relayd.dialect.xiaozhi_mcp import (
    INITIALIZED_MAX_BYTES,
    PAGES_MAX,
    PAGES_MAX_BYTES,
    McpRelay,
    Relayed,
)
from relayd.dialect.xiaozhi_messages import TextMessage, mcp, tts_stop
from relayd.dialect.xiaozhi_usage import UsageMeter

LISTEN_MAX_BYTES: Final = 4096
"""Of a ``listen start`` that is kept to be said again; nobody sends as long a one."""

SHORT_ANSWER_BYTES: Final = 1024
"""An answer of the device that is no longer than this is not counted in the hold budget."""

UNCOUNTED_MAX_BYTES: Final = LISTEN_MAX_BYTES + (PAGES_MAX + 1) * SHORT_ANSWER_BYTES
"""What of a device is kept and counted nowhere: its ``listen start``, and short answers."""

ANSWERS_MAX_BYTES: Final = INITIALIZED_MAX_BYTES + PAGES_MAX_BYTES
"""What is kept of a device's answers, at most: no more of them is counted."""


class Talk(enum.Enum):
    """Whose turn it is to speak."""

    IDLE = "idle"
    LISTENING = "listening"  # the device speaks, or waits to be answered
    SPEAKING = "speaking"  # the server does


class Conversation:
    """The texts of one session, whichever server is behind it.

    Attributes:
        talk: Whose turn it is.
        usage: Told of every message that counts.
        buffer: The device's audio while there is no server.
        mcp: The device's tools.
        device_id: The session id that the device knows: its first server's.
        server_id: That of the present server.
    """

    __slots__ = (
        "_answers_bytes",
        "_hello_bytes",
        "_hold",
        "_listen",
        "_listens_behind",
        "_texts",
        "buffer",
        "device_id",
        "mcp",
        "server_id",
        "talk",
        "usage",
    )

    def __init__(self, hold: HoldBudget) -> None:
        self.talk = Talk.IDLE
        self.usage = UsageMeter()
        self.buffer = AudioBuffer(hold)
        self.mcp = McpRelay()
        self.device_id = ""
        self.server_id = ""
        self._hold = hold
        self._answers_bytes = 0  # counted for what is kept of the device's answers
        self._hello_bytes = 0  # counted for the device's hello
        self._texts = TextBuffer(hold)
        self._listen: TextMessage | None = None  # the start of the listening that goes on
        self._listens_behind = 0  # so many of the texts that are held

    def keeps_hello(self, size: int) -> bool:
        """Count the device's hello, once, which is kept for every server; whether there is room."""
        if not self._hold.take(size):
            return False
        self._hello_bytes += size
        return True

    # -- texts

    def from_device(self, message: TextMessage, now: float, *, connected: bool) -> list[Step]:
        """One text of the device, behind its hello; ``connected``: a server has said hello."""
        match message.kind:
            case "server" | "hello":
                return [Dropped(message.kind, from_device=True)]
            case "mcp":
                return self._mcp_of_device(message, now, connected=connected)
            case "listen":
                if self._listens(message, now, connected=connected):
                    return []
            case "abort" if not connected:  # what it is about went with the server
                return [Dropped("no server", from_device=True)]
            case "abort":
                self.usage.aborted(now)
                self.talk = Talk.IDLE
        if connected:
            return [ToServer(self._for_server(message))]
        if message.kind == "ping" or not self._texts.put(message, self.buffer.number):
            return [Dropped("no server", from_device=True)]
        return []

    def from_server(self, message: TextMessage, now: float) -> list[Step]:
        """One text of the present server, behind its hello."""
        match message.kind:
            case "hello":
                return [Dropped("hello", from_device=False)]
            case "mcp":
                return self._mcp_of_server(message, now)
            case "stt":
                self.usage.heard(now)
            case "tts" if message.state == "start":
                self.usage.speaking(now)
                self.talk = Talk.SPEAKING
            case "tts" if message.state == "stop":
                self.usage.spoken(now)
                if self.talk is Talk.SPEAKING:
                    self.talk = Talk.IDLE
        return [ToDevice(message.with_session_id(self.server_id, self.device_id))]

    def _listens(self, message: TextMessage, now: float, *, connected: bool) -> bool:
        """Note what a ``listen`` says; whether it is kept aside and goes nowhere now."""
        match message.state:
            case "start":
                self.talk = Talk.LISTENING
                self.usage.listening(now)
                kept = len(message.payload) <= LISTEN_MAX_BYTES
                self._listen = message if kept else None
                if not connected:
                    self.buffer.clear()  # of an utterance that nobody will answer
                    self._texts.drop("listen", "stop")
                    self._listens_behind = len(self._texts)
                    return kept
            case "stop":
                self.usage.stopped(now)
                self.talk = Talk.IDLE
                if connected:
                    self._listen = None
        return False

    def _for_server(self, message: TextMessage) -> bytes:
        return message.with_session_id(self.device_id, self.server_id)

    # -- tools

    def _mcp_of_device(self, message: TextMessage, now: float, *, connected: bool) -> list[Step]:
        payload = message.raw("payload")
        if payload is None:
            return [Dropped("mcp without payload", from_device=True)]
        counted = self._count_answer(len(payload))
        if counted is None:
            return [Dropped("no room", from_device=True)]
        relayed = self.mcp.from_device(payload, now)
        if relayed.took_s is not None:
            self.usage.answered(relayed.took_s)
        if relayed.onward is None and not relayed.kept:
            self._give_back(counted)
        steps: list[Step] = [] if relayed.called is None else [relayed.called]
        if relayed.why is not None:
            steps.append(Dropped(relayed.why, from_device=True))
        if relayed.onward is None:
            return steps
        if not connected:
            if not self._texts.put(message, self.buffer.number):
                steps.append(Dropped("no server", from_device=True))
            return steps
        steps.append(ToServer(self._with_payload(message, payload, relayed, to_server=True)))
        return steps

    def _count_answer(self, size: int) -> int | None:
        """Count what may be kept of an answer, before it is; ``None`` where there is no room.

        Which answers are kept is not known here, so that all long ones count. Those that were kept
        never come to more: short ones are few, and all of them have a bound.
        """
        if size <= SHORT_ANSWER_BYTES:
            return 0
        counted = min(size, ANSWERS_MAX_BYTES - self._answers_bytes)
        if not self._hold.take(counted):
            return None
        self._answers_bytes += counted
        return counted

    def _give_back(self, counted: int) -> None:
        self._hold.give(counted)
        self._answers_bytes -= counted

    def _mcp_of_server(self, message: TextMessage, now: float) -> list[Step]:
        payload = message.raw("payload")
        if payload is None:
            return [Dropped("mcp without payload", from_device=False)]
        calls = self.mcp.tool_calls
        relayed = self.mcp.from_server(payload, now)
        if self.mcp.tool_calls > calls:
            self.usage.called()
        steps: list[Step] = []
        if relayed.why is not None:
            steps.append(Dropped(relayed.why, from_device=False))
        if relayed.back is not None:
            steps.append(ToServer(mcp(relayed.back, self.server_id)))
        if relayed.to_device is not None:
            steps.append(ToDevice(mcp(relayed.to_device, self.device_id)))
        if relayed.onward is not None:
            steps.append(ToDevice(self._with_payload(message, payload, relayed, to_server=False)))
        return steps

    def _with_payload(
        self, message: TextMessage, payload: bytes, relayed: Relayed, *, to_server: bool
    ) -> bytes:
        """The envelope with its session id mapped, and with another payload where that changed."""
        ids = (self.device_id, self.server_id)
        old, new = ids if to_server else ids[::-1]
        if relayed.onward is payload:
            return message.with_session_id(old, new)
        assert relayed.onward is not None, "what goes nowhere has no envelope"
        return message.with_session_id(old, new, payload=relayed.onward)

    def call(self, method: str, params: bytes, deadline: float) -> tuple[int, list[Step]]:
        """See :meth:`McpRelay.call <relayd.dialect.xiaozhi_mcp.McpRelay.call>`."""
        call_id, payload = self.mcp.call(method, params, deadline)
        return call_id, [ToDevice(mcp(payload, self.device_id))]

    # -- servers come and go

    def lost(self, now: float) -> tuple[bool, int]:
        """The server is gone. Whether it was speaking, and the calls of tools it had open."""
        speaking = self.talk is Talk.SPEAKING
        if speaking:
            self.talk = Talk.IDLE
        self.usage.lost(now)
        return speaking, self.mcp.lost()

    def silence(self) -> ToDevice:
        """What a device is told whose server was lost while it spoke."""
        return ToDevice(tts_stop(self.device_id))

    def replay(self, now: float) -> list[Step]:
        """What a server that has taken over is told, after its hello, in the order it was said.

        The start of a listening that goes on is said again where the server before has heard it.
        """
        steps: list[Step] = []
        first = self.buffer.number - len(self.buffer)
        packets, texts = self.buffer.take(), self._texts.take()
        start, starts_behind, self._listens_behind = self._listen, self._listens_behind, 0
        sent = 0
        if packets:
            self.usage.audio_in.restart()
        for number, (message, before) in enumerate(texts):
            if start is not None and number == starts_behind:
                steps.append(ToServer(self._for_server(start)))
            if before - first > sent:
                steps.append(self._held(packets[sent : before - first], now))
                sent = before - first
            if message.kind == "listen" and message.state == "stop":
                self._listen = None
            steps.append(ToServer(self._for_server(message)))
        if start is not None and starts_behind >= len(texts):
            steps.append(ToServer(self._for_server(start)))
        if packets[sent:]:
            steps.append(self._held(packets[sent:], now))
        return steps

    def _held(self, packets: list[HeldPacket], now: float) -> AudioToServer:
        """Audio that was held goes on, and is counted; its timestamps are as in live audio."""
        frames, tally = [], self.usage.audio_in
        for packet in packets:
            stamp = packet.timestamp_ms
            elapsed_ms = tally.microseconds // 1000
            frames.append(
                AudioFrame(packet.payload, timestamp_ms=elapsed_ms if stamp is None else stamp)
            )
            tally.count(len(packet.payload), packet.duration_us, now)
        return AudioToServer(tuple(frames))

    def end(self, now: float, why: str) -> list[Called]:
        """The session is over: its turn is cut, its calls fail, nothing is held any more."""
        self.usage.cut(now)
        self.buffer.clear()
        self._texts.clear()
        self._listen = None
        self._give_back(self._answers_bytes)
        self._hold.give(self._hello_bytes)
        self._hello_bytes = 0
        return self.mcp.fail_all(why)
