"""Reading what a Realtime upstream says: which events matter, wherever their type stands."""

from __future__ import annotations

import json

import pytest

from relayd.dialect.meter import UpstreamError
from relayd.dialect.realtime_turns import IDLE
from relayd.protocol.directions import ASIDE_MAX_BYTES
from relayd.protocol.outcomes import Notice
from tests.dialect.conversation import Talk
from tests.properties.streams import TEXT, drive, fragments, frame, upstream_flow

USAGE = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def done_event(padding_bytes: int = 0, *, order: tuple[str, ...]) -> bytes:
    fields = {
        "type": "response.done",
        "event_id": "event_1",
        "response": {
            "id": "resp_1",
            "output": "x" * padding_bytes,
            "status": "completed",
            "usage": USAGE,
        },
    }
    return json.dumps({name: fields[name] for name in order}, separators=(",", ":")).encode()


ORDERS = [
    ("type", "event_id", "response"),
    ("event_id", "type", "response"),
    ("event_id", "response", "type"),
    ("response", "type"),
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("padding_bytes", [0, 300, 70_000, 1 << 20])
@pytest.mark.parametrize("cut_bytes", [4096, 65536])
def test_usage_is_found_wherever_the_type_stands(
    order: tuple[str, ...], padding_bytes: int, cut_bytes: int
) -> None:
    talk = Talk()
    talk.created("resp_1")
    payload = done_event(padding_bytes, order=order)
    pieces = [payload[:13], payload[13:60], payload[60:]]
    wire = frame(TEXT, payload) + fragments(TEXT, pieces, None, frame(9, b""))
    flow = upstream_flow(talk.conversation.upstream_reader)

    relayed = drive(flow, wire, range(0, len(wire), cut_bytes))

    assert relayed.wire == frame(TEXT, payload) + fragments(TEXT, pieces, None)
    assert [(u.input_total, u.output_total) for u in talk.meter.usages] == [(7, 5)] * 2
    assert not talk.conversation.busy
    flow.close()
    assert flow.hold.bytes_held == 0


def test_a_long_event_is_sent_on_while_it_is_copied_aside() -> None:
    talk = Talk()
    talk.created("resp_1")
    wire = frame(TEXT, done_event(200_000, order=ORDERS[2]))
    flow = upstream_flow(talk.conversation.upstream_reader)

    relayed = drive(flow, wire[:150_000], range(0, 150_000, 65536))

    assert relayed.wire == wire[:150_000]
    assert 0 < flow.hold.bytes_held <= 150_000
    flow.close()
    assert flow.hold.bytes_held == 0


def test_a_long_harmless_event_is_not_copied() -> None:
    flow = upstream_flow(Talk().conversation.upstream_reader)
    payload = b'{"type":"conversation.item.retrieved","item":"' + b"x" * 200_000 + b'"}'
    wire = frame(TEXT, payload)

    drive(flow, wire[:-1], range(0, len(wire), 65536))

    assert flow.hold.bytes_held == 0


def test_the_end_of_a_response_too_long_to_copy_is_seen_without_its_usage() -> None:
    talk = Talk()
    talk.created("resp_1")
    talk.conversation.tell_idle = True
    wire = frame(TEXT, done_event(ASIDE_MAX_BYTES, order=ORDERS[0]))
    flow = upstream_flow(talk.conversation.upstream_reader, message_max_bytes=1 << 24)

    relayed = drive(flow, wire, range(0, len(wire), 1 << 20))

    assert relayed.wire == wire
    assert relayed.events == [IDLE]
    assert [(turn.turn_id, turn.usage) for turn in talk.heard.ended] == [("resp_1", None)]
    assert flow.hold.bytes_held == 0


def test_notice_of_an_end_comes_when_the_message_has_passed_whole() -> None:
    talk = Talk()
    talk.created("resp_1")
    talk.conversation.tell_idle = True
    wire = frame(TEXT, done_event(ASIDE_MAX_BYTES, order=ORDERS[0]))
    flow = upstream_flow(talk.conversation.upstream_reader, message_max_bytes=1 << 24)

    assert drive(flow, wire[:-1], range(0, len(wire), 1 << 20)).events == []
    assert [turn.turn_id for turn in talk.heard.ended] == ["resp_1"]


def test_another_event_too_long_to_copy_ends_no_response() -> None:
    talk = Talk()
    talk.created("resp_1")
    payload = b'{"x":"' + b"x" * ASIDE_MAX_BYTES + b'","type":"response.done"}'
    flow = upstream_flow(talk.conversation.upstream_reader, message_max_bytes=1 << 24)

    drive(flow, frame(TEXT, payload))

    assert talk.heard.ended == []


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b'{"type":"response.done"',
        b'{"type":5}',
        b'["response.done"]',
        b'{"type":"response.done","response":5}',
        b'{"type":"response.done","x":' + b"[" * 100_000,
        b'{"x":' + b'{"a":' * 100_000,
        b'{"type":"error","error":{"code":{}}}',
    ],
)
def test_what_cannot_be_read_passes(payload: bytes) -> None:
    talk = Talk()
    wire = frame(TEXT, payload)

    assert drive(upstream_flow(talk.conversation.upstream_reader), wire).wire == wire
    assert talk.heard.ended == []


def test_after_its_first_output_a_streams_beginning_is_its_proof() -> None:
    talk = Talk()
    reader = talk.conversation.upstream_reader
    talk.delta("resp_1")
    assert reader.proof == b'{"type": "response.output_audio.delta"'

    talk.created("resp_1")
    talk.delta("resp_1", 3.0)
    talk.done("resp_1", 4.0)

    assert [turn.first_output_at for turn in talk.heard.ended] == [3.0]


def test_an_event_id_is_no_part_of_a_proof() -> None:
    talk = Talk()
    payload = b'{"event_id":"event_1","type":"response.output_audio.delta"}'

    assert talk.conversation.upstream_reader.message(payload, 1.0) is None
    assert not payload.startswith(talk.conversation.upstream_reader.proof)


def test_an_error_is_told_with_what_looks_like_a_key_taken_out() -> None:
    talk = Talk()
    talk.upstream(
        "error", error={"type": "a", "code": "b", "message": "key sk-canary-1234567890", "param": 1}
    )

    assert talk.heard.errors == [UpstreamError(kind="a", code="b", message="key [redacted]")]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"code": 429}, [UpstreamError(kind=None, code="429", message="")]),
        ({}, [UpstreamError(kind=None, code=None, message="")]),
        (None, []),
    ],
)
def test_errors_of_compatible_upstreams_are_read(error: object, told: list[UpstreamError]) -> None:
    talk = Talk()
    talk.upstream("error", error=error)

    assert talk.heard.errors == told


def test_a_limit_with_nothing_left_is_told_with_its_time() -> None:
    talk = Talk()
    limits = [
        {"name": "requests", "remaining": 5, "reset_seconds": 1.0},
        {"name": "tokens", "remaining": 0, "reset_seconds": 2.5},
        {"name": "x", "remaining": 0},
    ]
    talk.upstream("rate_limits.updated", rate_limits=limits)

    assert talk.heard.limits == [2.5]


@pytest.mark.parametrize(
    ("usage", "seen"),
    [
        ({"type": "tokens", **USAGE}, [(7, 5, None)]),
        ({"type": "duration", "seconds": 3.5}, [(0, 0, 3.5)]),
        ({}, []),
        (None, []),
    ],
)
def test_a_transcription_is_paid_for_in_tokens_or_seconds(
    usage: object, seen: list[tuple[int, int, float | None]]
) -> None:
    talk = Talk()
    talk.upstream(TRANSCRIBED, item_id="item_1", usage=usage)

    usages = talk.meter.usages
    assert [(u.input_total, u.output_total, u.seconds) for u in usages] == seen
    assert {(u.source, u.upstream_id) for u in usages} <= {("transcription", "item_1")}


def test_idle_is_told_on_request_when_the_last_response_has_ended() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.created("resp_1")
    talk.created("resp_2")
    talk.conversation.tell_idle = True

    assert talk.done("resp_1") is None
    assert talk.done("resp_2") == IDLE == Notice("idle")


def test_idle_is_told_when_an_error_answers_the_last_create() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.conversation.tell_idle = True

    assert talk.upstream("error", error={"message": "no"}) == IDLE


def test_idle_is_not_told_unasked() -> None:
    talk = Talk()
    talk.created("resp_1")

    assert talk.done("resp_1") is None
