"""The settings of keys, their names and defaults: users' files depend on them."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest

from relayd.config.keys import BUDGET_MAX_USD, BudgetPeriod, BusyLane, KeySettings, Recovery, Role
from relayd.core.money import nano_of


def test_a_key_s_defaults() -> None:
    assert attrs.asdict(KeySettings(name="a")) == {
        "name": "a",
        "enabled": True,
        "secret": None,
        "tenant": "a",
        "models": ("*",),
        "dialects": ("*",),
        "expires": None,
        "allowed_ips": (),
        "sessions_max": 0,
        "requests_per_minute": 0,
        "tokens_per_minute": 0,
        "budget_usd": Decimal(0),
        "budget_period": BudgetPeriod.MONTH,
        "price_factor": Decimal(1),
        "websocket": True,
        "busy_lane": BusyLane.QUEUE,
        "recovery": Recovery.NONE,
        "role": Role.USER,
    }


def test_a_tenant_is_the_key_s_name_unless_it_is_given() -> None:
    assert KeySettings(name="a", tenant="b").tenant == "b"


def test_the_periods_of_a_budget() -> None:
    assert [str(period) for period in BudgetPeriod] == ["day", "week", "month", "total"]


def test_only_known_periods_exist() -> None:
    with pytest.raises(ValueError, match="year"):
        KeySettings(name="a", budget_period="year")


def test_the_largest_budget_leaves_room_in_63_bits() -> None:
    assert nano_of(BUDGET_MAX_USD) * 8 < 2**63
