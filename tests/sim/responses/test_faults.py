"""What each scenario makes of a turn."""

from __future__ import annotations

import json

import attrs
import pytest

from relayd.sim.responses.errors import Rejected
from relayd.sim.responses.faults import (
    BIG_BYTES,
    FOREVER_S,
    HUGE_BYTES,
    IDLE_FAULT_S,
    RANDOM_FAULTS,
    SILENCE_S,
    SLOW_DELTA_S,
    is_delta,
    play,
)
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.steps import CloseWith, Distorted, Leave, Pause, Step
from tests.sim.responses.stage import SHELL, Event, response

GENTLE = [
    Scenario.NORMAL,
    Scenario.SLOW,
    Scenario.SILENT_TURN,
    Scenario.CODEX,
    Scenario.REORDERED,
    Scenario.FRAGMENTED,
    Scenario.BIG_EVENTS,
    Scenario.HUGE_EVENTS,
    Scenario.NO_USAGE,
    Scenario.WRONG_USAGE,
    Scenario.STRAY_EVENT,
    Scenario.STRAY_IDLE,
    Scenario.UNKNOWN_LANE,
    Scenario.TERMINAL_TWICE,
    Scenario.CREATED_TWICE,
    Scenario.RESTART_IDLE,
    Scenario.GOING_AWAY_1001,
    Scenario.HALF_OPEN,
]
"""Those that tell a turn to its completed end, whatever else they do."""
OTHERS = [each for each in Scenario if each.is_of_turns and each not in GENTLE]
ANSWERS: list[dict[str, object]] = [{}, {"given": "run ls", "tools": [SHELL]}, {"generate": False}]


def steps(scenario: Scenario, **fields: object) -> list[Step]:
    given = str(fields.pop("given", "hello"))
    return list(play(response(given, **fields), scenario))


def event_of(step: Step) -> Event | None:
    if isinstance(step, Distorted):
        return step.event
    return step if isinstance(step, dict) else None


def events(played: list[Step]) -> list[Event]:
    return [event for step in played if (event := event_of(step)) is not None]


def kinds(played: list[Step]) -> list[str]:
    return [event["type"] for event in events(played)]


@pytest.mark.parametrize("fields", ANSWERS, ids=["words", "call", "warm-up"])
@pytest.mark.parametrize("scenario", GENTLE)
def test_a_gentle_scenario_tells_a_turn_to_its_end(
    scenario: Scenario, fields: dict[str, object]
) -> None:
    told = events(steps(scenario, **fields))

    assert "response.created" in [event["type"] for event in told[:2]]
    assert "response.completed" in [event["type"] for event in told]


@pytest.mark.parametrize("fields", ANSWERS, ids=["words", "call", "warm-up"])
@pytest.mark.parametrize("scenario", OTHERS)
def test_another_one_does_not(scenario: Scenario, fields: dict[str, object]) -> None:
    played = steps(scenario, **fields)
    if Pause(FOREVER_S) in played:
        played = played[: played.index(Pause(FOREVER_S)) + 1]

    assert "response.completed" not in kinds(played)
    assert (
        kinds(played)[-1:] in (["error"], ["response.failed"], ["response.incomplete"])
        or isinstance(played[-1], CloseWith | Leave)
        or played[-1] == Pause(FOREVER_S)
    )


MID_TURN = [
    Scenario.FAILED,
    Scenario.ERROR_MID_TURN,
    Scenario.RESTART_1012,
    Scenario.RESET_MID_TURN,
    Scenario.HALF_FRAME,
]


@pytest.mark.parametrize("scenario", MID_TURN)
def test_a_fault_of_the_middle_strikes_when_output_was_seen(scenario: Scenario) -> None:
    deltas = [event for event in events(steps(scenario)) if is_delta(event)]

    assert len(deltas) == 2


@pytest.mark.parametrize(
    ("scenario", "status", "code"),
    [
        (Scenario.SERVER_ERROR, 500, "server_error"),
        (Scenario.UNAUTHORIZED, 401, "invalid_api_key"),
        (Scenario.FORBIDDEN, 403, "unsupported_country_region_territory"),
        (Scenario.USAGE_LIMIT, 429, None),
        (Scenario.RATE_LIMITED, 429, "rate_limit_exceeded"),
        (Scenario.OVERLOADED, 503, "server_is_overloaded"),
    ],
)
def test_some_answer_with_an_error_and_nothing_else(
    scenario: Scenario, status: int, code: str | None
) -> None:
    (error,) = events(steps(scenario))

    assert (error["status"], error["error"]["code"]) == (status, code)


def test_a_used_up_plan_has_an_hour_to_go() -> None:
    (error,) = events(steps(Scenario.USAGE_LIMIT))

    assert error["error"]["resets_at"] == 1_700_003_600


def test_errors_of_a_wrong_shape() -> None:
    (no_status,) = events(steps(Scenario.ERROR_NO_STATUS))
    (top_level,) = events(steps(Scenario.ERROR_TOP_LEVEL))

    assert no_status.keys() == {"type", "error"}
    assert top_level.keys() == {"type", "code", "message", "param"}


def test_slow_takes_its_time_before_every_delta() -> None:
    played = steps(Scenario.SLOW)

    assert played.count(Pause(SLOW_DELTA_S)) == sum(map(is_delta, events(played)))


@pytest.mark.parametrize(("metadata", "seconds"), [({}, SILENCE_S), ({"sim_s": "0.5"}, 0.5)])
def test_a_silent_turn_is_silent_after_created_and_goes_on(
    metadata: dict[str, str], seconds: float
) -> None:
    played = steps(Scenario.SILENT_TURN, metadata=metadata)

    assert played[1] == Pause(seconds)
    assert kinds(played)[0] == "response.created"


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "a while", "1e9"])
def test_a_silence_of_no_length_is_refused(seconds: str) -> None:
    with pytest.raises(Rejected):
        steps(Scenario.SILENT_TURN, metadata={"sim_s": seconds})


def test_some_never_say_anything_or_never_more() -> None:
    assert steps(Scenario.SILENT_BEFORE_CREATED) == [Pause(FOREVER_S)]
    assert steps(Scenario.SILENT_AFTER_CREATED)[1] == Pause(FOREVER_S)


def test_what_the_backend_adds_is_said_once_a_turn() -> None:
    told = events(steps(Scenario.CODEX))

    assert [event["type"] for event in told[:4]] == [
        "codex.rate_limits",
        "response.created",
        "response.metadata",
        "response.in_progress",
    ]
    assert told[0]["rate_limits"]["primary"]["reset_at"] == 1_700_018_000
    assert told[2]["headers"] == {"x-codex-turn-state": "state-of-resp_1"}


@pytest.mark.parametrize(
    ("scenario", "size"), [(Scenario.BIG_EVENTS, BIG_BYTES), (Scenario.HUGE_EVENTS, HUGE_BYTES)]
)
def test_large_events_hide_what_matters_behind_their_padding(scenario: Scenario, size: int) -> None:
    large = [event for event in events(steps(scenario)) if len(json.dumps(event)) > size]

    assert [event["type"] for event in large] == [
        "response.output_text.delta",
        "response.completed",
    ]
    assert all(list(event)[:2] == ["type", "obfuscation"] for event in large)


def test_usage_may_be_null() -> None:
    *_, last = events(steps(Scenario.NO_USAGE))
    assert last["response"]["usage"] is None


def test_usage_is_wrong_in_another_way_at_every_depth() -> None:
    told = []
    for depth in range(9):
        running = response()
        running.plan = attrs.evolve(running.plan, depth=depth + 1)
        *_, last = events(list(play(running, Scenario.WRONG_USAGE)))
        told.append(last["response"]["usage"])
        assert told[-1] != running.usage.wire()

    assert len({json.dumps(usage) for usage in told}) == 9


def test_strays() -> None:
    at_once, later = steps(Scenario.STRAY_EVENT), steps(Scenario.STRAY_IDLE)

    assert at_once[-2:] == [Pause(0.0), at_once[-1]]
    assert later[-2:] == [Pause(IDLE_FAULT_S), later[-1]]
    assert kinds(at_once)[-2:] == ["response.completed", "response.output_text.delta"]
    assert kinds(steps(Scenario.STRAY_EVENT, generate=False))[-1] == "response.created"


def test_an_unknown_lane_is_named_in_the_middle() -> None:
    (stray,) = [e for e in events(steps(Scenario.UNKNOWN_LANE)) if "stream_id" in e]

    assert stray["stream_id"] == "lane-of-nobody"


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        (Scenario.TERMINAL_TWICE, "response.completed"),
        (Scenario.CREATED_TWICE, "response.created"),
    ],
)
def test_something_is_said_twice(scenario: Scenario, kind: str) -> None:
    told = kinds(steps(scenario))

    assert told.count(kind) == 2
    assert {told.count(other) for other in set(told) - {kind, "response.output_text.delta"}} == {1}


@pytest.mark.parametrize(
    ("scenario", "leaving"),
    [
        (Scenario.RESTART_BEFORE_CREATED, CloseWith(1012, "service restart")),
        (Scenario.TRY_LATER_1013, CloseWith(1013, "try again later")),
        (Scenario.CLOSE_1009, CloseWith(1009, "message too big")),
        (Scenario.RESET_BEFORE_CREATED, Leave.RESET),
    ],
)
def test_some_end_the_connection_on_the_create(
    scenario: Scenario, leaving: CloseWith | Leave
) -> None:
    assert steps(scenario) == [leaving]


@pytest.mark.parametrize(
    ("scenario", "leaving"),
    [
        (Scenario.RESTART_IDLE, CloseWith(1012, "service restart")),
        (Scenario.GOING_AWAY_1001, CloseWith(1001, "going away")),
        (Scenario.HALF_OPEN, Leave.FREEZE),
    ],
)
def test_some_end_it_a_moment_after_the_turn(
    scenario: Scenario, leaving: CloseWith | Leave
) -> None:
    played = steps(scenario)

    assert kinds(played)[-1] == "response.completed"
    assert played[-2:] == [Pause(IDLE_FAULT_S), leaving]


def test_at_the_age_the_create_is_told_and_the_connection_closed() -> None:
    error, leaving = steps(Scenario.CONNECTION_LIMIT)

    assert isinstance(error, dict)
    assert leaving == CloseWith(1000)


@pytest.mark.parametrize("scenario", [Scenario.BAD_UTF8, Scenario.BINARY_FRAME])
def test_one_event_of_the_middle_is_written_wrongly(scenario: Scenario) -> None:
    assert sum(isinstance(step, Distorted) for step in steps(scenario)) == 1


@pytest.mark.parametrize("scenario", RANDOM_FAULTS)
def test_what_is_drawn_ends_by_itself(scenario: Scenario) -> None:
    pauses = [step.seconds for step in steps(scenario) if isinstance(step, Pause)]

    assert scenario.is_of_turns
    if scenario in {Scenario.BAD_UTF8, Scenario.BINARY_FRAME}:
        pauses.remove(FOREVER_S)  # the peer ends it
    assert sum(pauses) < 1
    assert Leave.FREEZE not in steps(scenario)
