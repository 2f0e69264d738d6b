"""The real clients of the hub, by what they speak and what they are made with."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import trio

from tests.integration.client_environments import ClientEnvironment
from tests.integration.conftest import CLIENTS
from tests.integration.hub_house import CONNECT, COUNCIL, EVENTS, TICK, TOPIC, Client, token_for
from tests.integration.hub_node import node_client

HOUR_S: Final = 3600.0

Command = Callable[[str], list[str | Path]]
"""The command that runs a client with these arguments."""


def _in_python(name: str) -> Command:
    def command(arguments: str) -> list[str | Path]:
        return [ClientEnvironment("hub").python(), CLIENTS / name, arguments]

    return command


def _in_own_python(name: str) -> Command:
    def command(arguments: str) -> list[str | Path]:
        return [sys.executable, CLIENTS / name, arguments]

    return command


def _in_node(name: str) -> Command:
    def command(arguments: str) -> list[str | Path]:
        return node_client(name, arguments)

    return command


@attrs.frozen
class Kind:
    """One of the clients.

    Attributes:
        name: What tests call it.
        scheme: Of its URL.
        path: Likewise.
        command: Runs it; skips the test where that is not possible.
    """

    name: str
    scheme: str
    path: str
    command: Command = attrs.field(repr=False)

    async def start(self, address: str, nursery: trio.Nursery, **told: object) -> Client:
        """Start it; ended with the nursery.

        Args:
            address: ``host:port``.
            nursery: What it runs in.
            told: What its script is told beside the URL; a token for an hour and :data:`TOPIC`,
                where nothing else is said.
        """
        said: dict[str, object] = {
            "url": f"{self.scheme}://{address}{self.path}",
            "topics": [TOPIC],
            "tokens": [token_for(time.time() + HOUR_S, publish=["*"])],
            "names": [TICK],
        }
        command = await trio.to_thread.run_sync(self.command, json.dumps(said | told))
        return await Client.start(command, nursery)


CENTRIFUGE_PYTHON: Final = Kind("centrifuge-python", "ws", CONNECT, _in_python("hub_centrifuge.py"))
CENTRIFUGE_JS: Final = Kind("centrifuge-js", "ws", CONNECT, _in_node("hub_centrifuge.mjs"))
EVENT_SOURCE: Final = Kind("eventsource", "http", EVENTS, _in_node("hub_eventsource.mjs"))
OWN: Final = Kind("council", "ws", COUNCIL, _in_own_python("hub_council.py"))

CENTRIFUGE: Final = (CENTRIFUGE_PYTHON, CENTRIFUGE_JS)
ALL: Final = (*CENTRIFUGE, EVENT_SOURCE, OWN)


def name_of(kind: Kind) -> str:
    """For ``pytest.mark.parametrize``."""
    return kind.name
