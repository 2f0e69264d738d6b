"""A pooled upstream's direction: which messages are assembled, read, replaced, spliced."""

from __future__ import annotations

import attrs
import pytest

from relayd.core.endings import Reason
from relayd.protocol.directions import ASIDE_MAX_BYTES, PROOF_MAX_BYTES
from relayd.protocol.event_flow import ASSEMBLE_MAX_BYTES
from relayd.protocol.flow import Standing
from relayd.protocol.outcomes import Instead, Notice, PeerClosed, Violation
from tests.properties.events import (
    HARMLESS,
    INSTEAD,
    LAST,
    NOTICE,
    PROOF,
    SILENCE,
    Judge,
    drive_events,
    event_flow,
    marks_of,
    payloads_in,
)
from tests.properties.streams import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Relayed,
    fragments,
    frame,
    frames_in,
)

DELTA, PLAIN = PROOF + b"}", b'{"plain":1}'
LONG, HUGE = ASSEMBLE_MAX_BYTES + 1, ASIDE_MAX_BYTES + 1
STEP = 65536
REFUSED = Violation(Reason.POLICY, "no")


def of_size(mark: bytes, size: int) -> bytes:
    return mark + b" " * (size - len(mark) - 1) + b"}"


def steps(wire: bytes, step: int = STEP) -> range:
    return range(0, len(wire), step)


def in_pieces(payload: bytes, step: int = STEP) -> bytes:
    pieces = [payload[at : at + step] for at in range(0, len(payload), step)]
    return fragments(TEXT, pieces, None)


def shape(wire: bytes) -> list[tuple[int, bool]]:
    return [(one.opcode, one.fin) for one in frames_in(wire)]


def reason_of(relayed: Relayed) -> Reason | None:
    return next((e.reason for e in relayed.events if isinstance(e, Violation)), None)


def test_single_frames_go_on_as_slices_of_the_buffer() -> None:
    flow = event_flow()
    wire = bytearray(frame(TEXT, DELTA) + frame(TEXT, PLAIN) + frame(TEXT, DELTA))

    flow.feed(memoryview(wire), wire, len(wire), 1.0)

    assert len(flow.out) == 1
    assert isinstance(flow.out[0], memoryview)
    assert flow.out[0].obj is wire
    flow.out.clear()


@pytest.mark.parametrize("wire", [frame(BINARY, b"x"), frame(BINARY, bytes(70_000))])
def test_a_binary_message_breaks_the_rules(wire: bytes) -> None:
    relayed = drive_events(event_flow(), frame(TEXT, DELTA) + wire)

    assert reason_of(relayed) is Reason.PROTOCOL_ERROR_UPSTREAM
    assert payloads_in(relayed.wire) == [DELTA]


def test_a_masked_frame_breaks_the_rules() -> None:
    relayed = drive_events(event_flow(), frame(TEXT, DELTA, b"mask"))

    assert reason_of(relayed) is Reason.PROTOCOL_ERROR_UPSTREAM


@pytest.mark.parametrize("size", [5, 200, 70_000])
def test_a_message_that_is_no_utf8_is_not_sent(size: int) -> None:
    flow = event_flow()

    relayed = drive_events(flow, frame(TEXT, DELTA) + frame(TEXT, b"\xff" * size))

    assert reason_of(relayed) is Reason.BAD_UTF8
    assert payloads_in(relayed.wire) == [DELTA]
    flow.close()
    assert flow.hold.bytes_held == 0


def test_a_close_is_reported_and_pings_are_collected() -> None:
    wire = frame(PING, b"1") + frame(TEXT, DELTA) + frame(CLOSE, b"\x03\xf4") + frame(TEXT, DELTA)

    relayed = drive_events(event_flow(), wire)

    assert relayed.events == [PeerClosed(1012, "")]
    assert relayed.pings == [b"1"]
    assert relayed.rest == frame(TEXT, DELTA)


# -- what the reader wants


@pytest.mark.parametrize("pieces", [False, True])
def test_what_the_proof_settles_is_not_read(pieces: bool) -> None:
    judge = Judge()
    payload = of_size(PROOF, 1000)

    relayed = drive_events(
        event_flow(judge), in_pieces(payload, 300) if pieces else frame(TEXT, payload)
    )

    assert payloads_in(relayed.wire) == [payload]
    assert judge.seen == []


@pytest.mark.parametrize("size", [60, 1000, 70_000, LONG])
def test_what_goes_instead_of_a_message_takes_its_place(size: int) -> None:
    flow = event_flow()
    wire = frame(TEXT, DELTA) + frame(TEXT, of_size(INSTEAD, size)) + frame(TEXT, PLAIN)

    relayed = drive_events(flow, wire, steps(wire))

    other = b'{"other":%d}' % size
    assert payloads_in(relayed.wire) == [DELTA, other, PLAIN]
    assert (flow.messages, flow.bytes) == (3, len(DELTA + other + PLAIN))
    assert flow.hold.bytes_held == 0


@pytest.mark.parametrize("size", [60, 1000, 70_000, LONG])
@pytest.mark.parametrize("mark", [SILENCE, LAST])
def test_a_message_may_be_left_out(size: int, mark: bytes) -> None:
    flow = event_flow()
    wire = frame(TEXT, DELTA) + frame(TEXT, of_size(mark, size)) + frame(TEXT, PLAIN)

    relayed = drive_events(flow, wire, steps(wire))

    assert payloads_in(relayed.wire) == [DELTA, PLAIN]
    assert relayed.events == ([Notice("heard")] if mark is LAST else [])
    assert flow.messages == 2


@attrs.define
class Refusing(Judge):
    """Wants ``wanted`` of every message it is shown."""

    wanted: Notice | Violation | Instead | None = None

    def verdict(self, payload: bytes) -> Notice | Violation | Instead | None:
        return self.wanted


@pytest.mark.parametrize("size", [60, 70_000, LONG])
@pytest.mark.parametrize(
    ("wanted", "sent"), [(REFUSED, []), (Instead(b'{"said":1}', REFUSED), [b'{"said":1}'])]
)
def test_a_violation_sends_nothing_of_its_message(
    size: int, wanted: Violation | Instead, sent: list[bytes]
) -> None:
    flow = event_flow(Refusing(wanted=wanted))
    wire = frame(TEXT, DELTA) + frame(TEXT, of_size(PLAIN[:-1], size)) + frame(TEXT, DELTA)

    relayed = drive_events(flow, wire, steps(wire))

    assert payloads_in(relayed.wire) == [DELTA, *sent]
    assert relayed.events == [REFUSED]


def test_a_notice_stops_the_flow_behind_its_message() -> None:
    flow = event_flow()
    buffer = bytearray(frame(TEXT, NOTICE + b"}") + frame(TEXT, DELTA))

    consumed = flow.feed(memoryview(buffer), buffer, len(buffer), 1.0)

    assert flow.event == Notice("heard")
    assert buffer[consumed:] == frame(TEXT, DELTA)
    assert b"".join(flow.out) == frame(TEXT, NOTICE + b"}")
    assert flow.between_messages


def test_a_reader_sees_exact_counts_of_what_went_before() -> None:
    flow = event_flow()
    seen: list[tuple[int, int]] = []

    class Counting(Judge):
        def verdict(self, payload: bytes) -> None:
            seen.append((flow.messages, flow.bytes))

    flow.reader = Counting()
    drive_events(flow, (frame(TEXT, DELTA) + frame(TEXT, PLAIN)) * 2)

    both = len(DELTA + PLAIN)
    assert seen == [(1, len(DELTA)), (3, both + len(DELTA))]


# -- messages of several frames, and long ones


def test_fragments_and_large_frames_are_sent_on_as_one_frame_when_they_are_whole() -> None:
    flow = event_flow()
    large = of_size(PROOF, ASSEMBLE_MAX_BYTES)
    wire = in_pieces(PLAIN, 3) + in_pieces(large, 70_000) + frame(TEXT, large)

    relayed = drive_events(flow, wire, steps(wire))

    assert shape(relayed.wire) == [(TEXT, True)] * 3
    assert marks_of(payloads_in(relayed.wire)) == marks_of([PLAIN, large, large])
    assert flow.hold.bytes_held == 0


@pytest.mark.parametrize("mark", [PROOF, HARMLESS])
@pytest.mark.parametrize("pieces", [False, True])
def test_a_longer_harmless_message_goes_in_fragments_as_it_comes(mark: bytes, pieces: bool) -> None:
    judge = Judge()
    flow = event_flow(judge)
    payload = of_size(mark, 2 * LONG)
    wire = in_pieces(payload) if pieces else frame(TEXT, payload)

    begun = drive_events(flow, wire[: LONG + STEP], steps(wire))
    assert flow.standing is Standing.MESSAGE
    assert flow.hold.bytes_held == 0
    rest = drive_events(flow, begun.rest + wire[LONG + STEP :], steps(wire))

    sent = begun.wire + rest.wire
    assert marks_of(payloads_in(sent)) == marks_of([payload])
    kinds = shape(sent)
    assert kinds[0] == (TEXT, False)
    assert set(kinds[1:-1]) == {(CONTINUATION, False)}
    assert kinds[-1] == (CONTINUATION, True)
    assert judge.seen == []
    assert judge.heads == ([] if mark is PROOF else [PROOF_MAX_BYTES])
    assert (flow.messages, flow.bytes) == (1, len(payload))


def test_a_long_message_that_may_matter_is_read_before_anything_of_it_is_sent() -> None:
    flow = event_flow()
    payload = of_size(NOTICE, ASIDE_MAX_BYTES)
    wire = frame(TEXT, payload)

    begun = drive_events(flow, wire[:-1], steps(wire))
    assert begun.wire == b""
    assert flow.standing is Standing.BOUNDARY
    assert not flow.between_messages
    rest = drive_events(flow, wire[-1:])

    assert rest.events == [Notice("heard")]
    assert shape(rest.wire) == [(TEXT, True)]
    assert marks_of(payloads_in(rest.wire)) == marks_of([payload])
    assert flow.hold.bytes_held == 0


@pytest.mark.parametrize("oversized", [None, Notice("long")])
def test_a_message_too_long_to_be_read_goes_and_its_notice_comes_behind_it(
    oversized: Notice | None,
) -> None:
    judge = Judge(oversized=oversized)
    flow = event_flow(judge)
    payload = of_size(NOTICE, HUGE + 3 * STEP)
    harmless = of_size(HARMLESS, 2 * LONG)
    wire = frame(TEXT, payload) + frame(TEXT, harmless) + frame(TEXT, DELTA)

    relayed = drive_events(flow, wire, steps(wire))

    assert marks_of(payloads_in(relayed.wire)) == marks_of([payload, harmless, DELTA])
    assert relayed.events == ([oversized] if oversized else [])
    assert len(judge.oversizes) == 1
    assert HUGE <= judge.oversizes[0] <= HUGE + STEP
    assert judge.seen == []


def test_a_message_too_long_to_be_read_may_be_refused_before_anything_of_it_is_sent() -> None:
    flow = event_flow(Judge(oversized=REFUSED))
    wire = frame(TEXT, of_size(NOTICE, HUGE + STEP))

    relayed = drive_events(flow, wire, steps(wire))

    assert relayed.events == [REFUSED]
    assert relayed.wire == b""
    flow.close()
    assert flow.hold.bytes_held == 0


def test_a_message_over_the_bound_is_refused_at_its_header() -> None:
    flow = event_flow()
    flow.message_max_bytes = 1000

    relayed = drive_events(flow, frame(TEXT, bytes(1001))[:10])

    assert reason_of(relayed) is Reason.TOO_BIG


def test_what_cannot_be_assembled_within_the_budget_ends_as_overload() -> None:
    flow = event_flow(hold_bytes=100_000)
    wire = frame(TEXT, of_size(PROOF, 200_000))

    relayed = drive_events(flow, wire, steps(wire))

    assert relayed.events == [Violation.overload()]
    assert relayed.wire == b""
    flow.close()
    assert flow.hold.bytes_held == 0


def test_bad_utf8_in_the_middle_of_fragments_leaves_the_message_open() -> None:
    flow = event_flow()
    good = of_size(HARMLESS, LONG + STEP)
    wire = fragments(TEXT, [good, b"\xff", b"}"], None)

    relayed = drive_events(flow, wire, steps(wire))

    assert reason_of(relayed) is Reason.BAD_UTF8
    assert flow.standing is Standing.MESSAGE
    assert payloads_in(relayed.wire) == []


# -- the splice


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        (b'{"type":"x"}', b'{"s":1,"type":"x"}'),
        (b' \n{ "a":{}}', b' \n{"s":1, "a":{}}'),
        (b"{}", b'{"s":1}'),
        (b"{ \t}", b'{"s":1 \t}'),
    ],
)
@pytest.mark.parametrize("pieces", [False, True])
def test_a_splice_stands_behind_the_first_brace(came: bytes, goes: bytes, pieces: bool) -> None:
    flow = event_flow()
    flow.splice = b'"s":1,'

    relayed = drive_events(flow, in_pieces(came, 1) if pieces else frame(TEXT, came))

    assert payloads_in(relayed.wire) == [goes]
    assert flow.bytes == len(goes)


@pytest.mark.parametrize("came", [b"[1]", b"x{}", b"{", b" ", b"", b'"{"'])
@pytest.mark.parametrize("pieces", [False, True])
def test_a_splice_needs_an_object(came: bytes, pieces: bool) -> None:
    flow = event_flow()
    flow.splice = b'"s":1,'
    wire = fragments(TEXT, [came, b""], None) if pieces else frame(TEXT, came)

    relayed = drive_events(flow, frame(TEXT, DELTA) + wire)

    assert reason_of(relayed) is Reason.PROTOCOL_ERROR_UPSTREAM
    assert len(payloads_in(relayed.wire)) == 1


def test_a_splice_is_in_the_first_fragment_of_a_long_message() -> None:
    flow = event_flow()
    flow.splice = b'"s":1,'
    payload = of_size(HARMLESS, 2 * LONG)
    wire = frame(TEXT, payload)

    relayed = drive_events(flow, wire, steps(wire))

    spliced = b'{"s":1,' + payload[1:]
    assert marks_of(payloads_in(relayed.wire)) == marks_of([spliced])
    assert flow.bytes == len(spliced)


def test_a_long_message_of_white_space_cannot_be_spliced() -> None:
    flow = event_flow(Judge(proof=b"{"))
    flow.splice = b'"s":1,'
    wire = frame(TEXT, b"{" + b" " * 2 * LONG + b"}")

    relayed = drive_events(flow, wire, steps(wire))

    assert reason_of(relayed) is Reason.PROTOCOL_ERROR_UPSTREAM
    assert relayed.wire == b""


def test_what_goes_instead_is_not_spliced() -> None:
    flow = event_flow()
    flow.splice = b'"s":1,'

    relayed = drive_events(flow, frame(TEXT, INSTEAD + b"}"))

    assert payloads_in(relayed.wire) == [b'{"other":13}']


def test_a_splice_swapped_behind_a_notice_holds_for_what_follows() -> None:
    flow = event_flow()
    flow.splice = b'"s":1,'

    def swap() -> None:
        flow.splice = b""

    relayed = drive_events(flow, frame(TEXT, NOTICE + b"}") + frame(TEXT, DELTA), noticed=swap)

    assert payloads_in(relayed.wire) == [b'{"s":1,' + NOTICE[1:] + b"}", DELTA]


def test_more_than_64_empty_fragments_in_a_row_end_it_also_behind_what_was_left_out() -> None:
    flow = event_flow()
    empty = frame(CONTINUATION, b"", fin=False)
    one = frame(TEXT, SILENCE, fin=False) + empty * 40 + frame(CONTINUATION, b"}")

    relayed = drive_events(flow, one * 3)
    assert relayed.events == []
    relayed = drive_events(flow, frame(TEXT, b"{", fin=False) + empty * 65)

    assert reason_of(relayed) is Reason.CONTROL_FLOOD
