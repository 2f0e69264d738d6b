"""What a flow tells the outside."""

from __future__ import annotations

from relayd.core.endings import Fault, Reason, ending_of
from relayd.protocol.outcomes import Violation


def test_overload_is_relayds_own_fault_and_names_the_setting() -> None:
    overload = Violation.overload()

    assert overload.reason is Reason.OVERLOAD
    assert ending_of(overload.reason).fault is Fault.RELAY
    assert "limits.hold_max_bytes" in overload.message
