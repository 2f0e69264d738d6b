"""The rules that hold for both directions: validation, whole frames, standing, bounds."""

from __future__ import annotations

import pytest

from relayd.core.endings import Reason
from relayd.protocol.directions import ClientFlow, UpstreamFlow
from relayd.protocol.flow import Standing
from relayd.protocol.outcomes import PeerClosed, Violation
from tests.properties.streams import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Relayed,
    client_flow,
    drive,
    fragments,
    frame,
    upstream_flow,
)

MASK = b"\x05\x00\xffm"
CLIENT_ERROR = Reason.PROTOCOL_ERROR_CLIENT
UPSTREAM_ERROR = Reason.PROTOCOL_ERROR_UPSTREAM


def reason_of(relayed: Relayed) -> Reason | None:
    return next((e.reason for e in relayed.events if isinstance(e, Violation)), None)


def both(opcode: int, payload: bytes, *, fin: bool = True) -> list[tuple[bytes, bool]]:
    """One frame as each side sends it."""
    return [
        (frame(opcode, payload, None, fin=fin), False),
        (frame(opcode, payload, MASK, fin=fin), True),
    ]


def sided(client: bool, *, message_max_bytes: int = 1 << 22) -> ClientFlow | UpstreamFlow:
    if client:
        return client_flow(message_max_bytes=message_max_bytes)
    return upstream_flow(message_max_bytes=message_max_bytes)


@pytest.mark.parametrize(
    "broken",
    [
        frame(TEXT | 0x40, b"a"),
        frame(3, b"a"),
        frame(11, b""),
        frame(PING, b"", fin=False),
        frame(PING, b"x" * 126),
        frame(CONTINUATION, b"a"),
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        b"\x82\x7e\x00\x05hello",
        b"\x82\x7f" + (1 << 63).to_bytes(8, "big"),
        frame(CLOSE, b"\x03"),
        frame(CLOSE, b"\x03\xee"),
        frame(TEXT, b"a", MASK),
    ],
)
def test_a_broken_rule_stops_an_upstream_behind_what_was_whole(broken: bytes) -> None:
    good = frame(TEXT, b"good")
    for step in (1, 1000):
        relayed = drive(upstream_flow(), good + broken, range(0, 200, step))

        assert reason_of(relayed) is UPSTREAM_ERROR
        assert relayed.wire.startswith(good)


def test_an_unmasked_client_breaks_a_rule() -> None:
    good = frame(TEXT, b"good", MASK)
    relayed = drive(client_flow(), good + frame(TEXT, b"a"))

    assert reason_of(relayed) is CLIENT_ERROR
    assert relayed.wire == good


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize(
    "pieces",
    [
        [b"\xff"],
        [b"ok\xc3"],
        [b"\xc3", b"x"],
        [b"a", b"\xe2\x82", b""],
        [b"\xf0\x9d", b"\x84", b"\x1e"],
        [b"\xed\xa0\x80"],
        [b"x" * 70_000 + b"\xff"],
        [b"x" * 70_000 + b"\xc3"],
        [b"x" * 70_000 + b"\xc3", b"x" * 70_000],
    ],
)
def test_text_that_is_no_utf8_is_told_also_at_the_joints(client: bool, pieces: list[bytes]) -> None:
    wire = fragments(TEXT, pieces, MASK if client else None)
    for cuts in (range(0), range(0, len(wire), 1000)):
        relayed = drive(sided(client), wire, cuts)

        assert reason_of(relayed) is Reason.BAD_UTF8
        assert len(relayed.wire) < len(wire)


@pytest.mark.parametrize("client", [False, True])
def test_characters_may_be_split_over_fragments(client: bool) -> None:
    word = "é–𝄞".encode()
    wire = fragments(TEXT, [bytes([b]) for b in word], MASK if client else None)

    assert drive(sided(client), wire).wire == wire


def test_the_last_bytes_of_a_cut_through_frame_leave_the_sink_inside_it_if_they_are_wrong() -> None:
    wire = frame(TEXT, b"x" * 70_000 + b"\xff")
    flow = upstream_flow()

    relayed = drive(flow, wire, [60_000])

    assert relayed.wire == wire[:60_000]
    assert flow.standing is Standing.FRAME


def test_of_a_large_frame_that_begins_wrong_not_even_the_header_is_sent() -> None:
    flow = upstream_flow()
    relayed = drive(flow, frame(TEXT, b"\xff" * 70_000))

    assert relayed.wire == b""
    assert flow.standing is not Standing.FRAME
    assert not flow.inside


@pytest.mark.parametrize(("wire", "client"), both(BINARY, b"x" * 1001))
def test_too_big_is_told_from_the_header(wire: bytes, client: bool) -> None:
    flow = sided(client, message_max_bytes=1000)

    assert reason_of(drive(flow, wire[:8])) is Reason.TOO_BIG
    assert flow.hold.bytes_held == 0


@pytest.mark.parametrize("client", [False, True])
def test_too_big_counts_fragments_together(client: bool) -> None:
    mask = MASK if client else None
    fits = fragments(BINARY, [b"x" * 500, b"x" * 500], mask)
    over = fragments(BINARY, [b"x" * 500, b"x" * 501], mask)
    flow = sided(client, message_max_bytes=1000)

    assert drive(flow, fits).wire == fits
    assert reason_of(drive(flow, over)) is Reason.TOO_BIG


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_sixty_four_empty_fragments_in_a_row_pass(client: bool, opcode: int) -> None:
    mask = MASK if client else None
    most = fragments(opcode, [b""] * 64, mask)
    spaced = fragments(opcode, ([b""] * 60 + [b"x"]) * 5, mask)

    assert drive(sided(client), most + frame(opcode, b"x", mask) + most).events == []
    assert drive(sided(client), spaced).wire == spaced
    assert reason_of(drive(sided(client), fragments(opcode, [b""] * 65, mask))) is (
        Reason.CONTROL_FLOOD
    )


@pytest.mark.parametrize("client", [False, True])
def test_any_number_of_empty_messages_pass(client: bool) -> None:
    wire = frame(TEXT, b"", MASK if client else None) * 1000

    assert drive(sided(client), wire).wire == wire


def test_empty_fragments_are_counted_with_control_frames_between() -> None:
    wire = fragments(TEXT, [b""] * 66, None, frame(PONG, b""))

    assert reason_of(drive(upstream_flow(), wire)) is Reason.CONTROL_FLOOD


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_a_hundred_control_frames_in_a_second_pass(opcode: int) -> None:
    flow = upstream_flow()

    assert drive(flow, frame(opcode, b"") * 100, now=5.0).events == []
    assert drive(flow, frame(opcode, b"") * 100, now=6.0).events == []
    assert reason_of(drive(flow, frame(opcode, b""), now=6.5)) is Reason.CONTROL_FLOOD


@pytest.mark.parametrize("client", [False, True])
def test_any_number_of_small_fragments_passes(client: bool) -> None:
    wire = fragments(TEXT, [b"x"] * 65_536, MASK if client else None)

    assert drive(sided(client), wire, range(0, len(wire), 65_536)).wire == wire


def test_pings_are_handed_over_in_order_and_pongs_swallowed() -> None:
    wire = frame(PING, b"1") + frame(PONG, b"x") + frame(TEXT, b"t") + frame(PING, b"2")
    relayed = drive(upstream_flow(), wire)

    assert relayed.pings == [b"1", b"2"]
    assert relayed.wire == frame(TEXT, b"t")


def test_a_clients_ping_is_unmasked() -> None:
    assert drive(client_flow(), frame(PING, b"hello", MASK)).pings == [b"hello"]


@pytest.mark.parametrize(
    ("payload", "closed"),
    [
        (b"", PeerClosed(None, "")),
        (b"\x03\xe8", PeerClosed(1000, "")),
        (b"\x0f\xa0why", PeerClosed(4000, "why")),
    ],
)
def test_a_close_is_told_with_code_and_reason(payload: bytes, closed: PeerClosed) -> None:
    for wire, client in both(CLOSE, payload):
        relayed = drive(sided(client), wire + b"behind")

        assert relayed.events == [closed]
        assert relayed.rest == b"behind"


def test_a_close_reason_that_is_no_utf8_has_the_reason_of_text() -> None:
    assert reason_of(drive(upstream_flow(), frame(CLOSE, b"\x03\xe8\xff"))) is Reason.BAD_UTF8


def test_a_frame_of_sixty_four_kib_goes_whole_and_a_larger_one_as_it_comes() -> None:
    whole, large = frame(BINARY, b"x" * 65_535), frame(BINARY, b"x" * 65_536)

    assert drive(upstream_flow(), whole[:-1]).wire == b""
    flow = upstream_flow()
    assert drive(flow, large[:-1]).wire == large[:-1]
    assert flow.inside
    assert flow.standing is Standing.FRAME


def test_a_large_frame_that_ends_leaves_a_joint_for_control_frames() -> None:
    flow = upstream_flow()
    large, small = frame(BINARY, b"x" * 70_000), frame(TEXT, b"t")
    drive(flow, large[:-5])
    buffer = bytearray(large[-5:] + small)

    assert flow.feed(memoryview(buffer), buffer, len(buffer), 1.0) == len(buffer)
    assert b"".join(flow.out[: flow.joint]) == large[-5:]
    assert b"".join(flow.out[flow.joint :]) == small


def test_between_fragments_the_sink_stands_inside_a_message() -> None:
    flow = upstream_flow()
    drive(flow, frame(TEXT, b"a", fin=False))

    assert flow.standing is Standing.MESSAGE


def test_progress_grows_with_data_and_not_with_control_frames() -> None:
    flow = upstream_flow()
    seen = [flow.progress]
    for wire in (frame(TEXT, b"a"), frame(TEXT, b"", fin=False), frame(CONTINUATION, b"bc")):
        drive(flow, wire)
        seen.append(flow.progress)
    drive(flow, frame(PING, b"x"))

    assert seen == [0, 2, 2, 5]
    assert flow.progress == 5


def test_a_stopped_flow_takes_nothing() -> None:
    flow = upstream_flow()
    drive(flow, frame(CLOSE, b""))

    with pytest.raises(AssertionError):
        flow.feed(memoryview(b""), bytearray(), 0, 1.0)
