from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.protocol.raw_head import HEADERS_MAX, HeadScanner, RawFault, RawHeadError

HEAD = b"GET / HTTP/1.1\r\nHost: relay\r\nX: \xc3\xa4\tb\r\n\r\n"

# Mostly the bytes that matter here, so that line ends meet chunk ends often.
ROUGH = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b"a", b"\x00", b"\r\n\r\n", b"GET / b: c"])
).map(b"".join)


def outcome(data: bytes, chunk_bytes: int, max_bytes: int = 64) -> tuple[bytes, bytes] | RawFault:
    """The head and every byte behind it, or the fault; ``(b"", b"")`` while incomplete."""
    scanner = HeadScanner(max_bytes)
    for start in range(0, len(data), chunk_bytes):
        try:
            head = scanner.feed(data[start : start + chunk_bytes])
        except RawHeadError as error:
            return error.fault
        if head is not None:
            return head, scanner.leftover + data[start + chunk_bytes :]
    return b"", b""


def test_a_head_ends_with_its_empty_line_and_the_rest_is_left_over() -> None:
    scanner = HeadScanner(max_bytes=1000)

    assert scanner.feed(HEAD[:20]) is None
    assert scanner.feed(HEAD[20:] + b"early") == HEAD
    assert scanner.leftover == b"early"


@given(ROUGH | st.binary(max_size=100), st.integers(1, 80))
def test_what_is_read_or_refused_does_not_depend_on_the_chunks(data: bytes, size: int) -> None:
    assert outcome(data, size) == outcome(data, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\rHost",
        b"GET / HTTP/1.1\r\r\n",
        b"GET / HTTP/1.1\r\n\nHost",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01",  # the beginning of a TLS handshake
    ],
)
def test_control_characters_and_other_line_ends_are_refused_before_the_head_is_complete(
    data: bytes,
) -> None:
    assert outcome(data, len(data)) is RawFault.NOT_TEXT


@pytest.mark.parametrize("blank", [b" ", b"\t"])
def test_a_folded_header_is_refused(blank: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nX: a\r\n" + blank + b"b\r\n\r\n"

    assert outcome(head, 1) is RawFault.FOLDED


def test_the_longest_head_passes_and_one_byte_more_does_not() -> None:
    assert outcome(HEAD, 7, max_bytes=len(HEAD)) == (HEAD, b"")
    assert outcome(HEAD, 7, max_bytes=len(HEAD) - 1) is RawFault.TOO_LONG


def test_bytes_behind_the_head_do_not_count_as_its_length() -> None:
    assert outcome(HEAD + b"x" * 5000, 10_000, max_bytes=len(HEAD)) == (HEAD, b"x" * 5000)


def test_a_head_that_cannot_end_in_time_is_refused_without_its_end() -> None:
    assert outcome(b"x" * 64, 64, max_bytes=64) is RawFault.TOO_LONG


def test_the_number_of_headers_is_bounded() -> None:
    line = b"GET / HTTP/1.1\r\n"
    allowed = line + b"x: y\r\n" * HEADERS_MAX + b"\r\n"
    one_more = line + b"x: y\r\n" * (HEADERS_MAX + 1) + b"\r\n"

    assert outcome(allowed, 1000, max_bytes=5000) == (allowed, b"")
    assert outcome(one_more, 1000, max_bytes=5000) is RawFault.TOO_MANY


def test_a_head_in_single_bytes_is_looked_at_once_a_byte() -> None:
    """What is still unchecked after each byte never grows, so the work is linear."""
    scanner = HeadScanner(max_bytes=100_000)
    for byte in b"x" * 20_000:
        scanner.feed(bytes([byte]))
        assert len(scanner._buffer) - scanner._checked <= 1


def test_an_error_never_quotes_the_bytes() -> None:
    with pytest.raises(RawHeadError) as caught:
        HeadScanner(max_bytes=50).feed(b"canary\x00")

    assert str(caught.value) == RawFault.NOT_TEXT.value
