"""Receiving TLS records: what is returned, and what is said about the rest."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Iterator

import pytest

from relayd.transport.records import RECORD_BYTES, More, below_tls, receive_records

Step = bytes | OSError


class Records(ssl.SSLSocket):
    """Yields one record, or one error, for each read."""

    def __init__(self, sock: socket.socket) -> None:
        socket.socket.__init__(self, fileno=sock.detach())
        self.steps: deque[Step] = deque()
        self.inside: deque[int] = deque()
        self.asked: list[int] = []

    def read(self, len: int = 1024, buffer: bytearray | memoryview | None = None) -> int:  # type: ignore[override]  # noqa: A002 - only the form with a buffer is used
        self.asked.append(len)
        step = self.steps.popleft()
        if isinstance(step, OSError):
            raise step
        assert buffer is not None
        buffer[: step.__len__()] = step
        return step.__len__()

    def pending(self) -> int:
        return self.inside.popleft() if self.inside else int(bool(self.steps))


@pytest.fixture
def records() -> Iterator[Records]:
    ours, theirs = socket.socketpair()
    with Records(ours) as sock, theirs:
        yield sock


def received(records: Records, *steps: Step, size: int = 65536) -> tuple[int, More, bytes]:
    records.steps.extend(steps)
    buffer = bytearray(size)
    count, more = receive_records(records, memoryview(buffer))
    return count, more, bytes(buffer[: max(count, 0)])


def test_records_are_received_until_none_is_left(records: Records) -> None:
    assert received(records, b"one", b"two") == (6, More.NOTHING, b"onetwo")
    assert records.asked[0] == RECORD_BYTES


def test_a_full_view_leaves_bytes_inside(records: Records) -> None:
    assert received(records, b"12", b"34", b"56", size=4) == (4, More.INSIDE, b"1234")
    assert records.asked == [4, 2]


def test_no_whole_record_is_no_end(records: Records) -> None:
    assert received(records, ssl.SSLWantReadError()) == (-1, More.NOTHING, b"")


def test_a_record_cut_short_does_not_hide_those_before_it(records: Records) -> None:
    assert received(records, b"one", ssl.SSLWantReadError()) == (3, More.NOTHING, b"one")


@pytest.mark.parametrize(("steps", "count"), [((), -1), ((b"one",), 3)])
def test_having_to_send_first_is_said(
    records: Records, steps: tuple[bytes, ...], count: int
) -> None:
    got = received(records, *steps, ssl.SSLWantWriteError())

    assert got == (count, More.AFTER_SEND, b"".join(steps))


def test_the_end_of_the_stream_is_no_byte(records: Records) -> None:
    assert received(records, b"") == (0, More.NOTHING, b"")


def test_the_end_behind_bytes_is_met_by_the_next_call(records: Records) -> None:
    assert received(records, b"one", b"") == (3, More.INSIDE, b"one")
    assert received(records, b"") == (0, More.NOTHING, b"")


def test_a_loss_behind_bytes_is_met_by_the_next_call(records: Records) -> None:
    lost = ConnectionResetError()

    assert received(records, b"one", lost) == (3, More.INSIDE, b"one")
    with pytest.raises(ConnectionResetError):
        received(records, lost)


def test_below_tls_the_connection_s_own_bytes_are_received(records: Records) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"\x15\x03\x03")
        buffer = bytearray(10)

        assert below_tls(ours)(memoryview(buffer), 10) == 3

    assert buffer[:3] == b"\x15\x03\x03"
