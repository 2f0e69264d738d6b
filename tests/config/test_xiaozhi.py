"""The settings of devices and of their servers, read as the configuration reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from relayd.config.files import Surroundings
from relayd.config.mistakes import Mistake
from relayd.config.secret import Secret
from relayd.config.structure import TableReader
from relayd.config.xiaozhi import (
    PATTERN_MAX_CHARS,
    TOKEN_SECRET_MIN_BYTES,
    DeviceServerSettings,
    XiaozhiSettings,
)

SECRET = "Q" * TOKEN_SECRET_MIN_BYTES

Table = type[XiaozhiSettings | DeviceServerSettings]


def read(
    raw: Mapping[str, object], table: Table, **environ: str
) -> tuple[XiaozhiSettings | DeviceServerSettings, list[Mistake]]:
    reader = TableReader(Surroundings(environ=environ, directory=Path()), (table,))
    return reader.table(table, dict(raw), "at"), reader.mistakes


def test_the_settings_of_devices_in_full() -> None:
    raw = {
        "public_url": "https://relay.example",
        "token_secret": "ENV:TOKENS",
        "token_s": 3600,
        "key": "devices",
        "reconnects_max": 0,
        "devices_allowed": ["24:0a:c4:*"],
        "devices_denied": ["24:0a:c4:00:00:01"],
        "tools_allowed": ["self.*"],
        "message_max_bytes": 65536,
        "hello_s": 5,
    }

    settings, mistakes = read(raw, XiaozhiSettings, TOKENS=SECRET)

    assert mistakes == []
    assert settings == XiaozhiSettings(
        public_url="https://relay.example",
        token_secret=Secret(SECRET),
        token_s=3600.0,
        key="devices",
        reconnects_max=0,
        devices_allowed=("24:0a:c4:*",),
        devices_denied=("24:0a:c4:00:00:01",),
        tools_allowed=("self.*",),
        message_max_bytes=65536,
        hello_s=5.0,
    )
    assert "QQ" not in repr(settings)


def test_without_a_word_all_devices_come_in_and_no_tool_is_called() -> None:
    settings, mistakes = read({}, XiaozhiSettings)

    assert mistakes == []
    assert settings == XiaozhiSettings()
    assert (settings.reconnects_max, settings.token_s) == (2, 30 * 86_400)
    assert (settings.devices_allowed, settings.devices_denied) == (("*",), ())
    assert settings.tools_allowed == ()


def test_a_server_in_full() -> None:
    raw = {
        "ota_url": "https://xiaozhi.example/xiaozhi/ota/",
        "protocol_version": 3,
        "auth_key": "ENV:AUTH",
        "devices": ["24:*", "test-device"],
        "boards": ["esp-box*"],
        "firmware": ["2.*"],
        "tenants": ["home"],
        "keep_mqtt": True,
    }

    server, mistakes = read(raw, DeviceServerSettings, AUTH="canary")

    assert mistakes == []
    assert server == DeviceServerSettings(
        ota_url="https://xiaozhi.example/xiaozhi/ota/",
        protocol_version=3,
        auth_key=Secret("canary"),
        devices=("24:*", "test-device"),
        boards=("esp-box*",),
        firmware=("2.*",),
        tenants=("home",),
        keep_mqtt=True,
    )
    assert "canary" not in repr(server)


@pytest.mark.parametrize(
    ("table", "raw", "path"),
    [
        (XiaozhiSettings, {"public_url": "relay.example"}, "at.public_url"),
        (XiaozhiSettings, {"token_secret": "ENV:NOT_SET"}, "at.token_secret"),
        (XiaozhiSettings, {"token_secret": SECRET[1:]}, "at.token_secret"),
        (XiaozhiSettings, {"token_s": 0}, "at.token_s"),
        (XiaozhiSettings, {"key": "two words"}, "at.key"),
        (XiaozhiSettings, {"reconnects_max": -1}, "at.reconnects_max"),
        (XiaozhiSettings, {"devices_allowed": []}, "at.devices_allowed"),
        (XiaozhiSettings, {"devices_allowed": ["a", "two words"]}, "at.devices_allowed[1]"),
        (XiaozhiSettings, {"devices_denied": [""]}, "at.devices_denied[0]"),
        (
            XiaozhiSettings,
            {"devices_denied": ["d" * (PATTERN_MAX_CHARS + 1)]},
            "at.devices_denied[0]",
        ),
        (XiaozhiSettings, {"tools_allowed": "self.*"}, "at.tools_allowed"),
        (XiaozhiSettings, {"message_max_bytes": 1023}, "at.message_max_bytes"),
        (XiaozhiSettings, {"device_turns_per_minute": -1}, "at.device_turns_per_minute"),
        (XiaozhiSettings, {"device_audio_s_per_day": "1"}, "at.device_audio_s_per_day"),
        (XiaozhiSettings, {"device_messages_per_s": 0.5}, "at.device_messages_per_s"),
        (XiaozhiSettings, {"hello_s": "10"}, "at.hello_s"),
        (DeviceServerSettings, {"ota_url": "mqtt://host/"}, "at.ota_url"),
        (DeviceServerSettings, {"protocol_version": 0}, "at.protocol_version"),
        (DeviceServerSettings, {"protocol_version": 4}, "at.protocol_version"),
        (DeviceServerSettings, {"devices": []}, "at.devices"),
        (DeviceServerSettings, {"boards": []}, "at.boards"),
        (DeviceServerSettings, {"firmware": ["2.*", 2]}, "at.firmware[1]"),
        (DeviceServerSettings, {"tenants": [""]}, "at.tenants[0]"),
        (DeviceServerSettings, {"keep_mqtt": 1}, "at.keep_mqtt"),
    ],
)
def test_mistakes_are_found_at_their_place(table: Table, raw: dict[str, object], path: str) -> None:
    _, mistakes = read(raw, table)

    assert [each.path for each in mistakes] == [path]


@pytest.mark.parametrize("length", [1, TOKEN_SECRET_MIN_BYTES - 1])
def test_a_short_secret_is_refused_without_being_told(length: int) -> None:
    _, (mistake,) = read({"token_secret": "Q" * length}, XiaozhiSettings)

    assert str(TOKEN_SECRET_MIN_BYTES) in mistake.message
    assert "openssl" in mistake.message
    assert length == 1 or "QQ" not in mistake.message


def test_a_list_that_lets_nothing_through_says_what_to_write() -> None:
    _, (mistake,) = read({"devices": []}, DeviceServerSettings)

    assert '["*"]' in mistake.message
