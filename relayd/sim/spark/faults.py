"""How an answer is played: what each scenario makes of its frames.

A play takes the speech, which gives one frame after the other, and gives steps. Faults that belong
in the middle strike after three frames, or before the last of an answer that has fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Final

import attrs

from relayd.sim.responses.steps import (
    CloseWith,
    Distorted,
    Exit,
    Leave,
    Pause,
    Step,
    as_binary,
    as_text,
    broken_utf8,
    halved,
    in_fragments,
)
from relayd.sim.spark.answers import Answer
from relayd.sim.spark.errors import UNDOCUMENTED, JsonObject, error
from relayd.sim.spark.frames import (
    LAST,
    content_frame,
    frames,
    is_last,
    plugins_frame,
    text_of,
    texts_in,
    with_usage,
)
from relayd.sim.spark.scenario import Scenario

FAULT_AFTER_FRAMES: Final = 3
SLOW_FRAME_S: Final = 0.05
SILENCE_S: Final = 20.0
FOREVER_S: Final = 86_400.0
BIG_CHARS: Final = 1024 * 1024
HUGE_CHARS: Final = 5 * 1024 * 1024

_WITHHELD: Final = 10014
_PING_EVERY: Final = 4  # a peer may take more than 100 control frames a second for a flood
_STRANGE: Final[JsonObject] = {"new": [{"deep": None}], "编号": 1.5}


@attrs.frozen
class Speech:
    """An answer about to be played.

    Attributes:
        sid: The session's id.
        answer: What is to be said.
        silence_s: How long a scenario is silent, where the request says so.
    """

    sid: str
    answer: Answer
    silence_s: float | None = None

    def __iter__(self) -> Iterator[JsonObject]:
        return frames(self.answer, self.sid)

    @property
    def pause(self) -> Pause:
        """The silence, within the answer or before it."""
        return Pause(SILENCE_S if self.silence_s is None else self.silence_s)


Play = Callable[[Speech], Iterator[Step]]


def play(speech: Speech, scenario: Scenario) -> Iterator[Step]:
    """The steps of an answer that plays ``scenario``."""
    if (code := scenario.early_code) is not None:
        return iter([error(code).event(speech.sid)])
    if (code := scenario.late_code) is not None:
        return _late(code, speech)
    return _PLAYS.get(scenario, iter)(speech)


def _begun(speech: Speech) -> Generator[JsonObject, None, int]:
    """The frames up to where a fault of the middle strikes; returns how many they were."""
    for number, frame in enumerate(speech):
        if number == FAULT_AFTER_FRAMES or is_last(frame):
            return number
        yield frame
    raise AssertionError("an answer has a last frame")


def _late(code: int, speech: Speech) -> Iterator[Step]:
    said = yield from _begun(speech)
    event = error(code).event(speech.sid)
    if code == _WITHHELD:
        # Alone among the errors it tells what is to be paid for: what was said is withdrawn.
        used = attrs.evolve(speech.answer.usage, completion_tokens=said)
        choices: JsonObject = {"status": LAST, "seq": said, "text": []}
        event = with_usage(event | {"payload": {"choices": choices}}, used.wire())
    yield event


def _slow(speech: Speech) -> Iterator[Step]:
    for frame in speech:
        yield Pause(SLOW_FRAME_S)
        yield frame


def _silent_start(speech: Speech) -> Iterator[Step]:
    yield speech.pause
    yield from speech


def _silent(_: Speech) -> Iterator[Step]:
    yield Pause(FOREVER_S)


def _stall(speech: Speech) -> Iterator[Step]:
    for number, frame in enumerate(speech):
        if number == FAULT_AFTER_FRAMES:
            yield speech.pause
        yield frame


def _stalled(speech: Speech) -> Iterator[Step]:
    yield from _begun(speech)
    yield Pause(FOREVER_S)


def _no_choices(speech: Speech) -> Iterator[Step]:
    header = content_frame(speech.sid, 0, 0, [])["header"]
    yield {"header": header, "payload": {}}
    yield {"header": header}
    yield from speech


def _plugins_first(speech: Speech) -> Iterator[Step]:
    yield plugins_frame(speech.sid, ({"index": 1, "url": "https://example.com/1", "title": "1"},))
    yield from speech


def _empty_text(speech: Speech) -> Iterator[Step]:
    for number, frame in enumerate(speech):
        yield content_frame(speech.sid, min(number, 1), number, [])
        yield content_frame(speech.sid, 1, number, [text_of("")])
        yield frame


def _unknown_keys(speech: Speech) -> Iterator[Step]:
    for frame in speech:
        yield _strange(frame)


def _strange(value: object) -> JsonObject:
    """Every object within ``value``, and itself, with unknown members before its own."""
    if not isinstance(value, dict):
        return {}
    return _STRANGE | {
        name: _strange(inner)
        if isinstance(inner, dict)
        else [_strange(one) if isinstance(one, dict) else one for one in inner]
        if isinstance(inner, list)
        else inner
        for name, inner in value.items()
    }


def _one_frame(speech: Speech) -> Iterator[Step]:
    texts = [text for frame in speech for text in texts_in(frame)]
    merged = texts[-1] | {"content": "".join(str(text["content"]) for text in texts)}
    thoughts = "".join(str(text.get("reasoning_content", "")) for text in texts)
    if thoughts:
        merged |= {"reasoning_content": thoughts}
    whole = content_frame(speech.sid, LAST, 0, [merged])
    yield with_usage(whole, speech.answer.usage.wire())


def _billed(usage: Callable[[Speech], object], speech: Speech) -> Iterator[Step]:
    for frame in speech:
        match frame:
            case {"payload": {"usage": _, **payload}}:
                changed = frame | {"payload": payload}
                reported = usage(speech)
                yield changed if reported is None else with_usage(changed, reported)
            case _:
                yield frame


def _nonsense(speech: Speech) -> object:
    """Usage that cannot be, of a kind that depends on how much was said."""
    truth = speech.answer.usage.wire()
    mistakes: tuple[object, ...] = (
        truth | {"prompt_tokens": -5, "total_tokens": -5},
        truth | {"completion_tokens": 10**18, "total_tokens": 10**18},
        truth | {"prompt_tokens": "many", "completion_tokens": 1.5},
        truth | {"total_tokens": speech.answer.usage.total_tokens + 1000},
        {},
        [],
        "none",
    )
    return mistakes[speech.answer.usage.completion_tokens % len(mistakes)]


def _inflated(chars: int, speech: Speech) -> Iterator[Step]:
    for number, frame in enumerate(speech):
        if number == 1:
            yield content_frame(speech.sid, 1, number, [text_of("x" * chars)])
        yield frame


def _fragmented(speech: Speech) -> Iterator[Step]:
    for number, frame in enumerate(speech, 1):
        yield Distorted(frame, partial(in_fragments, has_ping=number % _PING_EVERY == 0))


def _broken_arguments(speech: Speech) -> Iterator[Step]:
    call = speech.answer.call
    if call is not None:
        broken = attrs.evolve(call, text=call.text[:-1])
        speech = attrs.evolve(speech, answer=attrs.evolve(speech.answer, call=broken))
    yield from speech


def _extra_frame(speech: Speech) -> Iterator[Step]:
    yield from speech
    yield content_frame(speech.sid, 1, 0, [text_of("behind the end")])


def _stays_open(speech: Speech) -> Iterator[Step]:
    yield from speech
    yield Pause(FOREVER_S)


def _unknown_code(speech: Speech) -> Iterator[Step]:
    yield error(UNDOCUMENTED).event(speech.sid)


def _ending_at_once(leaving: Exit, _: Speech) -> Iterator[Step]:
    yield leaving


def _ending_mid_stream(leaving: Exit, speech: Speech) -> Iterator[Step]:
    yield from _begun(speech)
    yield leaving


def _half_frame(speech: Speech) -> Iterator[Step]:
    said = yield from _begun(speech)
    yield Distorted(content_frame(speech.sid, 1, said, [text_of("half")]), halved)
    yield Leave.FINISH


def _once_distorted(write: Callable[[bytes], bytes], speech: Speech) -> Iterator[Step]:
    """A frame in the middle that a strict client fails on; nothing follows."""
    said = yield from _begun(speech)
    yield Distorted(content_frame(speech.sid, 1, said, [text_of("odd")]), write)
    yield Pause(FOREVER_S)


def _not_json(payload: bytes) -> bytes:
    return as_text(payload[:-1])


_PLAYS: Final[Mapping[Scenario, Play]] = {
    Scenario.SLOW: _slow,
    Scenario.SILENT_START: _silent_start,
    Scenario.SILENT: _silent,
    Scenario.STALL: _stall,
    Scenario.STALLED: _stalled,
    Scenario.HALF_OPEN: partial(_ending_mid_stream, Leave.FREEZE),
    Scenario.NO_CHOICES: _no_choices,
    Scenario.PLUGINS_FIRST: _plugins_first,
    Scenario.EMPTY_TEXT: _empty_text,
    Scenario.UNKNOWN_KEYS: _unknown_keys,
    Scenario.ONE_FRAME: _one_frame,
    Scenario.NO_USAGE: partial(_billed, lambda _: None),
    Scenario.WRONG_USAGE: partial(_billed, _nonsense),
    Scenario.BIG_FRAME: partial(_inflated, BIG_CHARS),
    Scenario.HUGE_FRAME: partial(_inflated, HUGE_CHARS),
    Scenario.FRAGMENTED: _fragmented,
    Scenario.BROKEN_ARGUMENTS: _broken_arguments,
    Scenario.EXTRA_FRAME: _extra_frame,
    Scenario.STAYS_OPEN: _stays_open,
    Scenario.UNKNOWN_CODE: _unknown_code,
    Scenario.CLOSE_BEFORE_FIRST: partial(_ending_at_once, CloseWith(1000)),
    Scenario.CLOSE_MID_STREAM: partial(_ending_mid_stream, CloseWith(1000)),
    Scenario.CLOSE_1011: partial(_ending_mid_stream, CloseWith(1011, "internal error")),
    Scenario.EOF_BEFORE_FIRST: partial(_ending_at_once, Leave.FINISH),
    Scenario.EOF_MID_STREAM: partial(_ending_mid_stream, Leave.FINISH),
    Scenario.RESET_BEFORE_FIRST: partial(_ending_at_once, Leave.RESET),
    Scenario.RESET_MID_STREAM: partial(_ending_mid_stream, Leave.RESET),
    Scenario.HALF_FRAME: _half_frame,
    Scenario.BAD_UTF8: partial(_once_distorted, broken_utf8),
    Scenario.BINARY_FRAME: partial(_once_distorted, as_binary),
    Scenario.NOT_JSON: partial(_once_distorted, _not_json),
}
"""The scenarios of answers that are not played as documented, but for those that are a code."""
