"""A WebSocket client on a memory stream: what the simulated upstreams are tested with."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
import trio
import trio.testing
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from relayd.sim.server import Upstream

REALTIME = "/v1/realtime?model=gpt-realtime"
BEARER = {"Authorization": "Bearer any-key"}


class Ended(Exception):
    """The upstream ended the connection; ``code`` is that of its Close, if it sent one."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@attrs.define
class Peer:
    """The client's end of one connection."""

    stream: trio.abc.Stream
    protocol: ClientProtocol
    frames: deque[Frame] = attrs.field(factory=deque)
    text: bytearray = attrs.field(factory=bytearray)

    async def upgrade(self, headers: Mapping[str, str]) -> Response:
        """Send the upgrade request; the answer, whatever its status."""
        request = self.protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self.protocol.send_request(request)
        await self._flush()
        while True:
            for event in await self._events():
                if isinstance(event, Response):
                    return event

    async def send(self, event: Mapping[str, object] | str | bytes) -> None:
        """Send one message: an event, a text or bytes."""
        match event:
            case bytes():
                self.protocol.send_binary(event)
            case str():
                self.protocol.send_text(event.encode())
            case _:
                self.protocol.send_text(json.dumps(event).encode())
        await self._flush()

    async def send_raw(self, data: bytes) -> None:
        """Put bytes on the wire that no protocol object would."""
        await self.stream.send_all(data)

    async def frame(self) -> Frame:
        """The next frame, control frames too. Raises ``Ended``."""
        while not self.frames:
            self.frames.extend(e for e in await self._events() if isinstance(e, Frame))
        return self.frames.popleft()

    async def message(self) -> bytes:
        """The next message, its fragments joined. Raises ``Ended``."""
        whole = bytearray()
        while True:
            frame = await self.frame()
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                whole += frame.data
                if frame.fin:
                    return bytes(whole)

    async def event(self) -> dict[str, Any]:
        """The next server event. Raises ``Ended``."""
        decoded: dict[str, Any] = json.loads(await self.message())
        return decoded

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Server events up to and with the next one of ``kind``."""
        events = [await self.event()]
        while events[-1]["type"] != kind:
            events.append(await self.event())
        return events

    async def say(self, text: str) -> None:
        """Put a user message into the conversation and ask for an answer."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.send({"type": "conversation.item.create", "item": item})
        await self.send({"type": "response.create"})

    async def end(self) -> Ended:
        """How the connection ends; what comes before is dropped."""
        try:
            while True:
                await self.frame()
        except Ended as ended:
            return ended

    async def _events(self) -> list[object]:
        if self.protocol.close_rcvd is not None and not self.frames:
            raise Ended(self.protocol.close_rcvd.code, self.protocol.close_rcvd.reason)
        try:
            data = await self.stream.receive_some(65_536)
        except trio.BrokenResourceError:
            raise Ended(None) from None
        if not data:
            raise Ended(None)
        self.protocol.receive_data(data)
        await self._flush()
        return list(self.protocol.events_received())

    async def _flush(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            for data in self.protocol.data_to_send():
                if data:
                    await self.stream.send_all(data)


@contextlib.asynccontextmanager
async def served(
    upstream: Upstream,
    path: str = REALTIME,
    *,
    subprotocols: tuple[str, ...] = (),
) -> AsyncIterator[Peer]:
    """A peer whose upgrade is not sent yet; ``upstream`` plays the other end."""
    near, far = trio.testing.memory_stream_pair()
    protocol = ClientProtocol(
        parse_uri(f"ws://sim{path}"),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=None,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream.serve_stream, far)
        yield Peer(near, protocol)
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def connected(upstream: Upstream, path: str = REALTIME) -> AsyncIterator[Peer]:
    """A peer past the 101, with a key."""
    async with served(upstream, path) as peer:
        response = await peer.upgrade(BEARER)
        assert response.status_code == 101
        yield peer
