"""What the service manager hears again and again, by the virtual clock."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from relayd.service import watchdog
from relayd.service.notify import Notifier
from relayd.service.watchdog import watchdog_interval_s

OURS = str(os.getpid())


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


@pytest.fixture
def notifier(manager: socket.socket) -> Notifier:
    return Notifier(manager.getsockname())


def heard(manager: socket.socket) -> list[bytes]:
    """Every datagram so far."""
    datagrams = []
    while True:
        try:
            datagrams.append(manager.recv(4096))
        except BlockingIOError:
            return datagrams


@pytest.mark.parametrize(
    ("environ", "every_s"),
    [
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": OURS}, 10.0),
        ({"WATCHDOG_USEC": "500000"}, 0.25),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_PID": OURS}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_of_its_time_if_it_watches_this_process(
    environ: dict[str, str], every_s: float | None
) -> None:
    assert watchdog_interval_s(environ) == every_s


async def test_a_sign_of_life_comes_at_once_and_then_regularly(
    manager: socket.socket, notifier: Notifier, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(35):
        await watchdog.feed(notifier, 10.0)

    assert heard(manager) == [b"WATCHDOG=1"] * 4


async def test_a_loop_that_hangs_gives_no_sign_of_life(
    manager: socket.socket, notifier: Notifier, nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    nursery.start_soon(watchdog.feed, notifier, 10.0)
    await trio.testing.wait_all_tasks_blocked()
    assert heard(manager) == [b"WATCHDOG=1"]

    mock_clock.jump(1000)  # a task computes, and no other runs meanwhile
    assert heard(manager) == []

    await trio.testing.wait_all_tasks_blocked()
    assert heard(manager) == [b"WATCHDOG=1"]


async def test_the_status_is_told_when_it_has_changed_and_not_more_often(
    manager: socket.socket,
    notifier: Notifier,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    count = 0
    nursery.start_soon(watchdog.tell_status, notifier, lambda: f"{count} sessions", "0 sessions")
    await trio.sleep(10.5)
    assert heard(manager) == []

    for _ in range(100):
        count += 1
        await trio.sleep(0.001)
    await trio.sleep(10)

    assert heard(manager) == [b"STATUS=100 sessions"]


async def test_a_status_that_was_not_taken_is_told_again(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    path = tmp_path / "later"
    nursery.start_soon(watchdog.tell_status, Notifier(str(path)), lambda: "1 session", "")
    await trio.sleep(3.5)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        await trio.sleep(3)

        assert heard(manager) == [b"STATUS=1 session"]


async def test_a_drain_asks_for_more_time_before_what_it_got_is_over(
    manager: socket.socket, notifier: Notifier, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(11):
        await watchdog.extend_timeout(notifier)

    assert heard(manager) == [b"EXTEND_TIMEOUT_USEC=15000000"] * 3
    assert watchdog.EXTEND_EVERY_S < watchdog.EXTEND_S
