"""Sockets for requests, from a connector that is played by hand."""

from __future__ import annotations

import email.utils
import math
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.config.snapshot import Account
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.core.refusals import RefusalCode
from relayd.dialect.behind import Fault, Handshake
from relayd.observe.bus import Bus
from relayd.pool.parting import Partings
from relayd.pool.ready import ReadySockets
from relayd.protocol.frames import Opcode, encode_frame
from relayd.protocol.upstream_upgrade import UpstreamDeclined
from relayd.routing.classify import from_status, unreachable
from relayd.routing.roster import Roster
from relayd.session.attempts import AttemptFailed
from relayd.session.chat import verdicts
from relayd.session.chat.clocks import Clocks
from relayd.session.chat.opening import Opening, Stopped, open_socket
from relayd.session.connecting import Connector, Opened, Wish
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor
from relayd.transport.resolve import Resolver
from tests.conftest import LogLines
from tests.dialect.chat import request
from tests.session.chat import accounts

WALL = 1795161600.0
DATE_WORDS = '{"message":"a valid date or x-date header is required"}'
ONE = accounts.spark()


def declined(status: int, body: str = "", date_s: float | None = None) -> AttemptFailed:
    date = None if date_s is None else email.utils.formatdate(date_s, usegmt=True)
    answer = UpstreamDeclined(status, None, body, date)
    return AttemptFailed(from_status(status), declined=answer)


@attrs.define(eq=False, kw_only=True)
class PlayedConnector(Connector):
    """Fails as it is told, then opens socket pairs.

    Attributes:
        failures: How, in order.
        asked: The handshakes.
        tail: What comes in one with the 101.
    """

    failures: deque[AttemptFailed] = attrs.field(factory=deque)
    asked: list[Handshake] = attrs.field(factory=list)
    tail: bytes | None = None
    ends: list[socket.socket] = attrs.field(factory=list)

    async def open(self, account: Account, wish: Wish, deadline: float) -> Opened:
        handshake = wish.target(account)
        assert isinstance(handshake, Handshake)
        self.asked.append(handshake)
        await trio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.popleft()
        near, far = socket.socketpair()
        near.setblocking(False)
        self.ends += (near, far)
        endpoint = Endpoint(near, Side.UPSTREAM, self.hold, trio.current_time())
        endpoint.keep_tail(self.tail)
        return Opened(endpoint=endpoint, subprotocol=None, connect_ms=1.0, first_frame_ms=None)

    @property
    def dates(self) -> list[float]:
        """When the handshakes were signed, less :data:`WALL`."""
        queries = (parse_qs(each.target.partition("?")[2]) for each in self.asked)
        times = (email.utils.parsedate_to_datetime(each["date"][0]) for each in queries)
        return [each.timestamp() - WALL for each in times]


@asynccontextmanager
async def connector(*failures: AttemptFailed) -> AsyncIterator[PlayedConnector]:
    async with trio.open_nursery() as nursery:
        made = PlayedConnector(
            roster=Roster.of([ONE]),
            resolver=Resolver(nursery),
            contexts={},
            hold=HoldBudget(1 << 20),
            bus=Bus(),
            failures=deque(failures),
        )
        yield made
        nursery.cancel_scope.cancel()
    for each in made.ends:
        each.close()


async def stopped(made: PlayedConnector, clocks: Clocks) -> Fault:
    with pytest.raises(Stopped) as caught:
        await open_socket(made, clocks, ONE, "m", math.inf)
    return caught.value.fault


async def test_a_socket_is_asked_for_with_a_signature() -> None:
    async with connector() as made:
        await open_socket(made, Clocks(lambda: WALL), ONE, "m", math.inf)
    (handshake,) = made.asked
    assert handshake.target.startswith("/v3.5/chat?authorization=")
    assert handshake.headers == ()


async def test_a_date_that_is_off_is_tried_once_more(log_lines: LogLines) -> None:
    clocks = Clocks(lambda: WALL)
    async with connector(declined(403, DATE_WORDS, WALL + 900)) as made:
        await open_socket(made, clocks, ONE, "m", math.inf)
        await open_socket(made, clocks, ONE, "m", math.inf)
    assert made.dates == [0.0, 900.0, 900.0]


async def test_and_not_twice(log_lines: LogLines) -> None:
    refused = (declined(403, DATE_WORDS, WALL + each) for each in (900, 1800, 2700))
    async with connector(*refused) as made:
        fault = await stopped(made, Clocks(lambda: WALL))
    assert fault.code == "upstream_auth_failed"
    assert len(made.asked) == 2


async def test_a_correction_that_is_wrong_now_is_dropped(log_lines: LogLines) -> None:
    clocks = Clocks(lambda: WALL)
    clocks.skewed("one", 900.0)
    async with connector(declined(403, DATE_WORDS, WALL)) as made:
        await open_socket(made, clocks, ONE, "m", math.inf)
    assert made.dates == [900.0, 0.0]


async def test_without_one_a_refusal_is_final() -> None:
    async with connector(declined(401, '{"message":"HMAC"}')) as made:
        fault = await stopped(made, Clocks(lambda: WALL))
    assert (fault.status, fault.code) == (502, "upstream_auth_failed")
    assert "HMAC" in fault.detail
    assert len(made.asked) == 1


async def test_no_connection_at_all() -> None:
    failed = AttemptFailed(unreachable("connection_refused", "no"))
    async with connector(failed) as made:
        fault = await stopped(made, Clocks(lambda: WALL))
    assert fault.code == "upstream_unreachable"


async def test_no_room() -> None:
    failed = AttemptFailed(unreachable("x", "no"), RefusalCode.OVERLOAD)
    async with connector(failed) as made:
        assert await stopped(made, Clocks(lambda: WALL)) is verdicts.OVERLOADED


# -- talks


@asynccontextmanager
async def an_opening(made: PlayedConnector, wanted: int = 0) -> AsyncIterator[Opening]:
    reactor, clocks = Reactor(), Clocks(lambda: WALL)
    partings = Partings(reactor)
    ready = ReadySockets(
        wanted=wanted,
        in_force={"one": ONE}.get,
        open=lambda account, model, deadline: open_socket(made, clocks, account, model, deadline),
        failed=lambda account, error: None,
        reactor=reactor,
        partings=partings,
        hold=made.hold,
        message_max_bytes=1000,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        nursery.start_soon(ready.run)
        yield Opening(
            connector=made, reactor=reactor, clocks=clocks, ready=ready, partings=partings
        )
        nursery.cancel_scope.cancel()
    assert len(reactor) == 0
    assert made.hold.bytes_held == 0
    reactor.close()


async def test_ready_sockets_are_used_where_they_will_do() -> None:
    async with connector() as made, an_opening(made, 1) as found:
        used = []
        for may_be_ready in (True, True, False):
            talk = await found.talk(ONE, request(), attempt=0, may_be_ready=may_be_ready)
            used.append(talk.was_ready)
            await talk.aclose()
            await wait_all_tasks_blocked()
    assert used == [False, True, False]


async def test_a_request_that_cannot_be_sent_leaves_no_socket() -> None:
    async with connector() as made, an_opening(made) as found:
        made.hold.bytes_max = 1
        with pytest.raises(Stopped) as caught:
            await found.talk(ONE, request(), attempt=0, may_be_ready=True)
        assert caught.value.fault is verdicts.OVERLOADED
        assert made.ends[0].fileno() == -1


async def test_nor_what_its_upstream_has_said_already() -> None:
    async with connector() as made, an_opening(made) as found:
        made.tail = encode_frame(Opcode.TEXT, b"0123456789", masked=False)
        made.hold.bytes_max = 40
        with pytest.raises(Stopped) as caught:
            await found.talk(ONE, request(), attempt=0, may_be_ready=True)
        assert caught.value.fault is verdicts.OVERLOADED
        assert made.hold.bytes_held == 0


async def test_neither_does_one_whose_socket_cannot_be_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def adopt(endpoint: Endpoint) -> None:
        raise OSError(28, "No space left on device")

    async with connector() as made, an_opening(made) as found:
        monkeypatch.setattr(found.reactor, "adopt", adopt)
        with pytest.raises(Stopped) as caught:
            await found.talk(ONE, request(), attempt=0, may_be_ready=True)
        assert caught.value.fault is verdicts.OVERLOADED
        assert made.ends[0].fileno() == -1


async def test_one_that_is_cancelled_takes_no_ready_socket() -> None:
    async with connector() as made, an_opening(made, 1) as found:
        talk = await found.talk(ONE, request(), attempt=0, may_be_ready=True)
        await talk.aclose()
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await found.talk(ONE, request(), attempt=0, may_be_ready=True)
        assert scope.cancelled_caught
        assert len(found.ready) == 1
