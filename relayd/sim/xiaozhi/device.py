"""A simulated xiaozhi device: says hello, speaks, hears, and has tools.

It is as strict as a device should be and most are not: a hello without a transport, a packet of a
wrong size and a message that is no JSON are counted, since what relayd sends it must have none.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

import attrs
import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from relayd.dialect.xiaozhi_frames import AudioFrame, build, parse
from relayd.sim.xiaozhi.audio import Ear, packet
from relayd.sim.xiaozhi.heard import ChannelClosed, DeviceError, Turn, channel_closed
from relayd.sim.xiaozhi.identity import Identity
from relayd.sim.xiaozhi.mcp import Toolset

JsonObject = dict[str, object]

PATH: Final = "/xiaozhi/v1/"
HELLO_S: Final = 10.0
"""A device waits no longer for the server's hello."""
SILENCE_S: Final = 120.0
"""A channel without incoming data for so long is dead."""
MESSAGE_MAX_BYTES: Final = 10 * 1024 * 1024
TURNS_MAX: Final = 1000
"""Answers that are kept; those before are forgotten."""

REQUESTS_MAX: Final = 64
"""Messages of MCP that may wait for those before."""

_SPEAKERS: Final = 1 << 32


@attrs.define(eq=False)
class Device:
    """One device on one socket.

    Attributes:
        identity: Who it is.
        toolset: What it can do.
        hello: The server's, once it has come.
        session_id: What that says; empty where it says none.
        ear: What was heard.
        frames_wrong: Binary messages that were no packet.
        texts_wrong: Text messages that were no JSON object with a type.
        kinds: Types of the messages that came, the last ``TURNS_MAX``.
        stopped_at: When the last utterance ended, by the Trio clock.
        requests_dropped: Messages of MCP that came while ``REQUESTS_MAX`` waited.
    """

    identity: Identity
    toolset: Toolset
    _socket: WebSocketConnection
    hello: JsonObject | None = attrs.field(default=None, init=False)
    session_id: str = attrs.field(default="", init=False)
    ear: Ear = attrs.field(factory=Ear, init=False)
    frames_wrong: int = attrs.field(default=0, init=False)
    texts_wrong: int = attrs.field(default=0, init=False)
    kinds: deque[str] = attrs.field(factory=lambda: deque(maxlen=TURNS_MAX), init=False)
    stopped_at: float | None = attrs.field(default=None, init=False)
    requests_dropped: int = attrs.field(default=0, init=False)
    _asking: trio.MemorySendChannel[object] = attrs.field(init=False)
    _asked: trio.MemoryReceiveChannel[object] = attrs.field(init=False)
    _turns: deque[Turn] = attrs.field(factory=lambda: deque(maxlen=TURNS_MAX), init=False)
    _turn: Turn = attrs.field(factory=Turn, init=False)
    _closed: ChannelClosed | None = attrs.field(default=None, init=False)
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _speaker: int = attrs.field(factory=lambda: secrets.randbelow(_SPEAKERS), init=False)
    _spoken: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._asking, self._asked = trio.open_memory_channel[object](REQUESTS_MAX)

    @property
    def packets_spoken(self) -> int:
        """Packets sent so far."""
        return self._spoken

    async def greet(self) -> float:
        """Say hello and wait for the server's; how long that took, in seconds.

        Raises:
            ChannelClosed: The socket ended instead.
            DeviceError: No hello within ``HELLO_S`` seconds, or one without the transport.
        """
        audio = {"format": "opus", "sample_rate": 16_000, "channels": 1}
        await self.send(
            {
                "type": "hello",
                "version": self.identity.version,
                "features": {"mcp": True},
                "transport": "websocket",
                "audio_params": {**audio, "frame_duration": self.identity.frame_ms},
            }
        )
        began = trio.current_time()
        with trio.move_on_after(HELLO_S) as patience:
            await self._until(lambda: self.hello is not None)
        if patience.cancelled_caught or self.hello is None:
            raise DeviceError(f"no hello within {HELLO_S:.0f} s")
        if self.hello.get("transport") != "websocket":
            raise DeviceError("a hello without its transport")
        return trio.current_time() - began

    async def write(self, text: str) -> Turn:
        """Say ``text`` as words that were recognised; the answer, which has no audio.

        Raises:
            DeviceError: As :meth:`answer` does.
        """
        await self._say({"type": "listen", "state": "detect", "text": text})
        self.stopped_at = trio.current_time()
        return await self.answer()

    async def speak(self, packets: int, *, mode: str = "manual") -> Turn:
        """Say so many packets, paced as they sound; the answer.

        Raises:
            DeviceError: As :meth:`answer` does.
        """
        await self.start_listening(mode)
        await self.sound(packets)
        if mode == "manual":
            await self._say({"type": "listen", "state": "stop"})
        self.stopped_at = trio.current_time()
        return await self.answer()

    async def start_listening(self, mode: str = "manual") -> None:
        """Tell the server that speech follows. Raises :class:`ChannelClosed`."""
        await self._say({"type": "listen", "state": "start", "mode": mode})

    async def sound(self, packets: int) -> None:
        """Send so many packets, one each time one has sounded. Raises :class:`ChannelClosed`."""
        began, pause_s = trio.current_time(), self.identity.frame_ms / 1000
        for index in range(packets):
            number, self._spoken = self._spoken, self._spoken + 1
            sound = packet(self._speaker, number, self.identity.frame_ms)
            frame = AudioFrame(sound, timestamp_ms=number * self.identity.frame_ms)
            message = build(frame, self.identity.version)
            assert message is not None, "a packet of a few bytes"
            await self.send(message)
            await trio.sleep_until(began + (index + 1) * pause_s)

    async def abort(self) -> None:
        """Stop the server from speaking. Raises :class:`ChannelClosed`."""
        await self._say({"type": "abort", "reason": "wake_word_detected"})

    async def answer(self) -> Turn:
        """The next answer that is over.

        Raises:
            ChannelClosed: The socket ended first.
            DeviceError: Nothing came for ``SILENCE_S`` seconds.
        """
        await self._until(lambda: bool(self._turns))
        return self._turns.popleft()

    async def until_closed(self) -> ChannelClosed:
        """How the socket ends. Raises :class:`DeviceError` as :meth:`answer` does."""
        try:
            await self._until(lambda: False)
        except ChannelClosed as closed:
            return closed
        raise AssertionError("what never comes has come")

    async def until_called(self, calls: int) -> None:
        """Wait until so many tools have been called. Raises as :meth:`answer` does."""
        await self._until(lambda: len(self.toolset.calls) >= calls)

    async def send(self, message: JsonObject | str | bytes) -> None:
        """Send one message as it is. Raises :class:`ChannelClosed`."""
        data = msgspec.json.encode(message).decode() if isinstance(message, dict) else message
        try:
            await self._socket.send_message(data)
        except ConnectionClosed as closed:
            raise channel_closed(closed) from None

    async def run(self) -> None:
        """Hear, and do what is asked of its tools, until the socket ends; those who wait are told.

        Cancelling this leaves the socket open.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._work)
            try:
                while True:
                    self._take(await self._socket.get_message())
                    self._news.unpark_all()
            except ConnectionClosed as closed:
                self._closed = channel_closed(closed)
            nursery.cancel_scope.cancel()
        self._news.unpark_all()

    async def _work(self) -> None:
        """Answer requests of MCP, one after the other, while the device hears."""
        async for payload in self._asked:
            answer = self.toolset.answer(payload)
            self._news.unpark_all()
            if answer is None:
                continue
            if isinstance(payload, dict) and payload.get("method") == "tools/call":
                await trio.sleep(self.toolset.call_s)
            with contextlib.suppress(ChannelClosed):  # who hears finds the same
                await self._say({"type": "mcp", "payload": answer})

    async def _until(self, has_come: Callable[[], bool]) -> None:
        with trio.move_on_after(SILENCE_S) as patience:
            while not has_come():
                if self._closed is not None:
                    raise self._closed
                await self._news.park()
                patience.deadline = trio.current_time() + SILENCE_S
        if patience.cancelled_caught:
            raise DeviceError(f"nothing for {SILENCE_S:.0f} s")

    async def _say(self, message: JsonObject) -> None:
        await self.send({**message, "session_id": self.session_id})

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._hear(message)
            return
        try:
            self._read(msgspec.json.decode(message, type=dict[str, object]))
        except msgspec.DecodeError:
            self.texts_wrong += 1

    def _hear(self, message: bytes) -> None:
        frame = parse(message, self.identity.version)
        if frame is None:
            self.frames_wrong += 1
            return
        self.ear.hear(frame.payload)
        self._turn.packets += 1
        if self._turn.sounded_at is None:
            self._turn.sounded_at = trio.current_time()

    def _read(self, message: JsonObject) -> None:
        kind = message.get("type")
        if not isinstance(kind, str):
            self.texts_wrong += 1
            return
        self.kinds.append(kind)
        match message:
            case {"type": "hello"}:
                self.hello = message
                self.session_id = str(message.get("session_id") or "")
            case {"type": "stt", "text": str(text)}:
                self._turn.heard, self._turn.heard_at = text, trio.current_time()
            case {"type": "tts", "state": "sentence_start", "text": str(text)}:
                self._turn.sentences.append(text)
            case {"type": "tts", "state": "stop"}:
                self._turn.is_over = True
                self._turns.append(self._turn)
                self._turn = Turn()
            case {"type": "mcp", "payload": payload}:
                try:
                    self._asking.send_nowait(payload)
                except trio.WouldBlock:
                    self.requests_dropped += 1


@contextlib.asynccontextmanager
async def connected(
    stream: trio.abc.Stream,
    identity: Identity,
    *,
    host: str,
    path: str = PATH,
    toolset: Toolset | None = None,
) -> AsyncIterator[Device]:
    """A device past the 101, without its hello; at the end the socket is closed.

    Args:
        stream: To the server; it is closed at the end.
        identity: Who comes.
        host: The Host header.
        path: The request's target.
        toolset: What the device can do.

    Raises:
        ExceptionGroup: Of a ``trio_websocket.HandshakeError``: there was no 101. What is raised
            in the block comes in a group too.
    """
    try:
        async with trio.open_nursery() as nursery:
            socket = await wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # any will do: it uses what each has
                host,
                path,
                extra_headers=identity.headers(),
                message_queue_size=64,
                max_message_size=MESSAGE_MAX_BYTES,
            )
            device = Device(identity, toolset or Toolset(), socket)
            async with socket, trio.open_nursery() as hearing:
                hearing.start_soon(device.run)
                yield device
                hearing.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    finally:  # the library leaves a stream open that its peer has ended
        await trio.aclose_forcefully(stream)
