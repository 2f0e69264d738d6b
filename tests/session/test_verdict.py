"""Why a session ends: the first reason wins, and cancels with its word."""

from __future__ import annotations

import pytest
import trio

from relayd.core.endings import Fault, Reason, Side
from relayd.session.verdict import Verdict


def test_the_first_reason_wins() -> None:
    verdict = Verdict()

    verdict.end(Reason.CLIENT_CLOSED, code=4000, text="bye")
    verdict.end(Reason.TOO_BIG, sender=Side.UPSTREAM, code=1009, text="other", message="other")

    assert (verdict.reason, verdict.code, verdict.text) == (Reason.CLIENT_CLOSED, 4000, "bye")
    assert (verdict.sender, verdict.message) == (None, "")


async def test_the_reason_s_word_is_in_the_cancellation() -> None:
    verdict = Verdict()
    words: list[str] = []

    with verdict.scope:
        verdict.end(Reason.KILLED)
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            words.append(str(cancelled))
            raise

    assert len(words) == 1
    assert "'killed'" in words[0]


@pytest.mark.parametrize(
    ("sender", "fault", "client_code"),
    [(Side.CLIENT, Fault.CLIENT, 1009), (Side.UPSTREAM, Fault.UPSTREAM, 1011)],
)
def test_the_ending_follows_the_sender(sender: Side, fault: Fault, client_code: int) -> None:
    verdict = Verdict()

    verdict.end(Reason.TOO_BIG, sender=sender)

    assert (verdict.ending.fault, verdict.ending.client_code) == (fault, client_code)


def test_there_is_no_ending_before_the_end() -> None:
    with pytest.raises(AssertionError, match="has not ended"):
        _ = Verdict().ending
