"""What each direction does with messages that are read: hold, let go, answer, copy aside."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.protocol.directions import ANSWERS_MAX, ASIDE_MAX_BYTES, ClientFlow, UpstreamFlow
from relayd.protocol.flow import HELD_HEADERS_MAX_BYTES, Standing
from relayd.protocol.outcomes import (
    Action,
    Counts,
    Drop,
    Notice,
    Replace,
    Taken,
    Violation,
    Waiting,
    Watch,
)
from tests.properties.streams import (
    BINARY,
    PING,
    TEXT,
    Relayed,
    client_flow,
    drive,
    fragments,
    frame,
    frames_in,
    messages_in,
    upstream_flow,
)

MASK = b"\xa5\x00\x5a\x11"
LONG = b"go:" + b"x" * 100_000


class Undecided:
    async def wait(self) -> Action | None:
        raise AssertionError("the test decides")


WAITING = Waiting(Undecided())
REFUSED = Violation(Reason.POLICY, "no")


@attrs.define
class Watching:
    """Objects to a word."""

    seen: bytearray = attrs.field(factory=bytearray)

    def feed(self, piece: bytes) -> Violation | None:
        self.seen += piece
        return REFUSED if b"!" in piece else None


@attrs.define
class Reader:
    """Answers each message with the next of ``actions``, then forwards."""

    actions: list[Action | None] = attrs.field(factory=list)
    seen: list[tuple[bytes, bool]] = attrs.field(factory=list)
    released: list[int] = attrs.field(factory=list)
    watch: Watching = attrs.field(factory=Watching)

    def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
        self.seen.append((payload, text))
        return self.actions.pop(0) if self.actions else None

    def release(self, head: bytes) -> Watch | None:
        self.released.append(len(head))
        return self.watch if head.startswith(b"go:") else None


def reason_of(relayed: Relayed) -> Reason | None:
    return next((e.reason for e in relayed.events if isinstance(e, Violation)), None)


def whole(payload: bytes) -> bytes:
    return frame(TEXT, payload, MASK)


def split(payload: bytes) -> bytes:
    half = len(payload) // 2
    return fragments(TEXT, [payload[:half], payload[half:]], MASK, frame(PING, b"", MASK))


def large(payload: bytes) -> bytes:
    return whole(payload + b"x" * 70_000)


FORMS = [whole, split, large]
Form = Callable[[bytes], bytes]


@pytest.mark.parametrize("form", FORMS)
def test_a_dropped_message_is_answered_and_the_next_one_passes(form: Form) -> None:
    flow = client_flow(Reader([Drop(b"no"), Drop(), None]))
    relayed = drive(flow, form(b"a") + form(b"b") + form(b"c"))

    assert relayed.wire == b"".join(f.wire for f in frames_in(form(b"c")) if f.is_data)
    assert relayed.answers == [b"no"]
    assert flow.messages == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_replaced_message_goes_masked_in_its_place(form: Form) -> None:
    flow = client_flow(Reader([None, Replace(b"other"), None]))
    relayed = drive(flow, whole(b"1") + form(b"a") + whole(b"2"))

    assert [f.payload for f in frames_in(relayed.wire)] == [b"1", b"other", b"2"]
    assert all(f.wire[1] & 0x80 for f in frames_in(relayed.wire))
    assert (flow.messages, flow.bytes) == (3, 7)


@pytest.mark.parametrize("form", FORMS)
def test_a_refused_message_ends_the_session_and_is_not_sent(form: Form) -> None:
    relayed = drive(client_flow(Reader([None, REFUSED])), whole(b"1") + form(b"a") + whole(b"2"))

    assert relayed.wire == whole(b"1")
    assert relayed.events == [REFUSED]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("action", "sent"),
    [
        (None, [b"a", b"2"]),
        (Drop(b"no"), [b"2"]),
        (Replace(b"other"), [b"other", b"2"]),
        (REFUSED, []),
    ],
)
def test_a_message_that_waits_is_treated_as_decided(
    form: Form, action: Action | None, sent: list[bytes]
) -> None:
    flow = client_flow(Reader([WAITING]))
    relayed = drive(flow, form(b"a") + whole(b"2"), decide=lambda _: action)

    passed = b"".join(f.payload for f in frames_in(relayed.wire))
    assert passed.replace(b"x", b"") == b"".join(sent)
    assert relayed.answers == ([b"no"] if action == Drop(b"no") else [])
    assert flow.hold.bytes_held == 0


def test_a_decision_may_take_another_one() -> None:
    decisions: list[Action | None] = [WAITING, None]
    flow = client_flow(Reader([WAITING]))
    relayed = Relayed()
    wire = whole(b"a")
    buffer = bytearray(wire)
    flow.feed(memoryview(buffer), buffer, len(buffer), 1.0)
    for decision in decisions:
        relayed.sent.add(b"".join(flow.resume(decision)))

    assert relayed.wire == wire
    assert flow.hold.bytes_held == 0


def test_a_resumed_flow_has_no_joint_of_an_earlier_feed() -> None:
    flow = client_flow(Reader([WAITING]))
    first = whole(LONG)
    drive(flow, first[:-5])
    buffer = bytearray(first[-5:] + whole(b"wait"))
    flow.feed(memoryview(buffer), buffer, len(buffer), 1.0)
    assert flow.joint >= 0

    assert flow.resume(None) == [whole(b"wait")]
    assert flow.joint == -1


def test_binary_messages_are_read_and_told_apart() -> None:
    reader = Reader()
    drive(client_flow(reader), frame(BINARY, b"\xff", MASK) + fragments(BINARY, [b"a", b"b"], MASK))

    assert reader.seen == [(b"\xff", False), (b"ab", False)]


@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_a_released_message_is_watched_to_its_end(step: int) -> None:
    reader = Reader()
    wire = whole(LONG) if step > 1 else fragments(TEXT, [LONG[:66_000], LONG[66_000:]], MASK)
    cuts = range(0, len(wire), step) if step > 1 else range(len(wire) - 50, len(wire))
    relayed = drive(client_flow(reader), wire + whole(b"next"), cuts)

    assert relayed.wire == wire + whole(b"next")
    assert reader.seen == [(b"next", True)]
    assert LONG.endswith(bytes(reader.watch.seen))


@pytest.mark.parametrize("tail", [b"!", b"!" + b"x" * 70_000])
@pytest.mark.parametrize("fragmented", [False, True])
def test_a_watch_that_objects_ends_the_session(tail: bytes, fragmented: bool) -> None:
    wire = fragments(TEXT, [LONG, tail], MASK) if fragmented else whole(LONG + tail)
    flow = client_flow(Reader())
    relayed = drive(flow, wire, range(0, len(wire), 10_000))

    assert reason_of(relayed) is Reason.POLICY
    assert wire.startswith(relayed.wire)
    assert len(relayed.wire) < len(wire)
    assert (flow.standing is Standing.MESSAGE) == fragmented
    flow.close()
    assert flow.hold.bytes_held == 0


def test_a_release_is_asked_for_once_a_message() -> None:
    reader = Reader()
    held = fragments(TEXT, [b"no" * 20_000] * 20, MASK)
    drive(client_flow(reader), held + held)

    assert reader.released == [80_000, 80_000]


def test_a_long_binary_message_is_never_let_go() -> None:
    reader = Reader()
    wire = frame(BINARY, LONG, MASK)

    assert drive(client_flow(reader), wire, range(0, len(wire), 7000)).wire == wire
    assert reader.released == []


def test_a_held_message_of_many_small_fragments_passes() -> None:
    wire = fragments(TEXT, [b"x"] * 65_536, MASK)
    reader = Reader()

    assert drive(client_flow(reader), wire, range(0, len(wire), 65_536)).wire == wire
    assert reader.seen == [(b"x" * 65_536, True)]


def test_the_headers_of_a_held_message_are_bounded() -> None:
    count = HELD_HEADERS_MAX_BYTES // 6 + 1000
    wire = frame(TEXT, b"x", MASK, fin=False) + frame(0, b"x", MASK, fin=False) * count
    flow = client_flow(Reader(), message_max_bytes=count + 10)

    assert reason_of(drive(flow, wire)) is Reason.TOO_BIG


def test_more_refused_messages_at_once_than_are_answered_end_the_session() -> None:
    flow = client_flow(Reader([Drop(b"no")] * 100))
    relayed = drive(flow, whole(b"a") * (ANSWERS_MAX + 1))

    assert reason_of(relayed) is Reason.POLICY
    assert len(relayed.answers) == ANSWERS_MAX


def test_dropped_messages_part_the_empty_fragments_between_them() -> None:
    flow = client_flow(Reader([Drop()] * 200))

    assert drive(flow, (fragments(TEXT, [b"", b""], MASK) + whole(b"x")) * 80).events == []


@pytest.mark.parametrize("form", [whole, large])
def test_a_message_that_waits_beyond_the_budget_ends_the_session(form: Form) -> None:
    wire = form(b"wait for it")
    hold = HoldBudget(bytes_max=10)
    flow = ClientFlow(message_max_bytes=1 << 20, hold=hold, reader=Reader([WAITING]))
    relayed = drive(flow, wire)

    assert relayed.wire == b""
    assert relayed.events == [Violation.overload()]
    flow.close()
    assert hold.bytes_held == 0


@pytest.mark.parametrize("upto", [3, 40_000, 80_000, 100_000])
def test_a_flow_that_closes_gives_back_what_it_held(upto: int) -> None:
    wire = whole(b"held" * 30_000)
    flow = client_flow(Reader())
    drive(flow, wire[:upto])
    flow.close()
    flow.close()

    assert flow.hold.bytes_held == 0


def test_a_flow_that_closes_while_a_message_waits_gives_it_back() -> None:
    flow = client_flow(Reader([WAITING]))
    buffer = bytearray(whole(b"wait"))
    flow.feed(memoryview(buffer), buffer, len(buffer), 1.0)
    assert flow.hold.bytes_held == len(buffer)
    flow.close()

    assert flow.hold.bytes_held == 0


@attrs.define
class Hearing:
    proof: bytes = b"skip"
    heard: list[bytes] = attrs.field(factory=list)
    asked: int = 0
    notice: Notice | None = None

    def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
        self.heard.append(bytes(payload))
        return self.notice

    def harmless(self, head: bytes | bytearray) -> bool:
        self.asked += 1
        return head.startswith(self.proof)

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | None:
        self.heard.append(b"oversize")
        return self.notice


def test_an_upstreams_proven_and_binary_messages_are_not_read() -> None:
    reader = Hearing()
    wire = frame(TEXT, b"skip this") + frame(BINARY, b"not this") + frame(TEXT, b"this")

    assert drive(upstream_flow(reader), wire).wire == wire
    assert reader.heard == [b"this"]


@attrs.define
class Counting(Hearing):
    """Remembers what its flow has counted whenever it is called."""

    counts: Counts | None = None
    seen: list[tuple[int, int]] = attrs.field(factory=list)

    def note(self) -> None:
        assert self.counts is not None
        self.seen.append((self.counts.messages, self.counts.bytes))

    def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
        self.note()
        return super().message(payload, now)

    def harmless(self, head: bytes | bytearray) -> bool:
        self.note()
        return super().harmless(head)

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | None:
        self.note()
        return super().oversize(head, now)


@pytest.mark.parametrize("step", [1 << 23, 70_000, 3])
def test_a_reader_sees_exact_counts_of_what_went_before(step: int) -> None:
    reader = Counting()
    flow = upstream_flow(reader, message_max_bytes=1 << 24)
    reader.counts = flow
    quiet = frame(TEXT, b"skip me") * 5 + frame(BINARY, b"123")
    loud = frame(TEXT, b"one")
    wire = quiet + loud + loud + quiet + frame(PING, b"") + fragments(TEXT, [b"t", b"wo"], None)
    if step > 3:
        wire += quiet + frame(TEXT, b"skip" + b"x" * 70_000) + loud
        wire += frame(TEXT, b"x" * (ASIDE_MAX_BYTES + 1)) + loud
    drive(flow, wire, range(0, len(wire), step))

    first = [(6, 38), (7, 41), (14, 82)]
    seen = sorted(set(reader.seen))
    assert seen[:3] == first
    if step > 3:
        assert seen[3:] == [
            (21, 123),
            (22, 123 + 70_004),
            (23, 126 + 70_004),
            (24, 126 + 70_004 + ASIDE_MAX_BYTES + 1),
        ]


def test_a_notice_stops_the_flow_behind_its_message() -> None:
    notice = Notice("heard")
    flow = upstream_flow(Hearing(notice=notice))
    wire = frame(TEXT, b"one") + frame(TEXT, b"two")
    buffer = bytearray(wire)

    assert flow.feed(memoryview(buffer), buffer, len(buffer), 1.0) == 5
    assert flow.event == notice
    assert flow.standing is Standing.BOUNDARY


def test_a_copy_beyond_the_budget_ends_the_session() -> None:
    hold = HoldBudget(bytes_max=100_000)
    flow = UpstreamFlow(message_max_bytes=1 << 20, hold=hold, reader=Hearing())
    wire = frame(TEXT, b"x" * 200_000)
    relayed = drive(flow, wire, range(0, len(wire), 60_000))

    assert relayed.events == [Violation.overload()]
    assert flow.standing is Standing.FRAME
    flow.close()
    assert hold.bytes_held == 0


def test_a_fragmented_message_is_heard_once_it_is_whole() -> None:
    reader = Hearing()
    wire = fragments(TEXT, [b"o", b"n", b"e"], None) + fragments(TEXT, [b"sk", b"ip", b"!"], None)
    drive(upstream_flow(reader), wire, range(100))

    assert reader.heard == [b"one"]


# -- messages that their task takes


@pytest.mark.parametrize("form", FORMS)
def test_a_taken_message_is_not_sent_and_counts_as_if_it_were(form: Form) -> None:
    payload = payload_of(form(b"mine"))
    flow = client_flow(Reader([Taken(payload), None]))

    relayed = drive(flow, form(b"mine") + whole(b"next"))

    assert relayed.events == [Taken(payload)]
    assert relayed.wire == b""
    assert (flow.messages, flow.bytes) == (1, len(payload))
    assert relayed.rest == whole(b"next")
    assert flow.hold.bytes_held == len(payload)
    flow.event = None
    assert drive(flow, relayed.rest).wire == whole(b"next")
    flow.close()


def payload_of(wire: bytes) -> bytes:
    return next(messages_in(wire)).payload


def test_what_was_sent_before_a_taken_message_goes_and_what_is_behind_it_waits() -> None:
    flow = client_flow(Reader([None, Taken(b"two"), None]))
    wire = [whole(text) for text in (b"one", b"two", b"three")]

    relayed = drive(flow, b"".join(wire))

    assert relayed.wire == wire[0]
    assert relayed.rest == wire[2]
    flow.close()


def test_a_taken_message_is_counted_until_its_task_has_it() -> None:
    flow = client_flow(Reader([Taken(b"mine")]))
    drive(flow, whole(b"mine"))
    assert flow.hold.bytes_held == 4
    assert isinstance(flow.event, Taken)

    flow.hand_over(flow.event)
    flow.close()

    assert flow.hold.bytes_held == 4
    flow.hold.give(4)


def test_a_taken_message_that_no_task_was_given_is_given_back_by_the_flow() -> None:
    flow = client_flow(Reader([Taken(b"mine")]))
    drive(flow, whole(b"mine"))

    flow.close()

    assert flow.hold.bytes_held == 0


def test_a_taken_message_beyond_the_budget_ends_the_session() -> None:
    hold = HoldBudget(3)
    flow = ClientFlow(message_max_bytes=100, hold=hold, reader=Reader([Taken(b"mine")]))

    relayed = drive(flow, whole(b"mine"))

    assert relayed.events == [Violation.overload()]
    assert (flow.messages, hold.bytes_held) == (0, 0)


def test_a_decision_may_end_with_taking_the_message() -> None:
    flow = client_flow(Reader([WAITING]))

    relayed = drive(flow, whole(b"mine"), decide=lambda waiting: Taken(b"mine"))

    assert relayed.events == [WAITING]
    assert flow.event == Taken(b"mine")
    assert relayed.wire == b""
    assert flow.hold.bytes_held == 4
    flow.close()
    assert flow.hold.bytes_held == 0
