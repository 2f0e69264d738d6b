"""An operator beside a running relayd: its real admin listener, over made-up things."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from relayd.cli.main import run
from relayd.service.acceptor import Acceptor, Reserve
from tests.service.admin.stage import TOKEN, Stage


@attrs.frozen
class Ops:
    """Who runs verbs against the relayd of ``config``.

    Attributes:
        stage: What that relayd has, and what was done to it.
        address: Its admin listener.
    """

    stage: Stage
    config: Path
    address: str

    async def run(self, *arguments: str) -> int:
        """One verb, which blocks, in a thread; its exit code."""
        return await trio.to_thread.run_sync(run, [*arguments, "--config", str(self.config)])


@asynccontextmanager
async def operated(folder: Path, sock: socket.socket, address: str) -> AsyncIterator[Ops]:
    """Serve on ``sock``, and write the configuration that says where that is."""
    config = folder / "relayd.toml"
    config.write_text(f'[server]\nadmin = "{address}"\nadmin_token = "{TOKEN}"\n')
    sock.listen(16)
    sock.setblocking(False)
    reserve = Reserve()
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery)
        acceptor = Acceptor(sock, address, stage.admin().serve, nursery, reserve)
        nursery.start_soon(acceptor.run)
        yield Ops(stage, config, address)
        nursery.cancel_scope.cancel()
    sock.close()
    reserve.close()


@pytest.fixture
async def ops(tmp_path: Path) -> AsyncIterator[Ops]:
    """Over a unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "admin.sock")
    sock.bind(path)
    async with operated(tmp_path, sock, f"unix:{path}") as made:
        yield made


@pytest.fixture
async def remote_ops(tmp_path: Path) -> AsyncIterator[Ops]:
    """Over TCP, with the token."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    async with operated(tmp_path, sock, f"127.0.0.1:{sock.getsockname()[1]}") as made:
        yield made
