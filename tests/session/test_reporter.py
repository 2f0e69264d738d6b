"""What a session's turns and errors become: lines, events, and word to its account."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest
from trio.testing import MockClock

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.meter import (
    Charge,
    CountingMeter,
    Refuse,
    ToolCalled,
    Turn,
    UpstreamError,
    Usage,
)
from relayd.ledger.rows import Row
from relayd.observe.bus import (
    AccountFailed,
    Bus,
    BusEvent,
    SessionEnded,
    SessionFacts,
    SessionOpened,
    TurnEnded,
    TurnFirstOutput,
    TurnRefused,
    TurnStarted,
    TurnToolCalled,
    UpstreamConnected,
    UsageCharged,
)
from relayd.observe.events import LogEvent
from relayd.protocol.directions import ClientFlow, UpstreamFlow
from relayd.routing.classify import Failure, FailureKind
from relayd.session.closing import Closed
from relayd.session.reporter import Reporter, Timing
from relayd.session.turn_lines import Place
from tests.conftest import LogLines
from tests.session.ends import fallen

FACTS = SessionFacts(
    session_id="sess_1", dialect="realtime", key="dev", tenant="t", account="main", model="m"
)
USAGE = Usage(
    source="response",
    input_text=1,
    input_audio=2,
    input_image=3,
    cached_text=1,
    cached_audio=1,
    output_text=4,
    output_audio=5,
    input_total=6,
    output_total=9,
)
TURN = Turn(
    number=1,
    turn_id="resp_1",
    reason="completed",
    asked_at=10.0,
    first_output_at=10.25,
    ended_at=12.5,
    usage=USAGE,
)


CHARGE = Charge(usage=USAGE, cost_usd=Decimal("0.000000042"))


@attrs.define
class Told:
    """A reporter and all who hear it."""

    events: list[BusEvent] = attrs.field(factory=list)
    failures: list[tuple[Failure, float]] = attrs.field(factory=list)
    looks: list[float] = attrs.field(factory=list)

    def reporter(
        self, first_frame_ms: float | None = 5.67, wait_ms: float | None = None
    ) -> Reporter:
        bus = Bus()
        bus.subscribe(self.events.append)
        reporter = Reporter(
            facts=FACTS,
            bus=bus,
            meter=CountingMeter(),
            timing=Timing(
                accepted_at=1.0,
                started_at=1.5,
                connect_ms=1.0,
                first_frame_ms=first_frame_ms,
                wait_ms=wait_ms,
            ),
            account_failed=lambda failure, now: self.failures.append((failure, now)),
        )
        reporter.look_in = self.looks.append
        return reporter


@pytest.mark.parametrize("wait_ms", [None, 12.5])
def test_a_session_is_opened_before_its_upstream_is_told_of(wait_ms: float | None) -> None:
    told = Told()

    told.reporter(wait_ms=wait_ms).opened()

    opened, *rest = told.events
    assert isinstance(opened, SessionOpened)
    assert rest == ([] if wait_ms is None else [UpstreamConnected(session=FACTS, wait_ms=wait_ms)])


def test_a_turn_is_one_line_with_its_times_and_tokens(log_lines: LogLines) -> None:
    told = Told()

    told.reporter().turn_ended(TURN, CHARGE)

    (line,) = log_lines.of(LogEvent.TURN_ENDED)
    del line["ts"], line["level"], line["event"]
    assert line == {
        "session_id": "sess_1",
        "turn_id": "resp_1",
        "dialect": "realtime",
        "key": "dev",
        "account": "main",
        "model": "m",
        "ttft_ms": 250.0,
        "duration_ms": 2500.0,
        "tokens_in": 6,
        "tokens_out": 9,
        "tokens_in_text": 1,
        "tokens_in_audio": 2,
        "tokens_in_image": 3,
        "tokens_in_cached": 2,
        "tokens_out_text": 4,
        "tokens_out_audio": 5,
        "estimated": False,
        "cost_usd": 4.2e-08,
        "reason": "completed",
        **dict.fromkeys(attrs.asdict(Place())),
        **dict.fromkeys(("audio_in_s", "audio_out_s", "stt_ms", "calls_ms")),
    }
    assert told.events == [
        TurnEnded(
            session=FACTS,
            turn_id="resp_1",
            reason="completed",
            ttft_ms=250.0,
            duration_ms=2500.0,
            tokens_in=6,
            tokens_out=9,
            cost_usd=Decimal("0.000000042"),
        )
    ]


def test_what_is_not_known_of_a_turn_is_null(log_lines: LogLines) -> None:
    Told().reporter().turn_ended(
        attrs.evolve(TURN, usage=None, first_output_at=None), Charge(usage=None)
    )

    (line,) = log_lines.of(LogEvent.TURN_ENDED)
    assert {line[name] for name in ("ttft_ms", "tokens_in", "tokens_out_audio")} == {None}


def test_the_clock_looks_in_when_a_turn_is_asked_for_and_when_it_begins() -> None:
    told = Told()
    reporter = told.reporter()

    reporter.turn_asked(3.0)
    reporter.turn_started("resp_1", 4.0)

    assert told.looks == [3.0, 4.0]
    assert told.events == [TurnStarted(session=FACTS, turn_id="resp_1")]


def test_a_first_output_and_the_tools_that_are_called_are_told_as_they_come() -> None:
    told = Told()
    reporter = told.reporter()

    reporter.turn_first_output("resp_1", 10.0, 10.25)
    reporter.tool_called("resp_1", ToolCalled("look_up", "call_1"))

    assert told.events == [
        TurnFirstOutput(session=FACTS, turn_id="resp_1", ttft_ms=250.0),
        TurnToolCalled(session=FACTS, turn_id="resp_1", name="look_up", call_id="call_1"),
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamError(kind=None, code="insufficient_quota", message="m"), FailureKind.FATAL),
        (UpstreamError(kind="rate_limit_error", code=None, message="m"), FailureKind.RATE_LIMITED),
        (UpstreamError(kind="invalid_request_error", code="invalid_value", message="m"), None),
        (UpstreamError(kind="server_error", code=None, message="m"), None),
    ],
)
def test_only_an_error_that_is_about_the_account_is_told_to_it(
    error: UpstreamError, kind: FailureKind | None
) -> None:
    told = Told()

    told.reporter().upstream_error(error, 7.0)

    assert [(failure.kind, now) for failure, now in told.failures] == (
        [] if kind is None else [(kind, 7.0)]
    )
    assert told.events == [
        AccountFailed(account="main", dialect="realtime", reason=failure.code)
        for failure, _ in told.failures
    ]


def test_limits_that_leave_nothing_rest_the_account_for_their_time() -> None:
    told = Told()

    told.reporter().upstream_limited(12.5, 7.0)

    ((failure, now),) = told.failures
    assert (failure.kind, failure.retry_after_s) == (FailureKind.RATE_LIMITED, 12.5)
    assert now == 7.0


def test_a_turn_that_a_limit_stands_against_is_told_by_its_code() -> None:
    told = Told()

    told.reporter().turn_refused(Refuse("rate_limit_error", "rate_limit_exceeded", "slower"))

    assert told.events == [TurnRefused(session=FACTS, reason="rate_limit_exceeded")]


@pytest.mark.parametrize(
    ("cost_nano", "cost_usd"), [(42, Decimal("0.000000042")), (0, Decimal(0)), (None, None)]
)
def test_what_is_written_down_is_told_with_its_tokens_and_its_cost(
    cost_nano: int | None, cost_usd: Decimal | None
) -> None:
    told = Told()

    told.reporter().charged(
        Row(
            session_id="sess_1",
            entry="transcription:item:0",
            source="transcription",
            ended_at=0.0,
            dialect="realtime",
            transport="websocket",
            key="dev",
            tenant="t",
            account="main",
            model="whisper",
            upstream_model="whisper-1",
            tag=None,
            upstream_id="item:0",
            reason="completed",
            tokens_in=1,
            tokens_out=2,
            tokens_in_text=3,
            tokens_in_audio=4,
            tokens_in_image=5,
            tokens_in_cached_text=6,
            tokens_in_cached_audio=7,
            tokens_in_cached_image=8,
            tokens_out_text=9,
            tokens_out_audio=10,
            cost_nano=cost_nano,
        )
    )

    assert told.events == [
        UsageCharged(
            session=FACTS,
            source="transcription",
            upstream_model="whisper-1",
            tokens_in=1,
            tokens_out=2,
            tokens_in_text=3,
            tokens_in_audio=4,
            tokens_in_image=5,
            tokens_in_cached_text=6,
            tokens_in_cached_audio=7,
            tokens_in_cached_image=8,
            tokens_out_text=9,
            tokens_out_audio=10,
            cost_usd=cost_usd,
        )
    ]


async def test_the_canonical_line_holds_everything(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    told = Told()
    reporter = told.reporter(first_frame_ms=None)
    reporter.turn_ended(TURN, CHARGE)
    assert isinstance(reporter.meter, CountingMeter)
    reporter.meter.transcribed(USAGE, 1.0)
    hold = HoldBudget(1000)
    up = ClientFlow(message_max_bytes=100, hold=hold, reader=None)
    down = UpstreamFlow(message_max_bytes=100, hold=hold, reader=None)
    up.messages, up.bytes, down.messages, down.bytes = 1, 2, 3, 4

    reporter.ended(fallen(Reason.UPSTREAM_SILENT), Closed(1011, 1001), up, down)

    (line,) = log_lines.of(LogEvent.SESSION_ENDED)
    del line["ts"], line["level"], line["event"], line["duration_s"]
    assert line == {
        "session_id": "sess_1",
        "dialect": "realtime",
        "key": "dev",
        "account": "main",
        "model": "m",
        "reason": "upstream_silent",
        "fault": "upstream",
        "client_close": 1011,
        "upstream_close": 1001,
        "admission_ms": 500.0,
        "connect_ms": 1.0,
        "first_frame_ms": None,
        "turns": 1,
        "messages_up": 1,
        "messages_down": 3,
        "bytes_up": 2,
        "bytes_down": 4,
        "tokens_in": 6,
        "tokens_out": 9,
        "cost_usd": None,
    }
    ended = told.events[-1]
    assert isinstance(ended, SessionEnded)
    assert (ended.reason, ended.fault, ended.tokens_out) == ("upstream_silent", "upstream", 9)
    assert (ended.messages_up, ended.bytes_up) == (1, 2)
    assert (ended.messages_down, ended.bytes_down) == (3, 4)


def test_a_crash_is_told_with_where_it_came_from(log_lines: LogLines) -> None:
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError as error:
        Told().reporter().crashed(error)

    (line,) = log_lines.of(LogEvent.SESSION_CRASHED)
    assert (line["session_id"], line["dialect"]) == ("sess_1", "realtime")
    assert "ZeroDivisionError: a bug" in line["traceback"]
