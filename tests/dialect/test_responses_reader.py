"""A lease hears its upstream: turns begin and end as they do, and nothing strange gets through."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from relayd.core.endings import Reason
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_reader import TURN_BEGAN, TURN_ENDED
from relayd.dialect.responses_turns import NO_PROOF, Running
from relayd.protocol.outcomes import Instead, Violation
from tests.dialect.responses import USAGE, Listen, event, message, response

REFUSED = {"type": "invalid_request_error", "code": "invalid_value", "message": "No."}


def is_broken(answer: object) -> bool:
    return isinstance(answer, Violation) and answer.reason is Reason.PROTOCOL_ERROR_UPSTREAM


def running(lane: str | None = None, *, lanes: bool = True) -> tuple[Listen, Running]:
    """A turn that has had output."""
    listen = Listen(lanes=lanes)
    turn = listen.begin(lane)
    named = lane if lanes else None
    assert listen.created("resp_1", named) is None
    assert listen.delta(named) is None
    return listen, turn


# -- one turn


def test_a_turn_runs_from_its_create_to_its_end() -> None:
    listen = Listen()
    turn = listen.begin()

    assert listen.created("resp_1") is None
    assert listen.hears("response.in_progress", response=response("resp_1")) is None
    item = {"type": "function_call", "call_id": "call_1", "name": "x"}
    assert listen.hears("response.output_item.added", item=item) is None
    assert listen.hears("response.function_call_arguments.delta", delta="{") is None
    assert listen.hears("response.output_item.done", item=item) is None
    assert listen.completed("resp_1") == TURN_ENDED

    end = listen.end()
    assert (turn.response_id, turn.created_at, turn.first_output_at) == ("resp_1", 1, 4)  # no item
    assert (turn.seen, turn.tool_calls) == (True, ["call_1"])
    assert (end.running, end.kind, end.status, end.at) == (
        turn,
        "response.completed",
        "completed",
        6,
    )
    assert end.usage is not None
    assert (end.usage.usage.upstream_id, end.usage.usage.input_total) == ("resp_1", 10)
    assert (end.told, end.payload, end.error, end.successor_expected) == (True, None, None, False)
    assert not listen.reader.busy
    assert not listen.reader.spoiled
    assert len(listen.sent) == 6


@pytest.mark.parametrize(
    ("kind", "told", "status"),
    [
        ("response.completed", None, "completed"),
        ("response.failed", "completed", "failed"),
        ("response.incomplete", None, "incomplete"),
        ("response.cancelled", None, "cancelled"),
        ("response.canceled", None, "cancelled"),
        ("response.done", None, "completed"),
        ("response.done", "failed", "failed"),
        ("response.done", "canceled", "cancelled"),
        ("response.done", "incomplete", "incomplete"),
        ("response.done", 5, "completed"),
    ],
)
def test_a_turn_ends_in_as_many_ways(kind: str, told: object, status: str) -> None:
    listen, _ = running()

    assert listen.hears(kind, response=response("resp_1", status=told, usage=USAGE)) == TURN_ENDED
    end = listen.end()
    assert (end.kind, end.status) == (kind, status)
    assert end.usage is not None  # also of one that failed
    assert (end.error is not None) == (status == "failed")


def test_why_a_response_is_incomplete_is_kept() -> None:
    listen, _ = running()
    listen.hears(
        "response.incomplete",
        response=response("resp_1", incomplete_details={"reason": "max_output_tokens"}),
    )

    end = listen.end()
    assert (end.reason, end.usage, end.successor_expected) == ("max_output_tokens", None, False)


def test_deltas_pass_unread_once_the_turn_has_had_output() -> None:
    listen, _ = running()
    listen.delta()
    before = listen.unread
    for _ in range(10):
        assert listen.delta() is None

    assert listen.unread - before == 10
    assert listen.hears("response.output_text.done", text="x") is None
    assert listen.reader.proof == b'{"type":"response.output_text.done"'
    assert listen.completed("resp_1") == TURN_ENDED
    assert listen.reader.proof == NO_PROOF


def test_a_new_turn_is_read_again_while_another_goes_on() -> None:
    listen, _ = running("a")
    listen.delta("a")
    turn = listen.begin("b")
    before = listen.unread

    listen.delta("a")
    assert listen.unread == before
    listen.created("resp_2", "b")
    listen.delta("b")
    listen.delta("a")
    listen.delta("b")
    assert listen.unread > before
    assert turn.first_output_at is not None


@pytest.mark.parametrize(
    ("kind", "is_first"),
    [
        ("response.output_text.delta", True),
        ("response.reasoning_summary_text.delta", True),
        ("response.output_text.done", True),
        ("response.in_progress", False),
        ("response.content_part.added", False),
        ("response.metadata", False),
        ("codex.keepalive", False),
    ],
)
def test_what_the_first_output_is(kind: str, is_first: bool) -> None:
    listen = Listen()
    turn = listen.begin()
    listen.created("resp_1")

    assert listen.hears(kind) is None
    assert (turn.first_output_at is not None) is is_first


def test_limits_are_noted_and_are_nothing_of_the_turn() -> None:
    listen = Listen()
    turn = listen.begin()
    limits = {"primary": {"used_percent": 12.5, "window_minutes": 300, "reset_at": 1770000000}}

    assert listen.hears("codex.rate_limits", rate_limits=limits) is None
    assert listen.hears("codex.rate_limits", rate_limits="?") is None
    assert listen.reader.limits is not None
    assert listen.reader.limits.primary is not None
    assert listen.reader.limits.primary.used_percent == 12.5
    assert not turn.seen
    assert len(listen.sent) == 2


@pytest.mark.parametrize("kind", ["response.metadata", "codex.keepalive", "response.queued"])
def test_anything_else_that_is_sent_has_been_seen(kind: str) -> None:
    listen = Listen()
    turn = listen.begin("a")

    assert listen.hears(kind) is None  # without a lane it may be of any turn
    assert turn.seen


# -- lanes


def test_lanes_are_told_apart() -> None:
    listen = Listen()
    turns = {lane: listen.begin(lane) for lane in (None, "a", "b")}
    for lane in turns:
        listen.created(f"resp_{lane}", lane)
    listen.delta("b")
    assert [turn.first_output_at is not None for turn in turns.values()] == [False, False, True]
    listen.hears("response.output_item.done", "a", item={"type": "x_call", "call_id": "call_1"})

    assert listen.completed("resp_a", "a") == TURN_ENDED
    end = listen.end()
    assert (end.running, end.running.tool_calls) == (turns["a"], ["call_1"])
    assert set(listen.reader.running) == {None, "b"}


def test_an_upstream_without_lanes_has_all_events_for_its_turn() -> None:
    listen, turn = running("a", lanes=False)

    assert turn.response_id == "resp_1"
    assert listen.completed("resp_1") == TURN_ENDED
    assert listen.end().running.lane == "a"


# -- what must not get through


def test_what_nobody_asked_for_is_not_sent() -> None:
    strange: list[tuple[Listen, bytes]] = []
    strange.append((Listen(), event("response.created", response=response("resp_1"))))
    strange.append((Listen(), event("response.output_text.delta", delta="x")))
    strange.append((Listen(), event("response.completed", response=response("resp_1"))))
    for kind in ("response.output_text.delta", "response.output_item.added"):
        asked = Listen()
        asked.begin()
        strange.append((asked, event(kind, delta="x")))
    for kind in ("response.completed", "response.incomplete", "response.done"):
        asked = Listen()
        asked.begin()
        strange.append((asked, event(kind, response=response("resp_0"))))
    amid = (
        event("response.completed", response=response("resp_0")),
        event("response.failed", response=response("resp_0")),
        event("response.created", response=response("resp_2")),
        event("response.created", "a", response=response("resp_2")),
        event("response.completed", "a", response=response("resp_1")),
        b"hello",
        b"[]",
        b'{"type":5}',
        b'{"x":1}',
        b'{"type":"response.completed","x":' + b"[" * 100_000,
        b'{"type":"response.completed","response":{"id":"resp_1"},"type":"codex.keepalive"}',
    )
    strange += [(running()[0], payload) for payload in amid]
    second = running()[0]
    second.completed("resp_1")
    strange.append((second, event("response.completed", response=response("resp_1"))))

    for listen, payload in strange:
        before = len(listen.sent)
        assert is_broken(listen.says(payload)), payload[:80]
        assert len(listen.sent) == before


def test_a_response_whose_id_is_not_told_is_taken_at_its_end() -> None:
    listen = Listen()
    turn = listen.begin()
    listen.hears("response.created", response={"id": None})

    assert listen.completed("resp_1") == TURN_ENDED
    assert turn.response_id == "resp_1"
    assert listen.end().usage is not None


# -- errors


def test_an_error_with_status_is_sent_on_unchanged_and_ends_its_turn() -> None:
    listen = Listen()
    listen.begin("a")
    other = listen.begin("b")

    assert listen.hears("error", "a", status=400, error=REFUSED) == TURN_ENDED
    end = listen.end()
    assert (end.kind, end.status, end.told, end.payload) == ("error", "failed", True, None)
    assert end.error is not None
    assert (end.error.status, end.error.code) == (400, "invalid_value")
    assert listen.sent[-1]["error"] == REFUSED
    assert listen.reader.running == {"b": other}
    assert listen.reader.spoiled


def test_an_error_without_status_is_given_one() -> None:
    listen, _ = running("a")
    answer = listen.hears("error", "a", error={"code": "slow_down", "message": "x"})

    assert isinstance(answer, Instead)
    assert answer.event == TURN_ENDED
    assert listen.sent[-1]["status"] == 503
    assert listen.sent[-1]["stream_id"] == "a"
    assert listen.sent[-1]["error"] == {"code": "slow_down", "message": "x"}


def test_an_error_of_an_upstream_without_lanes_is_given_its_lane_with_its_status() -> None:
    listen, _ = running("a", lanes=False)

    assert isinstance(listen.hears("error", error=REFUSED), Instead)
    assert (listen.sent[-1]["status"], listen.sent[-1]["stream_id"]) == (400, "a")
    assert listen.end().told


@pytest.mark.parametrize(
    ("busy", "ended", "told"),
    [
        ([None, "a"], [None], [True]),
        (["a"], ["a"], [False]),
        (["a", "b"], ["a", "b"], [False, False]),
        ([], [], []),
    ],
)
def test_an_error_without_a_lane_ends_as_little_as_it_can(
    busy: list[str | None], ended: list[str | None], told: list[bool]
) -> None:
    listen = Listen()
    for lane in busy:
        listen.begin(lane)

    answer = listen.hears("error", status=400, error=REFUSED)

    assert answer == (TURN_ENDED if ended else None)
    ends = listen.ended()
    assert [end.running.lane for end in ends] == ended
    assert [end.told for end in ends] == told
    assert len(listen.sent) == 1
    assert listen.reader.spoiled


def test_an_error_for_a_lane_where_nothing_runs_ends_nothing() -> None:
    listen, _ = running("a")

    assert listen.hears("response.error", "b", status=400, error=REFUSED) is None
    assert listen.ended() == []
    assert len(listen.sent) == 3
    assert listen.reader.spoiled


def test_an_error_of_the_accounts_own_is_never_shown() -> None:
    listen, _ = running("a")
    told = {"code": "invalid_api_key", "message": "Incorrect API key: sk-canary-123456"}

    assert listen.hears("error", "a", status=401, error=told) == Instead(None, TURN_ENDED)
    end = listen.end()
    assert end.error is not None
    assert (end.told, end.error.abort) == (False, Abort.UPSTREAM_AUTH)
    assert len(listen.sent) == 2


# -- what may be tried again


@pytest.mark.parametrize("kind", ["error", "response.failed"])
@pytest.mark.parametrize("lanes", [True, False])
def test_what_ends_a_turn_unseen_can_be_kept_from_the_client(kind: str, lanes: bool) -> None:
    listen = Listen(lanes=lanes)
    listen.begin("a", retryable=True)
    limited = {"type": "usage_limit_reached", "message": "x"}
    members: dict[str, Any] = {"error": limited, "response": response("resp_1", error=limited)}

    answer = listen.hears(kind, "a" if lanes else None, **members)

    assert answer == Instead(None, TURN_ENDED)
    assert listen.sent == []
    end = listen.end()
    assert (end.told, end.running.seen) == (False, False)
    assert end.error is not None
    assert end.error.abort is Abort.UPSTREAM_LIMIT
    assert end.payload is not None
    kept = json.loads(end.payload)  # as it can be sent later
    assert (kept["type"], kept["stream_id"]) == (kind, "a")
    assert kept.get("status") == (429 if kind == "error" else None)


def test_what_the_client_has_seen_something_of_is_not_kept_from_it() -> None:
    for before in ("response.created", "response.metadata"):
        listen = Listen()
        listen.begin(retryable=True)
        listen.hears(before, response=response("resp_1"))

        assert listen.hears("error", status=500, error={"message": "x"}) == TURN_ENDED
        assert listen.end().told


def test_a_turn_that_is_not_to_be_tried_again_is_told() -> None:
    listen = Listen()
    listen.begin()

    assert listen.hears("response.failed", response=response("resp_1")) == TURN_ENDED
    assert listen.end().told


def test_an_error_for_several_is_kept_only_if_it_can_be_for_all() -> None:
    for retryable, told in ((True, None), (False, TURN_ENDED)):
        listen = Listen()
        listen.begin("a", retryable=True)
        listen.begin("b", retryable=retryable)

        answer = listen.hears("error", status=500, error={"message": "x"})

        assert answer == (told or Instead(None, TURN_ENDED))
        assert len(listen.ended()) == 2


# -- steering


def steered(listen: Listen, response_id: str = "resp_1", lane: str | None = None) -> object:
    told = response(response_id, usage=USAGE, incomplete_details={"reason": "steered"})
    return listen.hears("response.incomplete", lane, response=told)


def test_a_steered_response_is_followed_by_its_successor() -> None:
    listen, first = running("a")
    listen.hears("response.steer.accepted", "a", steer={"id": "steer_1"})

    assert steered(listen, lane="a") == TURN_ENDED
    end = listen.end()
    assert (end.running, end.reason, end.successor_expected) == (first, "steered", True)
    assert listen.reader.busy
    assert listen.created("resp_2", "a") == TURN_BEGAN
    [successor] = listen.reader.began
    assert listen.reader.running == {"a": successor}
    assert (successor.lane, successor.response_id, successor.seen) == ("a", "resp_2", True)
    assert listen.completed("resp_2", "a") == TURN_ENDED
    assert not listen.end().successor_expected
    assert not listen.reader.busy


def test_a_completed_response_has_a_successor_too_while_a_steering_is_not_applied() -> None:
    listen, _ = running(lanes=False)
    listen.hears("response.steer.accepted", steer={"id": "steer_1"})

    listen.completed("resp_1")
    assert listen.end().successor_expected
    assert listen.created("resp_2") == TURN_BEGAN
    listen.completed("resp_2")
    assert not listen.end().successor_expected


@pytest.mark.parametrize("kind", ["response.steer.pending", "response.steer.failed"])
def test_a_steering_that_will_not_be_applied_frees_its_lane(kind: str) -> None:
    listen, _ = running("a")
    for number in (1, 2):
        listen.hears("response.steer.accepted", "a", steer={"id": f"steer_{number}"})
    listen.completed("resp_1", "a")

    assert listen.hears(kind, "a", steer={"id": "steer_1"}) is None
    assert listen.reader.busy
    assert listen.hears(kind, "a", steer={"id": "steer_2"}) == TURN_ENDED
    assert listen.reader.lapsed == ["a"]
    assert not listen.reader.busy


def test_a_steering_that_failed_before_the_end_leaves_no_successor() -> None:
    listen, _ = running("a")
    listen.hears("response.steer.accepted", "a", steer={"id": "steer_1"})
    listen.hears("response.steer.failed", steer={"id": "steer_1"})

    listen.completed("resp_1", "a")
    assert not listen.end().successor_expected


@pytest.mark.parametrize("kind", ["error", "response.failed"])
def test_a_successor_may_fail_before_it_begins(kind: str) -> None:
    listen, _ = running()
    steered(listen)
    listen.ended()

    answer = listen.hears(kind, status=500, error={"message": "x"}, response=response("resp_2"))

    assert answer == TURN_ENDED
    [successor] = listen.reader.began
    assert listen.end().running is successor
    assert not listen.reader.busy


# -- who is told while a turn runs


@attrs.define
class Seen:
    """Takes note."""

    told: list[tuple[object, ...]] = attrs.field(factory=list)

    def began(self, running: Running, now: float) -> None:
        self.told.append(("began", running.response_id, now))

    def first_output(self, running: Running, now: float) -> None:
        self.told.append(("first output", running.response_id, now))

    def tool_called(self, running: Running, name: str | None, call_id: str) -> None:
        self.told.append(("called", running.response_id, name, call_id))


def test_a_turn_is_told_of_as_it_goes_and_each_thing_once() -> None:
    seen, listen = Seen(), Listen()
    listen.begin().witness = seen
    listen.created("resp_1")
    item = {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}"}
    for kind in ("added", "done"):
        listen.hears(f"response.output_item.{kind}", item=item)
    listen.delta()
    listen.delta()
    listen.completed("resp_1")

    assert seen.told == [
        ("began", "resp_1", 1),
        ("called", "resp_1", "look_up", "call_1"),
        ("first output", "resp_1", 4),
    ]


def test_who_is_told_of_a_turn_is_told_of_its_successor() -> None:
    listen, first = running("a")
    first.witness = seen = Seen()
    listen.hears("response.steer.accepted", "a", steer={"id": "steer_1"})
    steered(listen, lane="a")
    listen.created("resp_2", "a")
    listen.delta("a")

    assert [told[:2] for told in seen.told] == [("began", "resp_2"), ("first output", "resp_2")]
    assert (first.is_successor, listen.reader.began[0].is_successor) == (False, True)


# -- what is too long to be decoded


def long(kind: str, *before: str, lane: str | None = None) -> bytes:
    front = ",".join([*before, f'"type":"{kind}"'])
    named = "" if lane is None else f',"stream_id":"{lane}"'
    return f'{{{front}{named},"response":{{"stream_id":"z","output":["'.encode() + b"A" * 1000


def test_a_huge_end_is_one_without_its_usage() -> None:
    for lanes in (True, False):
        listen, turn = running("a", lanes=lanes)

        assert not listen.reader.harmless(long("response.completed")[:512])
        assert listen.reader.oversize(long("response.completed"), 9.0) == TURN_ENDED
        end = listen.end()
        assert (end.running, end.status, end.usage, end.at) == (turn, "completed", None, 9.0)


@pytest.mark.parametrize(
    "head",
    [
        long("response.incomplete", lane="b"),
        long("response.incomplete", '"stream_id":"b"', '"sequence_number":5'),
        long("response.incomplete").replace(
            b',"response"', b',"sequence_number":5,"stream_id":"b"'
        ),
    ],
)
def test_a_huge_end_names_its_lane_in_front(head: bytes) -> None:
    listen, _ = running("a")
    turn = listen.begin("b")
    listen.created("resp_2", "b")

    assert listen.reader.oversize(head, 9.0) == TURN_ENDED
    assert listen.end().running is turn


def test_a_huge_message_that_cannot_be_told_is_not_sent() -> None:
    several, _ = running("a")
    several.begin("b")
    early = Listen()
    early.begin()
    for listen, head in [
        (several, long("response.completed")),
        (several, long("response.completed", lane="z")),
        (several, long("response.completed", lane="b")),
        (early, long("response.completed")),
        (early, long("response.output_item.done")),
        (running()[0], b'{"response":{"output":["AAAA'),
        (running()[0], long("error")),
        (running()[0], long("response.created")),
        (running()[0], long("response.steer.failed")),
    ]:
        assert is_broken(listen.reader.oversize(head, 9.0)), head[:60]


def test_a_huge_event_of_another_kind_is_sent_on() -> None:
    listen, _ = running()
    picture = b'{"type":"response.image_generation_call.partial_image","x":"'

    assert listen.reader.harmless(picture)
    assert listen.reader.oversize(long("response.output_item.done"), 9.0) is None
    several = Listen()
    turns = [several.begin("a"), several.begin("b")]
    assert not several.reader.harmless(picture)
    assert several.reader.oversize(picture, 9.0) is None
    assert all(turn.seen for turn in turns)


def test_what_follows_a_turn_concerns_no_other() -> None:
    listen, _ = running()
    listen.completed("resp_1")

    assert listen.hears("response.metadata", headers={}) is None
    assert listen.hears("response.steer.accepted", steer={"id": "x"}) is None
    assert listen.says(message(type="codex.rate_limits")) is None
    assert not listen.reader.busy
