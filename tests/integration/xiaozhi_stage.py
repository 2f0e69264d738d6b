"""Two simulated xiaozhi servers, relayd before them, and a device: each a program of its own."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import httpx
import trio

from relayd.observe.events import LogEvent
from tests.integration.conftest import (
    KEY,
    PATIENCE_S,
    RELAYD,
    Program,
    Relayd,
    python_client,
    run_client,
)

MAC: Final = "02:00:00:00:00:0a"
OTHER_MAC: Final = "02:00:00:00:00:0b"
CLIENT: Final = "22222222-3333-4444-5555-666666666666"
GATEWAY_KEY: Final = "test-token"
"""What the MQTT gateway presents, whoever it speaks for."""

_LOOK_S: Final = 0.02
_CONFIG: Final = """\
[server]
listen = ["127.0.0.1:{port}"]
admin = "unix:{directory}/admin.sock"
drain_s = {drain_s}
trusted_proxies = ["127.0.0.1"]

[ledger]
url = "sqlite::memory:"

[xiaozhi]
public_url = "http://127.0.0.1:{port}"
token_secret = "0123456789abcdef0123456789abcdef"
key = "devices"
tools_allowed = ["self.*"]

[[keys]]
name = "devices"
secret = "{key}"

[[keys]]
name = "gateway"
secret = "{gateway_key}"
"""
_ACCOUNT: Final = """
[[accounts]]
name = "{name}"
provider = "xiaozhi"
base_url = "http://{address}/xiaozhi/v1/"
api_key = "simulated"
models = ["*"]
xiaozhi = {{ ota_url = "http://{address}/xiaozhi/ota/", protocol_version = {version} }}
"""


@attrs.define(eq=False)
class Server:
    """A simulated server.

    Attributes:
        name: Of its account.
        address: Where it listens.
        process: It.
    """

    name: str
    address: str
    process: trio.Process


@attrs.define(eq=False)
class House:
    """relayd and its servers.

    Attributes:
        relayd: It.
        servers: By the names of their accounts.
        admin: The admin listener's socket.
        config: relayd's configuration.
        nursery: Where relayd runs.
    """

    relayd: Relayd
    servers: dict[str, Server]
    admin: Path
    config: Path
    nursery: trio.Nursery

    @property
    def ota(self) -> str:
        """The client's step to ask relayd for its settings."""
        return f"ota:http://{self.relayd.address}/xiaozhi/ota/"

    def command(
        self, *steps: str, version: int = 1, mac: str = MAC, token: str = KEY
    ) -> list[str | Path]:
        """What runs the desktop client through relayd."""
        url = f"ws://{self.relayd.address}/xiaozhi/v1/"
        told = (url, mac, CLIENT, token, version, *steps)
        return python_client("xiaozhi_desktop.py", *told)

    async def talk(
        self, *steps: str, version: int = 1, mac: str = MAC, token: str = KEY
    ) -> list[Any]:
        """Run the client to its end; what it told."""
        return await run_client(self.command(*steps, version=version, mac=mac, token=token))

    async def start(self, *steps: str, nursery: trio.Nursery, mac: str = MAC) -> Program:
        """Start the client, which is ended with the nursery."""
        return await Program.start(self.command(*steps, mac=mac), nursery)

    async def ask_admin(self, method: str, path: str, **body: object) -> httpx.Response:
        """A request to the admin listener."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.admin))
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE_S) as client:
            content = {"json": body} if body else {}
            return await client.request(method, f"http://relayd{path}", **content)  # type: ignore[arg-type]  # its options

    async def restart(self) -> None:
        """Drain relayd, and start another one in its place."""
        self.relayd.process.send_signal(signal.SIGTERM)
        await self.relayd.logged(LogEvent.SERVER_STOPPED)
        self.relayd = await _serve(self.config, self.nursery)

    async def verb(self, *words: str) -> str:
        """What ``relayd devices`` prints, run as an operator runs it."""
        command: list[str | Path] = [RELAYD, "devices", *words, "--config", self.config]
        with trio.fail_after(PATIENCE_S):
            ended = await trio.run_process(command, capture_stdout=True)
        return ended.stdout.decode()

    async def devices(self) -> list[Any]:
        """The devices that are here, as operators see them."""
        answer = await self.ask_admin("GET", "/admin/v1/devices")
        devices: list[Any] = answer.json()["devices"]
        return devices

    async def until_state(self, mac: str, state: str) -> None:
        """Wait until a device is in that state."""
        with trio.fail_after(PATIENCE_S):
            while True:
                here = {each["device_id"]: each["state"] for each in await self.devices()}
                if here.get(mac) == state:
                    return
                await trio.sleep(_LOOK_S)

    async def serving(self) -> Server:
        """The server that the one device talks to."""
        (device,) = await self.devices()
        return self.servers[device["account"]]


@contextlib.asynccontextmanager
async def house(
    directory: Path,
    *,
    scenarios: tuple[str, str] = ("normal", "normal"),
    version: int = 1,
    drain_s: float = 3.0,
) -> AsyncIterator[House]:
    """relayd before two servers; all ends with the block."""
    async with trio.open_nursery() as nursery:
        servers: dict[str, Server] = {}

        async def start(name: str, scenario: str) -> None:
            servers[name] = await start_server(name, nursery, scenario=scenario)

        async with trio.open_nursery() as starting:
            for name, scenario in zip("ab", scenarios, strict=True):
                starting.start_soon(start, name, scenario)
        config = directory / "relayd.toml"
        told = _CONFIG.format(
            port=_free_port(),
            directory=directory,
            key=KEY,
            gateway_key=GATEWAY_KEY,
            drain_s=drain_s,
        )
        for name in sorted(servers):
            told += _ACCOUNT.format(name=name, address=servers[name].address, version=version)
        config.write_text(told)
        relayd = await _serve(config, nursery)
        yield House(relayd, servers, directory / "admin.sock", config, nursery)
        nursery.cancel_scope.cancel()


async def _serve(config: Path, nursery: trio.Nursery) -> Relayd:
    relayd = await Relayd.start([RELAYD, "serve", "--config", config], nursery)
    await relayd.logged(LogEvent.SERVER_STARTED)
    return relayd


async def start_server(name: str, nursery: trio.Nursery, *, scenario: str = "normal") -> Server:
    """Start a simulated server, which is ended with the nursery."""
    command = [RELAYD, "sim", "xiaozhi", "--scenario", scenario]
    # A server may be killed by its test; that is no failure of the test's.
    run = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
    process: trio.Process = await nursery.start(run)
    assert process.stdout is not None
    with trio.fail_after(PATIENCE_S):
        line = bytearray()
        while not line.endswith(b"\n"):
            data = await process.stdout.receive_some()
            assert data, "the simulated server has not started"
            line += data
    return Server(name, line.decode().strip(), process)


def _free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# -- what the client told


def told(lines: list[Any], name: str) -> list[Any]:
    """What the client told under that name."""
    return [line[name] for line in lines if name in line]


def answers(lines: list[Any]) -> list[dict[str, Any]]:
    """Its answers, in order."""
    return [line for line in lines if "said" in line]


def speaker(line: dict[str, Any]) -> str:
    """The server that an answer came from, as it calls itself."""
    return str(line["said"][0]).partition(" ")[0]
