"""What the log says of the ledger, and how often."""

from __future__ import annotations

from relayd.ledger.errors import LedgerError
from relayd.ledger.notices import EVERY_S, Notices
from relayd.observe.events import LogEvent
from tests.conftest import LogLines

BROKEN = LedgerError("the disk failed; mend it")


def test_a_fault_is_told_at_once_then_now_and_then(log_lines: LogLines) -> None:
    notices = Notices()

    for now in range(0, 100, 5):
        notices.failed(BROKEN, now, float(now))

    lines = log_lines.of(LogEvent.LEDGER_FAILED)
    assert [line["pending"] for line in lines] == [0, 30, 60, 90]
    assert {line["message"] for line in lines} == {"the disk failed; mend it"}
    assert {line["level"] for line in lines} == {"error"}
    assert notices.failing_since == 0.0


def test_a_fault_is_told_at_once_again_after_it_had_passed(log_lines: LogLines) -> None:
    notices = Notices()

    for now in (0.0, 3.0):
        notices.failed(BROKEN, 1, now)
        notices.failed(BROKEN, 1, now + 1)
        notices.committed(2, 5, now + 1.5, now + 2)

    assert len(log_lines.of(LogEvent.LEDGER_FAILED)) == 2
    (first, _) = log_lines.of(LogEvent.LEDGER_RECOVERED)
    assert (first["rows"], first["duration_s"], first["level"]) == (7, 2.0, "info")
    assert notices.failing_since is None


def test_a_commit_is_for_those_who_debug(log_lines: LogLines) -> None:
    Notices().committed(2, 5, 1.0, 1.25)

    (line,) = log_lines.all
    assert line["event"] == LogEvent.LEDGER_COMMITTED
    assert (line["rows"], line["pending"], line["duration_ms"]) == (2, 5, 250.0)
    assert line["level"] == "debug"


def test_losses_are_summed_up_between_two_lines(log_lines: LogLines) -> None:
    notices = Notices()

    notices.lost(1, "full", 0.0)
    notices.lost(2, "full", 1.0)
    notices.lost(3, "full", EVERY_S - 0.1)
    notices.failed(BROKEN, 1, EVERY_S)
    notices.lost(4, "full", EVERY_S + 1)
    notices.committed(1, 0, EVERY_S * 2, EVERY_S * 2)
    notices.lost(5, "stopped", EVERY_S * 2 + 1)
    notices.ended(EVERY_S * 2 + 2)
    notices.ended(EVERY_S * 9)

    lines = log_lines.of(LogEvent.LEDGER_LOST)
    assert [(line["rows"], line["message"]) for line in lines] == [
        (1, "full"),
        (5, "full"),
        (4, "full"),
        (5, "stopped"),
    ]
    assert {line["level"] for line in lines} == {"error"}
