"""What clients of the chat dialect are sent, for turns that are played by hand."""

from __future__ import annotations

import json
from collections import deque
from typing import cast

import attrs

from relayd.dialect.behind import Fault, Faulted, Finished, FinishReason, Text, Used
from relayd.dialect.chat_reply import Reply
from relayd.dialect.meter import Usage
from relayd.service import chat
from relayd.service.chat import IGNORED_HEADER, IGNORED_MAX_CHARS
from relayd.session.chat.handover import Said
from relayd.session.chat.turn import ChatTurn

FAULT = Fault(
    status=502,
    type="server_error",
    code="lost",
    message="Lost.",
    upstream_id="sid",
    retry_after_s=2,
)
STOP = Finished(FinishReason.STOP)
USAGE = Used(Usage(source="response", input_total=1, output_total=2))


@attrs.define
class PlayedTurn:
    """Says what it is given."""

    rest: deque[Said]

    @classmethod
    def saying(cls, *said: Said) -> PlayedTurn:
        return cls(deque(said))

    async def said(self) -> Said | None:
        return self.rest.popleft() if self.rest else None


def reply() -> Reply:
    return Reply(model="m", id="chatcmpl-1", created=7)


async def streamed(turn: PlayedTurn, *, include_usage: bool = False) -> list[str]:
    stream = chat._streamed(reply(), cast("ChatTurn", turn), include_usage=include_usage)
    data = b"".join([each async for each in stream])
    assert data.endswith(b"\n\n")
    return [each.removeprefix("data: ") for each in data.decode().split("\n\n")[:-1]]


async def test_a_stream() -> None:
    *chunks, done = await streamed(PlayedTurn.saying((Text("a"), Text("b")), (USAGE, STOP)))
    assert done == "[DONE]"
    choices = [json.loads(each)["choices"][0] for each in chunks]
    assert [each["delta"].get("content") for each in choices] == ["", "a", "b", None]
    assert choices[-1]["finish_reason"] == "stop"


async def test_usage_is_told_where_it_is_asked_for() -> None:
    events = await streamed(PlayedTurn.saying((Text("a"), USAGE, STOP)), include_usage=True)
    assert json.loads(events[-2])["usage"]["total_tokens"] == 3


async def test_usage_that_nobody_knows_is_not_told() -> None:
    events = await streamed(PlayedTurn.saying((Text("a"), STOP)), include_usage=True)
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "stop"


async def test_a_fault_ends_a_stream() -> None:
    events = await streamed(PlayedTurn.saying((Text("a"),), (Faulted(FAULT),), (Text("late"),)))
    assert json.loads(events[-2])["error"]["code"] == "lost"
    assert events[-1] == "[DONE]"


async def test_a_turn_without_a_last_word_is_an_error() -> None:
    events = await streamed(PlayedTurn.saying((Text("a"),)))
    assert json.loads(events[-2])["error"]["code"] == "internal_error"
    assert events[-1] == "[DONE]"


async def test_what_comes_together_is_sent_together() -> None:
    turn = PlayedTurn.saying((Text("a"), Text("b"), STOP))
    stream = chat._streamed(reply(), cast("ChatTurn", turn), include_usage=False)
    assert len([each async for each in stream]) == 2


def test_a_fault_takes_the_answer_s_place() -> None:
    answer = chat._error(FAULT, (("Retry-After", "9"), ("x-relayd-ignored", "seed")))
    assert answer.status == 502
    assert json.loads(answer.content())["error"]["code"] == "lost"
    assert answer.headers == (
        ("Retry-After", "2"),
        ("x-upstream-sid", "sid"),
        ("x-relayd-ignored", "seed"),
    )


def test_ignored_parameters_are_named() -> None:
    assert chat._ignored(()) == ()
    assert chat._ignored(("seed", "stop")) == ((IGNORED_HEADER, "seed, stop"),)


def test_as_many_as_there_is_room_for() -> None:
    ((_, told),) = chat._ignored(f"messages[{number}]" for number in range(65_536))
    assert len(told) <= IGNORED_MAX_CHARS
    assert told.startswith("messages[0], messages[1], ")
    assert told.endswith("]")
