"""Audio in the pass: however a stream is cut up, packets arrive framed right, and texts stop it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_buffer import AudioBuffer, HeldPacket
from relayd.dialect.xiaozhi_flow import TEXT, DeviceFlow, DeviceReader, Lane, Route, ServerFlow
from relayd.dialect.xiaozhi_frames import AudioFrame, build, parse
from relayd.dialect.xiaozhi_usage import AudioTally
from relayd.protocol.flow import Flow, Standing
from relayd.protocol.outcomes import Taken, Violation
from tests.properties import streams
from tests.properties.streams import BINARY, PING, fragments, frame, messages_in

MASK = b"\x01\x02\x03\x04"
PACKET = b"\x58hello-opus"
LONGEST = 200_000

versions = st.sampled_from([1, 2, 3])


def lane(source: int = 1, target: int = 1, route: Route = Route.PASS) -> Lane:
    return Lane(tally=AudioTally(), source=source, target=target, route=route)


def server_flow(way: Lane, *, hold_bytes: int = 1 << 24) -> ServerFlow:
    return ServerFlow(message_max_bytes=LONGEST, hold=HoldBudget(hold_bytes), lane=way)


def device_flow(way: Lane) -> DeviceFlow:
    return DeviceFlow(message_max_bytes=LONGEST, hold=HoldBudget(1 << 24), reader=DeviceReader(way))


def framed(packet: bytes, version: int) -> bytes:
    message = build(AudioFrame(packet), version)
    assert message is not None
    return message


class Drive:
    """Feeds a flow piece by piece; takes each text where the flow stops, and goes on."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.wire = b""
        self.texts: list[bytes] = []
        self.pings: list[bytes] = []
        self._tail = b""

    def feed(self, wire: bytes, cuts: Iterable[int] = ()) -> None:
        places = [0, *sorted(cuts), len(wire)]
        for start, stop in pairwise(places):
            self._feed(wire[start:stop])

    def _feed(self, piece: bytes) -> None:
        pending = self._tail + piece
        while True:
            buffer = bytearray(pending)
            used = self.flow.feed(memoryview(buffer), buffer, len(buffer), 0.0)
            self.wire += b"".join(bytes(part) for part in self.flow.out)
            self.pings += self.flow.pings
            self.flow.pings.clear()
            assert self.flow.standing is Standing.BOUNDARY
            pending = pending[used:]
            if not self._take():
                break
        self._tail = pending

    def _take(self) -> bool:
        flow = self.flow
        match flow.event:
            case Taken(payload):
                assert isinstance(flow, DeviceFlow)
                flow.hand_over(Taken(payload))
                flow.hold.give(len(payload))
                self.texts.append(payload)
            case event if event is TEXT:
                assert isinstance(flow, ServerFlow)
                self.texts.append(flow.take())
            case _:
                return False
        flow.event = None
        return True

    def finish(self) -> None:
        self.flow.close()
        assert self.flow.hold.bytes_held == 0


said = st.lists(
    st.tuples(st.just("text"), st.text(max_size=200).map(str.encode))
    | st.tuples(st.just("audio"), st.binary(min_size=1, max_size=300))
    | st.tuples(st.just("wrong"), st.binary(max_size=30)),
    max_size=8,
)


@given(st.data(), said, versions, versions, st.booleans())
def test_packets_arrive_framed_and_texts_in_their_place(
    data: st.DataObject,
    messages: list[tuple[str, bytes]],
    source: int,
    target: int,
    from_device: bool,
) -> None:
    mask = MASK if from_device else None
    wire, packets, texts, wrong = b"", [], [], 0
    for kind, payload in messages:
        opcode, message = streams.TEXT, payload
        if kind == "text":
            texts.append(payload)
        else:
            opcode = BINARY
            message = framed(payload, source) if kind == "audio" else payload
            read = parse(message, source)
            if read is None or read.kind > 1:
                wrong += 1
            elif read.kind == 1:
                texts.append(read.payload)
            else:
                packets.append(read.payload)
        if data.draw(st.booleans()):
            half = data.draw(st.integers(0, len(message)))
            pieces, ping = [message[:half], message[half:]], frame(PING, b"p", mask)
            wire += fragments(opcode, pieces, mask, ping)
        else:
            wire += frame(opcode, message, mask)
    way = lane(source, target)
    drive = Drive(device_flow(way) if from_device else server_flow(way))

    drive.feed(wire, data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))

    arrived = [message.payload for message in messages_in(drive.wire)]
    read_again = [parse(message, target) for message in arrived]
    assert [None if each is None else each.payload for each in read_again] == packets
    assert drive.texts == texts
    assert (way.tally.packets, way.tally.dropped) == (len(packets), wrong)
    assert drive.flow.messages == len(packets) + (len(texts) if from_device else 0)
    drive.finish()


@pytest.mark.parametrize("from_device", [True, False])
def test_between_equal_framings_a_frame_goes_on_as_it_came(from_device: bool) -> None:
    way = lane(2, 2)
    mask = MASK if from_device else None
    gateways = bytes.fromhex("0000000000000000000004d20000000b") + PACKET
    wire = frame(BINARY, gateways, mask) * 3
    drive = Drive(device_flow(way) if from_device else server_flow(way))

    drive.feed(wire)

    assert drive.wire == wire
    assert (way.tally.packets, way.tally.microseconds) == (3, 180_000)


@pytest.mark.parametrize("from_device", [True, False])
@pytest.mark.parametrize("source", [1, 3])
def test_a_framing_without_timestamps_gets_them_by_what_has_passed(
    source: int, from_device: bool
) -> None:
    way = lane(source, 2)
    mask = MASK if from_device else None
    short = b"\x50" + PACKET[1:]  # 40 ms, where PACKET has 60
    packets = [PACKET, short, PACKET, short]
    wrong = b"" if source == 1 else frame(BINARY, b"\0\0\xff\xff" + PACKET, mask)
    wire = wrong.join(frame(BINARY, framed(each, source), mask) for each in packets)
    drive = Drive(device_flow(way) if from_device else server_flow(way))

    drive.feed(wire)

    arrived = [parse(message.payload, 2) for message in messages_in(drive.wire)]
    assert arrived == [
        AudioFrame(packet, timestamp_ms=timestamp_ms)
        for packet, timestamp_ms in zip(packets, (0, 60, 100, 160), strict=True)
    ]


@pytest.mark.parametrize("from_device", [True, False])
def test_a_size_that_is_wrong_never_reaches_the_other_side(from_device: bool) -> None:
    way = lane(3, 3)
    mask = MASK if from_device else None
    bad = frame(BINARY, bytes.fromhex("0000ffff") + PACKET, mask)
    good = frame(BINARY, framed(PACKET, 3), mask)
    drive = Drive(device_flow(way) if from_device else server_flow(way))

    drive.feed(good + bad + good)

    assert drive.wire == good + good
    assert way.tally.dropped == 1


def test_json_in_a_binary_frame_is_a_text() -> None:
    blocked = b'{"type":"server"}'
    message = build(AudioFrame(blocked, kind=1), 3)
    assert message is not None
    drive = Drive(device_flow(lane(3, 3)))

    drive.feed(frame(BINARY, message, MASK))

    assert (drive.texts, drive.wire) == ([blocked], b"")


@pytest.mark.parametrize("from_device", [True, False])
def test_without_a_peer_audio_goes_nowhere(from_device: bool) -> None:
    way = lane(route=Route.DROP)
    mask = MASK if from_device else None
    drive = Drive(device_flow(way) if from_device else server_flow(way))
    drive.feed(frame(BINARY, PACKET, mask) + frame(streams.TEXT, b"{}", mask))
    assert (drive.wire, drive.texts, way.tally.packets) == (b"", [b"{}"], 0)


@pytest.mark.parametrize(("version", "timestamp_ms"), [(1, None), (2, 1234), (3, None)])
def test_a_devices_audio_is_held_without_its_framing_but_with_its_time(
    version: int, timestamp_ms: int | None
) -> None:
    hold = HoldBudget(1 << 20)
    way = lane(version, 1, Route.HOLD)
    way.buffer = AudioBuffer(hold)
    drive = Drive(device_flow(way))
    message = build(AudioFrame(PACKET, timestamp_ms=1234), version)
    assert message is not None

    drive.feed(frame(BINARY, message, MASK) * 2)

    assert way.buffer.take() == [HeldPacket(PACKET, 60_000, timestamp_ms)] * 2
    assert (drive.wire, way.tally.packets) == (b"", 0)


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, LONGEST])
@pytest.mark.parametrize("version", [1, 2])
def test_messages_of_every_length_arrive_whole(size: int, version: int) -> None:
    message = framed(bytes(size - (0 if version == 1 else 16)), version)
    drive = Drive(server_flow(lane(version, version)))

    drive.feed(frame(BINARY, message), range(0, size, 50_000))

    assert [each.payload for each in messages_in(drive.wire)] == [message]
    drive.finish()


@pytest.mark.parametrize("opcode", [streams.TEXT, BINARY])
def test_a_message_too_long_ends_the_session_before_it_is_kept(opcode: int) -> None:
    flow = server_flow(lane())
    Drive(flow).feed(frame(opcode, bytes(LONGEST + 1))[:100])
    assert isinstance(flow.event, Violation)
    assert flow.event.reason is Reason.TOO_BIG
    assert flow.hold.bytes_held == 0


def test_a_text_that_the_process_has_no_room_for_ends_the_session() -> None:
    flow = server_flow(lane(), hold_bytes=10)
    Drive(flow).feed(frame(streams.TEXT, b"x" * 11))
    assert flow.event == Violation.overload()
    flow.close()


def test_a_text_that_nobody_takes_is_given_back() -> None:
    flow = server_flow(lane())
    wire = bytearray(frame(streams.TEXT, b"text"))
    flow.feed(memoryview(wire), wire, len(wire), 0.0)
    assert (flow.event, flow.hold.bytes_held) == (TEXT, 4)
    assert flow.progress == 4
    flow.close()
    assert flow.hold.bytes_held == 0


@pytest.mark.parametrize("pieces", [[b"\xff"], [b"\xc3", b"("]])
def test_a_text_must_be_utf8(pieces: list[bytes]) -> None:
    flow = server_flow(lane())
    Drive(flow).feed(fragments(streams.TEXT, pieces, None))
    assert isinstance(flow.event, Violation)
    assert flow.event.reason is Reason.BAD_UTF8
