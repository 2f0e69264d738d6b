"""What is held while there is no server, and what goes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_buffer import (
    HELD_MAX_BYTES,
    HELD_MAX_US,
    PACKETS_MAX,
    TEXTS_MAX,
    AudioBuffer,
    HeldPacket,
    TextBuffer,
)
from relayd.dialect.xiaozhi_messages import read_text

packets = st.lists(
    st.builds(
        HeldPacket, st.integers(0, 40_000).map(bytes), st.sampled_from([0, 2_500, 60_000, 120_000])
    ),
    max_size=80,
)


def numbered(count: int, size: int = 100) -> list[bytes]:
    return [number.to_bytes(2, "big") * (size // 2) for number in range(count)]


def test_the_last_two_seconds_are_kept_and_the_oldest_goes() -> None:
    buffer = AudioBuffer(HoldBudget(1 << 20))
    said = numbered(40)
    for packet in said:
        buffer.put(HeldPacket(packet, 60_000))

    assert buffer.dropped == 7
    assert [packet.payload for packet in buffer.take()] == said[7:]


def test_packets_that_say_that_they_last_no_time_are_bounded_too() -> None:
    buffer = AudioBuffer(HoldBudget(1 << 20))
    for packet in numbered(PACKETS_MAX + 5, 2):
        buffer.put(HeldPacket(packet, 0))

    assert len(buffer) == PACKETS_MAX
    assert buffer.dropped == 5


@given(packets, st.integers(0, 100_000))
def test_neither_bound_nor_budget_is_ever_broken(said: list[HeldPacket], budget: int) -> None:
    hold = HoldBudget(budget)
    buffer = AudioBuffer(hold)
    for packet in said:
        buffer.put(packet)
        assert hold.bytes_held == buffer.bytes_held <= min(HELD_MAX_BYTES, budget)
        assert buffer.us_held <= HELD_MAX_US

    dropped = buffer.dropped
    kept = buffer.take()

    assert len(kept) + dropped == len(said)
    assert hold.bytes_held == 0
    if budget > HELD_MAX_BYTES:
        assert kept == said[dropped:]


def test_texts_are_kept_in_order_and_one_too_many_is_not() -> None:
    hold = HoldBudget(1 << 20)
    texts = TextBuffer(hold)
    said = [read_text(b'{"type":"iot","n":%d}' % number) for number in range(TEXTS_MAX + 1)]

    assert [texts.put(message, 7) for message in said] == [True] * TEXTS_MAX + [False]
    assert hold.bytes_held == sum(len(message.payload) for message in said[:-1])
    assert len(texts) == TEXTS_MAX
    assert texts.take() == [(message, 7) for message in said[:-1]]
    assert hold.bytes_held == 0


def test_texts_that_the_process_has_no_room_for_are_not_kept() -> None:
    texts = TextBuffer(HoldBudget(10))
    assert not texts.put(read_text(b'{"type":"abort"}'), 0)


def test_what_is_about_something_over_is_forgotten() -> None:
    texts = TextBuffer(HoldBudget(1 << 20))
    stop = read_text(b'{"type":"listen","state":"stop"}')
    detect = read_text(b'{"type":"listen","state":"detect"}')
    for number, message in enumerate((stop, detect, stop)):
        texts.put(message, number)

    texts.drop("listen", "stop")

    assert texts.take() == [(detect, 1)]


def test_packets_are_numbered_for_as_long_as_there_are_any() -> None:
    buffer = AudioBuffer(HoldBudget(1 << 20))
    for _ in range(40):
        buffer.put(HeldPacket(b"a", 60_000))
    assert (buffer.number, len(buffer)) == (40, 33)
    buffer.take()
    buffer.put(HeldPacket(b"a", 60_000))
    assert (buffer.number, len(buffer)) == (41, 1)
