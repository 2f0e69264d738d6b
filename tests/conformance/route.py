"""The ways from a client to a WebSocket server: straight, and through relayd as it is installed."""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import attrs

from tests.conformance.children import child

RELAYD = Path(sys.executable).with_name("relayd")
KEY = "conformance-client-key"

CONFIGURATION = """\
[server]
listen = ["127.0.0.1:0"]
drain_s = 1.0

[limits]
message_max_bytes = {message_max_bytes}

[[keys]]
name = "conformance"
secret = "{key}"

[[accounts]]
name = "far-end"
provider = "websocket"
base_url = "ws://127.0.0.1:{server_port}"
models = ["*"]
"""


@attrs.frozen
class Route:
    """Where a client connects on 127.0.0.1, and what it says to get to the server."""

    port: int
    prefix: str = ""
    """What its request target begins with."""

    headers: Mapping[str, str] = MappingProxyType({})
    protocols: tuple[str, ...] = ()
    """The subprotocols that a client offers which cannot set headers."""


@asynccontextmanager
async def directly(server_port: int) -> AsyncIterator[Route]:
    """Lead to the server itself."""
    yield Route(server_port)


@asynccontextmanager
async def through_relayd(
    server_port: int, *, directory: Path, message_max_bytes: int = 64 * 2**20
) -> AsyncIterator[Route]:
    """Lead to a relayd that runs until the block ends, with its files in ``directory``."""
    file = directory / "relayd.toml"
    file.write_text(
        CONFIGURATION.format(key=KEY, message_max_bytes=message_max_bytes, server_port=server_port)
    )
    async with child([RELAYD, "serve", "--config", file], directory) as output:
        started = json.loads(await output.line_with('"server.started"'))
        yield Route(
            port=int(started["listen"][0].rpartition(":")[2]),
            prefix="/relay/far-end",
            headers={"authorization": f"Bearer {KEY}"},
            protocols=(f"openai-insecure-api-key.{KEY}",),
        )
