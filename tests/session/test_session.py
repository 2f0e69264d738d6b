"""One session on real connections: what is relayed, what ends it, and the one line that says so."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
import trio

from relayd.config.accounts import Timeouts
from relayd.config.schema import LimitSettings
from relayd.config.snapshot import Key
from relayd.core.endings import Reason
from relayd.dialect.meter import CountingMeter, Refuse, Ticket, TurnAsk, Usage, Wait
from relayd.observe.bus import Bus, BusEvent, SessionEnded, SessionFacts, SessionOpened
from relayd.observe.events import LogEvent
from relayd.routing.classify import Failure
from relayd.session.reporter import Reporter, Timing
from relayd.session.session import Session
from relayd.session.terms import Deadlines, term_of
from relayd.transport.reactor import Reactor
from tests.conftest import LogLines
from tests.faults.wire import BINARY, CLOSE, SOON_S, TEXT, Ended, Wire, close, frame
from tests.session.ends import Ends, adopted, both_ends, conversation

CREATE = b'{"type":"response.create"}'
APPEND = b'{"type":"input_audio_buffer.append","audio":"AAAA"}'
REFUSE = Refuse("server_error", "draining", "come again")


def server_event(kind: str, **more: object) -> bytes:
    return frame(TEXT, json.dumps({"type": kind, **more}).encode(), masked=False)


def response(kind: str, **more: object) -> bytes:
    return server_event(f"response.{kind}", response={"id": "resp_1", **more})


KEY = Key(name="dev", tenant="t", digest=bytes(32))


@attrs.define
class SlowMeter(CountingMeter):
    """Takes its time over every turn."""

    asked: trio.Event = attrs.field(factory=trio.Event)
    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: Refuse | None = None

    def turn_asked(self, ask: TurnAsk) -> Ticket | Refuse | Wait:
        return Wait(self)

    async def wait(self) -> Ticket | Refuse:
        self.asked.set()
        await self.answered.wait()
        return self.answer or self.turn_begun(TurnAsk(now=0.0, expected=Usage(source="response")))


@attrs.define(eq=False)
class Stage:
    """A running session between two far ends."""

    ends: Ends
    reactor: Reactor
    nursery: trio.Nursery
    log: LogLines
    meter: CountingMeter = attrs.field(factory=CountingMeter)
    events: list[BusEvent] = attrs.field(factory=list)
    failures: list[Failure] = attrs.field(factory=list)
    limits: LimitSettings = attrs.field(factory=LimitSettings)
    over: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    codes: dict[Wire, int | None] = attrs.field(factory=dict)
    _session: Session | None = None

    @property
    def session(self) -> Session:
        assert self._session is not None
        return self._session

    @property
    def client(self) -> Wire:
        return self.ends.client.far

    @property
    def upstream(self) -> Wire:
        return self.ends.upstream.far

    def start(self) -> None:
        bus, now = Bus(), trio.current_time()
        bus.subscribe(self.events.append)
        reporter = Reporter(
            facts=SessionFacts(
                session_id="sess_1",
                dialect="realtime",
                key="dev",
                tenant="t",
                account="main",
                model="m",
            ),
            bus=bus,
            meter=self.meter,
            timing=Timing(
                accepted_at=now - 0.25, started_at=now, connect_ms=12.34, first_frame_ms=5.67
            ),
            account_failed=lambda failure, at: self.failures.append(failure),
        )
        talk = conversation(reporter)
        talk.meter = self.meter
        self._session = Session(
            client=self.ends.client.endpoint,
            upstream=self.ends.upstream.endpoint,
            reactor=self.reactor,
            hold=self.ends.hold,
            conversation=talk,
            reporter=reporter,
            deadlines=Deadlines(
                self.limits, Timeouts(), term_of(KEY, now, self.limits.session_max_s, wall=0.0)
            ),
            message_max_bytes=100_000,
            key=KEY,
        )
        self.nursery.start_soon(self._run)

    async def _run(self) -> None:
        with self.scope:
            await self.session.run()
        self.over.set()

    async def told(self, wire: Wire) -> int | None:
        """The code of the Close that ``wire`` gets; it hangs up then, as a good peer does."""
        if wire not in self.codes:
            self.codes[wire] = None
            with contextlib.suppress(Ended):
                self.codes[wire] = (await wire.until_close()).close_code
            await wire.finish()
        return self.codes[wire]

    async def ended(self) -> dict[str, Any]:
        """The session's line, once it is over; nothing is left of it."""
        self.nursery.start_soon(self.told, self.client)
        self.nursery.start_soon(self.told, self.upstream)
        with trio.fail_after(SOON_S):
            await self.over.wait()
        (line,) = self.log.of(LogEvent.SESSION_ENDED)
        assert len(self.reactor) == 0
        assert self.ends.hold.bytes_held == 0
        assert [type(event) for event in self.events].count(SessionEnded) == 1
        return line


@pytest.fixture
async def stage(log_lines: LogLines) -> AsyncIterator[Stage]:
    with both_ends() as ends, adopted(ends) as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            yield Stage(ends, reactor, nursery, log_lines)
            nursery.cancel_scope.cancel()


# -- relaying


async def test_messages_go_both_ways_and_are_counted(stage: Stage) -> None:
    stage.start()

    await stage.client.send(frame(TEXT, APPEND) + frame(BINARY, b'{"type":"x"}'))
    await stage.upstream.send(frame(TEXT, b"abc", masked=False))
    up = await stage.upstream.frames(2)
    down = await stage.client.frame()
    await stage.client.send(close(4000, "done"))

    line = await stage.ended()
    assert [each.payload for each in up] == [APPEND, b'{"type":"x"}']
    assert down.payload == b"abc"
    assert await stage.told(stage.client) == await stage.told(stage.upstream) == 4000
    assert (line["reason"], line["fault"]) == ("client_closed", "none")
    assert (line["client_close"], line["upstream_close"]) == (4000, 4000)
    assert (line["messages_up"], line["messages_down"]) == (2, 1)
    assert (line["bytes_up"], line["bytes_down"]) == (len(APPEND) + 12, 3)
    assert (line["admission_ms"], line["connect_ms"], line["first_frame_ms"]) == (250.0, 12.3, 5.7)


async def test_what_came_behind_the_upstream_s_handshake_is_relayed_first(stage: Stage) -> None:
    stage.ends.upstream.endpoint.keep_tail(frame(TEXT, b"first", masked=False))
    await stage.upstream.send(frame(TEXT, b"second", masked=False))

    stage.start()

    assert [each.payload for each in await stage.client.frames(2)] == [b"first", b"second"]
    stage.session.kill()
    await stage.ended()


async def test_a_held_message_waits_for_its_decision_and_nothing_overtakes_it(
    stage: Stage,
) -> None:
    meter = stage.meter = SlowMeter()
    stage.start()

    await stage.client.send(frame(TEXT, CREATE) + frame(TEXT, APPEND))
    await meter.asked.wait()
    assert stage.session.conversation.busy is False, "it is not on its way yet"
    meter.answered.set()

    assert [each.payload for each in await stage.upstream.frames(2)] == [CREATE, APPEND]
    stage.session.kill()
    await stage.ended()


async def test_a_held_message_that_is_refused_is_answered_and_the_session_goes_on(
    stage: Stage,
) -> None:
    meter = stage.meter = SlowMeter(answer=REFUSE)
    stage.start()

    await stage.client.send(frame(TEXT, CREATE) + frame(TEXT, APPEND))
    meter.answered.set()

    answer = json.loads((await stage.client.frame()).payload)
    assert (answer["type"], answer["error"]["code"]) == ("error", "draining")
    assert (await stage.upstream.frame()).payload == APPEND
    stage.session.kill()
    await stage.ended()


async def test_a_session_that_ends_cancels_the_decision_it_waits_for(stage: Stage) -> None:
    meter = stage.meter = SlowMeter()
    stage.start()
    await stage.client.send(frame(TEXT, CREATE))
    await meter.asked.wait()

    stage.session.kill()

    assert (await stage.ended())["reason"] == "killed"
    assert await stage.told(stage.upstream) == 1001


# -- endings


ENDS: dict[str, tuple[Callable[[Stage], Any], str, int | None, int | None]] = {
    "client closes": (lambda s: s.client.send(close(1000)), "client_closed", 1000, 1000),
    "client closes emptily": (lambda s: s.client.send(frame(CLOSE)), "client_closed", 1005, 1005),
    "upstream closes": (
        lambda s: s.upstream.send(close(4999, masked=False)),
        "upstream_closed",
        4999,
        4999,
    ),
    "client goes": (lambda s: s.client.finish(), "client_gone", None, 1001),
    "upstream goes": (lambda s: s.upstream.finish(), "upstream_lost", 1011, None),
    "client does not mask": (
        lambda s: s.client.send(frame(TEXT, b"{}", masked=False)),
        "protocol_error_client",
        1002,
        1001,
    ),
    "upstream masks": (
        lambda s: s.upstream.send(frame(TEXT, b"{}")),
        "protocol_error_upstream",
        1011,
        1002,
    ),
    "client's message is too big": (
        lambda s: s.client.send(frame(TEXT, bytes(100_001))[:14]),
        "too_big",
        1009,
        1001,
    ),
    "upstream's message is too big": (
        lambda s: s.upstream.send(frame(BINARY, bytes(100_001), masked=False)[:14]),
        "too_big",
        1011,
        1009,
    ),
    "two types": (
        lambda s: s.client.send(frame(TEXT, b'{"type":"a","type":"b"}')),
        "duplicate_type",
        1008,
        1001,
    ),
}


@pytest.mark.parametrize("case", ENDS)
async def test_what_a_peer_does_is_the_reason_with_its_codes(stage: Stage, case: str) -> None:
    act, reason, client_close, upstream_close = ENDS[case]
    stage.start()

    await act(stage)

    line = await stage.ended()
    assert line["reason"] == reason
    assert (line["client_close"], line["upstream_close"]) == (client_close, upstream_close)
    assert stage.log.of(LogEvent.SESSION_CRASHED) == []


async def test_the_first_reason_wins(stage: Stage) -> None:
    stage.start()

    stage.session.kill()
    stage.session.kill(Reason.ACCOUNT_REMOVED)
    await stage.client.send(close(1000))

    assert (await stage.ended())["reason"] == "killed"


async def test_cancelled_from_outside_a_session_says_goodbye_as_a_drain(stage: Stage) -> None:
    stage.start()
    await stage.upstream.send(frame(TEXT, b"abc", masked=False))
    await stage.client.frame()

    stage.scope.cancel()

    assert await stage.told(stage.client) == 1012
    assert await stage.told(stage.upstream) == 1000
    assert (await stage.ended())["reason"] == "drain"


async def test_a_bug_in_the_pass_ends_this_session_and_is_told_with_its_traceback(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    stage.start()
    monkeypatch.setattr(type(stage.session.conversation), "ask", bug)

    await stage.client.send(frame(TEXT, CREATE))

    line = await stage.ended()
    (crash,) = stage.log.of(LogEvent.SESSION_CRASHED)
    assert (line["reason"], line["fault"]) == ("internal_error", "relay")
    assert (line["client_close"], line["upstream_close"]) == (1011, 1011)
    assert crash["session_id"] == "sess_1"
    assert "ZeroDivisionError: a bug" in crash["traceback"]


async def test_a_bug_in_a_task_ends_this_session_likewise(stage: Stage) -> None:
    @attrs.define
    class BrokenMeter(SlowMeter):
        async def wait(self) -> Ticket | Refuse:
            raise ZeroDivisionError("a bug")

    stage.meter = BrokenMeter()
    stage.start()

    await stage.client.send(frame(TEXT, CREATE))

    assert (await stage.ended())["reason"] == "internal_error"
    assert len(stage.log.of(LogEvent.SESSION_CRASHED)) == 1


@pytest.mark.parametrize(
    ("reason", "kind", "close", "fault"),
    [
        (Reason.UPSTREAM_SILENT, "server_error", 1011, "upstream"),
        (Reason.KEY_EXPIRED, "permission_error", 1008, "client"),
        (Reason.BUDGET_EXHAUSTED, "insufficient_quota", 1008, "client"),
    ],
)
async def test_an_error_event_goes_before_the_close_where_the_ending_has_one(
    stage: Stage, reason: Reason, kind: str, close: int, fault: str
) -> None:
    stage.start()
    await stage.client.send(frame(TEXT, CREATE))
    await stage.upstream.frame()

    stage.session.verdict.end(reason)

    error = json.loads((await stage.client.frame()).payload)["error"]
    assert (error["type"], error["code"]) == (kind, reason.value)
    assert await stage.told(stage.client) == close
    assert (await stage.ended())["fault"] == fault


# -- leaving


async def test_an_idle_session_leaves_at_once(stage: Stage) -> None:
    stage.start()

    stage.session.leave(Reason.DRAIN, at=trio.current_time() + 60, refuse=REFUSE)

    assert await stage.told(stage.client) == 1012
    assert (await stage.ended())["reason"] == "drain"


async def test_a_busy_session_leaves_as_its_response_ends_and_begins_no_other(
    stage: Stage,
) -> None:
    stage.start()
    await stage.client.send(frame(TEXT, CREATE))
    await stage.upstream.frame()
    await stage.upstream.send(response("created"))
    await stage.client.frame()

    stage.session.leave(Reason.DRAIN, at=trio.current_time() + 60, refuse=REFUSE)
    await stage.client.send(frame(TEXT, CREATE))
    answer = json.loads((await stage.client.frame()).payload)
    done = response("done", status="completed", usage={"input_tokens": 3, "output_tokens": 4})
    await stage.upstream.send(done)

    assert answer["error"]["code"] == "draining"
    assert json.loads((await stage.client.frame()).payload)["type"] == "response.done"
    assert await stage.told(stage.client) == 1012
    line = await stage.ended()
    assert (line["turns"], line["tokens_in"], line["tokens_out"]) == (1, 3, 4)


async def test_a_busy_session_leaves_at_the_latest_moment_and_its_turn_is_cut_short(
    stage: Stage,
) -> None:
    stage.start()
    await stage.client.send(frame(TEXT, CREATE))
    await stage.upstream.frame()

    stage.session.leave(Reason.DRAIN, at=trio.current_time(), refuse=REFUSE)

    assert await stage.told(stage.client) == 1012
    await stage.ended()
    (turn,) = stage.log.of(LogEvent.TURN_ENDED)
    assert (turn["reason"], turn["turn_id"]) == ("drain", None)


async def test_the_bus_hears_of_the_session_s_beginning_and_end(stage: Stage) -> None:
    stage.start()
    stage.session.kill()
    await stage.ended()

    opened, ended = stage.events
    assert isinstance(opened, SessionOpened)
    assert isinstance(ended, SessionEnded)
    assert (ended.reason, ended.session) == ("killed", opened.session)
