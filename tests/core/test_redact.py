"""What is shown to others holds no key and no control character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.core.redact import CLOSE_REASON_MAX_BYTES, close_reason, redact

CANARY = "canary0123456789"


@pytest.mark.parametrize(
    "secret",
    [
        f"sk-{CANARY}",
        f"sk-proj-{CANARY}",
        f"ek_{CANARY}",
        f"sess-{CANARY}",
        f"Bearer {CANARY}",
        f"bearer   {CANARY}",
        f"Basic {CANARY}==",
        f"openai-insecure-api-key.{CANARY}",
        f"eyJ{CANARY}.{CANARY}.{CANARY}",
        f"{CANARY}{CANARY}",
        f"{CANARY}-{CANARY}-{CANARY}",
    ],
)
@pytest.mark.parametrize("around", ["%s", "wrong key: %s.", '{"key":"%s"}', "a=%s&b", "(%s)"])
def test_what_looks_like_a_key_is_taken_out(secret: str, around: str) -> None:
    assert CANARY not in redact(around % secret)
    assert "[redacted]" in close_reason(around % secret)


@pytest.mark.parametrize(
    "text",
    ["", "invalid_request_error.beta_api_shape_disabled", "keepalive ping timeout", "naïve – 𝄞"],
)
def test_ordinary_reasons_stay(text: str) -> None:
    assert redact(text) == text


def test_control_characters_and_line_separators_become_spaces() -> None:
    assert redact("a\r\nb\x00c\x7fd\x9fe\u2028f\u2029g") == "a  b c d e f g"


@given(st.text(max_size=200))
def test_a_close_reason_fits_and_is_utf8(text: str) -> None:
    assert len(close_reason(text).encode()) <= CLOSE_REASON_MAX_BYTES


@pytest.mark.parametrize("before", range(4))
def test_a_close_reason_is_cut_between_characters(before: int) -> None:
    text = "-" * before + "𝄞 " * 60

    assert text.startswith(close_reason(text))
    assert len(close_reason(text).encode()) > CLOSE_REASON_MAX_BYTES - 5


def test_a_key_is_taken_out_before_the_cut() -> None:
    assert CANARY[:4] not in close_reason("x " * 58 + f"sk-{CANARY}")


def test_text_that_cannot_be_encoded_is_no_crash() -> None:
    assert close_reason("a\ud800b") == "a?b"
