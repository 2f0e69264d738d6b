"""A client of the hub with the published Centrifuge package for Python.

Usage: hub_centrifuge.py JSON, an object with "url", "topics", and "tokens": the first is what the
client connects with, each other one is what it is given when it asks for another. What "publish"
holds it publishes to its first topic once it follows that. Prints one JSON object for each thing
that happens, until it is ended or may not come back.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from centrifuge import (  # type: ignore[import-not-found]  # in its own environment
    CentrifugeError,
    Client,
    ClientEventHandler,
    ConnectedContext,
    ConnectingContext,
    DisconnectedContext,
    PublicationContext,
    SubscribedContext,
    SubscriptionErrorContext,
    SubscriptionEventHandler,
    UnsubscribedContext,
)


def tell(what: str, **members: object) -> None:
    print(json.dumps({"what": what, **members}), flush=True)


class Connection(ClientEventHandler):  # type: ignore[misc]  # as above
    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def on_connecting(self, ctx: ConnectingContext) -> None:
        tell("connecting", code=ctx.code, reason=ctx.reason)

    async def on_connected(self, ctx: ConnectedContext) -> None:
        tell("connected", client=ctx.client)

    async def on_disconnected(self, ctx: DisconnectedContext) -> None:
        tell("disconnected", code=ctx.code, reason=ctx.reason)
        self.ended.set()


class Topic(SubscriptionEventHandler):  # type: ignore[misc]  # as above
    def __init__(self, name: str) -> None:
        self.name = name

    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        tell("subscribed", topic=self.name, resumed=ctx.was_recovering, recovered=ctx.recovered)

    async def on_publication(self, ctx: PublicationContext) -> None:
        tell("event", topic=self.name, offset=ctx.pub.offset, envelope=ctx.pub.data)

    async def on_unsubscribed(self, ctx: UnsubscribedContext) -> None:
        tell("unsubscribed", topic=self.name, code=ctx.code)

    async def on_error(self, ctx: SubscriptionErrorContext) -> None:
        tell("error", topic=self.name, code=ctx.code)


async def main(told: dict[str, Any]) -> None:
    tokens: list[str] = list(told["tokens"])
    connection = Connection()

    async def get_token() -> str:
        tell("asked for a token")
        return tokens.pop(0) if len(tokens) > 1 else tokens[0]

    client = Client(
        told["url"],
        events=connection,
        token=tokens.pop(0) if len(tokens) > 1 else tokens[0],
        get_token=get_token,
        min_reconnect_delay=0.02,
        max_reconnect_delay=0.2,
        proxy=None,
    )
    topics = [
        client.new_subscription(name, events=Topic(name), recoverable=True)
        for name in told["topics"]
    ]
    await client.connect()
    for topic in topics:
        await topic.subscribe()
    for data in told.get("publish", []):
        try:
            await topics[0].publish(data)
            tell("published")
        except CentrifugeError as error:
            tell("refused", code=getattr(error, "code", None))
    await connection.ended.wait()


asyncio.run(main(json.loads(sys.argv[1])))
