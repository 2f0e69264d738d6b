from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.service.notify import SEND_TIMEOUT_S, STATUS_MAX, Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket, in the file system or with an abstract name."""
    name = f"\0relayd-{os.getpid()}-notify" if request.param == "abstract" else str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        listener.setblocking(False)
        yield listener


def notifier_to(manager: socket.socket) -> Notifier:
    name = manager.getsockname()
    address = "@" + name[1:].decode() if isinstance(name, bytes) else name
    return Notifier.from_environ({"NOTIFY_SOCKET": address})


def test_ready_is_one_datagram_with_its_status(manager: socket.socket) -> None:
    notifier_to(manager).ready("listening on 127.0.0.1:8765")

    assert manager.recv(4096) == b"READY=1\nSTATUS=listening on 127.0.0.1:8765"


def test_a_reload_says_when_it_began_by_the_managers_clock(manager: socket.socket) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    notifier_to(manager).reloading()

    state, _, began = manager.recv(4096).partition(b"\nMONOTONIC_USEC=")
    assert state == b"RELOADING=1"
    assert before <= int(began) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_signs_of_life_and_requests_for_time_are_assignments_of_their_own(
    manager: socket.socket,
) -> None:
    notifier = notifier_to(manager)

    assert notifier.alive()
    assert notifier.extend(2.5)

    assert [manager.recv(4096), manager.recv(4096)] == [
        *(b"WATCHDOG=1", b"EXTEND_TIMEOUT_USEC=2500000")
    ]


def test_the_status_and_the_stop_are_told(manager: socket.socket) -> None:
    notifier = notifier_to(manager)

    notifier.status("3 sessions")
    notifier.stopping()

    assert [manager.recv(4096), manager.recv(4096)] == [b"STATUS=3 sessions", b"STOPPING=1"]


def test_a_status_cannot_smuggle_an_assignment_and_is_bounded(manager: socket.socket) -> None:
    notifier_to(manager).status("x\nWATCHDOG=trigger" + " y" * 1000)

    datagram = manager.recv(4096)

    assert b"\n" not in datagram
    assert len(datagram) == len(b"STATUS=") + STATUS_MAX


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_nothing_is_sent(environ: dict[str, str]) -> None:
    notifier = Notifier.from_environ(environ)

    assert not notifier.ready("nobody listens")
    assert notifier.address is None


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))

    assert not notifier.stopping()
    assert not (tmp_path / "nobody").exists()


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    notifier = notifier_to(manager)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        other.connect(manager.getsockname())
        with contextlib.suppress(BlockingIOError):
            while other.send(b"x"):
                pass

    began = time.monotonic()
    assert not notifier.alive()
    assert time.monotonic() - began < SEND_TIMEOUT_S / 2, "what is said again is not waited for"
    assert not notifier.stopping()
    assert manager.recv(16) == b"x"
