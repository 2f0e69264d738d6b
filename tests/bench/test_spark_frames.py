from __future__ import annotations

import pytest

from bench import frames, spark_frames
from relayd.dialect.behind import Began, Finished, FinishReason, Text, Used
from relayd.dialect.spark_frames import SparkExchange
from relayd.dialect.spark_request import Prepared


def payloads(wire: bytes) -> list[bytes]:
    found, start = [], 0
    while start < len(wire):
        end = frames.frame_end(wire, start)
        assert end is not None
        found.append(wire[start + 4 : end])
        start = end
    return found


def test_relayd_finds_nothing_wrong_with_an_answer() -> None:
    exchange = SparkExchange(Prepared(b"", None, ()))

    answered = payloads(spark_frames.whole_answer())
    said = [piece for each in answered for piece in exchange.feed(each)]

    began, *texts, used, finished = said
    assert isinstance(began, Began)
    assert [text.text for text in texts if isinstance(text, Text)] == [
        f"{number:020d}{spark_frames.WORDS}" for number in range(3)
    ]
    assert isinstance(used, Used)
    assert used.usage.output_total == 9
    assert finished == Finished(FinishReason.STOP)


@pytest.mark.parametrize("count", [1, 64])
def test_frames_of_a_batch_are_different_and_of_one_size(count: int) -> None:
    batch = spark_frames.piece_batch(count)

    assert len(batch) == count * spark_frames.PIECE_FRAME_BYTES
    assert len(set(payloads(batch))) == count


def test_digits_can_be_written_over() -> None:
    frame, stamp = spark_frames.stamped_piece()
    assert len(frame) == spark_frames.PIECE_FRAME_BYTES

    frame[stamp] = b"%020d" % 7

    assert bytes(frame) == frames.text_frame(spark_frames.piece(7))
