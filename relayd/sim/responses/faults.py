"""How a turn is played: what each scenario makes of a response's events.

A play takes the response, which gives one event after the other and can be told to end, and gives
steps. Faults that belong in the middle strike at the third delta, or at the end of an answer that
has fewer; those that are *idle* strike a moment after the end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Final

from relayd.sim.responses import errors, steps
from relayd.sim.responses.errors import JsonObject, Rejected, ServiceError, invalid
from relayd.sim.responses.response import TERMINALS, Response
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.steps import CloseWith, Distorted, Exit, Leave, Pause, Step

FAULT_AT_DELTA: Final = 3
SLOW_DELTA_S: Final = 0.05
SILENCE_S: Final = 20.0
IDLE_FAULT_S: Final = 0.05
"""How long after the terminal an idle fault strikes."""
FOREVER_S: Final = 86_400.0
BIG_BYTES: Final = 3 * 512 * 1024
HUGE_BYTES: Final = 5 * 1024 * 1024
SECONDS_KEY: Final = "sim_s"
"""In ``metadata``: how long a silent turn is silent."""

_PING_EVERY: Final = 4  # a peer may take more than 100 control frames a second for a flood

_NOTHING_NEW: Final[JsonObject] = {"type": "response.in_progress", "response": {}}

Play = Callable[[Response], Iterator[Step]]


def play(response: Response, scenario: Scenario) -> Iterator[Step]:
    """The steps of a turn that plays ``scenario``.

    Raises:
        Rejected: ``metadata`` asks for a silence of no length.
    """
    if scenario is Scenario.SILENT_TURN:
        return _silent_turn(response, _silence_s(response))
    return _PLAYS.get(scenario, iter)(response)


def is_delta(event: JsonObject) -> bool:
    """Whether ``event`` carries a piece of an answer."""
    return str(event["type"]).endswith(".delta")


def _begun(response: Response) -> Generator[JsonObject, None, JsonObject]:
    """The events up to where a fault of the middle strikes; returns the one it strikes at."""
    deltas = 0
    for event in response:
        deltas += is_delta(event)
        kind = str(event["type"])
        if deltas == FAULT_AT_DELTA or kind in TERMINALS or kind.endswith(".done"):
            return event
        yield event
    raise AssertionError("a response ends with a terminal event")


def _slow(response: Response) -> Iterator[Step]:
    for event in response:
        if is_delta(event):
            yield Pause(SLOW_DELTA_S)
        yield event


def _silence_s(response: Response) -> float:
    wanted = (response.plan.create.metadata or {}).get(SECONDS_KEY)
    if wanted is None:
        return SILENCE_S
    try:
        seconds = float(wanted)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds <= FOREVER_S:
        return seconds
    path = f"metadata.{SECONDS_KEY}"
    raise Rejected(invalid("invalid_value", f"Invalid value: '{wanted}'.", path))


def _silent_turn(response: Response, seconds: float) -> Iterator[Step]:
    yield next(response)
    yield Pause(seconds)
    yield from response


def _silent_before_created(_: Response) -> Iterator[Step]:
    yield Pause(FOREVER_S)


def _codex(response: Response) -> Iterator[Step]:
    """What the ChatGPT backend adds to a turn."""
    now = response.plan.created_at
    windows = {
        "primary": {"used_percent": 12.5, "window_minutes": 300, "reset_at": now + 18_000},
        "secondary": {"used_percent": 3.0, "window_minutes": 10_080, "reset_at": now + 604_800},
    }
    yield {
        "type": "codex.rate_limits",
        "plan_type": "pro",
        "metered_limit_name": "codex",
        "rate_limits": windows,
        "credits": {"has_credits": True, "unlimited": False, "balance": "9"},
    }
    yield next(response)
    state = f"state-of-{response.plan.response_id}"
    headers = {"x-codex-turn-state": state}
    yield {"type": "response.metadata", "headers": headers, "metadata": {}}
    yield from response


def _distorted(write: Callable[[bytes], bytes], response: Response) -> Iterator[Step]:
    """Every event written in the same way."""
    for event in response:
        yield Distorted(event, write)


def _fragmented(response: Response) -> Iterator[Step]:
    for number, event in enumerate(response, 1):
        has_ping = number % _PING_EVERY == 0
        yield Distorted(event, partial(steps.in_fragments, has_ping=has_ping))


def _inflated(size_bytes: int, response: Response) -> Iterator[Step]:
    """The first delta and the terminal are large; their padding stands before all that matters."""
    deltas = 0
    for event in response:
        deltas += is_delta(event)
        if (is_delta(event) and deltas == 1) or event["type"] in TERMINALS:
            yield {"type": event["type"], "obfuscation": "x" * size_bytes, **event}
        else:
            yield event


def _billed(report: Callable[[Response], object], response: Response) -> Iterator[Step]:
    """As it should be, but for what the terminal says about usage."""
    for event in response:
        match event:
            case {"type": str(kind), "response": dict(body)} if kind in TERMINALS:
                yield event | {"response": body | {"usage": report(response)}}
            case _:
                yield event


def _nonsense(response: Response) -> object:
    """Usage that cannot be, of a kind that depends on how deep the conversation is."""
    truth = response.usage.wire()
    mistakes: tuple[object, ...] = (
        truth | {"input_tokens": -5, "total_tokens": -5},
        truth | {"output_tokens": 10**18, "total_tokens": 10**18},
        truth | {"input_tokens": "many", "output_tokens": 1.5},
        truth | {"input_tokens_details": {"cached_tokens": 10**6}},
        truth | {"output_tokens_details": {"reasoning_tokens": 10**6}},
        truth | {"total_tokens": response.usage.total_tokens + 1_000},
        {},
        [],
        "none",
    )
    return mistakes[(response.plan.depth - 1) % len(mistakes)]


def _failed(response: Response) -> Iterator[Step]:
    yield from _begun(response)
    response.fail(errors.SERVER_ERROR.kind, errors.SERVER_ERROR.message)
    yield from response


def _incomplete(response: Response) -> Iterator[Step]:
    yield from _begun(response)
    response.interrupt("content_filter")
    yield from response


def _in_place_of_created(event: JsonObject, _: Response) -> Iterator[Step]:
    yield event


def _usage_limit(response: Response) -> Iterator[Step]:
    yield errors.usage_limit_reached(response.plan.created_at + 3_600).event()


def _error_mid_turn(response: Response) -> Iterator[Step]:
    yield from _begun(response)
    yield errors.SERVER_ERROR.event()


def _stray(pause_s: float, response: Response) -> Iterator[Step]:
    stray: JsonObject | None = None
    for event in response:
        stray = event if stray is None or is_delta(event) else stray
        yield event
    yield Pause(pause_s)
    if stray is not None:
        yield stray


def _unknown_lane(response: Response) -> Iterator[Step]:
    held = yield from _begun(response)
    yield {"type": "response.in_progress", "stream_id": "lane-of-nobody", "response": {}}
    yield held
    yield from response


def _twice(kinds: frozenset[str], response: Response) -> Iterator[Step]:
    for event in response:
        yield event
        if event["type"] in kinds:
            yield event


def _connection_limit(_: Response) -> Iterator[Step]:
    yield errors.CONNECTION_LIMIT.event()
    yield CloseWith(1000)


def _ending_at_once(leaving: Exit, _: Response) -> Iterator[Step]:
    yield leaving


def _ending_mid_turn(leaving: Exit, response: Response) -> Iterator[Step]:
    yield from _begun(response)
    yield leaving


def _ending_idle(leaving: Exit, response: Response) -> Iterator[Step]:
    yield from response
    yield Pause(IDLE_FAULT_S)
    yield leaving


def _half_frame(response: Response) -> Iterator[Step]:
    yield from _begun(response)
    yield Distorted(_NOTHING_NEW, steps.halved)
    yield Leave.FINISH


def _once_distorted(write: Callable[[bytes], bytes], response: Response) -> Iterator[Step]:
    """An event in the middle on which a strict client fails the connection; nothing follows."""
    yield from _begun(response)
    yield Distorted(_NOTHING_NEW, write)
    yield Pause(FOREVER_S)


def _error(error: ServiceError) -> Play:
    return partial(_in_place_of_created, error.event())


_PLAYS: Final[Mapping[Scenario, Play]] = {
    Scenario.SLOW: _slow,
    Scenario.SILENT_BEFORE_CREATED: _silent_before_created,
    Scenario.SILENT_AFTER_CREATED: partial(_silent_turn, seconds=FOREVER_S),
    Scenario.CODEX: _codex,
    Scenario.REORDERED: partial(_distorted, steps.reordered),
    Scenario.FRAGMENTED: _fragmented,
    Scenario.BIG_EVENTS: partial(_inflated, BIG_BYTES),
    Scenario.HUGE_EVENTS: partial(_inflated, HUGE_BYTES),
    Scenario.NO_USAGE: partial(_billed, lambda _: None),
    Scenario.WRONG_USAGE: partial(_billed, _nonsense),
    Scenario.FAILED: _failed,
    Scenario.INCOMPLETE: _incomplete,
    Scenario.SERVER_ERROR: _error(errors.SERVER_ERROR),
    Scenario.ERROR_MID_TURN: _error_mid_turn,
    Scenario.UNAUTHORIZED: _error(errors.INVALID_API_KEY),
    Scenario.FORBIDDEN: _error(errors.FORBIDDEN),
    Scenario.USAGE_LIMIT: _usage_limit,
    Scenario.RATE_LIMITED: _error(errors.RATE_LIMITED),
    Scenario.OVERLOADED: _error(errors.OVERLOADED),
    Scenario.ERROR_NO_STATUS: partial(_in_place_of_created, errors.WITHOUT_STATUS),
    Scenario.ERROR_TOP_LEVEL: partial(_in_place_of_created, errors.TOP_LEVEL),
    Scenario.STRAY_EVENT: partial(_stray, 0.0),
    Scenario.STRAY_IDLE: partial(_stray, IDLE_FAULT_S),
    Scenario.UNKNOWN_LANE: _unknown_lane,
    Scenario.TERMINAL_TWICE: partial(_twice, TERMINALS),
    Scenario.CREATED_TWICE: partial(_twice, frozenset({"response.created"})),
    Scenario.CONNECTION_LIMIT: _connection_limit,
    Scenario.RESTART_BEFORE_CREATED: partial(_ending_at_once, CloseWith(1012, "service restart")),
    Scenario.RESTART_1012: partial(_ending_mid_turn, CloseWith(1012, "service restart")),
    Scenario.RESTART_IDLE: partial(_ending_idle, CloseWith(1012, "service restart")),
    Scenario.TRY_LATER_1013: partial(_ending_at_once, CloseWith(1013, "try again later")),
    Scenario.GOING_AWAY_1001: partial(_ending_idle, CloseWith(1001, "going away")),
    Scenario.CLOSE_1009: partial(_ending_at_once, CloseWith(1009, "message too big")),
    Scenario.RESET_BEFORE_CREATED: partial(_ending_at_once, Leave.RESET),
    Scenario.RESET_MID_TURN: partial(_ending_mid_turn, Leave.RESET),
    Scenario.HALF_FRAME: _half_frame,
    Scenario.HALF_OPEN: partial(_ending_idle, Leave.FREEZE),
    Scenario.BAD_UTF8: partial(_once_distorted, steps.broken_utf8),
    Scenario.BINARY_FRAME: partial(_once_distorted, steps.as_binary),
}
"""The scenarios of turns that are not played as documented."""

RANDOM_FAULTS: Final[tuple[Scenario, ...]] = (
    Scenario.SLOW,
    Scenario.FRAGMENTED,
    Scenario.REORDERED,
    Scenario.BIG_EVENTS,
    Scenario.NO_USAGE,
    Scenario.FAILED,
    Scenario.INCOMPLETE,
    Scenario.SERVER_ERROR,
    Scenario.ERROR_MID_TURN,
    Scenario.RATE_LIMITED,
    Scenario.OVERLOADED,
    Scenario.ERROR_NO_STATUS,
    Scenario.ERROR_TOP_LEVEL,
    Scenario.STRAY_EVENT,
    Scenario.STRAY_IDLE,
    Scenario.TERMINAL_TWICE,
    Scenario.CONNECTION_LIMIT,
    Scenario.RESTART_BEFORE_CREATED,
    Scenario.RESTART_1012,
    Scenario.RESTART_IDLE,
    Scenario.TRY_LATER_1013,
    Scenario.GOING_AWAY_1001,
    Scenario.RESET_BEFORE_CREATED,
    Scenario.RESET_MID_TURN,
    Scenario.HALF_FRAME,
    Scenario.BAD_UTF8,
    Scenario.BINARY_FRAME,
)
"""What :data:`Scenario.RANDOM_FAULTS` draws from: what ends by itself and blames no account."""
