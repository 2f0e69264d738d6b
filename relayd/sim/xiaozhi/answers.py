"""How an utterance is answered: what each scenario makes of the steps of an answer.

``stt``, ``tts`` start, ``llm``, then sentences with their packets, ``tts`` stop. Faults that belong
in the middle strike after three packets, or after the first sentence where there is no audio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from relayd.sim.responses.steps import CloseWith, Exit, Leave, Pause
from relayd.sim.xiaozhi.scenario import Scenario

JsonObject = dict[str, object]

SENTENCE_PACKETS: Final = 10
SENTENCES: Final = 2
FAULT_AFTER_PACKETS: Final = 3
PACKETS_AHEAD: Final = 3
"""So many are sent at once, to fill the device's buffer; then one each time one has sounded."""

BIG_CHARS: Final = 512 * 1024
HUGE_CHARS: Final = 2 * 1024 * 1024
PACKETS_MAX: Final = 100_000


@attrs.frozen
class Audio:
    """The next packet of the answer; ``is_wrong``: with a size that is not its own."""

    is_wrong: bool = False


@attrs.frozen
class Plain:
    """A text message that is no JSON object."""

    text: str


@attrs.frozen
class CallTool:
    """The device's first tool is called; what comes back is said as a sentence."""


@attrs.frozen
class Estranged:
    """A message with the id of another session."""

    message: JsonObject


Step = JsonObject | Audio | Plain | CallTool | Estranged | Pause | Exit


@attrs.frozen(kw_only=True)
class Utterance:
    """What a device has said.

    Attributes:
        text: What is understood.
        is_spoken: Whether it was spoken; to what was written there is no audio in answer.
        scenario: What the answer plays.
        packets: Of the answer, where that is told.
    """

    text: str
    is_spoken: bool
    scenario: Scenario = Scenario.NORMAL
    packets: int | None = None


_STRUCK: Final[Mapping[Scenario, Exit]] = {
    Scenario.RESET_MID_SPEECH: Leave.RESET,
    Scenario.FINISH_MID_SPEECH: Leave.FINISH,
    Scenario.HALF_OPEN: Leave.FREEZE,
    Scenario.CLOSE_1011: CloseWith(1011, "internal error"),
    Scenario.CLOSE_1012: CloseWith(1012, "service restart"),
    Scenario.CLOSE_1013: CloseWith(1013, "try again later"),
    Scenario.CLOSE_1000_MID_SPEECH: CloseWith(1000),
}
"""What ends the connection in the middle of an answer."""


def play(utterance: Utterance, said: str, frame_ms: int) -> Iterator[Step]:
    """The steps of an answer.

    Args:
        utterance: What is answered.
        said: What the answer says.
        frame_ms: How long a packet sounds.
    """
    scenario = utterance.scenario
    if scenario is Scenario.SILENT:
        return
    yield {"type": "stt", "text": utterance.text}
    if scenario is Scenario.SILENT_AFTER_STT:
        return
    yield {"type": "tts", "state": "start"}
    yield {"type": "llm", "emotion": "happy", "text": "🙂"}
    yield from _between(scenario)
    for index, step in enumerate(_speech(utterance, said, frame_ms)):
        yield step
        if scenario in _STRUCK and _is_middle(utterance, index):
            yield _STRUCK[scenario]
            return
    yield {"type": "tts", "state": "stop"}
    if scenario is Scenario.CLOSE_1000_AFTER_TURN:
        yield CloseWith(1000)
    elif scenario is Scenario.REBOOT:
        yield {"type": "system", "command": "reboot"}


def farewell(said: str, frame_ms: int) -> Iterator[Step]:
    """What is said to a device that says nothing, before its connection is closed."""
    yield {"type": "tts", "state": "start"}
    yield from _speech(Utterance(text="", is_spoken=True), said, frame_ms)
    yield {"type": "tts", "state": "stop"}
    yield CloseWith(1000)


def _between(scenario: Scenario) -> Iterator[Step]:
    """What some scenarios say before an answer's sentences."""
    match scenario:
        case Scenario.TOOL_CALL:
            yield CallTool()
        case Scenario.BIG_MESSAGE:
            yield {"type": "custom", "payload": {"text": "x" * BIG_CHARS}}
        case Scenario.HUGE_MESSAGE:
            yield {"type": "custom", "payload": {"text": "x" * HUGE_CHARS}}
        case Scenario.OTHER_SESSION_ID:
            yield Estranged({"type": "llm", "emotion": "confused", "text": "😕"})
        case Scenario.STRANGE:
            yield {"type": "weather", "state": ["sunny"]}
            yield {"state": "start"}
            yield Plain("[1, 2, 3]")
            yield Plain("not JSON")


def _speech(utterance: Utterance, said: str, frame_ms: int) -> Iterator[Step]:
    sounded, wanted = 0, utterance.packets
    if wanted is None:
        wanted = SENTENCES * SENTENCE_PACKETS
    if not utterance.is_spoken:
        wanted = 0
    sentences = (said, *["And so on."] * (SENTENCES - 1))
    for index, sentence in enumerate(sentences):
        yield {"type": "tts", "state": "sentence_start", "text": sentence}
        until = wanted * (index + 1) // len(sentences)
        while sounded < until:
            if utterance.scenario is Scenario.WRONG_SIZE and sounded % SENTENCE_PACKETS == 1:
                yield Audio(is_wrong=True)
            yield Audio()
            sounded += 1
            if sounded >= PACKETS_AHEAD:
                yield Pause(frame_ms / 1000)


def _is_middle(utterance: Utterance, index: int) -> bool:
    """Whether a fault of the middle strikes behind the step of that index."""
    return index == (FAULT_AFTER_PACKETS if utterance.is_spoken else 0)
