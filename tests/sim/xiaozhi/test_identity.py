"""Who a simulated device is."""

from __future__ import annotations

import re

from relayd.sim.xiaozhi.identity import Identity


def test_a_random_device_has_an_address_of_its_own() -> None:
    first, second = Identity.random(token="t.1", version=3), Identity.random()

    assert first.device_id != second.device_id
    # The first byte of a locally administered address of one station (IEEE 802, clause 8).
    assert re.fullmatch(r"02(:[0-9a-f]{2}){5}", first.device_id)
    assert "t.1" not in repr(first)


def test_the_headers_of_the_upgrade() -> None:
    named = Identity(device_id="02:00", client_id="c", token="t", version=2)

    assert dict(named.headers()) == {
        b"Device-Id": b"02:00",
        b"Client-Id": b"c",
        b"Protocol-Version": b"2",
        b"Authorization": b"Bearer t",
    }
    assert b"Authorization" not in dict(Identity(device_id="d", client_id="c").headers())
