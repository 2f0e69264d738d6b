"""Close codes of the hub."""

from __future__ import annotations

import json

import pytest

from relayd.core.endings import Reason
from relayd.core.redact import CLOSE_REASON_MAX_BYTES, close_reason
from relayd.dialect.hub_codes import CLOSES, Close, HubClose


def test_every_ending_has_a_code() -> None:
    assert set(CLOSES) == set(Reason)


def test_every_code_of_the_hub_but_one_is_the_end_of_some_session() -> None:
    """4010 is left to whoever finds that a place is lost: no ending of a session means that."""
    assert {close.code for close in CLOSES.values()} >= set(HubClose) - {HubClose.RESYNC}


def test_no_ending_is_a_normal_one() -> None:
    """A client that sees 1000, or no code, takes it that nothing is wrong and stays away."""
    assert not {close.code for close in CLOSES.values()} & {1000, 1001, 1005, 1006}


@pytest.mark.parametrize("close", CLOSES.values())
def test_every_text_fits_is_shown_and_is_no_json(close: Close) -> None:
    """The JavaScript client reads a code only beside a text, and takes JSON for an order."""
    assert 0 < len(close.text.encode()) <= CLOSE_REASON_MAX_BYTES
    assert close.text.isascii()
    assert close_reason(close.text) == close.text
    with pytest.raises(json.JSONDecodeError):
        json.loads(close.text)


@pytest.mark.parametrize(
    ("reason", "code", "comes_back"),
    [
        (Reason.DRAIN, 4001, True),
        (Reason.SESSION_MAX_AGE, 4001, True),
        (Reason.KEY_EXPIRED, 4005, True),
        (Reason.CLIENT_SLOW, 4008, True),
        (Reason.CLIENT_SILENT, 4009, True),
        (Reason.TOKEN_REFUSED, 4500, False),
        (Reason.UNSUPPORTED_DATA, 4501, False),
        (Reason.CONTROL_FLOOD, 4501, False),
        (Reason.KILLED, 4503, False),
        (Reason.KEY_REMOVED, 4503, False),
        (Reason.SESSIONS_EXCEEDED, 4504, False),
        (Reason.TOPICS_EXCEEDED, 4505, False),
        (Reason.PROTOCOL_ERROR_CLIENT, 1002, True),
        (Reason.BAD_UTF8, 1007, True),
        (Reason.TOO_BIG, 1009, True),
        (Reason.CLIENT_CLOSED, None, True),
    ],
)
def test_whether_a_client_comes_back(reason: Reason, code: int | None, comes_back: bool) -> None:
    close = CLOSES[reason]

    assert (close.code, close.comes_back) == (code, comes_back)
