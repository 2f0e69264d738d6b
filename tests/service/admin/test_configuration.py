"""The configuration as it is shown: all of it, and nothing that may be a secret."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from relayd.config.about import about_of
from relayd.config.load import load
from relayd.config.schema import Settings
from relayd.config.secret import KeyDigest, Secret
from relayd.service.admin.configuration import HIDDEN, shown
from tests.service.admin.stage import Stage

FILE = """
[server]
listen = ["127.0.0.1:8765"]
admin = "127.0.0.1:8766"
admin_token = "canary-of-admin"
trusted_proxies = ["10.0.0.0/8", "unix"]
[limits]
stall_s = 2.5
[[keys]]
name = "dev"
secret = "canary-of-client"
price_factor = "1.50"
expires = 2027-12-31T01:00:00+01:00
allowed_ips = ["2001:db8::/32"]
[[accounts]]
name = "main"
provider = "compatible"
base_url = "https://main.test/v1"
api_key = "canary-of-upstream"
headers = { x-team-key = "canary-of-header" }
model_map = { voice = "gpt-realtime" }
proxy = "socks5://canary-of-user:canary-of-password@[::1]:1080"
[[accounts]]
name = "bare"
provider = "sim:realtime"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "relayd.toml"
    path.write_text(FILE)
    return load(path, environ={})


async def test_every_setting_is_shown_and_no_secret(stage: Stage, settings: Settings) -> None:
    stage.settings = settings

    reply = await stage.ask("GET", "/admin/v1/config")

    assert b"canary" not in reply.body
    said = json.loads(reply.body)
    assert (said["path"], said["loaded_at"]) == (
        "/etc/relayd/relayd.toml",
        "2027-01-15T07:59:00Z",
    )
    assert list(said["settings"]) == [field.name for field in attrs.fields(Settings)]
    server, (key,), (main, bare) = (said["settings"][it] for it in ("server", "keys", "accounts"))
    assert server["admin_token"] == HIDDEN
    assert server["trusted_proxies"] == ["10.0.0.0/8", "unix"]
    assert said["settings"]["limits"]["stall_s"] == 2.5
    assert (key["secret"], key["price_factor"]) == (HIDDEN, "1.50")
    assert (key["expires"], key["allowed_ips"]) == ("2027-12-31T00:00:00Z", ["2001:db8::/32"])
    assert (main["api_key"], main["headers"]) == (HIDDEN, {"x-team-key": HIDDEN})
    assert main["model_map"] == {"voice": "gpt-realtime"}
    assert main["proxy"] == "socks5://**:**@[::1]:1080"
    assert main["timeouts"]["connect_s"] == 5.0
    assert (bare["api_key"], bare["proxy"], bare["provider"]) == (None, None, "sim:realtime")
    assert said["settings"]["prices"] == {"count": 0}


def test_every_setting_of_the_schema_has_a_form(settings: Settings) -> None:
    for table in (settings.server, settings.limits, settings.keys[0], settings.accounts[0]):
        said = shown(table)

        assert isinstance(said, dict)
        assert list(said) == [field.name for field in attrs.fields(type(table))]
        hidden = {name for name, value in said.items() if value == HIDDEN}
        secret = {
            field.name
            for field in attrs.fields(type(table))
            if isinstance(getattr(table, field.name), Secret | KeyDigest)
        }
        assert hidden == secret
        assert all(about_of(field) for field in attrs.fields(type(table)))


@attrs.frozen
class _New:
    """A table that comes to be later."""

    plain: str = "x"
    unknown: object = attrs.field(factory=object)
    unseen: str = attrs.field(default="canary", repr=False)
    named: dict[str, str] = attrs.field(factory=lambda: {"a": "canary"}, repr=False)
    url: str = "redis://user:canary@host:1/0"


def test_what_is_not_known_to_be_harmless_is_hidden() -> None:
    assert shown(_New()) == {
        "plain": "x",
        "unknown": HIDDEN,
        "unseen": HIDDEN,
        "named": {"a": HIDDEN},
        "url": "redis://**@host:1/0",
    }
    assert shown((Secret("canary"), b"canary")) == [HIDDEN, HIDDEN]
