"""Disabled accounts are dialled now and then, and come back when they answer."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.snapshot import Account
from relayd.config.url import Url
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.dialect.behind import Handshake
from relayd.observe.bus import Bus
from relayd.observe.events import LogEvent
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.routing.health import PROBE_EVERY_S
from relayd.routing.roster import Roster, Seat
from relayd.session.attempts import AttemptFailed
from relayd.session.chat.clocks import Clocks
from relayd.session.connecting import Connected, Connector, Wish
from relayd.session.probing import LOOK_EVERY_S, PROBE_S, probe, probe_disabled
from relayd.transport.endpoint import Endpoint
from relayd.transport.resolve import Resolver
from tests.conftest import LogLines

FATAL = Failure(FailureKind.FATAL, "invalid_api_key", "wrong")
URL = Url(tls=False, host="127.0.0.1", port=1, path="/v1", is_literal=True)


@attrs.frozen(kw_only=True)
class PlayedConnector(Connector):
    """A connector whose attempts are noted and come out as the test says."""

    attempts: list[tuple[float, str, str | Handshake, float]] = attrs.field(factory=list)
    answers: set[str] = attrs.field(factory=set)
    opened: list[Endpoint] = attrs.field(factory=list)

    async def attempt(self, wish: Wish, seat: Seat, deadline: float) -> Connected:
        now, name = trio.current_time(), seat.account.name
        self.attempts.append((now, name, wish.target(seat.account), deadline - now))
        await trio.sleep(1.0)
        if name not in self.answers:
            raise AttemptFailed(unreachable("connection_refused", "no"))
        self.opened.append(Endpoint(socket.socket(), Side.UPSTREAM, self.hold, now))
        return Connected(
            endpoint=self.opened[-1], seat=seat, subprotocol=None, connect_ms=1, first_frame_ms=1
        )

    def disable(self, name: str) -> None:
        standing = self.roster.standing(name)
        assert standing is not None
        with Seat(standing, trio.current_time()) as seat:
            seat.fail(FATAL, trio.current_time())

    @property
    def in_flight(self) -> int:
        return sum(each.in_flight for each in self.roster.statistics())


@pytest.fixture
async def connector(autojump_clock: MockClock) -> AsyncIterator[PlayedConnector]:
    accounts = [
        Account(name="talk", provider="compatible", base_url=URL),
        Account(name="echo", provider="websocket", base_url=URL),
    ]
    async with trio.open_nursery() as nursery:
        made = PlayedConnector(
            roster=Roster.of(accounts),
            resolver=Resolver(nursery),
            contexts={},
            hold=HoldBudget(1000),
            bus=Bus(),
        )
        nursery.start_soon(probe_disabled, made, Clocks(time.time))
        yield made
        nursery.cancel_scope.cancel()
    for endpoint in made.opened:
        assert endpoint.sock.fileno() == -1, "a probe keeps no connection"


async def test_an_account_in_order_is_never_probed(
    autojump_clock: MockClock, connector: PlayedConnector
) -> None:
    await trio.sleep(10 * PROBE_EVERY_S)

    assert connector.attempts == []


async def test_a_disabled_account_is_probed_each_interval_until_it_answers(
    autojump_clock: MockClock, connector: PlayedConnector, log_lines: LogLines
) -> None:
    connector.disable("talk")

    await trio.sleep(2 * PROBE_EVERY_S + 2 * LOOK_EVERY_S + 1)
    times = [time for time, _, _, _ in connector.attempts]
    assert times == pytest.approx([PROBE_EVERY_S, 2 * PROBE_EVERY_S], abs=2 * LOOK_EVERY_S)
    assert log_lines.all == [], "that it is still disabled has been said"
    connector.answers.add("talk")
    await trio.sleep(3 * PROBE_EVERY_S)

    assert len(connector.attempts) == 3, "an account that answered is not probed again"
    (line,) = log_lines.all
    assert (line["event"], line["account"], line["cause"]) == (
        LogEvent.ACCOUNT_ENABLED,
        "talk",
        "probe",
    )
    assert connector.in_flight == 0


async def test_a_probe_costs_nothing_and_names_no_model(
    autojump_clock: MockClock, connector: PlayedConnector
) -> None:
    connector.disable("talk")
    connector.disable("echo")

    await trio.sleep(PROBE_EVERY_S + 2 * LOOK_EVERY_S)

    probes = {(name, target, time_s) for _, name, target, time_s in connector.attempts}
    assert probes == {
        ("talk", "/v1/realtime?intent=transcription", PROBE_S),
        ("echo", "/v1", PROBE_S),
    }
    assert connector.in_flight == 0


async def test_an_account_that_left_the_configuration_is_not_probed(
    autojump_clock: MockClock, connector: PlayedConnector
) -> None:
    connector.disable("talk")
    connector.roster.update([])

    await trio.sleep(2 * PROBE_EVERY_S)

    assert connector.attempts == []


async def test_a_probe_that_is_asked_for_tells_what_came_of_it(
    autojump_clock: MockClock, connector: PlayedConnector
) -> None:
    standing = connector.roster.standing("talk")
    assert standing is not None
    with Seat(standing, trio.current_time()) as seat:
        failed = await probe(connector, seat)
        connector.answers.add("talk")
        connected = await probe(connector, seat)

    assert isinstance(failed, AttemptFailed)
    assert standing.health.error_average == 0.0, "noting it is for who asked"
    assert isinstance(connected, Connected)
    assert connected.endpoint.sock.fileno() == -1
