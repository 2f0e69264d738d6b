from __future__ import annotations

import socket
import threading

import pytest

from bench import frames, handshake, openings
from bench.failures import RunFailed, UnexpectedAnswer
from bench.handshake import Dialect
from relayd.dialect.chat_request import read_request
from relayd.dialect.chat_values import ChatRequest

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ROLE = b'60\r\ndata: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n\r\n'
PIECE = b'60\r\ndata: {"choices":[{"delta":{"content":"%020dx"}}]}\n\n\r\n' % 0


def test_a_question_is_one_that_relayd_takes() -> None:
    request = openings.request("127.0.0.1:1", "secret", Dialect.CHAT)
    head, _, body = request.partition(b"\r\n\r\n")

    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in head
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    asked = read_request(body)
    assert isinstance(asked, ChatRequest)
    assert asked.stream
    assert asked.unsupported == ()


def test_in_the_other_dialects_it_is_an_upgrade() -> None:
    request = openings.request("h", "s", Dialect.RESPONSES)

    assert request.startswith(b"GET /v1/responses HTTP/1.1\r\n")
    answer = handshake.upgrade_answer(request)
    assert answer is not None
    assert openings.is_open(answer, Dialect.RESPONSES)


def test_an_answer_has_begun_with_its_first_piece() -> None:
    before, whole = HEAD + ROLE, HEAD + ROLE + PIECE

    assert not any(openings.is_open(before[:size], Dialect.CHAT) for size in range(len(before) + 1))
    assert openings.is_open(whole, Dialect.CHAT)


def test_a_refusal_is_shown_with_status_and_body() -> None:
    wire = b'HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\n\r\n{"e":"k"}'

    with pytest.raises(UnexpectedAnswer, match=r'429 Too Many Requests: \{"e":"k"\}'):
        openings.is_open(wire, Dialect.CHAT)


def test_a_head_without_end_is_given_up() -> None:
    with pytest.raises(UnexpectedAnswer, match="no end"):
        openings.is_open(b"H" * (handshake.HEAD_MAX_BYTES + 1), Dialect.CHAT)


def probed(answer: bytes, dialect: Dialect) -> bytes:
    """Probe a relay that answers so; what it has read until the client was gone."""
    heard = bytearray()

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            heard.extend(client.recv(65536))
            client.sendall(answer)
            while data := client.recv(65536):
                heard.extend(data)
                client.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            openings.probe(listener.getsockname(), "secret", dialect)
        finally:
            thread.join()
    return bytes(heard)


def test_a_probe_of_chat_leaves_when_the_answer_has_begun() -> None:
    heard = probed(HEAD + ROLE + PIECE, Dialect.CHAT)

    assert heard == openings.request("127.0.0.1:0", "secret", Dialect.CHAT).replace(
        b"127.0.0.1:0", heard.split(b"\r\n")[1].removeprefix(b"Host: ")
    )


def test_a_probe_of_a_session_closes_it() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + frames.session_created()

    assert probed(answer, Dialect.REALTIME).endswith(b"\r\n\r\n" + frames.MASKED_CLOSE)


def test_a_probe_that_nobody_answers_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

    with pytest.raises(RunFailed, match="the first session through the relay"):
        openings.probe(address, "secret", Dialect.CHAT)
