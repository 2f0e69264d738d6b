from __future__ import annotations

import contextlib
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.protocol.head import HeadReader
from relayd.protocol.upgrade import check_upgrade, response_101
from relayd.protocol.upstream_upgrade import (
    EXCERPT_MAX_BYTES,
    INTERIM_MAX,
    OWN_HEADERS,
    UpstreamAccepted,
    UpstreamDeclined,
    UpstreamMalformed,
    UpstreamResponseReader,
    upstream_request,
)

SECRET = "sk-canary0canary0canary0canary0"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ACCEPTED = response_101(KEY, None)
ERROR = b'{"error":{"code":"invalid_api_key","message":"Incorrect API key provided"}}'

PIECES = st.sampled_from(
    [
        *(b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/1.1 401 Unauthorized\r\n", b"\r\n"),
        *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 503 No\r\n", b"Upgrade: websocket\r\n"),
        *(b"Connection: upgrade\r\n", b"Content-Length: 5\r\n", b"hello", b"\n", b"\x81\x00"),
        *(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"Retry-After: 3\r\n"),
        f"Sec-WebSocket-Accept: {ACCEPT}\r\n".encode(),
    ]
)
ANSWERS = st.lists(PIECES).map(b"".join) | st.binary(max_size=300) | st.just(ACCEPTED + b"\x81\0")

Answer = UpstreamAccepted | UpstreamDeclined | None


def read(data: bytes, *offered: str, chunk_bytes: int = 1 << 20) -> Answer:
    reader = UpstreamResponseReader(KEY, offered)
    for start in range(0, len(data), chunk_bytes):
        answer = reader.feed(data[start : start + chunk_bytes])
        if answer is not None:
            return answer
    return None


def accepting(**changed: str | None) -> bytes:
    """A 101 with some headers changed, or left out by ``None``."""
    headers: dict[str, str | None] = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": ACCEPT,
    }
    headers |= {name.replace("_", "-").lower(): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""]).encode()


def declining(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


def test_the_request_is_one_that_relayd_itself_would_accept() -> None:
    sent = upstream_request(
        "api.example:8443",
        "/v1/realtime?model=a%20b",
        [("Authorization", f"Bearer {SECRET}"), ("OpenAI-Safety-Identifier", "u1")],
        ["realtime", "v2"],
        KEY,
    )

    head = HeadReader(32_768).feed(sent)
    assert head is not None
    request = check_upgrade(head)
    assert head.target == "/v1/realtime?model=a%20b"
    assert (request.host, request.key) == ("api.example:8443", KEY)
    assert request.subprotocols == ("realtime", "v2")
    assert head.get("authorization") == f"Bearer {SECRET}"
    assert head.get("sec-websocket-extensions") is None


def test_without_subprotocols_none_is_offered() -> None:
    assert b"Sec-WebSocket-Protocol" not in upstream_request("a", "/", [], [], KEY)


@pytest.mark.parametrize("authority", ["", "a b", "a\r\nX: y", "user@a", "a/b"])
def test_an_authority_is_a_host_and_a_port(authority: str) -> None:
    with pytest.raises(ValueError, match="authority"):
        upstream_request(authority, "/", [], [], KEY)


@pytest.mark.parametrize(
    "target", ["", "v1", "/a b", "/a\r\nX: y", "/a HTTP/1.1\r\n", "/ä", "/a#b", "/a\n", "/\x00"]
)
def test_a_target_is_an_encoded_path(target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        upstream_request("a", target, [], [], KEY)


@pytest.mark.parametrize("value", ["\r\nX: y", "\n", "\r", "\0", "ä"])
def test_a_header_cannot_begin_another_one_and_its_value_is_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match="Authorization") as caught:
        upstream_request("a", "/", [("Authorization", SECRET + value)], [], KEY)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", [*sorted(OWN_HEADERS), "Host", "SEC-WebSocket-Key"])
def test_a_header_of_the_handshake_itself_cannot_be_added(name: str) -> None:
    with pytest.raises(ValueError, match="belongs to the handshake"):
        upstream_request("a", "/", [(name, "x")], [], KEY)


@pytest.mark.parametrize("subprotocol", ["", "a b", "a,b", "a\r\nX: y"])
def test_an_offered_subprotocol_is_a_token(subprotocol: str) -> None:
    with pytest.raises(ValueError, match="subprotocol"):
        upstream_request("a", "/", [], ["ok", subprotocol], KEY)


def test_a_right_101_is_accepted_and_the_first_frames_are_left_over() -> None:
    reader = UpstreamResponseReader(KEY, ())

    assert reader.feed(ACCEPTED[:30]) is None
    assert reader.feed(ACCEPTED[30:] + b"\x81\x02hi") == UpstreamAccepted(None)
    assert reader.leftover == b"\x81\x02hi"


def test_the_chosen_subprotocol_is_told() -> None:
    assert read(response_101(KEY, "b"), "a", "b") == UpstreamAccepted("b")
    assert read(response_101(KEY, None), "a", "b") == UpstreamAccepted(None)


@pytest.mark.parametrize("changed", [{"Upgrade": "WebSocket"}, {"Connection": "x, UPGRADE"}])
def test_what_rfc_6455_allows_in_a_101_is_accepted(changed: dict[str, str]) -> None:
    assert read(accepting(**changed)) == UpstreamAccepted(None)


@pytest.mark.parametrize(
    "data",
    [
        accepting(Upgrade=None),
        accepting(Upgrade="h2c"),
        accepting(Upgrade="websocket, h2c"),
        accepting(Connection=None),
        accepting(Connection="close"),
        accepting(Sec_WebSocket_Accept=None),
        accepting(Sec_WebSocket_Accept=KEY),
        accepting(Sec_WebSocket_Accept=ACCEPT.lower()),
        accepting(Sec_WebSocket_Accept=f"{ACCEPT}, {ACCEPT}"),
        accepting(Sec_WebSocket_Extensions="permessage-deflate"),
        accepting(Sec_WebSocket_Protocol="other"),
        accepting(Sec_WebSocket_Protocol="A"),
        accepting(Sec_WebSocket_Protocol="a, b"),
        accepting(Sec_WebSocket_Protocol=""),
        accepting(Content_Length="0"),
        accepting(Transfer_Encoding="chunked"),
        accepting().replace(b"HTTP/1.1", b"HTTP/1.0"),
        accepting().replace(b"HTTP/1.1", b"HTTP/2"),
        accepting().replace(b"HTTP/1.1 101", b"ICY 101"),
        accepting().replace(b" 101 ", b" 1010 "),
        accepting().replace(b"\r\n", b"\n"),
        accepting(X="a\r\n b"),
        accepting(X="\0"),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",  # a TLS alert
        b"x" * 70_000,
    ],
)
def test_an_answer_that_is_not_exact_is_malformed(data: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        read(data, "a", "b")


def test_a_decline_is_told_with_status_and_body() -> None:
    data = declining("401 Unauthorized", f"Content-Length: {len(ERROR)}", body=ERROR)

    assert read(data) == UpstreamDeclined(401, None, ERROR.decode())


@pytest.mark.parametrize("chunk_bytes", [1, 7, 50, 1000])
@pytest.mark.parametrize(
    "data",
    [
        declining("429 Slow", f"Content-Length: {len(ERROR)}", body=ERROR),
        declining(
            "429 Slow", "Transfer-Encoding: chunked", body=b"4b\r\n" + ERROR + b"\r\n0\r\n\r\n"
        ),
    ],
)
def test_a_framed_body_is_waited_for(data: bytes, chunk_bytes: int) -> None:
    assert len(ERROR) == 0x4B
    assert read(data, chunk_bytes=chunk_bytes) == UpstreamDeclined(429, None, ERROR.decode())


def test_a_body_without_framing_is_told_as_far_as_it_came() -> None:
    assert read(declining("502 Bad Gateway", body=b"<html>")) == UpstreamDeclined(
        502, None, "<html>"
    )


def test_a_framed_body_that_is_cut_off_is_told_as_far_as_it_came() -> None:
    reader = UpstreamResponseReader(KEY, ())

    assert reader.feed(declining("500 No", "Content-Length: 100", body=b"half")) is None
    assert reader.feed(b"") == UpstreamDeclined(500, None, "half")


def test_a_broken_body_does_not_hide_the_status() -> None:
    data = declining("503 No", "Transfer-Encoding: chunked", body=b"not a chunk\r\n")

    assert read(data) == UpstreamDeclined(503, None, "")


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_of_a_long_body_the_beginning_is_enough(framing: str) -> None:
    body = b"f4240\r\n" + b"x " * 50_000 if "chunked" in framing else b"x " * 50_000

    answer = read(declining("500 No", framing, body=body), chunk_bytes=1000)

    assert isinstance(answer, UpstreamDeclined)
    assert answer.body_excerpt == "x " * (EXCERPT_MAX_BYTES // 2)


def test_no_body_is_no_excerpt() -> None:
    assert read(declining("403 No", "Content-Length: 0")) == UpstreamDeclined(403, None, "")


@pytest.mark.parametrize("status", [200, 204, 301, 426])
def test_success_and_redirects_are_declines(status: int) -> None:
    answer = read(declining(f"{status} X", "Content-Length: 0", "Location: http://a/"))

    assert answer == UpstreamDeclined(status, None, "")


@pytest.mark.parametrize("line", ["HTTP/1.0 503 No", "HTTP/1.1 503", "HTTP/1.1 503 "])
def test_a_decline_of_an_old_server_still_tells_its_status(line: str) -> None:
    data = f"{line}\r\nContent-Length: 0\r\n\r\n".encode()

    assert read(data) == UpstreamDeclined(503, None, "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("17", 17.0),
        ("-1", None),
        ("1.5", None),
        ("Fri, 20 Nov 2026 00:00:00 GMT", None),
        ("9" * 10, None),
        ("1, 2", None),
        ("\u0661", None),
    ],
)
def test_retry_after_is_read_as_whole_seconds(value: str, expected: float | None) -> None:
    data = declining("429 No", "Content-Length: 0", f"Retry-After: {value}")

    assert read(data) == UpstreamDeclined(429, expected, "")


def test_what_looks_like_a_key_in_a_body_is_redacted() -> None:
    body = f"Incorrect API key provided: {SECRET}\x1b[31m".encode()

    answer = read(declining("401 No", f"Content-Length: {len(body)}", body=body))

    assert isinstance(answer, UpstreamDeclined)
    assert SECRET not in repr(answer)
    assert "Incorrect API key provided" in answer.body_excerpt
    assert answer.body_excerpt.isprintable()


def test_interim_responses_are_skipped_up_to_a_bound() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

    assert read(interim * INTERIM_MAX + ACCEPTED) == UpstreamAccepted(None)
    with pytest.raises(UpstreamMalformed):
        read(interim * (INTERIM_MAX + 1) + ACCEPTED)


def test_interim_responses_count_towards_the_longest_head() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nX: " + b"y" * 30_000 + b"\r\n\r\n"

    with pytest.raises(UpstreamMalformed):
        read(interim * 3 + ACCEPTED)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 101 Switching", b"HTTP/1.1 100 Go\r\n\r\n"])
def test_a_connection_that_ends_before_the_head_is_malformed(sent: bytes) -> None:
    reader = UpstreamResponseReader(KEY, ())
    if sent:
        assert reader.feed(sent) is None

    with pytest.raises(UpstreamMalformed):
        reader.feed(b"")


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 101 %b\x00", b"%b\r\n\r\n", b"HTTP/1.1 401 No\r\n%b: \x01\r\n\r\n"]
)
def test_an_error_shows_nothing_of_the_answer(data: bytes) -> None:
    with pytest.raises(UpstreamMalformed) as caught:
        read(data % SECRET.encode())

    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@given(ANSWERS)
def test_no_bytes_raise_anything_but_malformed(data: bytes) -> None:
    reader = UpstreamResponseReader(KEY, ("realtime",))
    answer: Answer = None
    with contextlib.suppress(UpstreamMalformed):
        answer = reader.feed(data) if data else None
        if answer is None:
            answer = reader.feed(b"")  # the end of the stream always brings an answer or the error
            assert isinstance(answer, UpstreamDeclined)


@given(ANSWERS, st.integers(1, 100))
def test_whether_an_upstream_accepted_does_not_depend_on_the_chunks(data: bytes, size: int) -> None:
    def outcome(chunk_bytes: int) -> tuple[str, int]:
        try:
            answer = read(data, chunk_bytes=chunk_bytes)
        except UpstreamMalformed:
            return "malformed", 0
        match answer:
            case UpstreamDeclined(status):
                return "declined", status  # an unframed body is told as far as it came
            case UpstreamAccepted():
                return "accepted", 101
            case None:
                return "incomplete", 0

    assert outcome(size) == outcome(1)
