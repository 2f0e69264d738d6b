"""The settings there are, their names and defaults: users' files depend on them."""

from __future__ import annotations

import attrs
import pytest

from relayd.config import price_file
from relayd.config.schema import (
    LimitSettings,
    LogSettings,
    ServerSettings,
    Settings,
)
from relayd.config.structure import TABLES


def defaults_of(value: attrs.AttrsInstance) -> dict[str, object]:
    return attrs.asdict(value, recurse=False)


def test_the_server_s_defaults() -> None:
    assert defaults_of(ServerSettings()) == {
        "listen": ("127.0.0.1:8765",),
        "admin": "unix:relayd-admin.sock",
        "admin_token": None,
        "drain_s": 30.0,
        "allowed_origins": (),
        "trusted_proxies": (),
        "client_address_header": "x-forwarded-for",
        "proxy_protocol": False,
        "tls": None,
    }


def test_the_limits_defaults() -> None:
    assert defaults_of(LimitSettings()) == {
        "request_head_max_bytes": 32768,
        "request_body_max_bytes": 67108864,
        "message_max_bytes": 67108864,
        "sessions_max": 0,
        "hold_max_bytes": 536870912,
        "handshakes_per_ip_max": 64,
        "handshake_s": 10.0,
        "admission_s": 8.0,
        "first_message_s": 30.0,
        "stall_s": 15.0,
        "session_max_s": 3600.0,
        "keepalive_s": 15.0,
        "keepalive_timeout_s": 45.0,
    }


def test_the_log_s_defaults() -> None:
    assert defaults_of(LogSettings()) == {"format": "json", "level": "info"}


@pytest.mark.parametrize("table", [*TABLES, *price_file.TABLES, Settings])
def test_settings_are_frozen_and_named(table: type[attrs.AttrsInstance]) -> None:
    for field in attrs.fields(table):
        assert field.kw_only
        assert field.on_setattr is None
    assert table.__setattr__ is not object.__setattr__
