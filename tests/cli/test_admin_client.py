"""Finding a running relayd, asking it, and what is said where that does not work."""

from __future__ import annotations

import http.client
import socket
import threading
from pathlib import Path

import attrs
import click
import pytest
import trio

from relayd.cli import admin_client
from relayd.cli.admin_client import (
    AdminClient,
    Mistaken,
    Refused,
    Unavailable,
    client_for,
    path_of,
)
from relayd.cli.main import run
from relayd.config.address import TcpAddress, UnixAddress
from relayd.config.mistakes import ConfigError
from relayd.config.secret import Secret
from relayd.service.admin.shapes import Killed, Live, PoolPage
from tests.cli.conftest import Ops
from tests.service.admin.stage import TOKEN

VERBS = [
    ["sessions"],
    ["accounts"],
    ["accounts", "enable", "talk"],
    ["accounts", "disable", "talk"],
    ["pools"],
    ["kill", "sess_1"],
    ["drain"],
    ["reload"],
]


# -- asking


async def test_it_asks_over_a_unix_socket(ops: Ops) -> None:
    client = AdminClient(UnixAddress(ops.address.removeprefix("unix:")))

    assert await trio.to_thread.run_sync(client.get, "/livez", Live) == Live(live=True)


async def test_it_asks_over_tcp_with_the_token(remote_ops: Ops) -> None:
    port = int(remote_ops.address.rpartition(":")[2])
    for host in ("127.0.0.1", "0.0.0.0"):
        client = AdminClient(TcpAddress(host, port), Secret(TOKEN))

        assert await trio.to_thread.run_sync(client.get, "/livez", Live) == Live(live=True)


async def test_a_refusal_is_raised_with_its_code(ops: Ops) -> None:
    client = AdminClient(UnixAddress(ops.address.removeprefix("unix:")))

    with pytest.raises(Refused) as caught:
        await trio.to_thread.run_sync(client.post, path_of("sessions", "a/b", "kill"), Killed)

    assert (caught.value.status, caught.value.code) == (400, "invalid_parameter")


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
async def test_with_another_token_every_verb_exits_78_and_shows_none(
    remote_ops: Ops, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    config = remote_ops.config
    config.write_text(config.read_text().replace(TOKEN, "canary-of-another"))

    assert await remote_ops.run(*verb) == 78

    out, err = capsys.readouterr()
    assert out == ""
    assert "server.admin_token" in err
    assert "canary" not in err
    assert remote_ops.stage.done == []


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
async def test_every_verb_takes_an_address_instead_of_a_configuration(
    ops: Ops, verb: list[str], tmp_path: Path
) -> None:
    ops.stage.session(1)

    code = await trio.to_thread.run_sync(run, [*verb, "--admin", ops.address])

    assert code == 0


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_where_nobody_listens_every_verb_exits_69_and_names_the_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    assert run([*verb, "--admin", f"unix:{tmp_path}/gone.sock"]) == 69

    err = capsys.readouterr().err
    assert f"nobody listens on unix:{tmp_path}/gone.sock; is relayd running?" in err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "x"), "permission denied; run this as relayd's user"),
        (FileNotFoundError(2, "x"), "nobody listens on unix:/a.sock"),
        (ConnectionRefusedError(111, "x"), "nobody listens on unix:/a.sock"),
        (TimeoutError("timed out"), "unix:/a.sock did not answer within 30 s"),
        (socket.gaierror(-2, "x"), "the name could not be resolved"),
        (OSError(101, "x"), "unix:/a.sock: network is unreachable"),
        (ConnectionResetError(104, "x"), "closed the connection instead of answering"),
        (http.client.RemoteDisconnected("x"), "closed the connection instead of answering"),
    ],
)
def test_what_goes_wrong_is_told_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr(admin_client._Connection, "connect", fail)

    with pytest.raises(Unavailable) as caught:
        AdminClient(UnixAddress("/a.sock")).get("/livez", Live)

    assert words in caught.value.message


@attrs.define
class Answering:
    """Something on a port that is no relayd."""

    answer: bytes
    address: TcpAddress = attrs.field(init=False)
    asked: bytes = b""
    _server: socket.socket = attrs.field(init=False)
    _thread: threading.Thread = attrs.field(init=False)

    def __enter__(self) -> Answering:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = TcpAddress("127.0.0.1", self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        sock, _ = self._server.accept()
        with sock:
            while b"\r\n\r\n" not in self.asked:
                self.asked += sock.recv(65536)
            sock.sendall(self.answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + b'{"live": "?"}',
        b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\nnope",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"",
    ],
)
def test_another_service_is_told_from_relayd(answer: bytes) -> None:
    with Answering(answer) as other, pytest.raises(Unavailable) as caught:
        AdminClient(other.address, Secret("canary")).get("/livez", Live)

    assert str(other.address) in caught.value.message


def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_client, "ANSWER_MAX_BYTES", 10)
    body = b'{"pools": [], "message": "x"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with Answering(answer) as other, pytest.raises(Unavailable, match="more than 10 bytes"):
        AdminClient(other.address).get("/admin/v1/pools", PoolPage)


def test_the_token_goes_over_tcp_with_a_host_that_is_let_in() -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"live": true}'
    with Answering(answer) as other:
        AdminClient(other.address, Secret(TOKEN)).get("/livez", Live)

    head = other.asked.decode()
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n" in head
    assert f"\r\nHost: localhost:{other.address.port}\r\n" in head
    assert head.count("Host:") == 1


def test_another_status_than_success_says_the_token_is_wrong() -> None:
    body = b'{"error":{"message":"Send a token.","type":"x","param":null,"code":"c"}}'
    answer = b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with Answering(answer) as other, pytest.raises(Mistaken, match="Send a token"):
        AdminClient(other.address).get("/livez", Live)


def test_names_in_paths_are_escaped() -> None:
    assert path_of("accounts", "a/b ?#é", "enable") == (
        "/admin/v1/accounts/a%2Fb%20%3F%23%C3%A9/enable"
    )


# -- finding


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RELAYD_CONFIG", raising=False)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "relayd.toml"


def listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    return sock


@pytest.mark.parametrize("place", [".", "run", "etc"])
def test_a_relative_socket_is_looked_for_where_relayd_may_run(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    config.write_text('[server]\nadmin = "unix:admin.sock"\n')
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(admin_client, "RUN_FOLDER", str(tmp_path / "run"))
    with listen(tmp_path / place / "admin.sock"):
        found = client_for(None, None)

    assert found.address == UnixAddress(str((tmp_path / place / "admin.sock").resolve()))


def test_the_service_s_own_directory_goes_first(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[server]\nadmin = "unix:admin.sock"\n')
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "own"))
    with listen(tmp_path / "own" / "admin.sock"), listen(tmp_path / "etc" / "admin.sock"):
        found = client_for(config, None)

    assert found.address == UnixAddress(str(tmp_path / "own" / "admin.sock"))


def test_where_there_is_no_socket_all_places_are_named(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[server]\nadmin = "unix:admin.sock"\n')

    assert run(["sessions"]) == 69

    err = capsys.readouterr().err
    for place in (config.parent.parent, "/run/relayd", config.parent):
        assert f"{place}/admin.sock" in err
    assert "is relayd running?" in err


def test_only_what_concerns_the_listener_is_read(config: Path) -> None:
    config.write_text(
        '[server]\nadmin = "127.0.0.1:8766"\nadmin_token = "some-token"\n'
        '[[accounts]]\nname = "x"\nprovider = "openai"\napi_key = "ENV:NOT_HERE"\n'
        "[nonsense]\n"
    )

    found = client_for(config, None)

    assert found.address == TcpAddress("127.0.0.1", 8766)
    assert found.token == Secret("some-token")
    assert "some-token" not in repr(found)


def test_on_a_unix_socket_the_token_may_be_for_the_service_alone(
    config: Path, tmp_path: Path
) -> None:
    config.write_text(
        f'[server]\nadmin = "unix:{tmp_path}/a.sock"\nadmin_token = "FILE:/nowhere/token"\n'
    )

    assert client_for(config, None) == AdminClient(UnixAddress(f"{tmp_path}/a.sock"))


@pytest.mark.parametrize(
    "text",
    [
        "no toml",
        "server = 5",
        "[server]\nadmin = 5\n",
        '[server]\nadmin = "nowhere"\n',
        '[server]\nadmin = "127.0.0.1:1"\nadmin_token = "ENV:NOT_HERE"\n',
    ],
)
def test_a_mistake_there_exits_78(
    config: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    config.write_text(text)

    assert run(["sessions", "--config", str(config)]) == 78

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{config}: ")


def test_a_file_that_is_not_there_is_a_mistake(config: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        client_for(config, None)


def test_a_free_port_cannot_be_guessed(config: Path) -> None:
    config.write_text('[server]\nadmin = "127.0.0.1:0"\nadmin_token = "some-token"\n')

    with pytest.raises(Unavailable, match="--admin"):
        client_for(config, None)


def test_an_address_is_checked(config: Path) -> None:
    with pytest.raises(click.BadParameter, match="port is missing"):
        client_for(config, "nowhere")


def test_over_tcp_the_configuration_has_the_token_of_a_named_address(config: Path) -> None:
    config.write_text('[server]\nadmin = "127.0.0.1:1"\nadmin_token = "some-token"\n')

    assert client_for(config, "localhost:2") == AdminClient(
        TcpAddress("localhost", 2), Secret("some-token")
    )
    assert client_for(Path("/not-read"), "unix:/a.sock") == AdminClient(UnixAddress("/a.sock"))
