from __future__ import annotations

import contextlib
import traceback

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.core.refusals import RefusalCode
from relayd.protocol.head import PARAMETERS_MAX, SINGLETONS, Head, HeadError, HeadReader, Query

SECRET = "rk_canary0canary0canary0canary0"
LINE = b"GET /v1/realtime?model=gpt-realtime HTTP/1.1"
HOST = b"Host: relay.example"

LINES = st.sampled_from(
    [
        *(LINE, HOST, b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 0, 0", b": x"),
        *(b"Transfer-Encoding: chunked", b"Host: b", b" folded", b"A : b", b"X: \xff", b"", b"\0"),
        *(b"POST / HTTP/1.1", b"GET / HTTP/1.0", b"OPTIONS * HTTP/1.1", b"Upgrade: websocket"),
    ]
)
HEADS = st.tuples(st.lists(LINES, max_size=6), st.sampled_from([b"\r\n", b"\n"])).map(
    lambda parts: parts[1].join(parts[0]) + b"\r\n\r\n"
)
NEAR = st.lists(LINES, max_size=4).map(lambda more: b"\r\n".join([LINE, HOST, *more, b"", b""]))


def read(*lines: bytes, behind: bytes = b"") -> Head:
    head = HeadReader(32_768).feed(b"\r\n".join([*lines, b"", b""]) + behind)
    assert head is not None
    return head


def refused(*lines: bytes) -> RefusalCode:
    with pytest.raises(HeadError) as caught:
        read(*lines)
    return caught.value.refusal.code


def outcome(data: bytes, chunk_bytes: int) -> tuple[Head, bytes] | RefusalCode | None:
    reader = HeadReader(400)
    for start in range(0, len(data), chunk_bytes):
        try:
            head = reader.feed(data[start : start + chunk_bytes])
        except HeadError as error:
            return error.refusal.code
        if head is not None:
            # How much had come with the head's end depends on the chunks; nothing else may.
            rest = data[start + chunk_bytes :]
            return attrs.evolve(head, early_bytes=0), reader.leftover + rest
    return None


def test_a_request_is_taken_apart() -> None:
    head = read(LINE, HOST, b"Authorization:  Bearer x \t", b"Accept: */*")

    assert (head.method, head.path) == ("GET", "/v1/realtime")
    assert head.target == "/v1/realtime?model=gpt-realtime"
    assert head.query == Query("model=gpt-realtime")
    assert head.headers == (
        (b"host", b"relay.example"),
        (b"authorization", b"Bearer x"),
        (b"accept", b"*/*"),
    )
    assert head.get("authorization") == "Bearer x"
    assert head.early_bytes == 0


def test_a_request_without_an_upgrade_is_read_by_the_same_reader() -> None:
    assert read(b"HEAD /livez HTTP/1.1", HOST).method == "HEAD"
    assert read(b"GET /livez?verbose HTTP/1.1", HOST).query.raw == "verbose"


def test_bytes_behind_the_head_are_counted_and_left_over() -> None:
    reader = HeadReader(32_768)

    head = reader.feed(LINE + b"\r\n" + HOST + b"\r\n\r\n\x81\x00")

    assert head is not None
    assert head.early_bytes == 2
    assert reader.leftover == b"\x81\x00"


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.0",
        b"GET / HTTP/2.0",
        b"PRI * HTTP/2.0",
        b"GET / http/1.1",
        b"GET /",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET\t/\tHTTP/1.1",
        b"G@T / HTTP/1.1",
        b"GET http://relay.example/ HTTP/1.1",
        b"GET relay.example HTTP/1.1",
        b"CONNECT relay.example:443 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\xc3\xa4 HTTP/1.1",
        b"",
        b"SSH-2.0-OpenSSH_9.2",
        b"M" * 33 + b" / HTTP/1.1",
    ],
)
def test_a_request_line_that_is_not_exact_is_malformed(line: bytes) -> None:
    assert refused(line, HOST) is RefusalCode.MALFORMED_REQUEST


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (HOST, HOST),
        (HOST, b"Host: other.example"),
        (b"Host:",),
        (b"Host: a b",),
        (b"Host: a, b",),
        (b"Host: a/b",),
        (b"Host: user@a",),
        (b"Host: a:b",),
        (b"Host: [::1",),
        (HOST, b"Content-Length: 5"),
        (HOST, b"Content-Length: 0", b"Content-Length: 0"),
        (HOST, b"Content-Length: 0, 0"),
        (HOST, b"Content-Length: 0, 5"),
        (HOST, b"Content-Length: +0"),
        (HOST, b"Content-Length: 0x0"),
        (HOST, b"Content-Length:"),
        (HOST, b"Content-Length: " + b"9" * 30),
        (HOST, b"Transfer-Encoding: chunked"),
        (HOST, b"Transfer-Encoding: identity"),
        (HOST, b"Transfer-Encoding: chunked", b"Content-Length: 0"),
        (HOST, b"Transfer-Encoding : chunked"),
        (HOST, b"X: a", b" b"),
        (HOST, b"X: a", b"\tb"),
        (b" X: folded at once", HOST),
        (HOST, b"no colon"),
        (HOST, b": no name"),
        (HOST, b"spaced name: x"),
        (HOST, b"na\xc3\xafve: x"),
    ],
)
def test_headers_that_two_readers_could_read_differently_are_malformed(
    lines: tuple[bytes, ...],
) -> None:
    assert refused(LINE, *lines) is RefusalCode.MALFORMED_REQUEST


@pytest.mark.parametrize("name", sorted(SINGLETONS - {b"content-length"}))
def test_a_header_that_may_stand_once_is_refused_twice(name: bytes) -> None:
    others = [] if name == b"host" else [HOST]

    assert refused(LINE, *others, name + b": a", name + b": b") is RefusalCode.MALFORMED_REQUEST
    assert refused(LINE, *others, name + b": a", name + b": a") is RefusalCode.MALFORMED_REQUEST


@pytest.mark.parametrize(
    "host", [b"relay", b"relay.example:8765", b"127.0.0.1", b"[::1]:8765", b"a_b.example"]
)
def test_a_host_is_a_name_or_an_address_with_or_without_port(host: bytes) -> None:
    assert read(LINE, b"Host: " + host).get("host") == host.decode()


def test_an_announced_empty_body_is_no_body() -> None:
    assert read(LINE, HOST, b"Content-Length: 0").get("content-length") == "0"


def test_a_bare_line_feed_is_malformed() -> None:
    with pytest.raises(HeadError) as caught:
        HeadReader(32_768).feed(LINE + b"\n" + HOST + b"\n\n")

    assert caught.value.refusal.status == 400


def test_a_head_that_is_too_long_or_has_too_many_lines_is_431() -> None:
    with pytest.raises(HeadError) as caught:
        HeadReader(100).feed(LINE + b"\r\nX: " + b"y" * 100)

    assert caught.value.refusal.status == 431
    assert refused(LINE, HOST, *[b"X: y"] * 100) is RefusalCode.HEAD_TOO_LARGE


@given(HEADS | NEAR | st.binary(max_size=500), st.integers(1, 200))
def test_the_head_does_not_depend_on_how_the_bytes_arrive(data: bytes, size: int) -> None:
    assert outcome(data, size) == outcome(data, 1)


@given(HEADS | NEAR | st.binary() | st.binary().map(lambda junk: LINE + b"\r\n" + junk))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    answer = outcome(data + b"\r\n\r\n", 1 << 20)

    assert answer in {RefusalCode.MALFORMED_REQUEST, RefusalCode.HEAD_TOO_LARGE} or (
        isinstance(answer, tuple) and isinstance(answer[0], Head)
    )


@pytest.mark.parametrize(
    "line", [b"bad name %b: x", b"X: %b\x00", b"Content-Length: %b", b" %b", b"%b"]
)
def test_a_refusal_shows_nothing_of_the_request(line: bytes) -> None:
    with pytest.raises(HeadError) as caught:
        read(LINE, HOST, line % SECRET.encode())

    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None or SECRET not in str(caught.value.__context__)
    assert SECRET not in caught.value.refusal.body().decode()


def test_a_repr_shows_neither_path_nor_query_nor_headers() -> None:
    secret = SECRET.encode()
    head = read(b"GET /%b?key=%b HTTP/1.1" % (secret, secret), HOST, b"api-key: " + secret)

    assert SECRET not in repr(head)
    assert SECRET not in repr(head.query)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", {}),
        ("model=a", {"model": "a"}),
        ("&model=a&&", {"model": "a"}),
        ("model", {"model": ""}),
        ("model=a=b", {"model": "a=b"}),
        ("model=a%2Fb%20c", {"model": "a/b c"}),
        ("model=a+b", {"model": "a b"}),
        ("m%6Fdel=%C3%A4", {"model": "ä"}),
        ("x=1&x=2", {"x": "1"}),
    ],
)
def test_a_query_is_decoded(raw: str, expected: dict[str, str]) -> None:
    assert Query(raw).parameters(once={"model"}) == expected


@pytest.mark.parametrize(
    "raw",
    [
        "model=a&model=b",
        "model=a&m%6fdel=a",
        "model=%",
        "model=%4",
        "model=%zz",
        "model=%ff",
        "%ff=a",
        "&".join(f"p{n}" for n in range(PARAMETERS_MAX + 1)),
    ],
)
def test_a_query_that_is_not_clear_is_an_invalid_parameter(raw: str) -> None:
    with pytest.raises(HeadError) as caught:
        Query(raw).parameters(once={"model"})

    assert caught.value.refusal.code is RefusalCode.INVALID_PARAMETER
    assert caught.value.__context__ is None


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_no_query_raises_anything_but_a_refusal(raw: str) -> None:
    parameters: dict[str, str] = {}
    with contextlib.suppress(HeadError):
        parameters = Query(raw).parameters(once={"model"})

    assert len(parameters) <= PARAMETERS_MAX
