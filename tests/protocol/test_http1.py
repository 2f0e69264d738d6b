"""HTTP/1.1 around the head: request framing, bodies in any chunking, responses."""

from __future__ import annotations

from collections.abc import Iterable

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.core.refusals import RefusalCode
from relayd.protocol.head import Head, HeadError, Query
from relayd.protocol.http1 import (
    CHUNK_LINE_MAX_BYTES,
    EXTENSIONS_MAX_BYTES,
    LAST_CHUNK,
    TRAILERS_MAX_BYTES,
    BodyError,
    ChunkedDecoder,
    Framing,
    LengthDecoder,
    RequestReader,
    decoder_of,
    encode_chunk,
    expects_continue,
    framing_of,
    response_head,
)
from relayd.protocol.raw_head import HEADERS_MAX

SECRET = b"canary0canary0canary0"
POST = b"POST /v1/responses HTTP/1.1"
HOST = b"Host: relay.example"
CHUNKED = b"Transfer-Encoding: chunked"

# Mostly the bytes that matter here, so that line ends meet the ends of what is fed.
ROUGH = st.lists(
    st.sampled_from(
        [
            b"\r\n",
            b"\r",
            b"\n",
            b"0",
            b"3",
            b"a",
            b";x",
            b"abc",
            b"0\r\n\r\n",
            b"3\r\nabc\r\n",
            b"X: y",
        ]
    )
).map(b"".join)


def lines(*given: bytes) -> bytes:
    return b"\r\n".join([*given, b"", b""])


def read(*given: bytes, behind: bytes = b"") -> Head:
    head = RequestReader(32_768).feed(lines(*given) + behind)
    assert head is not None
    return head


def pieces(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """``data`` cut into pieces of ``sizes``, in turn, and a last one of what is left."""
    cut, at = [], 0
    for size in sizes:
        cut.append(data[at : at + size])
        at += size
    return [piece for piece in [*cut, data[at:]] if piece]


def decoded(fed: list[bytes]) -> tuple[bytes, bytes] | str | None:
    """The body and all that follows it; ``None`` while incomplete; the text of an error."""
    decoder, body = ChunkedDecoder(), b""
    for number, piece in enumerate(fed):
        try:
            body += decoder.feed(piece)
        except BodyError as error:
            return str(error)
        if decoder.complete:
            return body, decoder.leftover + b"".join(fed[number + 1 :])
    return None


def refused(data: bytes) -> str:
    outcome = decoded([data])
    assert isinstance(outcome, str), outcome
    return outcome


# -- the head


def test_a_chunked_request_is_read_and_otherwise_as_by_the_reader_of_all_heads() -> None:
    reader = RequestReader(32_768)

    head = reader.feed(lines(POST, HOST, b"TRANSFER-encoding: \tChunked ", b"X: y") + b"3\r\n")

    assert head is not None
    assert (head.method, head.path, head.early_bytes) == ("POST", "/v1/responses", 3)
    assert head.get("transfer-encoding") == "chunked"
    assert head.get("x") == "y"
    assert reader.leftover == b"3\r\n"


@pytest.mark.parametrize(
    ("framed", "length"),
    [((), 0), ((b"Content-Length: 0",), 0), ((b"Content-Length: 12",), 12), ((CHUNKED,), None)],
)
def test_a_body_is_framed_by_its_length_or_by_chunks_or_is_none(
    framed: tuple[bytes, ...], length: int | None
) -> None:
    assert framing_of(read(POST, HOST, *framed)) == Framing(length)


@pytest.mark.parametrize(
    "smuggled",
    [
        (b"Content-Length: 3", CHUNKED),
        (CHUNKED, b"Content-Length: 0"),
        (b"Content-Length: 3", b"Content-Length: 3"),
        (b"Content-Length: 3", b"Content-Length: 4"),
        (b"Content-Length: 3, 3",),
        (b"Content-Length: +3",),
        (b"Content-Length: -3",),
        (b"Content-Length: 0x3",),
        (b"Content-Length: 3 3",),
        (b"Content-Length: 3;",),
        (b"Content-Length: \xb2",),
        (b"Content-Length:",),
        (b"Content-Length: 9999999999999999",),
        (b"Content-Length: " + b"9" * 5000,),
        (b"Content-Length : 3",),
        (CHUNKED, CHUNKED),
        (b"Transfer-Encoding: chunked, chunked",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: chunked;q=1",),
        (b'Transfer-Encoding: "chunked"',),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding:\x0bchunked",),
        (b"Transfer-Encoding:",),
        (CHUNKED, b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding : chunked",),
        (b" Transfer-Encoding: chunked",),
        (b"X: y\nTransfer-Encoding: chunked",),
        (b"X: y\rTransfer-Encoding: chunked",),
        (b"Transfer-Encoding:\r\n chunked",),
        (b"Transfer-Encoding\x00: chunked",),
    ],
)
def test_what_two_readers_could_frame_differently_is_refused(smuggled: tuple[bytes, ...]) -> None:
    with pytest.raises(HeadError) as caught:
        read(POST, HOST, *smuggled)

    assert caught.value.refusal.code is RefusalCode.MALFORMED_REQUEST


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("framed", [CHUNKED, b"Content-Length: 1"])
def test_a_get_has_no_body_so_that_an_upgrade_has_none(method: bytes, framed: bytes) -> None:
    with pytest.raises(HeadError, match="must not carry a body"):
        read(method + b" /v1/realtime HTTP/1.1", HOST, framed)


@pytest.mark.parametrize("line", [b"POST / HTTP/1.0", b"POST / HTTP/2", b"POST /"])
def test_other_versions_are_refused_with_chunks_too(line: bytes) -> None:
    with pytest.raises(HeadError, match="request line"):
        read(line, HOST, CHUNKED)


def test_the_line_that_is_set_aside_counts_towards_the_bounds() -> None:
    many = [b"X: y"] * HEADERS_MAX

    with pytest.raises(HeadError) as caught:
        read(POST, *many, CHUNKED)
    assert caught.value.refusal.code is RefusalCode.HEAD_TOO_LARGE
    with pytest.raises(HeadError) as caught:
        RequestReader(64).feed(lines(POST, HOST, CHUNKED))
    assert caught.value.refusal.code is RefusalCode.HEAD_TOO_LARGE


def head_of(*headers: tuple[bytes, bytes], method: str = "POST") -> Head:
    """A head that no reader has checked."""
    return Head(
        method=method, target="/", path="/", query=Query(""), headers=headers, early_bytes=0
    )


@pytest.mark.parametrize(
    "headers",
    [
        ((b"transfer-encoding", b"chunked"), (b"content-length", b"3")),
        ((b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")),
        ((b"transfer-encoding", b"gzip"),),
        ((b"content-length", b"3"), (b"content-length", b"3")),
        ((b"content-length", b"3, 3"),),
        ((b"content-length", b"\xb2"),),
        ((b"content-length", b"1" * 16),),
    ],
)
def test_framing_is_decided_strictly_whoever_read_the_head(
    headers: tuple[tuple[bytes, bytes], ...],
) -> None:
    with pytest.raises(HeadError):
        framing_of(head_of(*headers))


@given(
    st.lists(
        st.sampled_from([HOST, CHUNKED, b"Content-Length: 3", b"X: y", b" f", b"A : b", b"\n"]),
        max_size=5,
    ),
    st.lists(st.integers(1, 40), max_size=30),
)
def test_what_is_read_of_a_head_does_not_depend_on_how_it_arrives(
    given_lines: list[bytes], sizes: list[int]
) -> None:
    data = lines(POST, *given_lines) + b"rest"

    def outcome(fed: list[bytes]) -> tuple[Framing, bytes] | RefusalCode | None:
        reader = RequestReader(100)
        for number, piece in enumerate(fed):
            try:
                head = reader.feed(piece)
            except HeadError as error:
                return error.refusal.code
            if head is not None:
                return framing_of(head), reader.leftover + b"".join(fed[number + 1 :])
        return None

    assert outcome(pieces(data, sizes)) == outcome([data])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), False),
        ((b"100-continue",), True),
        ((b"100-Continue",), True),
        ((b"200-ok",), None),
        ((b"100-continue, x",), None),
        ((b"100-continue", b"100-continue"), None),
        ((b"",), None),
    ],
)
def test_nothing_but_a_100_can_be_expected(
    values: tuple[bytes, ...], expected: bool | None
) -> None:
    assert expects_continue(head_of(*[(b"expect", value) for value in values])) is expected


# -- the body


@given(st.binary(max_size=50), st.binary(max_size=10), st.lists(st.integers(1, 20), max_size=20))
def test_a_body_of_known_length_ends_there(body: bytes, behind: bytes, sizes: list[int]) -> None:
    decoder, seen = decoder_of(Framing(len(body))), b""
    rest = pieces(body + behind, sizes)
    while rest and not decoder.complete:
        seen += decoder.feed(rest.pop(0))

    assert decoder.complete
    assert decoder.remaining == 0
    assert seen == body
    assert decoder.leftover + b"".join(rest) == behind


def test_what_is_left_of_a_body_is_known_by_its_length_alone() -> None:
    known, chunked = LengthDecoder(10), decoder_of(Framing(None))

    known.feed(b"abc")

    assert known.remaining == 7
    assert chunked.remaining is None
    chunked.feed(LAST_CHUNK)
    assert chunked.remaining == 0


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.binary(max_size=10),
    st.lists(st.integers(1, 30), max_size=60),
)
def test_chunks_are_decoded_whatever_pieces_they_come_in(
    chunks: list[bytes], behind: bytes, sizes: list[int]
) -> None:
    wire = b"".join(map(encode_chunk, chunks)) + LAST_CHUNK + behind

    assert decoded(pieces(wire, sizes)) == (b"".join(chunks), behind)


@given(ROUGH | st.binary(max_size=60), st.lists(st.integers(1, 9), max_size=60))
def test_what_is_read_or_refused_does_not_depend_on_the_pieces(
    data: bytes, sizes: list[int]
) -> None:
    assert decoded(pieces(data, sizes)) == decoded([data])


@given(ROUGH | st.binary(max_size=60))
def test_what_is_taken_is_taken_by_h11_alike(data: bytes) -> None:
    ours = decoded([data])
    if not isinstance(ours, tuple):
        return  # relayd is the stricter one
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(lines(POST, HOST, CHUNKED) + data)
    assert isinstance(connection.next_event(), h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data

    assert isinstance(event, h11.EndOfMessage)
    assert (body, connection.trailing_data[0]) == ours


def test_extensions_and_trailers_are_dropped() -> None:
    wire = b'3;a=b;c="d e"\r\nabc\r\n0000;x\r\nContent-Length: 9\r\nX:y\r\n\r\nnext'

    assert decoded([wire]) == (b"abc", b"next")


@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n",
        b"+3\r\n",
        b"-3\r\n",
        b"0x3\r\n",
        b" 3\r\n",
        b"3 \r\n",
        b"3 ;a\r\n",
        b"3_0\r\n",
        b"g\r\n",
        b"\xb2\r\n",
        b"123456789\r\n",
        b"fffffffffffffffff\r\n",
        b"3\nabc\r\n",
        b"3\r\r\n",
        b"3;a\x00\r\n",
        b"3;a\rb\r\n",
        b"3;\n0\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n",
        b"3\r\nabc\r\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabc\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX\r\n",
        b"0\r\n: y\r\n",
        b"0\r\nX : y\r\n",
        b"0\r\nX: y\r\n folded\r\n",
        b"0\r\nX: \x00\r\n",
        b"0\r\nGET / HTTP/1.1\r\n",
        b"0\r\n\n",
    ],
)
def test_chunks_are_strict(wire: bytes) -> None:
    refused(wire)


def test_no_line_between_chunks_grows_without_bound() -> None:
    longest = b"3;" + b"x" * (CHUNK_LINE_MAX_BYTES - 2)

    assert decoded([longest + b"\r\nabc\r\n" + LAST_CHUNK]) == (b"abc", b"")
    assert "longer" in refused(longest + b"x\r\n")
    assert "longer" in refused(b"3;" + b"x" * 1000)


def test_extensions_are_bounded_in_all() -> None:
    extension = b";" + b"x" * 127
    fitting = EXTENSIONS_MAX_BYTES // len(extension)
    chunk = b"1" + extension + b"\r\nz\r\n"

    assert decoded([chunk * fitting + LAST_CHUNK]) == (b"z" * fitting, b"")
    assert "extensions" in refused(chunk * fitting + b"1;\r\n")


def test_trailers_are_bounded_in_all() -> None:
    trailer = b"X: " + b"y" * 125
    fitting = TRAILERS_MAX_BYTES // len(trailer)
    wire = b"0\r\n" + (trailer + b"\r\n") * fitting

    assert decoded([wire + b"\r\n"]) == (b"", b"")
    assert "longer" in refused(wire + b"X: y\r\n\r\n")


def test_a_broken_body_is_a_400_that_quotes_nothing() -> None:
    with pytest.raises(BodyError) as caught:
        ChunkedDecoder().feed(SECRET + b"\r\n")

    assert caught.value.refusal.status == 400
    assert SECRET.decode() not in str(caught.value)
    assert SECRET.decode() not in caught.value.refusal.message


# -- the response


def test_a_response_says_how_long_it_is() -> None:
    assert response_head(200, [("X", "y")], length=3, close=False) == (
        b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\n"
    )


def test_a_response_of_unknown_length_is_chunked() -> None:
    assert response_head(404, [], length=None, close=True) == (
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("length", [0, None])
def test_a_status_without_a_body_is_not_framed(status: int, length: int | None) -> None:
    head = response_head(status, [], length=length, close=False)

    assert b"Content-Length" not in head
    assert b"Transfer-Encoding" not in head


def test_who_sends_upgrade_names_it_in_connection() -> None:
    upgrade = [("Upgrade", "websocket")]

    assert b"Connection: Upgrade\r\n" in response_head(426, upgrade, length=0, close=False)
    assert b"Connection: Upgrade, close\r\n" in response_head(426, upgrade, length=0, close=True)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (101, []),
        (199, []),
        (299, []),
        (600, []),
        (200, [("Content-Length", "3")]),
        (200, [("transfer-encoding", "chunked")]),
        (200, [("CONNECTION", "close")]),
        (200, [("X\r\nY", "z")]),
        (200, [("X: y\r\nZ", "z")]),
        (200, [("", "z")]),
    ],
)
def test_a_response_that_would_mislead_a_client_is_not_written(
    status: int, headers: list[tuple[str, str]]
) -> None:
    with pytest.raises(ValueError, match=r"."):
        response_head(status, headers, length=0, close=False)


@given(st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(["a\r\nSet: b", "a\n"]))
def test_no_value_begins_another_header_or_another_response(value: str) -> None:
    if not all(sign == "\t" or " " <= sign <= "~" for sign in value):
        with pytest.raises(ValueError, match=r"^the value of header X must be printable ASCII$"):
            response_head(200, [("X", value)], length=0, close=False)
        return
    head = response_head(200, [("X", value)], length=0, close=False)
    assert head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") == 4


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_an_empty_piece_does_not_end_a_body(parts: list[bytes]) -> None:
    wire = b"".join(map(encode_chunk, parts)) + LAST_CHUNK

    assert decoded([wire]) == (b"".join(parts), b"")
