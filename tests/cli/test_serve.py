"""``relayd serve`` as a process of its own: exit codes, signals, and what it says where."""

from __future__ import annotations

import collections
import functools
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trustme

from tests.faults.wire import CLOSE, TEXT, Ended, Wire, accepting, frame, upgrade

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

    def hang_up(self) -> None:
        """What makes it read its configuration again."""
        self.process.send_signal(signal.SIGHUP)

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


def asking(address: str, account: str, key: str = KEY) -> socket.socket:
    """A client that has asked for a session at an account."""
    host, _, port = address.rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=SOON_S)
    ask(client, f"/relay/{account}", key)
    return client


def ask(client: socket.socket, path: str, key: str = KEY) -> None:
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: relayd.test\r\nAuthorization: Bearer {key}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: c2l4dGVlbiBieXRlcywgMQ==\r\n\r\n".encode()
    )


def session(address: str, account: str = "echo", key: str = KEY) -> socket.socket:
    """A client whose session has begun."""
    client = asking(address, account, key)
    assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
    return client


def echoes(client: socket.socket, payload: bytes = b"hello") -> bool:
    """Whether a session of the echoing upstream goes on."""
    client.sendall(frame(TEXT, payload))
    whole, said = frame(TEXT, payload, masked=False), b""
    while len(said) < len(whole):
        said += client.recv(65536) or b"!" * len(whole)
    return said == whole


def close_code(client: socket.socket) -> int:
    said = client.recv(65536)
    assert said[:1] == b"\x88", said
    return int.from_bytes(said[2:4], "big")


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


# -- reloads


OTHER = """
[[keys]]
name = "other"
secret = "canary-of-other"
"""


def without_dev(text: str) -> str:
    """The configuration with the key ``dev`` disabled."""
    return text.replace(f'secret = "{KEY}"', f'secret = "{KEY}"\nenabled = false')


def test_hanging_up_lets_a_new_key_in_and_ends_the_sessions_of_one_that_is_gone(
    serve: Serve, tmp_path: Path
) -> None:
    daemon = serve(config())
    address = daemon.until("server.started")["listen"][0]
    with session(address) as client:
        (tmp_path / "relayd.toml").write_text(without_dev(config()) + OTHER)
        daemon.hang_up()
        line = daemon.until("config.reloaded")

        assert (line["keys_added"], line["keys_removed"]) == (1, 1)
        assert close_code(client) == 1008
        with asking(address, "echo") as late:
            assert late.recv(65536).startswith(b"HTTP/1.1 401 ")
        with session(address, key="canary-of-other") as newcomer:
            assert echoes(newcomer)
    daemon.process.terminate()

    assert daemon.end()[0] == 0
    assert "canary" not in "".join(daemon.out)


def test_hanging_up_with_a_bad_file_says_every_mistake_and_changes_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    daemon = serve(config())
    address = daemon.until("server.started")["listen"][0]
    with session(address) as client:
        for bad, paths in [
            (config(more="drain_s = -1\nunknown = 1"), {"server.drain_s", "server.unknown"}),
            ("[[keys", {""}),
        ]:
            (tmp_path / "relayd.toml").write_text(bad)
            daemon.hang_up()
            lines = [daemon.until("config.refused") for _ in paths]
            assert {line["path"] for line in lines} == paths
        (tmp_path / "relayd.toml").unlink()
        daemon.hang_up()
        assert "No such file" in daemon.until("config.refused")["message"]

        assert echoes(client)
        with session(address) as newcomer:
            assert echoes(newcomer)

        (tmp_path / "relayd.toml").write_text(config() + OTHER)
        daemon.hang_up()
        assert daemon.until("config.reloaded")["keys_added"] == 1
        assert echoes(client)


def test_hanging_up_again_and_again_is_no_end(serve: Serve) -> None:
    daemon = serve(config())
    daemon.until("server.started")

    for _ in range(20):  # some come while a reload runs
        daemon.hang_up()
    daemon.until("config.reloaded")
    daemon.process.terminate()

    assert daemon.end()[0] == 0
    assert 1 <= daemon.events.count("config.reloaded") <= 20


def test_simulated_upstreams_come_and_go_with_the_file(serve: Serve, tmp_path: Path) -> None:
    daemon = serve(config())
    address = daemon.until("server.started")["listen"][0]
    with session(address) as client:
        renamed = config().replace('name = "echo"', 'name = "again"')
        (tmp_path / "relayd.toml").write_text(renamed)
        daemon.hang_up()
        line = daemon.until("config.reloaded")

        assert (line["accounts_added"], line["accounts_removed"]) == (1, 1)
        assert close_code(client) == 1012
        with session(address, "again") as newcomer:
            assert echoes(newcomer)


def test_hanging_up_shows_a_new_certificate_to_new_clients(serve: Serve, tmp_path: Path) -> None:
    def issue() -> ssl.SSLContext:
        authority = trustme.CA()
        made = authority.issue_cert("127.0.0.1")
        made.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "tls.pem"))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    def secured(context: ssl.SSLContext) -> ssl.SSLSocket:
        host, _, port = address.rpartition(":")
        sock = socket.create_connection((host, int(port)), timeout=SOON_S)
        client = context.wrap_socket(sock, server_hostname=host)
        ask(client, "/relay/echo")
        assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
        return client

    pem = str(tmp_path / "tls.pem")
    tls = f'\n[server.tls]\ncertificate = "{pem}"\nprivate_key = "{pem}"\n'
    before = issue()
    daemon = serve(config(more=tls))
    address = daemon.until("server.started")["listen"][0]
    with secured(before) as client:
        after = issue()
        daemon.hang_up()
        daemon.until("config.reloaded")

        with secured(after) as newcomer:
            assert echoes(newcomer)
            assert echoes(client)
        with pytest.raises(ssl.SSLCertVerificationError):
            secured(before)


AS_LEADER = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
"""Makes standard input the controlling terminal, as a shell does."""


def test_closing_the_terminal_that_it_was_started_on_ends_it(tmp_path: Path) -> None:
    (tmp_path / "relayd.toml").write_text(config())
    terminal, own = os.openpty()
    command = ("serve", "--no-welcome", "--config", str(tmp_path / "relayd.toml"))
    daemon = Daemon(
        subprocess.Popen(
            [sys.executable, "-c", f"{AS_LEADER}; {MAIN}", *command],
            stdin=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
            env=os.environ | {"RUNTIME_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)},
        )
    )
    os.close(own)
    try:
        daemon.until("server.started")
        os.close(terminal)
        assert daemon.end()[0] == 0
    finally:
        daemon.process.kill()

    assert [event for event in daemon.events if event != "model.unpriced"] == [
        *("server.started", "drain.started", "server.stopped")
    ]


# -- under load


def big_config(number: int) -> str:
    """1,000 keys and 100 accounts, of which one of each changes with every ``number``."""
    keys = (
        f'[[keys]]\nname = "key{at}"\nsecret = "sha256:{at:064x}"\nmodels = ["gpt-{at}*", "x"]\n'
        'allowed_ips = ["10.0.0.0/8"]\nrequests_per_minute = 60\n'
        for at in range(number, number + 999)
    )
    accounts = (
        f'[[accounts]]\nname = "account{at}"\nprovider = "openai"\napi_key = "sk-{at}"\n'
        f'models = ["gpt-realtime*"]\nmodel_map = {{ voice{at} = "gpt-realtime" }}\n'
        for at in range(number, number + 99)
    )
    return config() + "".join(keys) + "".join(accounts)


@pytest.mark.slow
def test_a_session_goes_on_under_reloads_of_1000_keys(serve: Serve, tmp_path: Path) -> None:
    daemon = serve(big_config(0))
    address = daemon.until("server.started")["listen"][0]
    with session(address) as client:
        for number in range(1, 6):
            (tmp_path / "relayd.toml").write_text(big_config(number))
            daemon.hang_up()
            assert all(echoes(client) for _ in range(100))
            line = daemon.until("config.reloaded")
            assert (line["keys_added"], line["accounts_removed"]) == (1, 1)


STREAMING = 500
DRAIN_S = 4.0


@pytest.mark.slow
async def test_a_drain_of_500_streaming_sessions_ends_or_tells_every_turn(serve: Serve) -> None:
    ends: collections.Counter[str] = collections.Counter()
    midway = trio.Event()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        serve_upstream = functools.partial(trio.serve_listeners, stream_for_ever, [listener])
        nursery.start_soon(serve_upstream)
        port = listener.socket.getsockname()[1]
        daemon = serve(
            config(more=f"drain_s = {DRAIN_S}")
            + f'[[accounts]]\nname = "far"\nprovider = "compatible"\n'
            f'base_url = "ws://127.0.0.1:{port}/v1"\napi_key = "none"\n'
        )
        started = await trio.to_thread.run_sync(daemon.until, "server.started")
        async with trio.open_nursery() as clients:
            streaming = answered = 0

            async def converse() -> None:
                nonlocal streaming
                wire = await Wire.to(started["listen"][0])
                await wire.send(upgrade("/v1/realtime?model=m", {"Authorization": f"Bearer {KEY}"}))
                assert (await wire.head()).startswith(b"HTTP/1.1 101 ")
                await wire.send(frame(TEXT, b'{"type":"response.create"}'))
                streaming += 1
                ends[await last_of(wire, answer_ended)] += 1

            def answer_ended() -> None:
                nonlocal answered
                answered += 1
                # They are at every place of a response by now.
                if streaming == STREAMING and answered >= STREAMING // 2:
                    midway.set()

            for _ in range(STREAMING):
                clients.start_soon(converse)
            await midway.wait()
            daemon.process.terminate()
            began = trio.current_time()
        code, _ = await trio.to_thread.run_sync(daemon.end)
        took_s = trio.current_time() - began
        nursery.cancel_scope.cancel()

    assert code == 0
    assert took_s <= DRAIN_S + 2.0
    assert sum(ends.values()) == STREAMING
    # Those that had just asked hear it by the Close: their response had not begun.
    assert set(ends) <= {f"1012 while {state}" for state in ("asked", "refused", "streaming")}
    reasons = [line["reason"] for line in daemon.lines if line["event"] == "session.ended"]
    assert reasons == ["drain"] * STREAMING
    turns = [line["reason"] for line in daemon.lines if line["event"] == "turn.ended"]
    assert set(turns) == {"completed", "drain"}
    assert 0 < ends["1012 while streaming"] <= turns.count("drain") < STREAMING / 2


async def last_of(wire: Wire, on_done: Callable[[], None]) -> str:
    """Ask for one response after the other until told to go: how that was."""
    state = "asked"
    while True:
        try:
            got = await wire.frame()
        except Ended:
            return f"cut off while {state}"
        if got.opcode == CLOSE:
            await wire.send(frame(CLOSE, got.payload))
            wire.close()
            return f"{got.close_code} while {state}"
        said = json.loads(got.payload)
        if said["type"] == "error":
            assert said["error"]["code"] == "draining"
            state = "refused"
        elif said["type"] == "response.created":
            state = "streaming"
        elif said["type"] == "response.done":
            on_done()
            state = "asked"
            await wire.send(frame(TEXT, b'{"type":"response.create"}'))


async def stream_for_ever(stream: trio.SocketStream) -> None:
    """An upstream whose responses take from one to three seconds; some never end."""
    far = Wire(stream.socket, is_client=False)
    try:
        await far.send(accepting(await far.head()))
        await far.send(frame(TEXT, b'{"type":"session.created"}', masked=False))
        patience = random.Random(stream.socket.getpeername()[1])
        number = 0
        while True:
            asked = await far.frame()
            if asked.opcode == CLOSE:
                return
            assert b"response.create" in asked.payload
            number += 1
            endless = patience.random() < 0.1
            await far.send(event("response.created", number))
            for _ in range(1000 if endless else patience.randint(5, 15)):
                await trio.sleep(0.2)  # relayd is another process: only the clock makes it last
                await far.send(event("response.output_text.delta", number))
            await far.send(event("response.done", number))
    except Ended:
        pass
    finally:
        far.close()


def event(kind: str, number: int) -> bytes:
    response = {"id": f"resp_{number}", "status": "completed"}
    return frame(TEXT, json.dumps({"type": kind, "response": response}).encode(), masked=False)
