"""However a pooled upstream's stream is cut up, its messages arrive whole, in order, as decided."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.protocol import event_flow as event_flow_module
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.outcomes import Instead, Notice, Violation
from tests.properties.events import (
    HARMLESS,
    MARKS,
    NOTICE,
    PROOF,
    SPACES,
    Judge,
    drive_events,
    event_flow,
    event_streams,
    marks_of,
    objects,
    payloads_in,
)
from tests.properties.streams import PING, TEXT, cuts_of, frames_in

EXAMPLES = 80
WHOLE, ASIDE = 100_000, 300_000
"""The bounds on what is assembled, smaller than they are, so that the tests cross them often."""


@pytest.fixture(autouse=True, scope="module")
def _smaller_bounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_flow_module, "ASSEMBLE_MAX_BYTES", WHOLE)
        patch.setattr(event_flow_module, "ASIDE_MAX_BYTES", ASIDE)
        yield


def goes_unread(payload: bytes) -> bool:
    """Whether the reader is not shown ``payload``."""
    if payload.startswith(PROOF) or len(payload) > ASIDE:
        return True
    return payload.startswith(HARMLESS) and len(payload) > WHOLE


def expected_of(payload: bytes) -> list[bytes]:
    verdict = None if goes_unread(payload) else Judge().verdict(payload)
    if not isinstance(verdict, Instead):
        return [payload]
    return [] if verdict.payload is None else [verdict.payload]


def gives_notice(payload: bytes) -> bool:
    if goes_unread(payload):
        return False
    verdict = Judge().verdict(payload)
    event = verdict.event if isinstance(verdict, Instead) else verdict
    return isinstance(event, Notice)


def finished(flow: EventFlow) -> None:
    assert flow.between_messages
    flow.close()
    assert flow.hold.bytes_held == 0


@settings(max_examples=2 * EXAMPLES)
@given(st.data())
def test_messages_arrive_as_decided_whatever_the_frames_and_chunks(data: st.DataObject) -> None:
    payloads = data.draw(st.lists(objects(), min_size=1, max_size=4))
    wire = data.draw(event_streams(payloads))
    judge = Judge()
    flow = event_flow(judge)

    relayed = drive_events(flow, wire, data.draw(cuts_of(wire)))

    arrived = payloads_in(relayed.wire)
    expected = [sent for payload in payloads for sent in expected_of(payload)]
    assert marks_of(arrived) == marks_of(expected)
    assert marks_of(judge.seen) == marks_of(one for one in payloads if not goes_unread(one))
    assert relayed.events == [Notice("heard")] * sum(map(gives_notice, payloads))
    assert relayed.pings == [f.payload for f in frames_in(wire) if f.opcode == PING]
    assert (flow.messages, flow.bytes) == (len(arrived), sum(map(len, arrived)))
    assert relayed.rest == b""
    finished(flow)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_what_is_assembled_arrives_as_one_frame(data: st.DataObject) -> None:
    payloads = data.draw(st.lists(objects((PROOF, NOTICE)), min_size=1, max_size=3))
    wire = data.draw(event_streams(payloads))

    relayed = drive_events(event_flow(), wire, data.draw(cuts_of(wire)))

    bound = {payload: WHOLE if payload.startswith(PROOF) else ASIDE for payload in payloads}
    texts = [frame for frame in frames_in(relayed.wire) if frame.opcode == TEXT]
    assert len(texts) == len(payloads)
    for frame, payload in zip(texts, payloads, strict=True):
        if len(payload) <= bound[payload]:
            assert frame.fin
            assert marks_of([frame.payload]) == marks_of([payload])


@settings(max_examples=2 * EXAMPLES)
@given(st.data())
def test_a_splice_adds_exactly_its_bytes(data: st.DataObject) -> None:
    before, within = data.draw(SPACES), data.draw(SPACES)
    bodies = data.draw(st.lists(objects((PROOF, b'{"a":1', NOTICE)), min_size=1, max_size=3))
    bodies = [body[1:] for body in bodies] + ([b"}"] if data.draw(st.booleans()) else [])
    payloads = [before + b"{" + within + body for body in bodies]
    wire = data.draw(event_streams(payloads))
    flow = event_flow()
    flow.splice = b'"stream_id":"a\xc3\xa9",'

    relayed = drive_events(flow, wire, data.draw(cuts_of(wire)))

    arrived = payloads_in(relayed.wire)
    assert marks_of(arrived) == marks_of(
        before + b"{" + flow.splice[: -1 if body == b"}" else None] + within + body
        for body in bodies
    )
    for one, payload in zip(arrived, payloads, strict=True):
        assert json.loads(one) == {"stream_id": "aé", **json.loads(payload)}
    assert flow.bytes == sum(map(len, arrived))
    finished(flow)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_reader_swapped_at_a_boundary_sees_exactly_what_is_behind_it(
    data: st.DataObject,
) -> None:
    some = objects((PROOF, NOTICE, b'{"a":1'), size_max=ASIDE // 2)
    payloads = data.draw(st.lists(some, min_size=1, max_size=5))
    payloads = [b'{"n":%d,' % number + one[1:] for number, one in enumerate(payloads)]
    wire = data.draw(event_streams(payloads))
    judges = [EachNoticed(proof=b"\0", name=str(number)) for number in range(len(payloads) + 1)]
    following = iter(judges)
    flow = event_flow(next(following))

    def swap() -> None:
        flow.reader = next(following)

    relayed = drive_events(flow, wire, data.draw(cuts_of(wire)), noticed=swap)

    assert [marks_of(judge.seen) for judge in judges] == [marks_of([p]) for p in payloads] + [[]]
    assert relayed.events == [Notice(str(number)) for number in range(len(payloads))]
    assert marks_of(payloads_in(relayed.wire)) == marks_of(payloads)
    finished(flow)


class EachNoticed(Judge):
    """Gives notice of every message, so that the flow stops at every boundary."""

    def verdict(self, payload: bytes) -> Notice:
        return Notice(self.name)


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400)), st.sampled_from([b"", b'"s":1,']))
def test_no_bytes_whatever_raise(wire: bytes, cuts: list[int], splice: bytes) -> None:
    flow = event_flow()
    flow.splice = splice

    relayed = drive_events(flow, wire, cuts)

    assert len(relayed.rest) <= len(wire)
    flow.close()
    assert flow.hold.bytes_held == 0


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_one_spoilt_byte_gives_the_same_verdict_whatever_the_chunks(data: st.DataObject) -> None:
    payloads = data.draw(st.lists(objects(MARKS), min_size=1, max_size=3))
    whole = bytearray(data.draw(event_streams(payloads))[:3000])
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    wire = bytes(whole)
    splice = data.draw(st.sampled_from([b"", b'"s":1,']))
    chopped_at = [
        *data.draw(cuts_of(wire)),
        *range(0, len(wire), data.draw(st.integers(1, 700))),
    ]

    results = []
    for cuts in ([], chopped_at):
        flow = event_flow()
        flow.splice = splice
        relayed = drive_events(flow, wire, cuts)
        results.append((relayed.wire, relayed.pings, relayed.events))

    assert results[0] == results[1]


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_stream_that_ends_anywhere_leaves_nothing_held(data: st.DataObject) -> None:
    payloads = data.draw(st.lists(objects(), min_size=1, max_size=3))
    wire = data.draw(event_streams(payloads))
    cut = data.draw(st.integers(0, len(wire)))
    flow = event_flow()

    relayed = drive_events(flow, wire[:cut], data.draw(cuts_of(wire)))

    sent = [one for payload in payloads for one in expected_of(payload)]
    arrived = payloads_in(relayed.wire)
    assert marks_of(arrived) == marks_of(sent[: len(arrived)])
    assert not any(isinstance(event, Violation) for event in relayed.events)
    flow.close()
    assert flow.hold.bytes_held == 0
