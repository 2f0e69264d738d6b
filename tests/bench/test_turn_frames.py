from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import frames, turn_frames
from bench.failures import UnexpectedAnswer
from bench.turn_frames import Answer, AnswerReader, Request
from relayd.dialect.responses_client import Create, read_message
from relayd.dialect.responses_reader import LeaseReader
from relayd.dialect.responses_turns import Running

PREVIOUS = b"%020d" % 77


def events(wire: bytes | bytearray) -> list[dict[str, Any]]:
    found, start = [], 0
    while start < len(wire):
        end = frames.frame_end(wire, start)
        assert end is not None
        found.append(json.loads(wire[start + 4 : end]))
        start = end
    return found


def test_a_request_is_one_masked_frame_of_a_kibibyte_that_relayd_reads() -> None:
    received = bytearray(Request(goes_on=True).sent_at(12345, PREVIOUS))

    taken = turn_frames.take_client_frame(received)

    assert taken is not None
    opcode, payload = taken
    assert (opcode, len(payload), len(received)) == (1, 1024, 0)
    create = read_message(payload)
    assert isinstance(create, Create)
    assert create.previous_response_id == f"resp_{PREVIOUS.decode()}"
    assert not create.store
    assert turn_frames.request_stamp(payload) == 12345


def test_a_first_request_goes_on_from_nothing() -> None:
    frame = Request(goes_on=False).sent_at(1)
    create = read_message(bytes(frame[8:]))

    assert isinstance(create, Create)
    assert create.previous_response_id is None


def test_an_answer_is_twenty_events_from_created_to_completed_with_usage() -> None:
    answer = events(Answer().whole(7, 99))

    assert len(answer) == turn_frames.EVENTS == 20
    assert [event["sequence_number"] for event in answer] == list(range(20))
    assert [answer[0]["type"], answer[-1]["type"]] == ["response.created", "response.completed"]
    responses = [event["response"] for event in answer if "response" in event]
    assert [response["id"] for response in responses] == ["resp_00000000000000000007"] * 3
    assert responses[-1]["usage"]["total_tokens"] == 199


def test_relayd_finds_nothing_wrong_with_an_answer() -> None:
    running = Running(retryable=True)
    reader = LeaseReader(lanes=False)
    reader.begin(None, running)

    for event in turn_frames.answer_events():
        reader.message(json.dumps(event, separators=(",", ":")).encode(), 1.0)

    (end,) = reader.ended
    assert end.status == "completed"
    assert end.usage is not None
    assert running.response_id == "resp_" + 20 * "0"


def test_its_events_one_by_one_are_the_same_bytes() -> None:
    answer = Answer()
    one_by_one = b"".join(bytes(answer.event(i, 7, 99)) for i in range(turn_frames.EVENTS))

    assert one_by_one == bytes(answer.whole(7, 99))


@given(
    st.lists(st.tuples(st.integers(0, 10**20 - 1), st.integers(0, 10**20 - 1)), max_size=3),
    st.lists(st.integers(1, 9000), min_size=1, max_size=8),
    st.integers(0, 125),
)
def test_answers_are_read_however_their_bytes_arrive_and_with_pings_between(
    said: list[tuple[int, int]], cuts: list[int], ping_bytes: int
) -> None:
    answer, ping = Answer(), bytes([0x89, ping_bytes]) + bytes(ping_bytes)
    reader, found = AnswerReader(), []
    for number, stamp in said:  # a client asks again when it has read the answer
        wire, start = ping + bytes(answer.whole(number, stamp)), 0
        while start < len(wire):
            size = cuts[start % len(cuts)]
            ended = reader.read(wire[start : start + size])
            assert ended is None or start + size >= len(wire)
            found += [] if ended is None else [ended]
            start += size

    assert found == [(b"%020d" % number, stamp) for number, stamp in said]


def test_an_error_instead_of_an_answer_is_shown() -> None:
    error = frames.text_frame(b'{"type":"error","status":503,"error":{"code":"server_busy"}}')

    with pytest.raises(UnexpectedAnswer, match="server_busy"):
        AnswerReader().read(error)


def test_an_answer_that_lacks_an_event_is_no_answer() -> None:
    wire = bytes(Answer().whole(1, 1))
    first_end = frames.frame_end(wire, 0)

    with pytest.raises(UnexpectedAnswer, match="a turn of 19 events"):
        AnswerReader().read(wire[first_end:])


def test_what_is_no_request_of_the_bench_is_shown() -> None:
    with pytest.raises(UnexpectedAnswer, match=r"response\.steer"):
        turn_frames.request_stamp(b'{"type":"response.steer"}')


@pytest.mark.parametrize("size", [0, 125, 126, 65535])
@pytest.mark.parametrize("mask", [bytes(4), b"\x01\x80\xff\x07"])
def test_a_client_frame_is_taken_once_it_is_whole(size: int, mask: bytes) -> None:
    payload = bytes(range(256)) * 256
    frame = frames.masked_text_frame(payload[:size], mask)
    received = bytearray(frame[:-1])

    assert turn_frames.take_client_frame(received) is None or size == 0
    received = bytearray(frame + b"next")
    assert turn_frames.take_client_frame(received) == (1, payload[:size])
    assert received == b"next"
