"""How often an address may ask."""

from __future__ import annotations

import pytest

from relayd.service.xiaozhi.pace import ASKED_AT_ONCE, ASKED_PER_S, AddressPace, network_of


def test_an_address_has_a_burst_and_then_a_rate() -> None:
    pace = AddressPace()

    assert {pace.take("192.0.2.1", 5.0) for _ in range(ASKED_AT_ONCE)} == {0.0}
    assert pace.take("192.0.2.1", 5.0) == 1 / ASKED_PER_S
    assert pace.take("192.0.2.2", 5.0) == 0
    assert pace.take("192.0.2.1", 5.0 + 1 / ASKED_PER_S) == 0


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("unix", "unix", True),
    ],
)
def test_one_customer_has_one_bucket(one: str, other: str, shared: bool) -> None:
    assert (network_of(one) == network_of(other)) is shared
