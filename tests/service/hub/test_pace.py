"""How fast tenants publish."""

from __future__ import annotations

import pytest

from relayd.dialect.hub_publish import EVENTS_MAX
from relayd.service.hub.pace import BURST, Pace


def test_a_burst_is_taken_at_once_and_then_no_more() -> None:
    pace = Pace(per_s=10.0, burst=100)

    assert pace.take("team", 60, 5.0) == 0.0
    assert pace.take("team", 40, 5.0) == 0.0
    assert pace.take("team", 1, 5.0) == pytest.approx(0.1)


def test_what_does_not_fit_takes_nothing() -> None:
    pace = Pace(per_s=10.0, burst=100)
    pace.take("team", 90, 0.0)

    assert pace.take("team", 20, 0.0) == pytest.approx(1.0)
    assert pace.take("team", 10, 0.0) == 0.0


def test_it_is_refilled_in_time_and_never_beyond_its_size() -> None:
    pace = Pace(per_s=10.0, burst=100)
    pace.take("team", 100, 0.0)

    assert pace.take("team", 20, 1.9) > 0.0
    assert pace.take("team", 20, 2.0) == 0.0
    assert pace.take("team", 100, 1000.0) == 0.0
    assert pace.take("team", 1, 1000.0) > 0.0


def test_waiting_as_long_as_it_says_is_enough() -> None:
    pace = Pace(per_s=8.0, burst=64)
    pace.take("team", 64, 0.0)

    assert pace.take("team", 3, pace.take("team", 3, 0.0)) == 0.0


def test_tenants_do_not_wait_for_each_other() -> None:
    pace = Pace(burst=1)
    pace.take("team", 1, 0.0)

    assert pace.take("rival", 1, 0.0) == 0.0


def test_so_many_are_remembered_the_last_ones() -> None:
    pace = Pace(burst=1, tenants_max=2)
    for tenant in ("first", "second", "first", "third"):
        pace.take(tenant, 1, 0.0)

    assert len(pace) == 2
    assert pace.take("first", 1, 0.0) > 0.0
    assert pace.take("third", 1, 0.0) > 0.0


def test_any_one_request_fits() -> None:
    assert EVENTS_MAX <= BURST
