"""Binding: every form of address, what may be removed, and what an error says to do."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relayd.config.schema import ServerSettings
from relayd.service.listeners import (
    SOCKET_MODE,
    BindError,
    Listener,
    Listeners,
    address_of,
    bind,
    bind_all,
    close,
    passed,
)


@pytest.fixture
def bound() -> Iterator[list[socket.socket]]:
    """What a test binds; closed afterwards."""
    socks: list[socket.socket] = []
    yield socks
    for sock in socks:
        sock.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def connects(address: str) -> bool:
    """Whether somebody listens there."""
    family = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET
    host, _, port = address.rpartition(":")
    where = address.removeprefix("unix:") if family == socket.AF_UNIX else (host, int(port))
    with socket.socket(family) as probe:
        return probe.connect_ex(where) == 0


def test_port_0_takes_a_free_one_and_says_which(bound: list[socket.socket]) -> None:
    bound += [bind("127.0.0.1:0", {}), bind("127.0.0.1:0", {})]
    first, second = map(address_of, bound)

    assert first != second
    assert first.startswith("127.0.0.1:")
    assert connects(first)
    assert not bound[0].getblocking()
    assert not bound[0].get_inheritable()


def test_ipv6_is_written_in_brackets(bound: list[socket.socket]) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this host has no IPv6")
    bound.append(bind("[::1]:0", {}))

    port = bound[0].getsockname()[1]
    assert address_of(bound[0]) == f"[::1]:{port}"
    assert bound[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_unix_socket_is_for_owner_and_group_and_its_file_goes_with_it(
    tmp_path: Path, bound: list[socket.socket]
) -> None:
    path = tmp_path / "relayd.sock"
    bound.append(bind(f"unix:{path}", {}))

    assert stat.S_IMODE(path.stat().st_mode) == SOCKET_MODE == 0o660
    assert address_of(bound[0]) == f"unix:{path}"
    assert connects(f"unix:{path}")
    close(bound[0])
    assert not path.exists()
    assert bound[0].fileno() == -1


def test_a_relative_unix_path_starts_in_the_first_runtime_directory(
    tmp_path: Path, bound: list[socket.socket]
) -> None:
    bound.append(bind("unix:relayd.sock", {"RUNTIME_DIRECTORY": f"{tmp_path}:/elsewhere"}))

    assert (tmp_path / "relayd.sock").is_socket()


def test_a_socket_file_that_nobody_listens_on_is_replaced(
    tmp_path: Path, bound: list[socket.socket]
) -> None:
    path = tmp_path / "relayd.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    bound.append(bind(f"unix:{path}", {}))

    assert connects(f"unix:{path}")


def test_a_living_socket_is_left_alone(tmp_path: Path, bound: list[socket.socket]) -> None:
    where = f"unix:{tmp_path / 'relayd.sock'}"
    bound.append(bind(where, {}))

    with pytest.raises(BindError, match="stop the other process or choose another address"):
        bind(where, {})
    assert connects(where)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept")

    with pytest.raises(BindError, match="address already in use"):
        bind(f"unix:{path}", {})
    assert path.read_text() == "kept"


def test_a_port_that_is_taken_is_told_with_its_address(bound: list[socket.socket]) -> None:
    bound.append(bind("127.0.0.1:0", {}))
    where = address_of(bound[0])
    before = descriptors()

    with pytest.raises(BindError) as caught:
        bind(where, {})

    assert str(caught.value) == (
        f"cannot listen on {where}: address already in use;"
        " stop the other process or choose another address"
    )
    assert descriptors() == before


def test_an_address_of_another_host_is_told(bound: list[socket.socket]) -> None:
    with pytest.raises(BindError, match=r"^cannot listen on 192\.0\.2\.1:0: cannot assign"):
        bind("192.0.2.1:0", {})


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    before = descriptors()

    with pytest.raises(BindError, match="no such file or directory; create its directory first"):
        bind(f"unix:{tmp_path}/missing/relayd.sock", {})
    assert descriptors() == before


def test_a_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="path too long"):
        bind(f"unix:{tmp_path}/{'x' * 120}", {})


def test_a_port_that_is_not_permitted_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(sock: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", forbidden)

    with pytest.raises(BindError, match="permission denied; ports below 1024 need"):
        bind("127.0.0.1:80", {})


def test_a_name_that_cannot_be_resolved_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(BindError, match="name or service not known"):
        bind("nowhere.invalid:80", {})


def test_a_unix_path_that_is_not_permitted_says_nothing_of_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(sock: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", forbidden)

    with pytest.raises(BindError) as caught:
        bind(f"unix:{tmp_path}/s", {})
    assert "1024" not in str(caught.value)


def test_accepted_connections_neither_delay_nor_miss_a_dead_peer() -> None:
    with bind("127.0.0.1:0", {}) as listener:
        listener.setblocking(True)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


# -- several together


@pytest.fixture
def server(tmp_path: Path) -> ServerSettings:
    return ServerSettings(
        listen=("127.0.0.1:0", "127.0.0.1:0", f"unix:{tmp_path / 'public.sock'}"),
        admin=f"unix:{tmp_path / 'admin.sock'}",
    )


def test_all_that_the_settings_name_is_bound_and_closed_together(
    server: ServerSettings, tmp_path: Path
) -> None:
    before = descriptors()
    listeners = Listeners.open(server, {})
    addresses = [listener.address for listener in (*listeners.public, listeners.admin)]
    assert all(map(connects, addresses))
    assert addresses[2:] == [f"unix:{tmp_path}/public.sock", f"unix:{tmp_path}/admin.sock"]
    assert not listeners.are_passed

    for _ in range(2):
        listeners.close()

    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []
    assert all(listener.scope.cancel_called for listener in listeners.public)


def test_where_one_cannot_be_bound_none_is(server: ServerSettings, tmp_path: Path) -> None:
    before = descriptors()
    with bind("127.0.0.1:0", {}) as taken:
        wanted = (*server.listen, address_of(taken))

        with pytest.raises(BindError, match="already in use"):
            bind_all(wanted, {})

    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


def test_what_is_wanted_is_told_from_what_is_there_by_its_words(server: ServerSettings) -> None:
    listeners = Listeners.open(server, {})
    first, second, unix = listeners.public
    wanted = ("127.0.0.1:0", "[::1]:0", "127.0.0.1:9")
    try:
        assert listeners.missing(server.listen) == []
        assert listeners.superfluous(server.listen) == []
        assert listeners.missing(("127.0.0.1:0",) * 4) == ["127.0.0.1:0"] * 2
        assert listeners.missing(wanted) == ["[::1]:0", "127.0.0.1:9"]
        assert listeners.superfluous(wanted) == [second, unix]
        assert listeners.superfluous(()) == [first, second, unix]
    finally:
        listeners.close()


# -- passed by the service manager (sd_listen_fds(3)), to a child: its descriptors begin at 3

PASSED = """
import fcntl, json, os, sys
descriptors = [int(number) for number in sys.argv[2:]]
copies = [fcntl.fcntl(number, fcntl.F_DUPFD, 100) for number in descriptors]
for number in descriptors:
    os.close(number)
for target, number in enumerate(copies, 3):
    os.dup2(number, target)
    os.close(number)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
from relayd.config.schema import ServerSettings
from relayd.service.listeners import BindError, Listeners
server = ServerSettings(listen=("127.0.0.1:0",), admin="unix:" + sys.argv[1] + "/bound.sock")
try:
    listeners = Listeners.open(server, os.environ)
except BindError as error:
    print(json.dumps(str(error)))
    sys.exit()
everything = (*listeners.public, listeners.admin)
print(json.dumps({
    "public": [listener.address for listener in listeners.public],
    "admin": listeners.admin.address,
    "passed": [listener.is_passed for listener in everything],
    "blocking": [listener.sock.getblocking() for listener in everything],
    "inheritable": [listener.sock.get_inheritable() for listener in everything],
    "missing": listeners.missing(("127.0.0.1:1",)),
    "superfluous": len(listeners.superfluous(())),
}))
listeners.close()
"""


def child(folder: Path, socks: list[socket.socket], **environ: str) -> Any:  # noqa: ANN401 - JSON
    """What a process says to which ``socks`` are passed from descriptor 3 on."""
    numbers = [sock.fileno() for sock in socks]
    done = subprocess.run(
        [sys.executable, "-c", PASSED, str(folder), *map(str, numbers)],
        env={"LISTEN_FDS": str(len(socks)), **environ},
        pass_fds=numbers,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return json.loads(done.stdout)


def test_passed_sockets_win_over_the_settings_and_admin_goes_by_its_name(
    tmp_path: Path, bound: list[socket.socket]
) -> None:
    bound += [
        *(bind("127.0.0.1:0", {}), bind(f"unix:{tmp_path / 'admin.sock'}", {})),
        bind(f"unix:{tmp_path / 'public.sock'}", {}),
    ]
    for sock in bound:
        sock.setblocking(True)  # as systemd passes them

    said = child(tmp_path, bound, LISTEN_FDNAMES="relayd.socket:admin:relayd.socket")

    assert said == {
        "public": [address_of(bound[0]), f"unix:{tmp_path}/public.sock"],
        "admin": f"unix:{tmp_path}/admin.sock",
        "passed": [True] * 3,
        "blocking": [False] * 3,
        "inheritable": [False] * 3,
        "missing": [],
        "superfluous": 0,
    }
    for sock in bound:
        assert connects(address_of(sock)), "it stays open where it came from"


def test_without_names_every_passed_socket_is_public_and_admin_is_bound(
    tmp_path: Path, bound: list[socket.socket]
) -> None:
    bound.append(bind("127.0.0.1:0", {}))

    said = child(tmp_path, bound)

    assert said["public"] == [address_of(bound[0])]
    assert (said["admin"], said["passed"]) == (f"unix:{tmp_path}/bound.sock", [True, False])


def test_where_only_admin_is_passed_the_public_addresses_are_bound(
    tmp_path: Path, bound: list[socket.socket]
) -> None:
    bound.append(bind(f"unix:{tmp_path / 'admin.sock'}", {}))

    said = child(tmp_path, bound, LISTEN_FDNAMES="admin")

    assert (said["admin"], said["passed"]) == (f"unix:{tmp_path}/admin.sock", [False, True])
    assert (said["missing"], said["superfluous"]) == (["127.0.0.1:1"], 1)


def test_sockets_that_were_passed_to_another_process_are_not_taken(
    tmp_path: Path, bound: list[socket.socket]
) -> None:
    bound.append(bind("127.0.0.1:0", {}))

    said = child(tmp_path, bound, LISTEN_PID="1")

    assert said["passed"] == [False, False]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_what_cannot_be_accepted_from_is_told_with_the_remedy(
    tmp_path: Path, kind: socket.SocketKind
) -> None:
    with bind("127.0.0.1:0", {}) as good, socket.socket(socket.AF_INET, kind) as bad:
        said = child(tmp_path, [good, bad])

    assert said == (
        "the passed descriptor 4 is not what relayd can accept from; its socket unit needs"
        " ListenStream= and Accept=no"
    )


def test_two_admin_sockets_and_a_count_that_is_none_are_told(
    tmp_path: Path, bound: list[socket.socket]
) -> None:
    bound += [bind("127.0.0.1:0", {}), bind("127.0.0.1:0", {})]

    assert "several sockets called admin" in child(tmp_path, bound, LISTEN_FDNAMES="admin:admin")
    assert "LISTEN_FDS is no number" in child(tmp_path, [], LISTEN_FDS="many")
    assert "descriptor 3 is no socket" in child(tmp_path, [], LISTEN_FDS="1")


def test_nothing_is_passed_where_nobody_says_so() -> None:
    assert passed({}) == []
    assert passed({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1)}) == []


def test_a_passed_unix_sockets_file_stays(tmp_path: Path) -> None:
    sock = bind(f"unix:{tmp_path / 's'}", {})
    listener = Listener("public", sock, is_passed=True)

    listener.close()

    assert sock.fileno() == -1
    assert (tmp_path / "s").is_socket()
