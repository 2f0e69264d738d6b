"""The settings of accounts."""

from __future__ import annotations

import attrs
import pytest

from relayd.config.accounts import AccountSettings, Timeouts, Transport, UpstreamMode
from relayd.config.providers import Provider
from relayd.config.secret import Secret
from relayd.config.spark import ChatDefaults
from relayd.config.xiaozhi import DeviceServerSettings


def test_an_account_s_defaults() -> None:
    assert attrs.asdict(AccountSettings(name="a", provider="openai")) == {
        "name": "a",
        "provider": Provider.OPENAI,
        "base_url": None,
        "api_key": None,
        "models": ("*",),
        "model_map": {},
        "headers": {},
        "enabled": True,
        "priority": 0,
        "weight": 100,
        "sessions_max": 0,
        "websocket": UpstreamMode.POOL,
        "lanes": None,
        "transport": Transport.WS,
        "spark": None,
        "xiaozhi": attrs.asdict(DeviceServerSettings()),
        "defaults": attrs.asdict(ChatDefaults()),
        "proxy": None,
        "allow_private": False,
        "tls_ca": None,
        "timeouts": {"connect_s": 5.0, "first_frame_s": None, "idle_s": None, "total_s": 300.0},
    }


def test_what_is_not_set_is_a_default_of_the_dialect() -> None:
    assert (Timeouts().session_first_frame_s, Timeouts().session_idle_s) == (5.0, 60.0)
    times = Timeouts(first_frame_s=60.0, idle_s=5.0)
    assert (times.session_first_frame_s, times.session_idle_s) == (60.0, 5.0)


def test_only_known_providers_exist() -> None:
    with pytest.raises(ValueError, match="azure"):
        AccountSettings(name="a", provider="azure")


def test_the_values_of_headers_and_the_key_are_not_shown() -> None:
    account = AccountSettings(
        name="a", provider="openai", api_key=Secret("canary-1"), headers={"X-Key": "canary-2"}
    )

    assert "canary" not in repr(account)
    assert "X-Key" in repr(account)


def test_accounts_can_be_compared_and_hashed() -> None:
    account = AccountSettings(name="a", provider="openai", timeouts=Timeouts(idle_s=1.0))

    assert account == attrs.evolve(account)
    assert len({account, attrs.evolve(account)}) == 1
