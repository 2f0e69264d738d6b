"""A line for each turn, once its row is written."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio
from trio.testing import MockClock

from relayd.dialect.meter import Charge, Refuse, ToolCalled, Turn
from relayd.observe.bus import (
    Bus,
    BusEvent,
    SessionFacts,
    SessionFailedOver,
    TurnEnded,
    TurnFirstOutput,
    TurnRefused,
    TurnStarted,
    TurnToolCalled,
    UpstreamConnected,
)
from relayd.observe.events import LogEvent
from relayd.session.turn_lines import LAST_LINES_S, Place, TurnLines
from tests.conftest import LogLines

FACTS = SessionFacts(
    session_id="sess_1", dialect="responses", key="dev", tenant="t", account="", model="m"
)
TURN = Turn(
    number=1,
    turn_id="resp_1",
    reason="completed",
    asked_at=10.0,
    first_output_at=None,
    ended_at=12.5,
    usage=None,
)


@attrs.define
class Receipt:
    """A row that is not written yet."""

    waiting: list[Callable[[], None]] = attrs.field(factory=list)

    def then(self, tell: Callable[[], None]) -> None:
        self.waiting.append(tell)

    def write(self) -> None:
        for tell in self.waiting:
            tell()


def listening() -> tuple[TurnLines, list[BusEvent]]:
    heard: list[BusEvent] = []
    bus = Bus()
    bus.subscribe(heard.append)
    return TurnLines(bus), heard


def test_a_line_waits_for_its_row_and_the_event_does_not(log_lines: LogLines) -> None:
    lines, heard = listening()
    receipt = Receipt()
    lines.ended(FACTS, TURN, Charge(usage=None, cost_usd=None, receipt=receipt))

    assert (lines.turns, log_lines.all) == (1, [])
    (event,) = heard
    assert isinstance(event, TurnEnded)
    receipt.write()
    (line,) = log_lines.of(LogEvent.TURN_ENDED)
    assert (line["turn_id"], line["account"], line["ttft_ms"]) == ("resp_1", None, None)
    assert (line["duration_ms"], line["tokens_in"]) == (2500.0, None)


def test_a_place_is_part_of_the_line(log_lines: LogLines) -> None:
    lines, _ = listening()
    place = Place(lane="a", slot=7, generation=2, reused=False, queue_ms=1.0, wait_ms=2.0)
    lines.ended(FACTS, TURN, Charge(usage=None, cost_usd=None, receipt=None), place)
    lines.ended(FACTS, TURN, Charge(usage=None, cost_usd=None, receipt=None))

    first, second = log_lines.of(LogEvent.TURN_ENDED)
    for name, value in attrs.asdict(place).items():
        assert (first[name], second[name]) == (value, None)


def test_beginnings_and_refusals_are_told_on_the_bus_alone(log_lines: LogLines) -> None:
    lines, heard = listening()
    lines.started(FACTS, "resp_1")
    lines.refused(FACTS, Refuse("kind", "code", "message"))

    assert isinstance(heard[0], TurnStarted)
    assert isinstance(heard[1], TurnRefused)
    assert log_lines.all == []


def test_what_happens_within_a_turn_is_told_on_the_bus_alone(log_lines: LogLines) -> None:
    lines, heard = listening()
    lines.connected(FACTS, 12.5)
    lines.failed_over(FACTS, "first", "server_error")
    lines.first_output(FACTS, "resp_1", 10.0, 10.5)
    lines.tool_called(FACTS, "resp_1", ToolCalled("shell", None))

    assert heard == [
        UpstreamConnected(session=FACTS, wait_ms=12.5),
        SessionFailedOver(session=FACTS, account_from="first", reason="server_error"),
        TurnFirstOutput(session=FACTS, turn_id="resp_1", ttft_ms=500.0),
        TurnToolCalled(session=FACTS, turn_id="resp_1", name="shell", call_id=None),
    ]
    assert log_lines.all == []


async def test_a_session_waits_for_its_last_lines(autojump_clock: MockClock) -> None:
    lines, _ = listening()
    receipt = Receipt()
    await lines.settled()
    assert trio.current_time() == 0.0
    lines.ended(FACTS, TURN, Charge(usage=None, cost_usd=None, receipt=receipt))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.settled)
        await trio.sleep(0.5)
        receipt.write()
    assert trio.current_time() == 0.5


async def test_but_not_long(autojump_clock: MockClock) -> None:
    lines, _ = listening()
    lines.ended(FACTS, TURN, Charge(usage=None, cost_usd=None, receipt=Receipt()))
    await lines.settled()
    assert trio.current_time() == LAST_LINES_S
