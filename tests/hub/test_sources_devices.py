"""What the hub tells of devices."""

from __future__ import annotations

from typing import get_args

import pytest

from relayd.hub.sources_devices import NAMES, told_of_device
from relayd.observe.device_events import (
    DeviceCommand,
    DeviceCommanded,
    DeviceEvent,
    DeviceGreeted,
)
from relayd.observe.facts import SessionFacts

FACTS = SessionFacts(
    session_id="sess_1", dialect="xiaozhi", key="dev", tenant="t", account="main", model=None
)


def test_every_event_has_a_name_of_its_own() -> None:
    assert NAMES.keys() == set(get_args(DeviceEvent))
    assert len(set(NAMES.values())) == len(NAMES)


@pytest.mark.parametrize(
    ("event", "name", "said"),
    [
        (DeviceGreeted(session=FACTS, hello_ms=1.5), "device.greeted", {"hello_ms": 1.5}),
        (
            DeviceCommanded(session=FACTS, device_id="d", command=DeviceCommand.KICK),
            "device.commanded",
            {"device_id": "d", "command": "kick"},
        ),
    ],
)
def test_it_says_all_but_whose_it_is(
    event: DeviceEvent, name: str, said: dict[str, object]
) -> None:
    assert told_of_device(event) == (name, said)
