"""What requests of the chat dialect share: put together, reconfigured, drained."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.pools import PoolSettings
from relayd.config.schema import Settings
from relayd.config.snapshot import Account, Snapshot
from relayd.core.hold import HoldBudget
from relayd.dialect.behind import Fault
from relayd.observe.bus import Bus
from relayd.observe.events import LogEvent
from relayd.routing.roster import Roster
from relayd.session.books import Books
from relayd.session.chat import shared as module
from relayd.session.chat.opening import Stopped
from relayd.session.chat.shared import ChatShared, chat_accounts, chat_of
from relayd.session.connecting import Connector
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor
from relayd.transport.resolve import Resolver
from tests.conftest import LogLines
from tests.session.chat import accounts

ONE = accounts.spark()
FAULT = Fault(status=502, type="t", code="word", message="m", detail="the detail")


@attrs.define
class Wall:
    """As much of the books as is looked at here."""

    def wall(self) -> float:
        return 1000.0


def snapshot(prewarm: int, *given: Account) -> Snapshot:
    return Snapshot(settings=Settings(pool=PoolSettings(prewarm=prewarm)), keys={}, accounts=given)


@attrs.define(eq=False)
class Stage:
    shared: ChatShared
    crashes: list[None]
    opened: list[str]
    error: Exception | None = None


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    reactor, hold, crashes = Reactor(), HoldBudget(1000), list[None]()
    opened: list[str] = []

    async def open_socket(*given: object) -> Endpoint:
        await trio.lowlevel.checkpoint()
        opened.append(str(given[3]))
        raise made.error or Stopped(FAULT)

    monkeypatch.setattr(module, "open_socket", open_socket)
    async with trio.open_nursery() as nursery:
        connector = Connector(
            roster=Roster.of([ONE]),
            resolver=Resolver(nursery),
            contexts={},
            hold=hold,
            bus=Bus(),
        )
        shared = chat_of(
            snapshot(1, ONE),
            reactor=reactor,
            books=cast("Books", Wall()),
            bus=Bus(),
            hold=hold,
            connector=connector,
            crashed=lambda: crashes.append(None),
        )
        made = Stage(shared, crashes, opened)
        nursery.start_soon(shared.run)
        await wait_all_tasks_blocked()
        yield made
        nursery.cancel_scope.cancel()
    reactor.close()


def test_whose_accounts_they_are() -> None:
    other = attrs.evolve(ONE, name="other", enabled=False)
    talk = attrs.evolve(ONE, name="talk", provider="compatible", spark=None)
    assert chat_accounts(snapshot(0, ONE, talk, other)) == (ONE, other)


async def test_a_socket_that_cannot_be_opened_ahead_is_told(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    assert stage.shared.ready.take(ONE, "/x", "m") is None
    await wait_all_tasks_blocked()
    line = log_lines.of(LogEvent.UPSTREAM_FAILED)[0]
    assert (line["session_id"], line["dialect"], line["account"]) == (None, "chat", "one")
    assert (line["reason"], line["message"]) == ("word", "the detail")
    assert stage.crashes == []
    assert set(stage.opened) == {"m"}


async def test_a_bug_in_that_is_one(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    stage.error = ZeroDivisionError("bug")
    stage.shared.ready.take(ONE, "/x", "m")
    await wait_all_tasks_blocked()
    assert "ZeroDivisionError" in log_lines.of(LogEvent.SESSION_CRASHED)[0]["traceback"]
    assert stage.crashes


async def test_another_configuration(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    stage.shared.clocks.skewed("one", 60.0)
    stage.shared.apply(snapshot(3, accounts.spark("two")))
    assert stage.shared.ready.wanted == 3
    assert stage.shared.clocks.offset_of("one") == 0.0


async def test_after_a_drain_nothing_is_opened_ahead(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.shared.drain()
    assert stage.shared.ready.wanted == 0
