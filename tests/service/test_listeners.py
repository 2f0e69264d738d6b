"""Binding: every form of address, what may be removed, and what an error says to do."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.service.listeners import SOCKET_MODE, BindError, address_of, bind, close


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
