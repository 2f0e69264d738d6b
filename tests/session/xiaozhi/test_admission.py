"""Which devices are let in, by what they say of themselves and present."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from relayd.config.accounts import AccountSettings
from relayd.config.providers import Provider
from relayd.config.schema import KeySettings, ServerSettings, Settings
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Snapshot
from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings
from relayd.core.refusals import RefusalCode
from relayd.dialect.xiaozhi_build import UNKNOWN, Build
from relayd.dialect.xiaozhi_identity import Identity
from relayd.dialect.xiaozhi_tokens import device_token
from relayd.protocol.head import parse_head
from relayd.protocol.upgrade import check_upgrade
from relayd.session.admission import RefusedAdmission
from relayd.session.xiaozhi.admission import XiaozhiGrant, admit, permits_device, serves
from tests.faults.wire import upgrade

MAC, CLIENT = "aa:bb:cc:dd:ee:01", "c-1"
SECRET = "canary-of-tokens-0123456789-0123456789"
CLIENT_KEY = "canary-of-client"
WALL = 1_795_000_000.0
IDS = {"Device-Id": MAC, "Client-Id": CLIENT}
KEY = {"Authorization": f"Bearer {CLIENT_KEY}"}
DEVICES = KeySettings(name="devices", secret=KeyDigest.of("canary-of-devices"), tenant="fleet")
DEV = KeySettings(name="dev", secret=KeyDigest.of(CLIENT_KEY))
SERVER = AccountSettings(
    name="one", provider=Provider.XIAOZHI, base_url="ws://127.0.0.1:1/xiaozhi/v1/"
)
OWN = XiaozhiSettings(token_secret=Secret(SECRET), key="devices")


def snapshot(
    own: XiaozhiSettings = OWN, dev: KeySettings = DEV, devices: KeySettings = DEVICES
) -> Snapshot:
    server = ServerSettings(listen=("127.0.0.1:0",), allowed_origins=("https://ok.example",))
    return Snapshot.of(
        Settings(server=server, keys=(dev, devices), accounts=(SERVER,), xiaozhi=own)
    )


def token(expires_at: int = int(WALL) + 60, device_id: str = MAC, client_id: str = CLIENT) -> str:
    identity = Identity(device_id, client_id)
    return device_token(SECRET, identity, tenant="fleet", expires_at=expires_at)


def asked(
    headers: dict[str, str], query: str = "", known: Snapshot | None = None
) -> XiaozhiGrant | RefusedAdmission:
    head = parse_head(upgrade(f"/xiaozhi/v1/{query}", headers))
    return admit(check_upgrade(head), "192.0.2.1", known or snapshot(), 5.0, WALL)


def granted(
    headers: dict[str, str], query: str = "", known: Snapshot | None = None
) -> XiaozhiGrant:
    found = asked(headers, query, known)
    assert isinstance(found, XiaozhiGrant), found
    return found


def refused(headers: dict[str, str], query: str = "", known: Snapshot | None = None) -> RefusalCode:
    found = asked(headers, query, known)
    assert isinstance(found, RefusedAdmission)
    assert CLIENT_KEY not in found.message
    assert SECRET not in found.message
    return found.code


def test_a_token_lets_its_device_in_under_the_key_of_devices() -> None:
    found = granted({**IDS, "Authorization": f"Bearer {token()}", "Protocol-Version": "3"})

    assert (found.identity, found.version, found.by_token) == (Identity(MAC, CLIENT), 3, True)
    assert (found.grant.key.name, found.grant.key.tenant) == ("devices", "fleet")


def test_a_key_lets_any_device_in() -> None:
    found = granted({**IDS, **KEY})

    assert (found.grant.key.name, found.by_token, found.version) == ("dev", False, 1)
    assert not found.from_gateway


def test_a_browser_says_all_of_it_in_the_query() -> None:
    said = quote(f"Bearer {token()}")

    found = granted({}, f"?device-id={MAC}&client-id={CLIENT}&authorization={said}")

    assert found.identity == Identity(MAC, CLIENT)


def test_headers_win_over_the_query() -> None:
    found = granted({**IDS, **KEY}, "?device-id=other&client-id=other")

    assert found.identity == Identity(MAC, CLIENT)


def test_a_key_in_the_query_is_not_read() -> None:
    said = quote(f"Bearer {CLIENT_KEY}")

    assert refused(IDS, f"?authorization={said}") is RefusalCode.MISSING_API_KEY


def test_the_gateway_speaks_framing_two_where_it_names_none() -> None:
    found = granted({**IDS, **KEY}, "?from=mqtt_gateway")
    named = granted({**IDS, **KEY, "Protocol-Version": "1"}, "?from=mqtt_gateway")

    assert (found.from_gateway, found.version, named.version) == (True, 2, 1)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        (IDS, RefusalCode.MISSING_API_KEY),
        ({**IDS, "Authorization": "Bearer nobody"}, RefusalCode.INVALID_API_KEY),
        (
            {**IDS, "Authorization": f"Bearer {token(client_id='c-2')}"},
            RefusalCode.INVALID_API_KEY,
        ),
        (
            {**IDS, "Authorization": f"Bearer {token(device_id='other')}"},
            RefusalCode.INVALID_API_KEY,
        ),
        ({**IDS, "Authorization": f"Bearer {token(int(WALL))}"}, RefusalCode.KEY_EXPIRED),
        (KEY, RefusalCode.INVALID_PARAMETER),
        ({**KEY, "Device-Id": "not an id"}, RefusalCode.INVALID_PARAMETER),
        ({**KEY, **IDS, "Origin": "https://evil.example"}, RefusalCode.ORIGIN_NOT_ALLOWED),
        ({**KEY, **IDS, "x-relayd-tag": "no tag"}, RefusalCode.INVALID_PARAMETER),
    ],
)
def test_who_is_refused(headers: dict[str, str], code: RefusalCode) -> None:
    assert refused(headers) is code


def test_a_token_is_nothing_where_none_are_made() -> None:
    known = snapshot(XiaozhiSettings())

    code = refused({**IDS, "Authorization": f"Bearer {token()}"}, known=known)

    assert code is RefusalCode.INVALID_API_KEY


@pytest.mark.parametrize(
    "changes",
    [
        {"devices_denied": ("AA:BB:*",)},
        {"devices_allowed": ("11:22:*",)},
    ],
)
def test_lists_keep_devices_out_in_either_case(changes: dict[str, tuple[str, ...]]) -> None:
    own = attrs.evolve(OWN, **changes)  # type: ignore[arg-type]  # passed on as given

    assert refused({**IDS, **KEY}, known=snapshot(own)) is RefusalCode.DEVICE_NOT_ALLOWED
    assert not permits_device(own, MAC)


def test_the_key_itself_says_what_it_may_do() -> None:
    over = attrs.evolve(DEV, expires=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    other = attrs.evolve(DEV, dialects=("realtime",))
    off = attrs.evolve(DEVICES, enabled=False)
    with_token = {**IDS, "Authorization": f"Bearer {token()}"}

    assert refused({**IDS, **KEY}, known=snapshot(dev=over)) is RefusalCode.KEY_EXPIRED
    assert refused({**IDS, **KEY}, known=snapshot(dev=other)) is RefusalCode.DIALECT_NOT_ALLOWED
    assert refused(with_token, known=snapshot(devices=off)) is RefusalCode.INVALID_API_KEY


def test_a_budget_needs_a_price() -> None:
    known = snapshot(dev=attrs.evolve(DEV, budget_usd=Decimal(5)))

    assert refused({**IDS, **KEY}, known=known) is RefusalCode.MODEL_NOT_PRICED


def test_an_account_serves_the_devices_that_it_names() -> None:
    settings = attrs.evolve(SERVER, xiaozhi=DeviceServerSettings(devices=("AA:*",)))
    (account,) = Snapshot.of(attrs.evolve(snapshot().settings, accounts=(settings,))).accounts

    assert serves(account, MAC, "t", UNKNOWN)
    assert not serves(account, "bb:bb:cc:dd:ee:01", "t", UNKNOWN)
    assert not serves(attrs.evolve(account, enabled=False), MAC, "t", UNKNOWN)


@pytest.mark.parametrize(
    ("settings", "build", "is_served"),
    [
        ({}, UNKNOWN, True),
        ({"boards": ("*",), "firmware": ("*",)}, Build(("x",), "1"), True),
        ({"boards": ("ESP-box*",)}, Build(("wifi", "esp-BOX-3")), True),
        ({"boards": ("esp-box*",)}, Build(("wifi",)), False),
        ({"boards": ("esp-box*",)}, UNKNOWN, False),
        ({"boards": ("**",)}, UNKNOWN, False),
        ({"firmware": ("2.*",)}, Build(("wifi",), "2.0.1"), True),
        ({"firmware": ("2.*",)}, Build(("wifi",), "1.9"), False),
        ({"firmware": ("2.*",)}, Build(("wifi",)), False),
        ({"boards": ("wifi",), "firmware": ("2.*",)}, Build(("other",), "2.0"), False),
        ({"tenants": ("t", "u")}, UNKNOWN, True),
        ({"tenants": ("T",)}, UNKNOWN, False),
        ({"boards": ("esp-box*",)}, None, True),
        ({"tenants": ("T",)}, None, False),
    ],
)
def test_an_account_serves_what_its_patterns_are_for(
    settings: dict[str, Any], build: Build | None, is_served: bool
) -> None:
    (account,) = snapshot().accounts
    account = attrs.evolve(account, xiaozhi=DeviceServerSettings(**settings))

    assert serves(account, MAC, "t", build) is is_served
