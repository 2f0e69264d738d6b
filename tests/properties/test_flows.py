"""However a stream is cut into chunks, the same bytes, pings, answers and events come of it."""

from __future__ import annotations

import itertools

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.core.endings import Reason
from relayd.protocol.directions import ClientFlow, UpstreamFlow
from relayd.protocol.first import FirstMessage
from relayd.protocol.outcomes import Action, Drop, Notice, PeerClosed, Violation, Waiting, Watch
from tests.properties.streams import (
    CLOSE,
    PING,
    Message,
    Relayed,
    client_flow,
    cuts_of,
    drive,
    frames_in,
    messages_in,
    streams,
    upstream_flow,
)

EXAMPLES = 60
CLOSED = PeerClosed(1000, "bye")


def data_of(wire: bytes) -> bytes:
    """The reference for what passes unread: every data frame, no control frame."""
    return b"".join(frame.wire for frame in frames_in(wire) if frame.is_data)


def pings_of(wire: bytes) -> list[bytes]:
    return [frame.payload for frame in frames_in(wire) if frame.opcode == PING]


def closes(wire: bytes) -> bool:
    return any(frame.opcode == CLOSE for frame in frames_in(wire))


def check(flow: ClientFlow | UpstreamFlow, relayed: Relayed, wire: bytes, sent: bytes) -> None:
    assert relayed.wire == sent
    assert relayed.pings == pings_of(wire)
    assert [event for event in relayed.events if isinstance(event, PeerClosed | Violation)] == (
        [CLOSED] if closes(wire) else []
    )
    assert relayed.rest == b""
    flow.close()
    assert flow.hold.bytes_held == 0


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_an_upstreams_frames_pass_whatever_the_chunks(data: st.DataObject) -> None:
    wire = data.draw(streams(masked=False))
    flow = upstream_flow()

    relayed = drive(flow, wire, data.draw(cuts_of(wire)))

    check(flow, relayed, wire, data_of(wire))
    passed = list(messages_in(wire))
    assert flow.messages == len(passed)
    assert flow.bytes == sum(len(message.payload) for message in passed)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_clients_unread_frames_pass_whatever_the_chunks(data: st.DataObject) -> None:
    wire = data.draw(streams(masked=True))
    flow = client_flow()

    relayed = drive(flow, wire, data.draw(cuts_of(wire)))

    check(flow, relayed, wire, data_of(wire))
    assert flow.bytes == sum(len(message.payload) for message in messages_in(wire))


DROP, WAIT, REFUSED, GO = b"drop:", b"wait:", b"refused:", b"go:"
PASSED = b"plain:"


class Undecided:
    async def wait(self) -> Action | None:
        raise AssertionError("the test decides")


@attrs.define
class Unwatched:
    def feed(self, piece: bytes) -> Violation | None:
        return None


@attrs.define
class MarkReader:
    """Decides by a payload's first bytes, and remembers what it was asked about."""

    asked: list[bytes] = attrs.field(factory=list)

    def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
        self.asked.append(payload)
        if payload.startswith(DROP):
            return Drop(b"no")
        return Waiting(Undecided()) if payload.startswith((WAIT, REFUSED)) else None

    def release(self, head: bytes) -> Watch | None:
        return Unwatched() if head.startswith(GO) else None


def goes(message: Message) -> bool:
    return not message.payload.startswith((DROP, REFUSED))


@settings(max_examples=2 * EXAMPLES)
@given(st.data())
def test_a_clients_read_messages_go_as_decided_whatever_the_chunks(data: st.DataObject) -> None:
    wire = data.draw(streams(masked=True, marks=(DROP, WAIT, REFUSED, GO, PASSED)))
    reader = MarkReader()
    flow = client_flow(reader)

    def decide(waiting: Waiting) -> Action | None:
        return Drop(b"refused") if reader.asked[-1].startswith(REFUSED) else None

    relayed = drive(flow, wire, data.draw(cuts_of(wire)), decide=decide)

    messages = list(messages_in(wire))
    check(flow, relayed, wire, b"".join(message.wire for message in messages if goes(message)))
    refused = {DROP: b"no", REFUSED: b"refused"}
    assert relayed.answers == [
        answer
        for message in messages
        for mark, answer in refused.items()
        if message.payload.startswith(mark)
    ]
    assert flow.messages == sum(map(goes, messages))


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_no_byte_of_a_message_is_sent_before_its_decision(data: st.DataObject) -> None:
    wire = data.draw(streams(masked=True, marks=(DROP, PASSED)))
    flow = client_flow()
    sent_when_asked: list[int] = []
    relayed = Relayed()

    class Witness(MarkReader):
        def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
            sent_when_asked.append(len(relayed.wire) + sum(map(len, flow.out)))
            return super().message(payload, now, text=text)

    flow.reader = Witness()
    drive(flow, wire, data.draw(cuts_of(wire)), relayed=relayed)

    passed, bound = 0, []
    for message in messages_in(wire):
        bound.append(passed)
        passed += len(message.wire) if goes(message) else 0
    assert len(sent_when_asked) == len(bound)
    assert all(sent <= most for sent, most in zip(sent_when_asked, bound, strict=True))


@attrs.define
class ListeningReader:
    """Hears every text message that does not begin as harmless, and gives notice of each."""

    proof: bytes = PASSED
    heard: list[bytes] = attrs.field(factory=list)

    def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
        if not payload.startswith(PASSED):
            self.heard.append(bytes(payload))
        return Notice("heard")

    def harmless(self, head: bytes | bytearray) -> bool:
        return head.startswith(PASSED)

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | None:
        raise AssertionError("no message of these tests is that long")


@settings(max_examples=2 * EXAMPLES)
@given(st.data())
def test_an_upstreams_read_messages_are_heard_and_pass(data: st.DataObject) -> None:
    wire = data.draw(streams(masked=False, marks=(PASSED, GO)))
    reader = ListeningReader()
    flow = upstream_flow(reader)

    relayed = drive(flow, wire, data.draw(cuts_of(wire)))

    check(flow, relayed, wire, data_of(wire))
    assert reader.heard == [
        message.payload
        for message in messages_in(wire)
        if message.text and not message.payload.startswith(PASSED)
    ]


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400)), st.booleans(), st.booleans())
def test_no_bytes_whatever_raise(wire: bytes, cuts: list[int], client: bool, read: bool) -> None:
    flow: ClientFlow | UpstreamFlow
    if client:
        flow = client_flow(MarkReader() if read else None, message_max_bytes=200)
    else:
        flow = upstream_flow(ListeningReader() if read else None, message_max_bytes=200)

    relayed = drive(flow, wire, cuts)

    assert len(relayed.rest) <= len(wire)
    flow.close()
    assert flow.hold.bytes_held == 0


@settings(max_examples=2 * EXAMPLES)
@given(st.data())
def test_one_spoilt_byte_gives_the_same_verdict_whatever_the_chunks(data: st.DataObject) -> None:
    whole = bytearray(data.draw(streams(masked=True, marks=(DROP, GO, PASSED)))[:3000])
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    wire = bytes(whole)

    at_once = drive(client_flow(MarkReader(), message_max_bytes=4096), wire)
    chopped = drive(
        client_flow(MarkReader(), message_max_bytes=4096),
        wire,
        data.draw(cuts_of(wire)) + list(range(0, len(wire), data.draw(st.integers(1, 700)))),
    )

    assert (chopped.wire, chopped.pings, chopped.answers, chopped.events) == (
        at_once.wire,
        at_once.pings,
        at_once.answers,
        at_once.events,
    )


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_the_first_message_is_the_same_whatever_the_chunks(data: st.DataObject) -> None:
    wire = data.draw(streams(masked=False))
    first = FirstMessage(upstream_flow().hold)
    event = None
    edges = sorted({0, len(wire), *(c for c in data.draw(cuts_of(wire)) if 0 < c < len(wire))})
    for start, stop in itertools.pairwise(edges):
        event = first.feed(wire[start:stop], 1.0)
        if event is not None:
            break

    texts = [message.payload for message in messages_in(wire) if message.text]
    if texts:
        assert isinstance(event, Notice)
        assert first.payload == texts[0]
    else:
        assert event == (CLOSED if closes(wire) else None)
    assert wire.startswith(bytes(first.raw))
    first.close()


def test_a_spoilt_stream_is_told_from_a_good_one() -> None:
    relayed = drive(upstream_flow(), b"\x81\x01a\x83\x01a")

    assert relayed.wire == b"\x81\x01a"
    assert [event.reason for event in relayed.events if isinstance(event, Violation)] == [
        Reason.PROTOCOL_ERROR_UPSTREAM
    ]
