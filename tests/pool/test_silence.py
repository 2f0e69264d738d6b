"""A socket that nobody has used yet says nothing."""

from __future__ import annotations

from relayd.pool.silence import SILENCE, SPOKE


def test_no_message_is_let_stand() -> None:
    assert SILENCE.message(b"", 0.0) is SPOKE
    assert SILENCE.message(b"{}", 0.0) is SPOKE
    assert SILENCE.oversize(b"x", 0.0) is SPOKE


def test_nothing_proves_one_harmless() -> None:
    assert not SILENCE.harmless(b"x")
    assert not b"{}".startswith(SILENCE.proof)
