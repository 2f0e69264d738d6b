from __future__ import annotations

import pytest

from bench import frames, handshake
from bench.failures import UnexpectedAnswer
from bench.handshake import Dialect

NONCE = b"the sample nonce"  # RFC 6455 section 1.3


def test_the_request_carries_the_key_and_the_nonce() -> None:
    request = handshake.upgrade_request("127.0.0.1:1", "secret", NONCE)

    assert request.startswith(b"GET /v1/realtime?model=bench HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in request
    assert b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" in request
    assert request.endswith(b"\r\n\r\n")


def test_the_answer_accepts_the_nonce_as_the_rfc_does() -> None:
    answer = handshake.upgrade_answer(handshake.upgrade_request("h", "s", NONCE))

    assert answer is not None
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


def test_an_incomplete_request_has_no_answer_yet() -> None:
    request = handshake.upgrade_request("h", "s", NONCE)

    assert all(handshake.upgrade_answer(request[:size]) is None for size in range(len(request)))


def test_a_request_that_is_no_upgrade_is_named() -> None:
    with pytest.raises(UnexpectedAnswer, match="GET /v1/models"):
        handshake.upgrade_answer(b"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n")


def test_a_request_without_end_is_given_up() -> None:
    with pytest.raises(UnexpectedAnswer, match="no end"):
        handshake.upgrade_answer(b"G" * (handshake.HEAD_MAX_BYTES + 1))


def test_a_client_is_greeted_once_the_whole_first_event_is_there() -> None:
    answer = handshake.upgrade_answer(handshake.upgrade_request("h", "s", NONCE))
    assert answer is not None
    wire = answer + frames.session_created()

    assert not any(handshake.is_greeted(wire[:size]) for size in range(len(wire)))
    assert handshake.is_greeted(wire)


def test_a_responses_client_asks_another_target_and_is_greeted_by_the_101_alone() -> None:
    request = handshake.upgrade_request("h", "s", NONCE, Dialect.RESPONSES)
    answer = handshake.upgrade_answer(request)

    assert request.startswith(b"GET /v1/responses HTTP/1.1\r\n")
    assert answer is not None
    assert not handshake.is_greeted(answer[:-1], Dialect.RESPONSES)
    assert handshake.is_greeted(answer, Dialect.RESPONSES)
    assert not handshake.is_greeted(answer, Dialect.REALTIME)


def test_a_refusal_is_shown_with_status_and_body() -> None:
    wire = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\n{"e":"k"}'

    with pytest.raises(UnexpectedAnswer, match=r'401 Unauthorized: \{"e":"k"\}'):
        handshake.is_greeted(wire)


def test_another_first_event_is_shown() -> None:
    wire = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + frames.text_frame(b'{"type":"error"}')

    with pytest.raises(UnexpectedAnswer, match='"type":"error"'):
        handshake.is_greeted(wire)
