"""``relayd serve`` as a process of its own: exit codes, signals, and what it says where."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

MAIN = "from relayd.cli.main import main; main()"
KEY = "canary-of-client"
SOON_S = 15.0
"""A process imports and starts in a second; a machine that is busy takes longer."""


@attrs.define(eq=False)
class Daemon:
    """A child process and what it has written so far."""

    process: subprocess.Popen[str]
    out: list[str] = attrs.field(factory=list)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of its log, where they are JSON."""
        return [json.loads(line) for line in self.out]

    def until(self, event: str) -> dict[str, Any]:
        """Read lines up to the next one of ``event``."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.out.append(line)
            if event in line:
                return self.lines[-1] if line.startswith("{") else {}
        raise AssertionError(f"it ended before {event}: {self.out} {self.end()}")

    def end(self) -> tuple[int, str]:
        """Its exit code and what it wrote to standard error, once it has ended."""
        out, err = self.process.communicate(timeout=SOON_S)
        self.out += out.splitlines()
        return self.process.returncode, err

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


Serve = Callable[..., Daemon]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start ``relayd serve`` with a configuration given as text."""
    daemons: list[Daemon] = []

    def start(config: str | None, *options: str) -> Daemon:
        path = tmp_path / "relayd.toml"
        if config is not None:
            path.write_text(config)
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "serve", "--config", str(path), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"RUNTIME_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)},
        )
        daemons.append(Daemon(process))
        return daemons[-1]

    yield start
    for daemon in daemons:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.end()


def config(listen: str = "127.0.0.1:0", more: str = "") -> str:
    return f"""
[server]
listen = ["{listen}"]
admin = "unix:admin.sock"
{more}
[[keys]]
name = "dev"
secret = "{KEY}"

[[accounts]]
name = "echo"
provider = "sim:passthrough"
"""


def asking(address: str, account: str) -> socket.socket:
    """A client that has asked for a session at an account."""
    host, _, port = address.rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=SOON_S)
    client.sendall(
        f"GET /relay/{account} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {KEY}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: c2l4dGVlbiBieXRlcywgMQ==\r\n\r\n".encode()
    )
    return client


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_the_exit_code_is_0(serve: Serve, number: signal.Signals) -> None:
    daemon = serve(config())
    address = daemon.until("server.started")["listen"][0]
    with asking(address, "echo") as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
        daemon.process.send_signal(number)
        said = client.recv(65536)
        assert said[:4] == b"\x88" + bytes([len(said) - 2]) + (1012).to_bytes(2, "big")

    code, err = daemon.end()

    assert (code, err) == (0, ""), "on a pipe nothing is shown to people"
    assert [event for event in daemon.events if event != "model.unpriced"] == [
        *("server.started", "drain.started", "session.ended", "server.stopped")
    ]
    assert daemon.lines[-1]["cause"] == "drained"
    assert KEY not in json.dumps(daemon.lines)


def test_a_second_signal_stops_what_the_first_one_waits_for(serve: Serve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(SOON_S)
        port = upstream.getsockname()[1]
        slow = f"""
[limits]
admission_s = 1000.0

[[accounts]]
name = "slow"
provider = "websocket"
base_url = "ws://127.0.0.1:{port}"
timeouts = {{ connect_s = 1000.0 }}
"""
        daemon = serve(config(more="drain_s = 600.0") + slow)
        address = daemon.until("server.started")["listen"][0]
        with asking(address, "slow") as client, upstream.accept()[0]:
            daemon.process.send_signal(signal.SIGTERM)
            daemon.until("drain.started")
            daemon.process.send_signal(signal.SIGTERM)
            assert client.recv(65536).startswith(b"HTTP/1.1 503 ")

            code, _ = daemon.end()

    assert code == 0
    assert daemon.events[-2:] == ["connection.refused", "server.stopped"]
    assert daemon.lines[-1]["cause"] == "stopped"
    assert not (tmp_path / "admin.sock").exists()


def test_an_address_that_is_taken_is_69_with_the_remedy(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code, err = serve(config(f"127.0.0.1:{port}")).end()

    assert code == 69
    assert err == (
        f"relayd: cannot listen on 127.0.0.1:{port}: address already in use;"
        " stop the other process or choose another address\n"
    )


def test_mistakes_in_the_configuration_are_78_with_one_line_each(serve: Serve) -> None:
    daemon = serve(config(more="drain_s = -1\nunknown = 1"))

    code, err = daemon.end()

    assert (code, err) == (78, "")
    assert daemon.events == ["config.refused", "config.refused"]
    assert {line["path"] for line in daemon.lines} == {"server.drain_s", "server.unknown"}


def test_a_missing_configuration_is_78(serve: Serve) -> None:
    daemon = serve(None)

    assert daemon.end()[0] == 78
    assert daemon.lines[0]["message"].startswith("cannot read the file: No such file")


def test_a_person_is_told_what_to_try(serve: Serve) -> None:
    daemon = serve(config(), "--welcome")
    address = daemon.until("server.started")["listen"][0]
    daemon.process.send_signal(signal.SIGTERM)

    code, err = daemon.end()

    assert code == 0
    assert f"relayd listens on {address}; Ctrl-C drains, twice stops." in err
    assert "curl" in err
    assert KEY not in err


def test_the_log_may_be_for_people(serve: Serve) -> None:
    daemon = serve(config() + '\n[log]\nformat = "console"\n')
    daemon.until("server.started")

    daemon.process.send_signal(signal.SIGTERM)

    assert daemon.end()[0] == 0
    assert "server.stopped" in daemon.out[-1]
    assert not [line for line in daemon.out if line.startswith("{")]
