"""Packets that say which they are, and the counting of them."""

from __future__ import annotations

import pytest

from relayd.dialect.xiaozhi_frames import opus_duration_us
from relayd.sim.xiaozhi.audio import DURATIONS_MS, PACKET_BYTES, Ear, packet


@pytest.mark.parametrize("frame_ms", DURATIONS_MS)
def test_a_packet_tells_how_long_it_sounds(frame_ms: int) -> None:
    made = packet(1, 0, frame_ms)

    assert len(made) == PACKET_BYTES
    assert opus_duration_us(made) == frame_ms * 1000


def heard(*packets: bytes) -> tuple[int, int, int, int]:
    ear = Ear()
    for one in packets:
        ear.hear(one)
    return ear.packets, ear.lost, ear.misplaced, ear.foreign


def test_packets_in_order_are_counted_alone() -> None:
    assert heard(*(packet(7, number) for number in range(5))) == (5, 0, 0, 0)


def test_what_is_missing_between_two_is_lost() -> None:
    assert heard(packet(7, 0), packet(7, 3), packet(7, 5)) == (3, 3, 0, 0)


def test_what_comes_again_or_late_is_misplaced() -> None:
    assert heard(packet(7, 0), packet(7, 1), packet(7, 1), packet(7, 0)) == (4, 0, 2, 0)


def test_another_speaker_begins_anew() -> None:
    assert heard(packet(7, 0), packet(8, 40), packet(8, 42)) == (3, 1, 0, 0)


def test_the_packets_of_others_are_foreign() -> None:
    assert heard(b"", b"\x58" * PACKET_BYTES, packet(7, 0)[:-1]) == (3, 0, 0, 3)
