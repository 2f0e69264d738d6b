"""What happens to devices is told by the bus."""

from __future__ import annotations

from relayd.observe.bus import (
    Bus,
    BusEvent,
    DeviceCommand,
    DeviceCommanded,
    DeviceToolCalled,
    SessionFacts,
)

FACTS = SessionFacts(
    session_id="sess_1", dialect="xiaozhi", key="k", tenant="t", account="kitchen", model=None
)


def test_what_happens_to_devices_goes_round_like_all_else() -> None:
    bus, heard = Bus(), list[BusEvent]()
    bus.subscribe(heard.append)
    commanded = DeviceCommanded(session=FACTS, device_id="d", command=DeviceCommand.REBOOT)
    called = DeviceToolCalled(
        session=FACTS, device_id="d", tool="self.light", outcome="answered", duration_ms=12.0
    )

    bus.publish(commanded)
    bus.publish(called)

    assert heard == [commanded, called]
    assert (bus.failures, str(commanded.command)) == (0, "reboot")
