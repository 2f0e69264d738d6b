"""Reading what a Realtime upstream says: which events matter, wherever their type stands."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.dialect.meter import UpstreamError, Usage
from relayd.dialect.realtime_turns import IDLE
from relayd.dialect.realtime_upstream import RealtimeUpstreamReader
from relayd.protocol.directions import ASIDE_MAX_BYTES, UpstreamFlow
from relayd.protocol.outcomes import Notice
from tests.dialect.conversation import Talk, base64_of
from tests.properties.streams import TEXT, cuts_of, drive, fragments, frame, upstream_flow

USAGE = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}


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
@pytest.mark.parametrize("whole", [True, False])
def test_usage_is_found_wherever_the_type_stands(
    order: tuple[str, ...], padding_bytes: int, cut_bytes: int, whole: bool
) -> None:
    talk = Talk()
    talk.created("resp_1")
    payload = done_event(padding_bytes, order=order)
    pieces = [payload] if whole else [payload[:13], payload[13:60], payload[60:]]
    wire = fragments(TEXT, pieces, None, frame(9, b""))
    flow = upstream_flow(talk.conversation.upstream_reader)

    relayed = drive(flow, wire, range(0, len(wire), cut_bytes))

    assert relayed.wire == fragments(TEXT, pieces, None)
    assert [(u.input_total, u.output_total) for u in talk.meter.usages] == [(7, 5)]
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
    assert [turn.turn_id for turn in talk.heard.ended] == ["resp_1"]
    assert talk.meter.usages == [Usage(source="response", upstream_id="resp_1", estimated=True)]
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


def test_an_errors_words_are_kept_up_to_a_bound() -> None:
    talk = Talk()
    talk.upstream("error", error={"type": "t" * 1000, "code": "c" * 1000, "message": ""})

    assert talk.heard.errors == [UpstreamError(kind="t" * 256, code="c" * 256, message="")]


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


@pytest.mark.parametrize("kind", ["session.created", "session.updated"])
def test_the_meter_is_told_which_models_the_session_has(kind: str) -> None:
    talk = Talk()
    audio = {"input": {"transcription": {"model": "whisper-1"}}}
    talk.upstream(kind, session={"model": "gpt-realtime", "audio": audio})
    talk.upstream("session.updated", session={"audio": {"input": {"transcription": None}}})
    talk.upstream("session.updated")

    assert talk.meter.models == [
        ("gpt-realtime", "whisper-1"),
        ("gpt-realtime", None),
        ("gpt-realtime", None),
    ]


def test_what_the_client_said_is_no_output() -> None:
    talk = Talk()
    talk.created("a", 1.0)
    talk.upstream("conversation.item.input_audio_transcription.delta", 2.0, delta="x" * 99)
    talk.delta("a", 3.0)
    talk.done("a", 4.0)

    assert [turn.first_output_at for turn in talk.heard.ended] == [3.0]
    assert [usage.output_text for usage in talk.meter.usages] == [0]


AUDIO = "response.output_audio.delta"
SPEECH = "response.output_audio_transcript.delta"
SECOND = 48_000


def event(kind: str, first: str = "type", **fields: object) -> bytes:
    """As upstreams spell one, with its type or its id first."""
    about = {"event_id": "event_1234"}
    order = {"type": kind, **about} if first == "type" else {**about, "type": kind}
    return json.dumps({**order, **fields}, separators=(",", ":")).encode()


def counted() -> tuple[Talk, UpstreamFlow]:
    """A conversation whose reader knows what its flow has counted."""
    talk = Talk()
    reader = talk.conversation.upstream_reader
    flow = upstream_flow(reader)
    reader.counts = flow
    return talk, flow


def deltas(kind: str, *sizes: int, first: str = "type", turn_id: str = "a") -> list[bytes]:
    return [
        event(kind, first, response_id=turn_id, delta=base64_of(size).decode()) for size in sizes
    ]


def response(turn_id: str, kind: str = "response.created") -> bytes:
    return event(kind, response={"id": turn_id})


@pytest.mark.parametrize("first", ["type", "event_id"])
def test_output_that_passes_unread_is_known(first: str) -> None:
    talk, flow = counted()
    events = [
        response("a"),
        *deltas(AUDIO, *[SECOND // 10] * 50, first=first),
        *deltas(SPEECH, *[30] * 20, first=first),
        event("response.output_audio.done", first),
        *deltas(AUDIO, *[SECOND // 10] * 10, first=first),
        response("a", "response.done"),
    ]
    drive(flow, b"".join(frame(TEXT, payload) for payload in events))

    assert [(u.output_audio, u.output_text) for u in talk.meter.usages] == [(120, 200)]


def test_what_the_proof_settles_is_not_read_while_one_response_runs() -> None:
    class Spy(RealtimeUpstreamReader):
        read = 0

        def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
            self.read += 1
            return super().message(payload, now)

    spy = Spy(Talk().conversation)
    flow = upstream_flow(spy)
    drive(flow, b"".join(frame(TEXT, p) for p in (response("a"), *deltas(AUDIO, *[300] * 40))))

    assert spy.read == 3  # the beginning, the first output, and what makes the proof
    assert flow.messages == 41


def test_types_that_take_turns_are_counted_apart() -> None:
    talk, flow = counted()
    pairs = zip(deltas(AUDIO, *[SECOND // 10] * 30), deltas(SPEECH, *[30] * 30), strict=True)
    events = [response("a"), *(payload for pair in pairs for payload in pair)]
    wire = b"".join(frame(TEXT, payload) for payload in (*events, response("a", "response.done")))
    drive(flow, wire)

    assert [(u.output_audio, u.output_text) for u in talk.meter.usages] == [(60, 300)]


@pytest.mark.parametrize("kind", [AUDIO, SPEECH])
def test_the_first_output_of_the_next_response_is_seen_whatever_passed_before(kind: str) -> None:
    talk, flow = counted()
    before = [response("a"), *deltas(AUDIO, 3, 3, 3), *deltas(SPEECH, 3, 3), *deltas(AUDIO, 3)]
    ended = [response("a", "response.done"), response("b")]
    drive(flow, b"".join(frame(TEXT, payload) for payload in (*before, *ended)), now=1.0)
    drive(flow, frame(TEXT, deltas(kind, 3, turn_id="b")[0]), now=2.0)
    drive(flow, frame(TEXT, response("b", "response.done")), now=3.0)

    assert [turn.first_output_at for turn in talk.heard.ended] == [1.0, 2.0]


def test_output_is_never_less_than_none() -> None:
    talk, flow = counted()
    long, short = event(AUDIO, item_id="i" * 300, delta="QUJD"), event(AUDIO, delta="")
    events = [response("a"), long, long, *[short] * 50, *deltas(SPEECH, 3), *[short] * 50]
    wire = b"".join(frame(TEXT, payload) for payload in (*events, response("a", "response.done")))
    drive(flow, wire)

    assert [(u.output_audio, u.output_text) for u in talk.meter.usages] == [(1, 1)]


def test_output_of_responses_side_by_side_is_told_apart() -> None:
    talk, flow = counted()
    mixed = [
        payload
        for a, b in zip(
            deltas(AUDIO, *[SECOND] * 4),
            deltas(AUDIO, *[SECOND // 2] * 4, turn_id="b"),
            strict=True,
        )
        for payload in (a, b)
    ]
    ends = [response("a", "response.done"), response("b", "response.done")]
    events = [response("a"), response("b"), *mixed, *ends]
    drive(flow, b"".join(frame(TEXT, payload) for payload in events), range(0, 1 << 20, 60_000))

    assert [(u.upstream_id, u.output_audio) for u in talk.meter.usages] == [("a", 80), ("b", 40)]


def test_long_deltas_and_other_long_events_are_told_apart() -> None:
    talk, flow = counted()
    item = event("conversation.item.retrieved", item={"audio": "x" * 400_000})
    long = deltas(AUDIO, *[2 * SECOND] * 3)
    done = response("a", "response.done")
    events = [response("a"), *deltas(AUDIO, 300), item, *long, *deltas(SPEECH, 30), *long, item]
    wire = b"".join(frame(TEXT, payload) for payload in (*events, item, done))
    drive(flow, wire, range(0, len(wire), 60_000))

    (usage,) = talk.meter.usages
    assert (usage.output_audio, usage.output_text) == (241, 10)
    flow.close()
    assert flow.hold.bytes_held == 0


def test_a_delta_in_fragments_is_counted_wherever_it_is_cut() -> None:
    (payload,) = deltas(SPEECH, 30)
    for cut in range(1, len(payload)):
        talk, flow = counted()
        pieces = fragments(TEXT, [payload[:cut], payload[cut:]], None)
        begin = b"".join(frame(TEXT, p) for p in (response("a"), *deltas(AUDIO, 3, 3)))
        drive(flow, begin + pieces + frame(TEXT, response("a", "response.done")))

        assert [usage.output_text for usage in talk.meter.usages] == [10]


def test_an_event_too_long_to_copy_is_no_output() -> None:
    talk = Talk()
    reader = talk.conversation.upstream_reader
    flow = upstream_flow(reader, message_max_bytes=1 << 24)
    reader.counts = flow
    huge = event("rate_limits.updated", x="x" * ASIDE_MAX_BYTES)
    events = [response("a"), *deltas(AUDIO, SECOND, SECOND), huge, *deltas(AUDIO, SECOND)]
    done = done_event(ASIDE_MAX_BYTES, order=ORDERS[0])
    wire = b"".join(frame(TEXT, payload) for payload in (*events, done))
    drive(flow, wire, range(0, len(wire), 1 << 20))

    assert [usage.output_audio for usage in talk.meter.usages] == [60]


MIXED = st.lists(
    st.tuples(
        st.sampled_from([AUDIO, SPEECH, "response.output_audio.done", "conversation.item.added"]),
        st.integers(1, 300).map(lambda third: 3 * third) | st.sampled_from([60_000, 90_000]),
        st.sampled_from(["type", "type", "event_id"]),
        st.booleans(),
    ),
    max_size=25,
)


def pieces_of(payload: bytes) -> Sequence[bytes]:
    third = len(payload) // 3
    return payload[:third], payload[third : 2 * third], payload[2 * third :]


@settings(max_examples=150)
@given(st.data())
def test_however_output_comes_all_of_it_is_counted(data: st.DataObject) -> None:
    talk, flow = counted()
    wire = frame(TEXT, response("a"))
    audio = text = 0
    for kind, size, first, whole in data.draw(MIXED):
        (payload,) = deltas(kind, size, first=first)
        wire += frame(TEXT, payload) if whole else fragments(TEXT, pieces_of(payload), None)
        audio += size if kind == AUDIO else 0
        text += size * 4 // 3 if kind == SPEECH else 0
    wire += frame(TEXT, response("a", "response.done"))
    drive(flow, wire, data.draw(cuts_of(wire)))

    (usage,) = talk.meter.usages
    assert usage.output_audio == -(-audio * 20 // SECOND)
    assert usage.output_text == -(-text // 4)
