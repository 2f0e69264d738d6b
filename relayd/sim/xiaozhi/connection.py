"""One connection of a device, from the 101 on: its hello, what it says, what it is answered."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Final, assert_never

import attrs
import msgspec
import trio

from relayd.dialect.xiaozhi_frames import RAW, AudioFrame, build, parse
from relayd.sim.link import Link, PeerGone
from relayd.sim.responses.steps import CloseWith, Exit, Leave, Pause
from relayd.sim.spark.directions import directions, undirected
from relayd.sim.xiaozhi.answers import (
    PACKETS_MAX,
    Audio,
    CallTool,
    Estranged,
    JsonObject,
    Plain,
    Step,
    Utterance,
    farewell,
    play,
)
from relayd.sim.xiaozhi.audio import DURATIONS_MS, FRAME_MS, packet
from relayd.sim.xiaozhi.mcp import Caller
from relayd.sim.xiaozhi.scenario import Scenario, scenario_named
from relayd.sim.xiaozhi.tally import Running

SLOW_HELLO_S: Final = 5.0
TOOL_S: Final = 10.0
UTTERANCE_MS: Final = 1200
"""So much audio is an utterance for who does not say where it ends."""
FROZEN_S: Final = 86_400.0

_DROPPED: Final = {
    Scenario.HELLO_LOST: 1.0,
    Scenario.HELLO_LOST_TWICE: 2.0,
    Scenario.SILENT_HELLO: math.inf,
}
"""How many hellos are dropped."""

_AUDIO: Final[JsonObject] = {
    "format": "opus",
    "sample_rate": 16_000,
    "channels": 1,
    "frame_duration": FRAME_MS,
}


@attrs.define(eq=False)
class Connection:
    """Hears and answers one device.

    Attributes:
        link: The connection.
        running: What is counted.
        scenario: What is played.
        name: What the server calls itself in its answers.
        session_id: Of this connection; the speaker's number is made of it too.
        idle_s: A device that says nothing for so long is told goodbye.
        speaker: The number that its packets carry.
    """

    link: Link
    running: Running
    scenario: Scenario
    name: str
    session_id: str
    idle_s: float
    speaker: int
    caller: Caller = attrs.field(factory=Caller, init=False)
    _frame_ms: int = attrs.field(default=FRAME_MS, init=False)
    _is_greeted: bool = attrs.field(default=False, init=False)
    _is_listening: bool = attrs.field(default=False, init=False)
    _mode: str = attrs.field(default="auto", init=False)
    _heard: int = attrs.field(default=0, init=False)
    _leaving: Exit | None = attrs.field(default=None, init=False)
    _interrupted: trio.Event = attrs.field(factory=trio.Event, init=False)
    _answered: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def serve(self) -> None:
        """Hear and answer until either side ends the connection, which is closed then.

        Cancelling this leaves it open.
        """
        asking, asked = trio.open_memory_channel[Utterance | None](1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer_all, asked, nursery.cancel_scope)
            try:
                while True:
                    await self._listen(asking)
            except PeerGone as gone:
                self.running.close_code = gone.code
            nursery.cancel_scope.cancel()
        await leave(self.link, self._leaving)

    async def _listen(self, asking: trio.MemorySendChannel[Utterance | None]) -> None:
        """Take one message in, or notice that none comes."""
        message: str | bytes | None = None
        with trio.move_on_after(self.idle_s):
            message = await self.link.receive()
        utterance: Utterance | None = None
        if isinstance(message, bytes):
            utterance = self._hear(message)
        elif message is not None:
            utterance = await self._read(message)
        if utterance is None and message is not None:
            return
        self._interrupted.set()  # a device that speaks up is not talked over
        try:
            asking.send_nowait(utterance)
        except trio.WouldBlock:
            self.running.cut += 1

    def _hear(self, message: bytes) -> Utterance | None:
        """Count a packet. Gives the utterance that it completes, where it completes one."""
        frame = parse(message, self.running.version)
        if frame is None:
            self.running.frames_wrong += 1
            return None
        self.running.ear.hear(frame.payload)
        if not self._is_listening:
            return None
        self._heard += 1
        if self._mode == "manual" or self._heard * self._frame_ms < UTTERANCE_MS:
            return None
        self._is_listening = self._mode == "realtime"
        return self._uttered()

    def _uttered(self) -> Utterance:
        heard, self._heard = self._heard, 0
        return Utterance(text=f"{heard} packets", is_spoken=True, scenario=self._default())

    def _default(self) -> Scenario:
        return self.scenario if self.scenario.is_of_answers else Scenario.NORMAL

    async def _read(self, text: str) -> Utterance | None:
        try:
            message = msgspec.json.decode(text, type=dict[str, object])
        except msgspec.DecodeError:
            self.running.heard("not JSON")
            return None
        kind = message.get("type")
        self.running.heard(kind if isinstance(kind, str) else "no type")
        match message:
            case {"type": "hello"}:
                await self._greet(message)
            case {"type": "listen", "state": str(state)} if self._is_greeted:
                return self._listened(state, message)
            case {"type": "abort"}:
                self._interrupted.set()
            case {"type": "mcp", "payload": payload}:
                with trio.CancelScope(shield=True):  # behind a torn message no Close could follow
                    for said in self.caller.receive(payload):
                        await self._send_mcp(said)
                self._answered.set()
            case {"type": "ping"} if self.scenario is Scenario.PONGS:
                await self._send({"type": "pong", "timestamp": message.get("timestamp")})
        return None

    def _listened(self, state: str, message: JsonObject) -> Utterance | None:
        match state:
            case "start":
                self._mode = str(message.get("mode", "auto"))
                self._is_listening, self._heard = True, 0
            case "stop" if self._is_listening:
                self._is_listening = False
                return self._uttered()
            case "detect" if isinstance(text := message.get("text"), str):
                told = directions(text)
                return Utterance(
                    text=undirected(text) or "…",
                    is_spoken=told.words is not None,
                    scenario=scenario_named(told.scenario, self._default()),
                    packets=None if told.words is None else min(told.words, PACKETS_MAX),
                )
        return None

    async def _greet(self, hello: JsonObject) -> None:
        hellos = self.running.count("hello")
        if self.scenario is Scenario.RESET_AT_HELLO:
            self._leaving = Leave.RESET
            raise PeerGone
        if hellos <= _DROPPED.get(self.scenario, 0):
            return
        if self.scenario is Scenario.SLOW_HELLO and hellos == 1:
            await trio.sleep(SLOW_HELLO_S)
        params = hello.get("audio_params")
        audio = params if isinstance(params, dict) else _AUDIO
        wanted = audio.get("frame_duration")
        self._frame_ms = wanted if wanted in DURATIONS_MS else FRAME_MS
        greeting: JsonObject = {"type": "hello", "version": 1, "audio_params": audio}
        if self.scenario is not Scenario.NO_TRANSPORT:
            greeting["transport"] = "websocket"
        await self._send(greeting)
        features = hello.get("features")
        has_tools = isinstance(features, dict) and features.get("mcp") is True
        if has_tools and not self._is_greeted and self.scenario is not Scenario.NO_MCP:
            await self._send_mcp(self.caller.begin())
        self._is_greeted = True

    # -- answering

    async def _answer_all(
        self, asked: trio.MemoryReceiveChannel[Utterance | None], scope: trio.CancelScope
    ) -> None:
        async for utterance in asked:
            self._interrupted = trio.Event()
            if utterance is None:
                steps = farewell(f"Goodbye from {self.name}.", self._frame_ms)
            else:
                said = f"{self.name} heard: {utterance.text}"
                steps = play(utterance, said, self._frame_ms)
            try:
                self._leaving = await self._answer(steps)
            except PeerGone:
                self.running.cut += 1
                return  # who listens finds the same
            if self._leaving is not None:
                scope.cancel()

    async def _answer(self, steps: Iterator[Step]) -> Exit | None:
        """Speak an answer, unless it is interrupted. Gives how the connection is to be ended."""
        is_speaking = False
        for step in steps:
            if isinstance(step, CloseWith | Leave):
                self.running.cut += is_speaking
                return step
            await self._take(step)
            if step == {"type": "tts", "state": "start"}:
                is_speaking = True
            if step == {"type": "tts", "state": "stop"}:
                is_speaking = False
                self.running.turns += 1
            if is_speaking and self._interrupted.is_set():
                self.running.cut += 1
                await self._send({"type": "tts", "state": "stop"})
                return None
        return None

    async def _take(self, step: JsonObject | Audio | Plain | CallTool | Estranged | Pause) -> None:
        match step:
            case Pause(seconds=seconds):
                with trio.move_on_after(seconds):
                    await self._interrupted.wait()
            case Audio(is_wrong=is_wrong):
                await self._speak(is_wrong=is_wrong)
            case Plain(text=text):
                await self.link.send(text)
            case CallTool():
                await self._call_tool()
            case Estranged(message=message):
                await self.link.send(_json({**message, "session_id": f"not-{self.session_id}"}))
            case _:
                await self._send(step)

    async def _speak(self, *, is_wrong: bool) -> None:
        if is_wrong:
            await self.link.send(wrong_frame(self.running.version))
            return
        number, self.running.packets_out = self.running.packets_out, self.running.packets_out + 1
        sound = packet(self.speaker, number, self._frame_ms)
        if self.running.visitor.is_gateway:
            message = gateway_frame(sound, number, number * self._frame_ms)
        else:
            built = build(
                AudioFrame(sound, timestamp_ms=number * self._frame_ms), self.running.version
            )
            assert built is not None, "a packet of a few bytes"
            message = built
        await self.link.send(message)

    async def _call_tool(self) -> None:
        """Call the first of the tools, and say what came of it."""
        with trio.move_on_after(TOOL_S):
            while not self.caller.is_listed:
                await self._wait_answer()
        if not self.caller.tools:
            await self._say_sentence("There are no tools.")
            return
        number, call = self.caller.call(self.caller.tools[0], {})
        await self._send_mcp(call)
        with trio.move_on_after(TOOL_S):
            while number not in self.caller.answers:
                await self._wait_answer()
        told = self.caller.answers.get(number)
        await self._say_sentence("The tool is silent." if told is None else f"{_json(told)}")

    async def _wait_answer(self) -> None:
        self._answered = trio.Event()
        await self._answered.wait()

    async def _say_sentence(self, text: str) -> None:
        await self._send({"type": "tts", "state": "sentence_start", "text": text})

    async def _send_mcp(self, payload: JsonObject) -> None:
        await self._send({"type": "mcp", "payload": payload})

    async def _send(self, message: JsonObject) -> None:
        if self.scenario is not Scenario.NO_SESSION_ID:
            message = {**message, "session_id": self.session_id}
        await self.link.send(_json(message))


async def leave(link: Link, leaving: Exit | None) -> None:
    """End a connection; ``None``: the device has done it."""
    match leaving:
        case None:
            await link.close(1000)
        case CloseWith(code=code, reason=reason):
            await link.close(code, reason)
        case Leave.FINISH:
            await link.finish()
        case Leave.RESET:
            await link.reset()
        case Leave.FREEZE:
            await trio.sleep(FROZEN_S)
        case _:
            assert_never(leaving)


def wrong_frame(version: int) -> bytes:
    """A binary message that says another size than it has; of version 1, an empty one."""
    if version == RAW:
        return b""
    whole = build(AudioFrame(b"\x58wrong"), version)
    assert whole is not None, "a packet of a few bytes"
    return whole[:-1]


def gateway_frame(payload: bytes, number: int, timestamp_ms: int) -> bytes:
    """A packet as a server sends it to the MQTT gateway: 16 bytes with the size twice.

    It is no frame of version 2: where that has its version stands a 1 and a 0, where it has its
    type the size.
    """
    size = len(payload)
    return struct.pack("!BxHIII", 1, size, number, timestamp_ms, size) + payload


def _json(message: JsonObject) -> str:
    return msgspec.json.encode(message).decode()
