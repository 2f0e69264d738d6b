"""A desktop client of xiaozhi as py-xiaozhi connects: one conversation. Prints JSON lines.

Usage: xiaozhi_desktop.py URL DEVICE_ID CLIENT_ID TOKEN VERSION STEP...
A page in a browser has no DEVICE_ID: it can set no headers, and says in the URL who it is.

A step is ``ota:URL`` (the first one alone: asks for settings and goes where they lead),
``write:TEXT`` (words that were recognised), ``speak:PACKETS`` (answered aloud), ``attend:SECONDS``
(does what is asked of its tools) or ``closed`` (waits for the end). The last line tells the end:
the code of the Close, or the status where it is not let in.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

HELLO_S: Final = 10.0
ANSWER_S: Final = 30.0
FRAME_MS: Final = 20
PACKET: Final = bytes([9 << 3]).ljust(60, b"\xaa")
HEADER_BYTES: Final = {1: 0, 2: 16, 3: 4}

TOOL: Final = {"name": "self.lamp.turn_on", "description": "", "inputSchema": {"type": "object"}}


def tell(**members: Any) -> None:  # noqa: ANN401 - any JSON
    print(json.dumps(members), flush=True)


def settings_of(url: str, device_id: str, client_id: str) -> dict[str, Any]:
    """Ask for settings as a device does."""
    headers = {
        "Device-Id": device_id,
        "Client-Id": client_id,
        "Activation-Version": "2",
        "Content-Type": "application/json",
    }
    body = json.dumps({"version": 2, "mac_address": device_id, "uuid": client_id}).encode()
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=HELLO_S) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def framed(version: int) -> bytes:
    """One packet in a framing."""
    size = len(PACKET).to_bytes(4, "big")
    if version == 2:
        return b"\x00\x02" + bytes(10) + size + PACKET
    return PACKET if version == 1 else b"\x00\x00" + size[2:] + PACKET


class Desktop:
    """One socket. Every message carries an empty session id, as this client's do."""

    def __init__(self, socket: ClientConnection, version: int) -> None:
        self.socket = socket
        self.version = version
        self.packets = 0
        self.wrong = 0

    async def send(self, kind: str, **members: object) -> None:
        await self.socket.send(json.dumps({"session_id": "", "type": kind, **members}))

    async def receive(self) -> dict[str, Any]:
        """The next text; packets are counted, requests of MCP answered."""
        while True:
            message = await self.socket.recv()
            if isinstance(message, bytes):
                self.hear(message)
                continue
            event: dict[str, Any] = json.loads(message)
            if event["type"] != "mcp":
                return event
            await self.answer(event["payload"])

    def hear(self, message: bytes) -> None:
        self.packets += 1
        head = HEADER_BYTES[self.version]
        size = int.from_bytes(message[12:16] if head > 4 else message[2:4], "big")
        if len(message) <= head or (head and size != len(message) - head):
            self.wrong += 1

    async def answer(self, request: dict[str, Any]) -> None:
        results: dict[str, Any] = {
            "initialize": {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}},
            "tools/list": {"tools": [TOOL]},
            "tools/call": {"content": [{"type": "text", "text": "lit"}], "isError": False},
        }
        if "id" in request:
            tell(mcp=request["method"])
            result = results[request["method"]]
            await self.send(
                "mcp", payload={"jsonrpc": "2.0", "id": request["id"], "result": result}
            )

    async def greet(self) -> None:
        audio = {"format": "opus", "sample_rate": 16000, "channels": 1}
        await self.socket.send(
            json.dumps(
                {
                    "type": "hello",
                    "version": self.version,
                    "features": {"mcp": True},
                    "transport": "websocket",
                    "audio_params": {**audio, "frame_duration": FRAME_MS},
                }
            )
        )
        async with asyncio.timeout(HELLO_S):
            hello = await self.receive()
        assert hello["transport"] == "websocket"
        tell(hello=hello)

    async def write(self, text: str) -> None:
        await self.send("listen", state="detect", text=text)
        await self.hear_answer()

    async def speak(self, packets: int) -> None:
        await self.send("listen", state="start", mode="manual")
        for _ in range(packets):
            await self.socket.send(framed(self.version))
            await asyncio.sleep(FRAME_MS / 1000)
        await self.send("listen", state="stop")
        await self.hear_answer()

    async def hear_answer(self) -> None:
        """One answer to its end, and what it was."""
        self.packets = 0
        heard, said = None, []
        async with asyncio.timeout(ANSWER_S):
            while True:
                match await self.receive():
                    case {"type": "stt", "text": str(text)}:
                        heard = text
                    case {"type": "tts", "state": "sentence_start", "text": str(text)}:
                        said.append(text)
                    case {"type": "tts", "state": "stop"}:
                        break
        tell(heard=heard, said=said, packets=self.packets, wrong=self.wrong)

    async def until_closed(self) -> None:
        while True:
            tell(event=(await self.receive())["type"])


async def step(desktop: Desktop, told: str) -> None:
    name, _, value = told.partition(":")
    match name:
        case "write":
            await desktop.write(value)
        case "speak":
            await desktop.speak(int(value))
        case "attend":
            try:
                async with asyncio.timeout(float(value)):
                    await desktop.until_closed()
            except TimeoutError:
                pass
        case "closed":
            await desktop.until_closed()
        case _:
            raise ValueError(told)


async def main() -> None:
    url, device_id, client_id, token, version_told, *steps = sys.argv[1:]
    version = int(version_told)
    if steps and steps[0].startswith("ota:"):
        settings = settings_of(steps.pop(0).removeprefix("ota:"), device_id, client_id)
        tell(settings=settings)
        url, token = settings["websocket"]["url"], settings["websocket"]["token"]
    headers = {}
    if device_id:
        headers = {"Protocol-Version": str(version), "Device-Id": device_id, "Client-Id": client_id}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        await converse(url, headers, version, steps)
    except InvalidStatus as refused:
        tell(refused=refused.response.status_code, body=json.loads(refused.response.body))


async def converse(url: str, headers: dict[str, str], version: int, steps: list[str]) -> None:
    async with connect(
        url,
        additional_headers=headers,
        ping_interval=20,
        ping_timeout=20,
        close_timeout=10,
        open_timeout=5,
        max_size=10 * 1024 * 1024,
        compression=None,
        proxy=None,
    ) as socket:
        desktop = Desktop(socket, version)
        try:
            await desktop.greet()
            for told in steps:
                await step(desktop, told)
            await socket.close()
        except ConnectionClosed:
            pass
        tell(close=socket.close_code, reason=socket.close_reason)


if __name__ == "__main__":
    asyncio.run(main())
