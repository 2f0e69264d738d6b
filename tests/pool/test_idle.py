"""What a socket may say that nobody uses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.core.endings import Reason
from relayd.pool.idle import IDLE, STRAY, why_broken
from relayd.protocol.outcomes import Crash, EndOfStream, Event, PeerClosed, Violation


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"codex.rate_limits","plan_type":"pro"}',
        b'{"rate_limits":{},"type":"codex.rate_limits"}',
        rb'{"type":"codex\u002erate_limits"}',
    ],
)
def test_it_may_tell_what_is_left_of_a_quota(payload: bytes) -> None:
    assert IDLE.message(payload, 0.0) is None
    assert IDLE.message(bytearray(payload), 0.0) is None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"response.created"}',
        b'{"type":"error","status":400}',
        b'{"type":"codex.rate_limits","type":"response.created"}',
        b'{"type":"response.created","type":"codex.rate_limits"}',
        b'{"type":"codex.rate_limits.more"}',
        b'{"type":7}',
        b"{}",
        b"codex.rate_limits",
        b"",
        b"\x00",
    ],
)
def test_anything_else_ends_it(payload: bytes) -> None:
    assert IDLE.message(payload, 0.0) is STRAY


@given(st.binary(max_size=64))
def test_no_bytes_make_it_raise(payload: bytes) -> None:
    assert IDLE.message(payload, 0.0) is STRAY


def test_a_long_message_is_never_harmless() -> None:
    head = b'{"type":"codex.rate_limits",'

    assert not IDLE.harmless(head)
    assert IDLE.oversize(head, 0.0) is STRAY


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (STRAY, "stray_event"),
        (PeerClosed(1001, ""), "peer_closed"),
        (EndOfStream(), "peer_gone"),
        (Crash(ZeroDivisionError()), "crashed"),
        (Violation(Reason.BAD_UTF8, ""), "bad_utf8"),
        (Violation.overload(), "overload"),
    ],
)
def test_every_end_has_a_word(event: Event, word: str) -> None:
    assert why_broken(event) == word
