"""A client of the hub's own WebSocket, as one would write it: it connects again and resumes.

Usage: hub_council.py JSON, an object with "url", "topics" and "tokens". With
"refresh_after_s" it sends its second token so long after its welcome. Prints one JSON object for
each thing that happens, until it is ended or may not come back.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

PAUSE_S = 0.05
STAYS_AWAY = range(4500, 5000)


def tell(what: str, **members: object) -> None:
    print(json.dumps({"what": what, **members}), flush=True)


async def refresh(connection: ClientConnection, token: str, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await connection.send(json.dumps({"type": "refresh", "token": token, "id": "refresh"}))


class Reader:
    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.since: str | None = None

    async def connection(self) -> tuple[int | None, str | None]:
        query = {"topics": ",".join(self.told["topics"])}
        if self.since:
            query["since"] = self.since
        headers = {"Authorization": f"Bearer {self.told['tokens'][0]}"}
        url = f"{self.told['url']}?{urlencode(query)}"
        async with connect(
            url, additional_headers=headers, max_size=None, proxy=None
        ) as connection:
            if "refresh_after_s" in self.told:
                again = refresh(connection, self.told["tokens"][1], self.told["refresh_after_s"])
                self.refreshing = asyncio.create_task(again)
            async for text in connection:
                self.take(json.loads(text))
        return connection.close_code, connection.close_reason

    def take(self, message: dict[str, Any]) -> None:
        if "type" in message:
            tell(message["type"], message=message, recovered=message.get("recovered"))
            return
        self.since = message["id"]
        if message["event"] == "resync_required":
            tell("resync", envelope=message)
            return
        offset = int(message["id"].partition(":")[2])
        tell("event", topic=message["topic"], offset=offset, envelope=message)

    async def run(self) -> None:
        code: int | None = None
        while code not in STAYS_AWAY:
            try:
                code, reason = await self.connection()
                tell("connecting", code=code, reason=reason)
            except ConnectionClosed as closed:
                code = 1006 if closed.rcvd is None else closed.rcvd.code
                tell("connecting", code=code, reason=str(closed))
            except (OSError, EOFError, WebSocketException) as lost:
                code = None
                tell("connecting", code=code, reason=type(lost).__name__)
            await asyncio.sleep(PAUSE_S)
        tell("disconnected", code=code)


asyncio.run(Reader(json.loads(sys.argv[1])).run())
