"""What becomes of a client's messages in the pass."""

from __future__ import annotations

from relayd.core.endings import Reason
from relayd.protocol.outcomes import Taken, Violation
from relayd.session.responses.intake import Intake


def test_text_is_for_the_sessions_task() -> None:
    assert Intake().message(b"anything", 0.0, text=True) == Taken(b"anything")


def test_a_binary_message_is_none_of_this_protocol() -> None:
    said = Intake().message(b"{}", 0.0, text=False)

    assert isinstance(said, Violation)
    assert said.reason is Reason.UNSUPPORTED_DATA


def test_nothing_is_let_go_before_its_end() -> None:
    assert Intake().release(b'{"type":"response.create"') is None  # type: ignore[func-returns-value] # that is the point
