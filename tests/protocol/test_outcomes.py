"""What a flow tells the outside."""

from __future__ import annotations

from relayd.core.endings import Fault, Reason, ending_of
from relayd.protocol.outcomes import Counts, Violation
from tests.properties.streams import TEXT, drive, frame, upstream_flow


def test_overload_is_relayds_own_fault_and_names_the_setting() -> None:
    overload = Violation.overload()

    assert overload.reason is Reason.OVERLOAD
    assert ending_of(overload.reason).fault is Fault.RELAY
    assert "limits.hold_max_bytes" in overload.message


def test_a_flow_counts_what_it_has_sent_on() -> None:
    flow = upstream_flow()
    counts: Counts = flow
    drive(flow, frame(TEXT, b"one") + frame(TEXT, b"three"))

    assert (counts.messages, counts.bytes) == (2, 8)
