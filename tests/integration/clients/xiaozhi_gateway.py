"""An MQTT gateway before a server of xiaozhi: a socket for each device. Prints JSON lines.

Usage: xiaozhi_gateway.py URL TOKEN PACKETS DEVICE_ID=ADDRESS...

Each device says one thing aloud, all at once. Then the sockets stay until the process is ended.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

HELLO_S: Final = 10.0
ANSWER_S: Final = 30.0
FRAME_MS: Final = 20
PACKET: Final = bytes([9 << 3]).ljust(60, b"\xaa")
HEADER: Final = struct.Struct("!8xII")
"""Its frames: version, type and the reserved word are zero."""


def tell(**members: Any) -> None:  # noqa: ANN401 - any JSON
    print(json.dumps(members), flush=True)


async def serve(url: str, token: str, packets: int, device_id: str, address: str) -> None:
    """One device, as far as a server sees it. Where it is stands in a header."""
    headers = {
        "device-id": device_id,
        "protocol-version": "2",
        "authorization": f"Bearer {token}",
        "x-forwarded-for": address,
    }
    async with connect(url, additional_headers=headers, user_agent_header=None) as socket:
        audio = {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": FRAME_MS}
        hello = {"type": "hello", "version": 2, "transport": "websocket", "audio_params": audio}
        await socket.send(json.dumps({**hello, "features": {"mcp": True}}))
        async with asyncio.timeout(HELLO_S):
            answer = json.loads(await socket.recv())
        await socket.send(json.dumps({"type": "listen", "state": "start", "mode": "manual"}))
        for number in range(packets):
            await socket.send(HEADER.pack(number * FRAME_MS, len(PACKET)) + PACKET)
            await asyncio.sleep(FRAME_MS / 1000)
        await socket.send(json.dumps({"type": "listen", "state": "stop"}))
        async with asyncio.timeout(ANSWER_S):
            heard, sizes = await hear(socket)
        tell(device=device_id, hello=answer["type"], heard=heard, sizes=sizes)
        await socket.wait_closed()
        tell(device=device_id, close=socket.close_code)


async def hear(socket: ClientConnection) -> tuple[str | None, list[int]]:
    """What was understood, and how long the packets of the answer are, as a gateway reads them."""
    heard, sizes = None, []
    while True:
        message = await socket.recv()
        if isinstance(message, bytes):
            _, size = HEADER.unpack_from(message)
            assert len(message) == HEADER.size + size
            sizes.append(size)
            continue
        match json.loads(message):
            case {"type": "stt", "text": str(text)}:
                heard = text
            case {"type": "tts", "state": "stop"}:
                return heard, sizes


async def main() -> None:
    url, token, packets, *devices = sys.argv[1:]
    async with asyncio.TaskGroup() as group:
        for told in devices:
            device_id, _, address = told.partition("=")
            group.create_task(serve(url, token, int(packets), device_id, address))


if __name__ == "__main__":
    asyncio.run(main())
