"""However the events of lanes are mixed, exactly the ends that are there are found."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.responses_reader import TURN_BEGAN, TURN_ENDED, LeaseReader
from relayd.dialect.responses_turns import Running, Terminal
from relayd.protocol.outcomes import Instead, Violation
from tests.dialect.responses import USAGE, event, response

LANES = (None, "a", "b", "c")
ENDS = ("completed", "incomplete", "failed", "cancelled", "steered", "error", "kept error")
PASSING = (
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.reasoning_text.delta",
    "response.unheard_of",
)


@attrs.frozen
class Planned:
    """One response of a lane: what passes between its beginning and its end."""

    response_id: str
    passing: tuple[str, ...]
    end: str
    asked: bool = True  # by a create; else the upstream goes on by itself

    def events(self, lane: str | None) -> list[bytes]:
        """As they come, the end last."""
        if self.end == "kept error":
            return [event("error", lane, status=500, error={"message": "x"})]
        told = response(self.response_id, usage=USAGE)
        begun = event("response.created", lane, response=told)
        return [begun, *(event(kind, lane, x=1) for kind in self.passing), self.last(lane)]

    def last(self, lane: str | None) -> bytes:
        told = response(self.response_id, usage=USAGE)
        if self.end == "error":
            return event("error", lane, status=500, error={"message": "x"})
        if self.end == "steered":
            told |= {"incomplete_details": {"reason": "steered"}}
            return event("response.incomplete", lane, response=told)
        return event(f"response.{self.end}", lane, response=told)


@st.composite
def plans(draw: st.DrawFn, lane: str | None) -> list[Planned]:
    found: list[Planned] = []
    for number in range(draw(st.integers(0, 3))):
        asked = not found or found[-1].end != "steered"
        ends = ENDS if asked else ENDS[:-1]
        passing = draw(st.lists(st.sampled_from(PASSING), max_size=8))
        end = draw(st.sampled_from(ends))
        found.append(Planned(f"resp_{lane}_{number}", tuple(passing), end, asked))
    if found and found[-1].end == "steered":
        found.append(Planned(f"resp_{lane}_last", (), "completed", asked=False))
    return found


@attrs.define
class Play:
    """Plays plans to a reader as a flow would, and remembers what the client was sent."""

    reader: LeaseReader
    sent: list[bytes] = attrs.field(factory=list)
    ended: list[Terminal] = attrs.field(factory=list)
    began: list[Running] = attrs.field(factory=list)

    def hear(self, payload: bytes) -> None:
        if payload.startswith(self.reader.proof):
            self.sent.append(payload)
            return
        answer = self.reader.message(payload, 1.0)
        assert not isinstance(answer, Violation), (payload, answer)
        notice = answer.event if isinstance(answer, Instead) else answer
        if not isinstance(answer, Instead):
            self.sent.append(payload)
        assert (notice == TURN_ENDED) == bool(self.reader.ended)
        assert (notice == TURN_BEGAN) == bool(self.reader.began)
        self.ended += self.reader.ended
        self.began += self.reader.began
        self.reader.ended.clear()
        self.reader.began.clear()


def interleaved(data: st.DataObject, waiting: dict[str | None, list[Planned]], play: Play) -> None:
    """One event of any lane after another; a lane's turn begins when the one before it is over."""
    due: dict[str | None, list[bytes]] = {lane: [] for lane in waiting}
    while any(due.values()) or any(waiting.values()):
        lanes = [lane for lane in due if due[lane] or waiting[lane]]
        lane = data.draw(st.sampled_from(lanes))
        if not due[lane]:
            plan = waiting[lane].pop(0)
            due[lane] = plan.events(lane)
            if plan.asked:
                play.reader.begin(lane, Running(retryable=plan.end == "kept error"))
            continue
        play.hear(due[lane].pop(0))


@given(st.data())
def test_lanes_in_any_order_have_exactly_their_ends(data: st.DataObject) -> None:
    planned = {lane: data.draw(plans(lane)) for lane in LANES}
    play = Play(LeaseReader())

    interleaved(data, {lane: list(turns) for lane, turns in planned.items()}, play)

    for lane, turns in planned.items():
        ends = [end for end in play.ended if end.running.lane == lane]
        assert [outcome(end) for end in ends] == [turn.end for turn in turns]
        for end, turn in zip(ends, turns, strict=True):
            check(end, turn)
    asked = sum(not turn.asked for turns in planned.values() for turn in turns)
    assert len(play.began) == asked
    assert not play.reader.busy
    in_order = {
        lane: [e for turn in turns if turn.end != "kept error" for e in turn.events(lane)]
        for lane, turns in planned.items()
    }
    for lane, events in in_order.items():
        assert [e for e in play.sent if lane_of(e) == lane] == events


def check(end: Terminal, turn: Planned) -> None:
    running = end.running
    if turn.end == "kept error":
        assert (end.told, running.seen, running.response_id) == (False, False, None)
        return
    assert (end.told, running.response_id) == (True, turn.response_id)
    assert end.successor_expected == (turn.end == "steered")
    outputs = [kind for kind in turn.passing if kind.endswith(".delta")]
    assert (running.first_output_at is not None) == bool(outputs)
    assert (end.usage is None) == (turn.end == "error")


def outcome(end: Terminal) -> str:
    if end.kind == "error":
        return "error" if end.told else "kept error"
    return "steered" if end.reason == "steered" else end.status


def lane_of(payload: bytes) -> str | None:
    decoded: dict[str, Any] = json.loads(payload)
    lane: str | None = decoded.get("stream_id")
    return lane


EVENTS = st.builds(
    event,
    st.sampled_from(
        [
            "response.created",
            "response.completed",
            "response.failed",
            "response.incomplete",
            "response.steer.accepted",
            "response.steer.failed",
            "response.output_item.done",
            "response.output_text.delta",
            "codex.rate_limits",
            "error",
        ]
    ),
    st.sampled_from([None, "a", "b"]),
    response=st.sampled_from(
        [response("x"), response("y"), response("x", incomplete_details={"reason": "steered"}), 5]
    ),
    item=st.sampled_from([{"type": "a_call", "call_id": "c"}, None]),
    steer=st.sampled_from([{"id": "s"}, {"id": "t"}, 5]),
    status=st.sampled_from([400, 401, None, "x"]),
)


@given(
    st.lists(EVENTS | st.binary(max_size=20), max_size=30),
    st.sets(st.sampled_from([None, "a", "b"])),
    st.booleans(),
)
def test_whatever_an_upstream_says_no_turn_ends_twice_and_the_count_is_right(
    payloads: list[bytes], lanes: set[str | None], retryable: bool
) -> None:
    reader = LeaseReader()
    turns = [Running(retryable=retryable) for _ in lanes]
    for lane, turn in zip(lanes, turns, strict=True):
        reader.begin(lane, turn)
    ended: list[Running] = []
    for payload in payloads:
        answer = None if payload.startswith(reader.proof) else reader.message(payload, 1.0)
        if isinstance(answer, Violation):
            break
        ended += [end.running for end in reader.ended]
        turns += reader.began
        reader.ended.clear()
        reader.began.clear()

    assert len(ended) == len(set(ended))
    assert set(turns) == set(ended) | set(reader.running.values())
    assert not set(ended) & set(reader.running.values())
    assert set(reader.awaiting.values()) <= set(ended)
