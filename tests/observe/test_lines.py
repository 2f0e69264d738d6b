from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from relayd.observe.lines import LineWriter

LINE = b"x" * 99 + b"\n"
PIPE_BYTES = 65536
"""What a Linux pipe holds, pipe(7)."""


class Pipe:
    """A pipe whose reader reads when it is told to."""

    def __init__(self) -> None:
        self.reader, descriptor = os.pipe()
        os.set_blocking(self.reader, False)
        self.stream: BinaryIO = os.fdopen(descriptor, "wb")

    def read(self) -> bytes:
        try:
            return os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return b""

    def close_reader(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close_reader()
    pipe.stream.close()


def test_a_line_is_written_at_once(pipe: Pipe) -> None:
    LineWriter(pipe.stream).write(LINE)

    assert pipe.read() == LINE


def test_what_was_buffered_before_comes_first(pipe: Pipe) -> None:
    pipe.stream.write(b"earlier\n")

    LineWriter(pipe.stream).write(LINE)

    assert pipe.read() == b"earlier\n" + LINE


def test_a_stream_without_a_descriptor_takes_lines() -> None:
    stream = io.BytesIO()

    LineWriter(stream).write(LINE)

    assert stream.getvalue() == LINE


def test_a_reader_that_does_not_read_holds_nobody_up_and_gets_every_line_in_order(
    pipe: Pipe,
) -> None:
    writer = LineWriter(pipe.stream)
    lines = [b"%d " % number + LINE for number in range(2000)]

    for line in lines:
        writer.write(line)
    got = b""
    while not writer.flush():
        got += pipe.read()

    assert got + pipe.read() == b"".join(lines)
    assert writer.lines_lost == 0


def test_a_line_longer_than_a_pipe_goes_out_in_pieces(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream)
    long_line = bytes(range(32, 127)) * 2000 + b"\n"

    writer.write(long_line)
    got = b""
    while not writer.flush():
        got += pipe.read()

    assert got + pipe.read() == long_line


def test_what_the_backlog_does_not_hold_is_counted_and_the_rest_stays_whole(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream, backlog_max_bytes=1000)

    for _ in range(2000):
        writer.write(LINE)
    got = pipe.read()
    while not writer.flush():
        got += pipe.read()
    got += pipe.read()

    assert set(got.splitlines(keepends=True)) == {LINE}
    assert got.count(b"\n") + writer.lines_lost == 2000
    assert PIPE_BYTES // 2 <= len(got) <= PIPE_BYTES + 1000


def test_a_closed_pipe_raises_nothing_and_is_counted(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream)
    pipe.close_reader()

    for _ in range(3):
        writer.write(LINE)

    assert writer.lines_lost == 3
    assert writer.flush()


def test_a_descriptor_that_somebody_made_non_blocking_is_no_error(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    writer = LineWriter(pipe.stream)

    for _ in range(2000):
        writer.write(LINE)

    assert writer.lines_lost == 0


def test_a_line_after_a_torn_one_starts_on_a_row_of_its_own() -> None:
    class Disk(io.BytesIO):
        room = 50

        def write(self, data: object) -> int:
            assert isinstance(data, bytes)
            if self.room == 0:
                raise OSError(28, "No space left on device")
            taken = super().write(data[: self.room])
            self.room -= taken
            return taken

    disk = Disk()
    writer = LineWriter(disk)

    writer.write(LINE)
    disk.room = 1000
    writer.write(LINE)

    assert writer.lines_lost == 1
    assert disk.getvalue() == LINE[:50] + b"\n" + LINE


def test_closing_gives_up_on_a_reader_after_its_time_and_counts_what_is_left(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream)
    for _ in range(PIPE_BYTES // len(LINE) + 10):
        writer.write(LINE)

    writer.close(within_s=0.02)

    assert writer.lines_lost > 0
    assert writer.flush()
