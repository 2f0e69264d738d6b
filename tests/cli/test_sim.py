"""``relayd sim``."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from relayd.cli.main import run
from relayd.sim.registry import SIMULATORS

RELAYD = Path(sys.executable).parent / "relayd"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "Missing argument"),
        (["telepathy"], "'telepathy' is not one of"),
        (["realtime", "--scenario", "nonsense"], "realtime can play: normal"),
        (["realtime", "--listen", "localhost"], "the port is missing"),
        (["realtime", "--listen", "unix:/run/sim.sock"], "on TCP only"),
    ],
)
def test_wrong_usage_is_explained(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sim", *arguments]) == 64
    assert hint in capsys.readouterr().err


def test_every_scenario_of_every_dialect_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "--list"]) == 0

    told = capsys.readouterr().out
    for simulator in SIMULATORS.values():
        assert f"{simulator.dialect}: {simulator.summary}" in told
        for name, summary in simulator.scenarios.items():
            assert any(line.split() == [name, *summary.split()] for line in told.splitlines()), name


def test_a_port_that_is_taken_is_unavailable(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        assert run(["sim", "realtime", "--listen", address]) == 69

    assert f"cannot listen on {address}" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_and_serves_until_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen([RELAYD, "sim", "passthrough"], stdout=subprocess.PIPE) as sim:
        assert sim.stdout is not None
        host, _, port = sim.stdout.readline().decode().strip().rpartition(":")

        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: sim\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 426"
        sim.send_signal(number)

        assert sim.wait(10) == 0
