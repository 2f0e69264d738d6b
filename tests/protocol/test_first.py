"""The first message of an upstream, whatever comes before it."""

from __future__ import annotations

import pytest

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.protocol.first import FIRST_MESSAGE_MAX_BYTES, RAW_MAX_BYTES, FirstMessage
from relayd.protocol.outcomes import Notice, PeerClosed, Violation
from tests.properties.streams import BINARY, CLOSE, PING, TEXT, fragments, frame

HELLO = b'{"type":"session.created"}'


def hearing(bytes_max: int = 1 << 24) -> tuple[FirstMessage, HoldBudget]:
    hold = HoldBudget(bytes_max)
    return FirstMessage(hold), hold


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_the_first_text_is_found_and_every_byte_is_kept(step: int) -> None:
    first, hold = hearing()
    before = frame(PING, b"p") + frame(BINARY, b"b")
    wire = before + fragments(TEXT, [HELLO[:3], HELLO[3:]], None, frame(PING, b"q"))
    event = None
    for start in range(0, len(wire), step):
        assert event is None
        event = first.feed(wire[start : start + step], 1.0)

    assert isinstance(event, Notice)
    assert first.payload == HELLO
    assert bytes(first.raw) == wire
    first.close()
    first.close()
    assert hold.bytes_held == 0


def test_what_stands_behind_it_in_the_same_bytes_is_kept_unread() -> None:
    first, _ = hearing()
    wire = frame(TEXT, HELLO) + frame(TEXT, b"second") + frame(CLOSE, b"")

    assert isinstance(first.feed(wire, 1.0), Notice)
    assert first.payload == HELLO
    assert bytes(first.raw) == wire


def test_a_close_instead_is_told() -> None:
    first, _ = hearing()

    assert first.feed(frame(CLOSE, b"\x0f\xa0no"), 1.0) == PeerClosed(4000, "no")


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"\x81\x81", Reason.PROTOCOL_ERROR_UPSTREAM),
        (frame(TEXT, b"\xff"), Reason.BAD_UTF8),
        (b"\x81\x7f" + (FIRST_MESSAGE_MAX_BYTES + 1).to_bytes(8, "big"), Reason.TOO_BIG),
        (frame(BINARY, b"x" * 1000) * (RAW_MAX_BYTES // 1000), Reason.TOO_BIG),
    ],
)
def test_a_broken_rule_instead_is_told(wire: bytes, reason: Reason) -> None:
    first, hold = hearing()
    event = None
    for start in range(0, len(wire), 60_000):
        event = event or first.feed(wire[start : start + 60_000], 1.0)

    assert isinstance(event, Violation)
    assert event.reason is reason
    assert len(first.raw) <= RAW_MAX_BYTES
    first.close()
    assert hold.bytes_held == 0


def test_what_is_collected_counts_as_held() -> None:
    first, hold = hearing(100)

    assert first.feed(frame(BINARY, b"x" * 90), 1.0) is None
    assert hold.bytes_held == 92
    assert first.feed(frame(BINARY, b"x" * 90), 1.0) == Violation.overload()
    first.close()
    assert hold.bytes_held == 0
