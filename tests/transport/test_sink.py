"""The sink: what reaches the wire, in which order, and what is kept meanwhile."""

from __future__ import annotations

import errno
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.core.hold import HoldBudget
from relayd.protocol.flow import Standing
from relayd.protocol.frames import Opcode, apply_mask, encode_frame
from relayd.transport.records import RECORD_BYTES
from relayd.transport.sink import NOTES_MAX_BYTES, Sink
from tests.properties.streams import frames_in

if TYPE_CHECKING:
    from typing_extensions import Buffer

BOUNDARY, MESSAGE, FRAME = Standing.BOUNDARY, Standing.MESSAGE, Standing.FRAME
BUDGET = 1 << 24

Step = int | OSError
"""How many bytes a send takes, 0 where it would block; or what it raises."""


class PlainWire(socket.socket):
    """A socket whose sends follow a script; behind the script it takes everything."""

    def __init__(self, *steps: Step) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.steps = deque(steps)
        self.got = bytearray()

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        step = self.steps.popleft() if self.steps else len(memoryview(data))
        if isinstance(step, OSError):
            raise step
        if not step:
            raise BlockingIOError
        taken = bytes(data)[:step]
        self.got += taken
        return len(taken)


class TlsWire(ssl.SSLSocket):
    """Likewise for TLS: a record is taken whole or not at all, and what was refused is committed.

    OpenSSL accepts other bytes of the same length in its place and corrupts the stream; here that
    fails the test.
    """

    def __init__(self, *steps: Step) -> None:
        socket.socket.__init__(self, socket.AF_INET, socket.SOCK_STREAM)
        self.steps = deque(steps)
        self.got = bytearray()
        self.offered: list[int] = []
        self.committed: bytes | None = None

    def write(self, data: Buffer) -> int:
        record = bytes(data)
        self.offered.append(len(record))
        assert self.committed in (None, record), "other bytes than those that were refused"
        step = self.steps.popleft() if self.steps else len(record)
        if isinstance(step, OSError):
            raise step
        if not step:
            self.committed = record
            raise ssl.SSLWantWriteError
        self.committed = None
        self.got += record
        return len(record)


Wire = PlainWire | TlsWire


@attrs.frozen
class Bench:
    """A sink on a scripted wire."""

    wire: Wire
    sink: Sink
    hold: HoldBudget

    @property
    def got(self) -> bytes:
        return bytes(self.wire.got)


Build = Callable[..., Bench]


@pytest.fixture
def build() -> Iterator[Build]:
    built: list[Bench] = []

    def build_one(
        *steps: Step, tls: bool = False, masked: bool = False, hold_bytes: int = BUDGET
    ) -> Bench:
        wire = TlsWire(*steps) if tls else PlainWire(*steps)
        hold = HoldBudget(hold_bytes)
        built.append(Bench(wire, Sink(wire, masked=masked, hold=hold, now=0.0), hold))
        return built[-1]

    yield build_one
    for bench in built:
        bench.sink.discard()
        assert bench.hold.bytes_held == 0
        bench.wire.close()


def frame(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return encode_frame(opcode, payload, masked=False, fin=fin)


def pong(payload: bytes) -> bytes:
    return frame(Opcode.PONG, payload)


DATA = frame(Opcode.TEXT, b"data")
CLOSE = frame(Opcode.CLOSE, b"\x03\xe8")


# -- the relayed direction


def test_what_the_socket_takes_at_once_leaves_nothing_pending(build: Build) -> None:
    bench = build()

    assert bench.sink.write([DATA, memoryview(DATA)], BOUNDARY, 3.0)

    assert bench.got == DATA * 2
    assert not bench.sink.blocked
    assert bench.sink.last_sent == 3.0


def test_what_the_socket_does_not_take_is_kept_as_a_copy_and_counted(build: Build) -> None:
    bench = build(2, 0)
    buffer = bytearray(DATA)

    assert not bench.sink.write([memoryview(buffer)], BOUNDARY, 3.0)
    buffer[:] = bytes(len(buffer))

    assert bench.hold.bytes_held == len(DATA) - 2
    assert bench.sink.blocked_since == 3.0
    assert not bench.sink.flush(4.0)
    assert bench.sink.flush(5.0)
    assert bench.got == DATA
    assert bench.hold.bytes_held == 0


def test_writes_while_bytes_are_pending_keep_their_order(build: Build) -> None:
    bench = build(1)
    bench.sink.write([b"ab"], FRAME, 0.0)

    assert not bench.sink.write([b"cd", b"ef"], FRAME, 0.0)
    assert bench.sink.flush(1.0)

    assert bench.got == b"abcdef"


def test_the_stall_deadline_starts_again_with_every_byte_taken(build: Build) -> None:
    bench = build(0, 0, 1, 0)
    bench.sink.write([DATA], BOUNDARY, 1.0)

    bench.sink.flush(2.0)
    assert bench.sink.blocked_since == 1.0
    bench.sink.flush(3.0)
    assert bench.sink.blocked_since == 3.0
    assert bench.sink.last_sent == 3.0


def test_bytes_over_the_budget_are_kept_and_reported(build: Build) -> None:
    bench = build(0, hold_bytes=3)

    bench.sink.write([DATA], BOUNDARY, 0.0)

    assert bench.sink.over_budget
    assert bench.sink.flush(1.0)
    assert bench.got == DATA


@pytest.mark.parametrize("tls", [False, True])
def test_a_lost_peer_raises_nothing_and_swallows_what_is_written(build: Build, tls: bool) -> None:
    bench = build(OSError(errno.ECONNRESET, "reset"), tls=tls)

    assert bench.sink.write([DATA], BOUNDARY, 0.0)

    assert bench.sink.broken
    assert bench.sink.write([DATA], BOUNDARY, 0.0)
    assert bench.sink.pong([b"x"], 0.0)
    assert bench.sink.ping(b"x", 0.0)
    assert bench.sink.note(b"x", 0.0)
    assert bench.sink.close(1000, "", 0.0)
    assert bench.got == b""
    assert bench.hold.bytes_held == 0


@pytest.mark.parametrize("tls", [False, True])
def test_a_peer_lost_while_bytes_are_pending_gives_them_back(build: Build, tls: bool) -> None:
    bench = build(0, OSError(errno.EPIPE, "gone"), tls=tls)
    bench.sink.write([DATA], BOUNDARY, 0.0)

    assert bench.sink.flush(1.0)

    assert bench.sink.broken
    assert not bench.sink.blocked
    assert bench.hold.bytes_held == 0


def test_a_socket_that_cannot_be_written_can_be_read_to_an_end() -> None:
    class Full(socket.socket):
        def send(self, data: Buffer, flags: int = 0, /) -> int:
            raise OSError(errno.ENOBUFS, "no buffer space")

    ours, theirs = socket.socketpair()
    with theirs, Full(fileno=ours.detach()) as full:
        theirs.send(b"unread")
        Sink(full, masked=False, hold=HoldBudget(BUDGET), now=0.0).write([DATA], BOUNDARY, 0.0)

        assert full.recv(100) == b"unread"
        assert full.recv(100) == b""


# -- TLS


def test_tls_is_offered_records_cut_at_fixed_places(build: Build) -> None:
    data = bytes(range(256)) * 160
    bench = build(1, 0, 0, tls=True)

    assert not bench.sink.write([data], FRAME, 0.0)
    assert not bench.sink.flush(1.0)
    assert bench.sink.flush(2.0)

    assert isinstance(bench.wire, TlsWire)
    rest = len(data) - 2 * RECORD_BYTES
    assert bench.wire.offered == [RECORD_BYTES] * 4 + [rest]
    assert bench.got == data


def test_nothing_is_put_before_or_behind_what_tls_has_refused(build: Build) -> None:
    bench = build(0, tls=True)
    bench.sink.write([b"\x81\x02ab"], BOUNDARY, 0.0)

    bench.sink.pong([b"p"], 0.0)
    bench.sink.write([b"\x81\x02cd"], BOUNDARY, 0.0)
    assert bench.sink.flush(1.0)  # the wire itself refuses other bytes than those committed

    assert bench.got == b"\x81\x02ab" + pong(b"p") + b"\x81\x02cd"


# -- relayd's own frames


def test_every_ping_is_answered_in_order_while_the_socket_takes_bytes(build: Build) -> None:
    bench = build()

    bench.sink.pong([b"1", b"2", b"3"], 0.0)

    assert bench.got == pong(b"1") + pong(b"2") + pong(b"3")


def test_every_ping_is_answered_where_only_a_note_waits(build: Build) -> None:
    bench = build()
    bench.sink.settle(MESSAGE, 0.0)
    bench.sink.note(b"n", 0.0)

    bench.sink.pong([b"1", b"2"], 0.0)

    assert bench.got == pong(b"1") + pong(b"2")


def test_only_the_newest_pong_waits_while_the_socket_is_full(build: Build) -> None:
    bench = build(0)
    bench.sink.write([DATA], BOUNDARY, 0.0)

    for at in range(1000):
        bench.sink.pong([b"a%d" % at, b"b%d" % at], 0.0)
    assert bench.hold.bytes_held == len(DATA)
    bench.sink.flush(1.0)

    assert bench.got == DATA + pong(b"b999")


def test_at_most_one_pong_one_ping_and_one_close_wait_and_go_in_that_order(build: Build) -> None:
    bench = build(0)
    bench.sink.write([DATA], BOUNDARY, 0.0)

    bench.sink.close(1000, "", 0.0)
    bench.sink.close(1011, "late", 0.0)
    bench.sink.ping(b"1", 0.0)
    bench.sink.ping(b"2", 0.0)
    bench.sink.pong([b"3"], 0.0)
    assert bench.sink.flush(1.0)

    assert bench.got == DATA + pong(b"3") + frame(Opcode.PING, b"2") + CLOSE


def test_control_frames_wait_for_the_end_of_a_frame(build: Build) -> None:
    bench = build()
    bench.sink.write([b"\x82\x04ab"], FRAME, 0.0)

    bench.sink.pong([b"p"], 0.0)
    bench.sink.ping(b"q", 0.0)
    assert bench.got == b"\x82\x04ab"
    bench.sink.write([b"cd"], BOUNDARY, 0.0)

    assert bench.got == b"\x82\x04abcd" + pong(b"p") + frame(Opcode.PING, b"q")


def test_a_pong_goes_into_the_joint_between_two_large_frames(build: Build) -> None:
    bench = build()
    bench.sink.write([b"\x02\x04ab"], FRAME, 0.0)
    bench.sink.pong([b"p"], 0.0)
    bench.sink.note(b"not here", 0.0)

    bench.sink.write([b"cd", b"\x00\x05e"], FRAME, 0.0, 1)

    assert bench.got == b"\x02\x04abcd" + pong(b"p") + b"\x00\x05e"


def test_a_note_waits_for_the_message_boundary_and_a_pong_does_not(build: Build) -> None:
    bench = build()
    bench.sink.settle(MESSAGE, 0.0)

    bench.sink.note(b"mine", 0.0)
    bench.sink.pong([b"p"], 0.0)
    assert bench.got == pong(b"p")
    bench.sink.write([frame(Opcode.CONTINUATION, b"z")], BOUNDARY, 0.0)

    note = frame(Opcode.TEXT, b"mine")
    assert bench.got == pong(b"p") + frame(Opcode.CONTINUATION, b"z") + note


def test_an_empty_pass_that_reaches_a_boundary_lets_notes_go(build: Build) -> None:
    bench = build()
    bench.sink.settle(MESSAGE, 0.0)
    bench.sink.note(b"mine", 0.0)

    assert bench.sink.settle(BOUNDARY, 0.0)

    assert bench.got == frame(Opcode.TEXT, b"mine")


def test_notes_that_wait_are_bounded(build: Build) -> None:
    bench = build(0)
    bench.sink.write([DATA], BOUNDARY, 0.0)
    text = bytes(10_000)

    accepted = [bench.sink.note(text, 0.0) for _ in range(20)]

    assert accepted == [True] * 6 + [False] * 14
    assert bench.hold.bytes_held <= len(DATA) + NOTES_MAX_BYTES


def test_a_note_that_the_process_has_no_room_for_is_refused(build: Build) -> None:
    assert not build(hold_bytes=3).sink.note(b"mine", 0.0)


def test_frames_towards_an_upstream_are_masked(build: Build) -> None:
    bench = build(masked=True)

    bench.sink.pong([b"payload"], 0.0)

    head, mask, rest = bench.got[:2], bench.got[2:6], bench.got[6:]
    assert head == b"\x8a\x87"
    assert apply_mask(rest, mask) == b"payload"


# -- the Close


def test_nothing_follows_a_close(build: Build) -> None:
    bench = build()
    bench.sink.close(1000, "", 0.0)

    bench.sink.write([DATA], FRAME, 0.0)
    bench.sink.pong([b"x"], 0.0)
    bench.sink.ping(b"x", 0.0)
    bench.sink.note(b"x", 0.0)
    bench.sink.close(1011, "again", 0.0)
    bench.sink.settle(MESSAGE, 0.0)

    assert bench.got == CLOSE
    assert bench.sink.standing is BOUNDARY


def test_nothing_follows_a_close_that_is_pending(build: Build) -> None:
    bench = build(1)
    assert not bench.sink.close(1000, "", 0.0)

    bench.sink.pong([b"x"], 0.0)
    bench.sink.ping(b"x", 0.0)
    assert not bench.sink.write([DATA], BOUNDARY, 0.0)
    assert bench.sink.flush(1.0)

    assert bench.got == CLOSE
    assert bench.sink.closing


def test_a_write_behind_a_close_that_waits_in_its_slot_is_dropped(build: Build) -> None:
    bench = build(0)
    bench.sink.write([DATA], BOUNDARY, 0.0)
    bench.sink.close(1000, "", 0.0)

    bench.sink.write([b"\x82\x04ab"], FRAME, 0.0)
    assert bench.sink.standing is BOUNDARY  # the peer does not stand in a frame it never saw
    bench.sink.flush(1.0)

    assert bench.got == DATA + CLOSE


def test_a_close_waits_for_the_rest_of_the_frame_and_cuts_what_is_behind_it(build: Build) -> None:
    bench = build()
    bench.sink.write([b"\x02\x04ab"], FRAME, 0.0)

    assert bench.sink.close(1000, "", 0.0)
    assert not bench.sink.closing
    bench.sink.write([b"cd", b"\x00\x05e"], FRAME, 0.0, 1)

    assert bench.got == b"\x02\x04abcd" + CLOSE
    assert bench.sink.closing
    assert bench.sink.standing is MESSAGE


def test_notes_go_before_the_close(build: Build) -> None:
    bench = build(0)
    bench.sink.write([DATA], BOUNDARY, 0.0)
    bench.sink.close(1000, "", 0.0)
    bench.sink.note(b"last words", 0.0)

    bench.sink.flush(1.0)

    assert bench.got == DATA + frame(Opcode.TEXT, b"last words") + CLOSE


# -- any interleaving


@attrs.frozen
class Seen:
    """A frame on the wire; ``inside`` a message or not when it came."""

    opcode: int
    payload: bytes
    inside: bool


def parse(wire: bytes) -> tuple[list[Seen], bytes]:
    """The whole frames on ``wire``, all short and unmasked, and what is left over."""
    seen, inside = [], False
    while len(wire) >= 2 and len(wire) >= 2 + wire[1]:
        opcode, payload, wire = wire[0] & 15, wire[2 : 2 + wire[1]], wire[2 + wire[1] :]
        assert opcode in {0, 1, 2, 8, 9, 10}
        seen.append(Seen(opcode, payload, inside))
        if opcode < 8:
            assert (opcode == 0) == inside, "a message inside another"
            inside = not wire_fin(opcode, payload)
    return seen, wire


def wire_fin(opcode: int, payload: bytes) -> bool:
    """The relayed frames of these tests say by their last byte whether they end a message."""
    return opcode == Opcode.TEXT or payload[-1:] == b"."


@st.composite
def relayed(draw: st.DrawFn) -> list[tuple[list[bytes], Standing, int]]:
    """Writes of one direction: frames whole and cut, with joints as a flow reports them."""
    frames: list[tuple[bytes, bool]] = []
    for at, pieces in enumerate(draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))):
        for piece in range(pieces):
            last = piece == pieces - 1
            payload = b"%d-%d" % (at, piece) + (b"." if last else b",")
            opcode = Opcode.CONTINUATION if piece else Opcode.BINARY
            frames.append((frame(opcode, payload, fin=last), last))
    writes: list[tuple[list[bytes], Standing, int]] = []
    slices: list[bytes] = []
    joint = -1
    for data, last in frames:
        cut = draw(st.none() | st.integers(1, len(data) - 1))
        if cut is not None:
            writes.append(([*slices, data[:cut]], FRAME, joint))
            slices, joint = [data[cut:]], 1
        else:
            slices.append(data)
        if draw(st.booleans()):
            writes.append((slices, BOUNDARY if last else MESSAGE, joint))
            slices, joint = [], -1
    if slices:
        writes.append((slices, BOUNDARY, joint))
    return writes


OWN = st.sampled_from(["pong", "pongs", "ping", "note", "flush", "settle"])
STEPS = st.lists(st.sampled_from([0, 0, 1, 2, 3, 7, 100]), max_size=40)


class Play:
    """One random play of a sink."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.hold = HoldBudget(BUDGET)
        self.sink = Sink(wire, masked=False, hold=self.hold, now=0.0)
        self.count = 0
        self.written = b""
        self.notes: list[bytes] = []

    def write(self, write: tuple[list[bytes], Standing, int]) -> None:
        slices, standing, joint = write
        buffers = [bytearray(piece) for piece in slices]
        flowing = self.sink.write([memoryview(piece) for piece in buffers], standing, 0.0, joint)
        assert flowing != self.sink.blocked
        for buffer in buffers:
            buffer[:] = b"\xff" * len(buffer)  # the pass receives into it again
        self.written += b"".join(slices)

    def own(self, what: str) -> None:
        self.count += 1
        name = b"%05d" % self.count
        match what:
            case "pong":
                self.sink.pong([name], 0.0)
            case "pongs":
                self.sink.pong([name + b"a", name + b"b"], 0.0)
            case "ping":
                self.sink.ping(name, 0.0)
            case "note":
                assert self.sink.note(name, 0.0)
                self.notes.append(name)
            case "settle":
                self.sink.settle(self.sink.standing, 0.0)
            case _:
                self.sink.flush(0.0)

    def finish(self) -> tuple[list[Seen], bytes]:
        self.wire.steps.clear()
        assert self.sink.flush(0.0)
        assert self.hold.bytes_held == 0
        return parse(bytes(self.wire.got))


@settings(max_examples=150)
@given(
    tls=st.booleans(),
    writes=relayed(),
    own=st.lists(st.lists(OWN, max_size=4), min_size=16, max_size=16),
    steps=STEPS,
)
def test_any_interleaving_keeps_every_byte_in_order_and_every_frame_whole(
    *,
    tls: bool,
    writes: list[tuple[list[bytes], Standing, int]],
    own: list[list[str]],
    steps: list[int],
) -> None:
    with TlsWire(*steps) if tls else PlainWire(*steps) as wire:
        play = Play(wire)
        for write, others in zip(writes, own, strict=False):
            play.write(write)
            for what in others:
                play.own(what)
        for write in writes[len(own) :]:
            play.write(write)
        seen, rest = play.finish()

    assert rest == b""
    data = [one for one in seen if one.opcode in {0, 2}]
    assert [one.payload for one in data] == [one.payload for one in parse(play.written)[0]]
    notes = [one for one in seen if one.opcode == 1]
    assert [one.payload for one in notes] == play.notes
    assert not any(one.inside for one in notes)
    for opcode in (Opcode.PING, Opcode.PONG):
        names = [one.payload for one in seen if one.opcode == opcode]
        assert names == sorted(set(names))


@settings(max_examples=150)
@given(
    tls=st.booleans(),
    writes=relayed(),
    own=st.lists(st.lists(OWN, max_size=3), min_size=16, max_size=16),
    steps=STEPS,
    closes_at=st.integers(0, 15),
)
def test_a_close_anywhere_is_the_last_frame_and_comes_behind_what_was_accepted(
    *,
    tls: bool,
    writes: list[tuple[list[bytes], Standing, int]],
    own: list[list[str]],
    steps: list[int],
    closes_at: int,
) -> None:
    accepted = b""
    with TlsWire(*steps) if tls else PlainWire(*steps) as wire:
        play = Play(wire)
        for at, (write, others) in enumerate(zip(writes, own, strict=False)):
            if at == closes_at:
                play.sink.close(1000, "", 0.0)
                accepted = play.written
            play.write(write)
            for what in others:
                play.own(what)
        if closes_at >= len(writes):
            accepted = play.written
            play.sink.close(1000, "", 0.0)
        wire.steps.clear()
        play.sink.flush(0.0)
        play.sink.discard()
        seen, rest = parse(bytes(wire.got))

    assert play.hold.bytes_held == 0
    assert seen[-1].opcode == Opcode.CLOSE
    assert rest == b""
    assert [one.opcode for one in seen].count(Opcode.CLOSE) == 1
    relayed_frames = [one for one in seen if one.opcode in {0, 2}]
    whole = parse(play.written)[0]
    assert relayed_frames == whole[: len(relayed_frames)]
    assert len(relayed_frames) >= len(parse(accepted)[0])


@settings(max_examples=100)
@given(writes=relayed(), own=st.lists(OWN, max_size=16), steps=STEPS)
def test_discarding_at_any_time_gives_every_byte_back(
    *, writes: list[tuple[list[bytes], Standing, int]], own: list[str], steps: list[int]
) -> None:
    with PlainWire(*steps) as wire:
        play = Play(wire)
        for write, what in zip(writes, own, strict=False):
            play.write(write)
            play.own(what)
        play.sink.discard()

    assert play.hold.bytes_held == 0
    assert not play.sink.blocked


def test_a_preface_goes_out_before_what_comes_first_and_by_settling_where_nothing_comes() -> None:
    for then_writes in (True, False):
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            hold = HoldBudget(1000)
            sink = Sink(near, masked=False, hold=hold, now=0.0)
            sink.preface(b"101")

            if then_writes:
                assert sink.write([memoryview(b"frame")], Standing.BOUNDARY, 0.0)
            assert sink.settle(Standing.BOUNDARY, 0.0)

            assert far.recv(100) == (b"101frame" if then_writes else b"101")
            assert hold.bytes_held == 0


# -- whole messages towards a peer that nobody relays to


@pytest.mark.parametrize("masked", [False, True])
def test_a_message_is_sent_whole_and_masked_towards_an_upstream(build: Build, masked: bool) -> None:
    bench = build(masked=masked)

    assert bench.sink.send_message(b'{"create":1}', 3.0)

    (sent,) = frames_in(bench.got)
    assert (sent.opcode, sent.fin, sent.payload) == (Opcode.TEXT, True, b'{"create":1}')
    assert sent.wire == bench.got
    assert bool(bench.got[1] & 0x80) == masked
    assert bench.sink.last_sent == 3.0
    assert bench.hold.bytes_held == 0


def test_messages_that_the_socket_does_not_take_wait_in_order_and_are_counted(
    build: Build,
) -> None:
    bench = build(4, 0)

    assert bench.sink.send_message(b"one", 1.0)
    assert bench.sink.send_message(b"two" * 100, 1.0)
    assert bench.sink.blocked
    assert bench.hold.bytes_held == 305
    assert not bench.sink.flush(2.0)
    assert bench.sink.flush(2.0)

    assert [one.payload for one in frames_in(bench.got)] == [b"one", b"two" * 100]


def test_a_message_without_room_is_refused_and_nothing_of_it_is_sent(build: Build) -> None:
    bench = build(hold_bytes=100)

    assert not bench.sink.send_message(bytes(90), 1.0)

    assert bench.got == b""
    assert bench.hold.bytes_held == 0
    assert not bench.sink.over_budget
    assert bench.sink.send_message(bytes(86), 1.0)


def test_a_message_behind_a_close_or_to_a_lost_peer_is_dropped(build: Build) -> None:
    bench = build()
    bench.sink.close(1000, "", 1.0)
    sent = bench.got

    assert bench.sink.send_message(b"late", 1.0)
    assert bench.got == sent

    lost = build(OSError(errno.EPIPE, "lost"))
    assert lost.sink.send_message(b"one", 1.0)
    assert lost.sink.broken
    assert lost.sink.send_message(b"two", 1.0)
    assert lost.got == b""


def test_a_ping_that_waits_goes_behind_the_message_before_it(build: Build) -> None:
    bench = build(2, 0)
    bench.sink.send_message(b"one", 1.0)
    bench.sink.ping(b"p", 1.0)
    bench.sink.send_message(b"two", 1.0)
    while not bench.sink.flush(1.0):
        pass

    assert [one.payload for one in parse(bench.got)[0]] == [b"one", b"p", b"two"]


# -- at rest


def test_a_sink_is_at_rest_when_all_is_sent_up_to_a_boundary(build: Build) -> None:
    bench = build()
    assert bench.sink.at_rest
    bench.sink.write([frame(Opcode.TEXT, b"a", fin=False)], MESSAGE, 1.0)
    assert not bench.sink.at_rest
    bench.sink.write([frame(Opcode.CONTINUATION, b"b")], BOUNDARY, 1.0)
    assert bench.sink.at_rest

    bench.sink.close(1000, "", 1.0)
    assert not bench.sink.at_rest


def test_a_sink_with_bytes_or_a_slot_that_waits_or_a_lost_peer_is_not_at_rest(
    build: Build,
) -> None:
    blocked = build(1, 0)
    blocked.sink.send_message(b"one", 1.0)
    assert not blocked.sink.at_rest

    slotted = build()
    slotted.sink.preface(b"HTTP/1.1 101\r\n\r\n")
    assert not slotted.sink.at_rest

    lost = build(OSError(errno.EPIPE, "lost"))
    lost.sink.send_message(b"one", 1.0)
    assert not lost.sink.at_rest
