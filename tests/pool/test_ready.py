"""Sockets that are opened ahead: on socket pairs over a real reactor, under a virtual clock."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.providers import Provider
from relayd.config.snapshot import Account
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.pool import ready as module
from relayd.pool.parting import Partings
from relayd.pool.ready import (
    AGE_MAX_S,
    DIALS_MAX,
    FAILURES_MAX,
    LATELY_S,
    OPEN_S,
    READY_MAX,
    SUPPRESSED_S,
    TARGETS_MAX,
    ReadySockets,
)
from relayd.pool.ready_counts import Counts
from relayd.pool.silence import SILENCE
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.frames import Opcode, close_frame, encode_frame
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

ONE = Account(name="one", provider=Provider.RUNTASK)
OTHER = Account(name="other", provider=Provider.RUNTASK)


class Refused(Exception):
    """The upstream is away."""


@attrs.define(eq=False)
class Stage:
    """What sockets are opened with, and their far ends.

    Attributes:
        open: Opens one; a test may replace it.
        asked: What was to be opened.
        accounts: Those in force.
    """

    reactor: Reactor = attrs.Factory(Reactor)
    hold: HoldBudget = attrs.Factory(lambda: HoldBudget(1 << 20))
    fars: list[socket.socket] = attrs.Factory(list)
    opened: list[Endpoint] = attrs.Factory(list)
    asked: list[tuple[str, str]] = attrs.Factory(list)
    failures: list[Exception] = attrs.Factory(list)
    broken: bool = False
    slow_s: float = 0.0
    dialling: int = 0
    dialling_most: int = 0
    accounts: dict[str, Account] = attrs.Factory(lambda: {"one": ONE, "other": OTHER})
    ready: ReadySockets = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ready = ReadySockets(
            wanted=2,
            in_force=self.accounts.get,
            open=self.open,
            failed=lambda account, error: self.failures.append(error),
            reactor=self.reactor,
            partings=Partings(self.reactor),
            hold=self.hold,
            message_max_bytes=1000,
        )

    async def open(self, account: Account, model: str, deadline: float) -> Endpoint:
        self.asked.append((account.name, model))
        self.dialling += 1
        self.dialling_most = max(self.dialling, self.dialling_most)
        try:
            with trio.CancelScope(deadline=deadline) as scope:
                await trio.sleep(self.slow_s)
        finally:
            self.dialling -= 1
        if self.broken or scope.cancelled_caught:
            raise Refused
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        self.fars.append(far)
        self.opened.append(Endpoint(near, Side.UPSTREAM, self.hold, trio.current_time()))
        return self.opened[-1]

    def take(self, account: Account = ONE, target: str = "/chat") -> Endpoint | None:
        """Take one, to be closed at once."""
        found = self.ready.take(account, target, "model")
        if found is not None:
            self.reactor.release(found)
            found.close()
        return found

    def reload(self, wanted: int, *accounts: Account) -> None:
        """Go by these accounts from now on."""
        self.accounts.clear()
        self.accounts.update((account.name, account) for account in accounts)
        self.ready.apply(wanted)

    @property
    def counts(self) -> Counts:
        """Of the one account."""
        (found,) = (each for each in self.ready.statistics() if each.account == "one")
        return found.counts

    async def filled(self) -> None:
        """A first use, after which some are ready."""
        assert self.take() is None
        await wait_all_tasks_blocked()
        assert len(self.ready) == 2

    @property
    def open_now(self) -> int:
        return sum(each.sock.fileno() != -1 for each in self.opened)


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.ready.run)
        await wait_all_tasks_blocked()
        yield nursery
        nursery.cancel_scope.cancel()
    assert len(stage.ready) == 0


@pytest.fixture
async def stage(autojump_clock: MockClock) -> AsyncIterator[Stage]:
    made = Stage()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.reactor.run)
        async with running(made):
            yield made
        nursery.cancel_scope.cancel()
    assert made.open_now == 0
    assert len(made.reactor) == 0
    assert made.hold.bytes_held == 0
    made.reactor.close()
    for far in made.fars:
        far.close()


async def test_the_first_use_finds_none_and_the_next_ones_do(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.filled()
    first = stage.ready.take(ONE, "/chat", "model")
    second = stage.ready.take(ONE, "/chat", "model")
    assert first is stage.opened[0], "the oldest goes first"
    assert second is stage.opened[1]
    for taken in (first, second):
        assert taken.armed
        assert taken.on_event is None
        assert isinstance(taken.flow, EventFlow)
        assert taken.flow.reader is SILENCE
        stage.reactor.release(taken)
        taken.close()
    assert stage.ready.take(ONE, "/chat", "model") is None
    assert stage.asked == [("one", "model")] * 2
    await wait_all_tasks_blocked()
    assert len(stage.ready) == 2, "those that were taken are replaced"
    assert (stage.counts.taken, stage.counts.missed) == (2, 2)


async def test_nothing_is_opened_that_is_not_used(autojump_clock: MockClock, stage: Stage) -> None:
    await trio.sleep(LATELY_S)
    assert stage.asked == []


async def test_a_socket_is_good_for_its_account_and_target_alone(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.filled()
    assert stage.take(OTHER) is None
    assert stage.take(ONE, "/other") is None
    assert stage.take() is not None


@pytest.mark.parametrize(
    "end",
    [
        lambda far: far.close(),
        lambda far: far.shutdown(socket.SHUT_WR),
        lambda far: far.send(close_frame(1000, "idle", masked=False)),
        lambda far: far.send(encode_frame(Opcode.TEXT, b"{}", masked=False)),
        lambda far: far.send(encode_frame(Opcode.TEXT, b"", masked=False)),
        lambda far: far.send(encode_frame(Opcode.BINARY, b"x", masked=False)),
        lambda far: far.send(b"\x81"),
        lambda far: far.send(b"\xff\xff\xff"),
    ],
)
async def test_one_that_says_anything_is_never_handed_out(
    autojump_clock: MockClock, stage: Stage, end: Callable[[socket.socket], object]
) -> None:
    await stage.filled()
    lost = stage.opened[0]
    end(stage.fars[0])
    taken = stage.take()  # before the pass has seen it
    assert taken is stage.opened[1]
    await wait_all_tasks_blocked()
    assert lost.sock.fileno() == -1
    assert stage.counts.lost == 1


async def test_one_that_is_lost_is_replaced(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.filled()
    stage.fars[0].close()
    await trio.sleep(0.01)
    assert stage.opened[0].sock.fileno() == -1
    assert len(stage.ready) == 2
    assert len(stage.asked) == 3


async def test_a_ping_is_answered_and_changes_nothing(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.filled()
    stage.fars[0].send(encode_frame(Opcode.PING, b"x", masked=False))
    assert stage.take() is stage.opened[0]
    assert stage.fars[0].recv(100)[0] == 0x8A


async def test_none_grows_old(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.filled()
    await trio.sleep(AGE_MAX_S - 0.1)
    assert stage.open_now == 2
    await trio.sleep(0.2)
    assert [each.sock.fileno() for each in stage.opened[:2]] == [-1, -1]
    assert len(stage.ready) == 2
    assert stage.counts.aged == 2
    assert stage.counts.lost == 0


async def test_an_old_one_is_not_handed_out_either(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.filled()
    for each in stage.ready._targets.values():
        for kept in each.kept:
            kept.opened_at -= AGE_MAX_S
    assert stage.take() is None


async def test_what_is_not_used_any_more_is_let_go(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.filled()
    await trio.sleep(LATELY_S + 0.1)
    assert stage.open_now == 0
    asked = len(stage.asked)
    await trio.sleep(LATELY_S)
    assert len(stage.asked) == asked


async def test_failures_are_told_and_then_there_is_a_pause(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.broken = True
    stage.take()
    await wait_all_tasks_blocked()
    assert len(stage.failures) == FAILURES_MAX
    await trio.sleep(SUPPRESSED_S - 1)
    assert len(stage.asked) == FAILURES_MAX
    stage.broken = False
    await trio.sleep(1.1)
    assert len(stage.ready) == 2
    assert all(isinstance(each, Refused) for each in stage.failures)


async def test_sockets_that_are_lost_again_and_again_are_not_opened_for_ever(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.take()
    for _ in range(10):
        await wait_all_tasks_blocked()
        for far in stage.fars:
            far.close()
        await trio.sleep(0.01)
    assert len(stage.asked) <= 4


async def test_opening_one_ends_in_time(autojump_clock: MockClock, stage: Stage) -> None:
    stage.slow_s = 1000
    stage.take()
    await trio.sleep(OPEN_S + 0.1)
    assert len(stage.failures) == 2


async def test_a_reload_throws_away_what_is_not_as_it_was(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.filled()
    stage.reload(2, ONE, OTHER)
    assert stage.open_now == 2
    stage.reload(2, attrs.evolve(ONE, headers={"a": "b"}))
    assert stage.open_now == 0


@pytest.mark.parametrize(("wanted", "accounts"), [(0, [ONE]), (2, []), (2, [OTHER])])
async def test_so_does_one_that_wants_none(
    autojump_clock: MockClock, stage: Stage, wanted: int, accounts: list[Account]
) -> None:
    await stage.filled()
    stage.reload(wanted, *accounts)
    assert stage.open_now == 0
    await wait_all_tasks_blocked()
    assert len(stage.ready) == 0


async def test_other_settings_of_the_account_are_another_account(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.filled()
    changed = stage.accounts["one"] = attrs.evolve(ONE, headers={"a": "b"})
    assert stage.take(changed) is None
    assert stage.open_now == 0
    await wait_all_tasks_blocked()
    assert stage.take(changed) is not None


async def test_a_request_that_began_before_a_reload_revives_nothing(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.filled()
    changed = attrs.evolve(ONE, headers={"a": "b"})
    stage.reload(2, changed)
    assert stage.take(changed) is None
    await wait_all_tasks_blocked()
    asked = len(stage.asked)

    assert stage.take(ONE) is None, "of the settings that it had"
    await wait_all_tasks_blocked()
    assert len(stage.asked) == asked, "and none are opened with those again"
    assert stage.take(changed) is not None, "those of today are kept"

    stage.reload(2)
    assert stage.take(changed) is None
    await trio.sleep(1)
    assert len(stage.ready) == stage.open_now == 0
    assert stage.ready.statistics() == ()


async def test_an_account_that_is_switched_off_meanwhile_gets_no_more(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.filled()
    stage.accounts.clear()
    await trio.sleep(AGE_MAX_S + 1)
    assert stage.open_now == 0
    assert len(stage.asked) == 2


async def test_what_happened_is_told_by_account(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.filled()
    stage.slow_s = 1.0
    stage.take()
    stage.broken = True
    stage.take(OTHER)
    await trio.sleep(0.5)

    one, other = stage.ready.statistics()

    assert (one.account, one.ready, one.opening) == ("one", 1, 1)
    assert one.counts == Counts(taken=1, missed=1, opened=2)
    assert (other.account, other.ready, other.opening) == ("other", 0, 2)
    await trio.sleep(1)
    assert stage.ready.statistics()[1].counts == Counts(missed=1, failed=2)


async def test_one_that_is_opened_for_what_is_gone_is_closed(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.slow_s = 1
    stage.take()
    await trio.sleep(0.5)
    stage.reload(2)
    await trio.sleep(1)
    assert stage.open_now == 0
    assert len(stage.ready) == 0


async def test_dials_are_bounded(autojump_clock: MockClock, stage: Stage) -> None:
    stage.ready.wanted = 50
    stage.slow_s = 0.1
    stage.take()
    await trio.sleep(2)
    assert len(stage.ready) == 50
    assert stage.dialling_most == DIALS_MAX


async def test_sockets_are_bounded(
    autojump_clock: MockClock, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert READY_MAX > 10
    monkeypatch.setattr(module, "READY_MAX", 10)
    stage.ready.wanted = 8
    stage.take(ONE, "/a")
    stage.take(ONE, "/b")
    await wait_all_tasks_blocked()
    assert len(stage.ready) == 10


async def test_targets_are_bounded(autojump_clock: MockClock, stage: Stage) -> None:
    stage.ready.wanted = 1
    for number in range(TARGETS_MAX + 3):
        stage.take(ONE, f"/{number}")
        await wait_all_tasks_blocked()
    assert len(stage.ready) == TARGETS_MAX
    assert stage.take(ONE, "/0") is None
    assert stage.take(ONE, f"/{TARGETS_MAX}") is not None
