"""What only several settings together can get wrong."""

from __future__ import annotations

import datetime
from decimal import Decimal

import attrs
import pytest
import trustme

from relayd.config.checks import Clash, clashes, unpriced_budgets
from relayd.config.mistakes import Mistake
from relayd.config.networks import parse_network
from relayd.config.pricebook import Price, PriceBook
from relayd.config.proxy import parse_proxy
from relayd.config.schema import (
    AccountSettings,
    KeySettings,
    LimitSettings,
    ServerSettings,
    Settings,
    TlsSettings,
)
from relayd.config.secret import KeyDigest, Secret
from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings


def paths(settings: Settings) -> list[str]:
    return [clash.mistake.path for clash in clashes(settings)]


def test_the_defaults_go_together() -> None:
    assert paths(Settings()) == []


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        (Settings(server=ServerSettings(listen=("a:1", "a:1"))), "server.listen[1]"),
        (Settings(server=ServerSettings(listen=("unix:a",), admin="unix:a")), "server.admin"),
        (Settings(server=ServerSettings(admin="[::1]:1")), "server.admin_token"),
        (
            Settings(server=ServerSettings(admin="0.0.0.0:1", admin_token=Secret("12345678"))),
            "server.admin",
        ),
        (Settings(server=ServerSettings(proxy_protocol=True)), "server.proxy_protocol"),
        (
            Settings(server=ServerSettings(proxy_protocol=True, trusted_proxies=("unix",))),
            "server.proxy_protocol",
        ),
        (Settings(limits=LimitSettings(keepalive_timeout_s=15)), "limits.keepalive_timeout_s"),
        (Settings(keys=(KeySettings(name="a"),)), "keys[0].secret"),
        (
            Settings(accounts=(AccountSettings(name="a", provider="websocket"),)),
            "accounts[0].base_url",
        ),
        (
            Settings(
                accounts=(
                    AccountSettings(
                        name="a", provider="sim:realtime", proxy=parse_proxy("http://p:1")
                    ),
                )
            ),
            "accounts[0].proxy",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_told_once(settings: Settings, path: str) -> None:
    assert paths(settings) == [path]


@pytest.mark.parametrize(
    "admin", ["127.0.0.1:1", "10.0.0.5:8766", "[2001:db8::5]:8766", "relay-1.internal:8766"]
)
def test_an_admin_listener_on_tcp_is_fine_with_a_token_at_an_address_of_its_own(admin: str) -> None:
    server = ServerSettings(admin=admin, admin_token=Secret("12345678"))

    assert paths(Settings(server=server)) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "[0:0:0::0]"])
def test_an_admin_listener_at_every_address_is_refused_with_a_remedy(host: str) -> None:
    server = ServerSettings(admin=f"{host}:8766", admin_token=Secret("12345678"))

    (clash,) = clashes(Settings(server=server))

    assert clash.mistake.path == "server.admin"
    assert 'such as "127.0.0.1:8766"' in clash.mistake.message


@pytest.mark.parametrize(
    "server",
    [
        ServerSettings(proxy_protocol=True, trusted_proxies=(parse_network("10.0.0.0/8"),)),
        ServerSettings(proxy_protocol=True, listen=("unix:a", "unix:b")),
    ],
)
def test_the_proxy_protocol_is_fine_where_somebody_can_speak_it(server: ServerSettings) -> None:
    assert paths(Settings(server=server)) == []


def test_a_budget_needs_prices() -> None:
    price = Price(models=("a",), date=datetime.date(2026, 11, 1), source="a list")
    keys = (
        KeySettings(name="a", budget_usd=Decimal(1)),
        KeySettings(name="b"),
        KeySettings(name="c", budget_usd=Decimal(1), enabled=False),
    )

    (clash,) = unpriced_budgets(Settings(keys=keys))
    assert clash.mistake.path == "keys[0].budget_usd"
    assert "ledger.prices" in clash.mistake.message
    assert list(unpriced_budgets(Settings(keys=keys, prices=PriceBook((price,))))) == []


def test_a_third_repetition_is_told_too() -> None:
    keys = [KeySettings(name="a", secret=KeyDigest.of(str(index))) for index in range(3)]

    assert paths(Settings(keys=tuple(keys))) == ["keys[1].name", "keys[2].name"]


def test_a_certificate_without_its_key_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("pem")
    one, two = trustme.CA().issue_cert("a"), trustme.CA().issue_cert("a")
    one.cert_chain_pems[0].write_to_path(directory / "crt")
    one.private_key_pem.write_to_path(directory / "one")
    two.private_key_pem.write_to_path(directory / "two")

    def with_key(name: str) -> Settings:
        tls = TlsSettings(certificate=str(directory / "crt"), private_key=str(directory / name))
        return Settings(server=ServerSettings(tls=tls))

    assert paths(with_key("one")) == []
    assert paths(with_key("two")) == ["server.tls"]


def devices(
    settings: XiaozhiSettings, *, key: KeySettings | None = None, **server: object
) -> Settings:
    """A configuration with one server of devices, which is the account 0."""
    account = AccountSettings(
        name="kitchen",
        provider="xiaozhi",
        base_url="wss://xiaozhi.test/xiaozhi/v1/",
        xiaozhi=DeviceServerSettings(**server),  # type: ignore[arg-type]  # as the test has them
    )
    keys = () if key is None else (key,)
    return Settings(xiaozhi=settings, keys=keys, accounts=(account,))


KEY_OF_DEVICES = KeySettings(name="devices", secret=KeyDigest.of("canary"))
TOLD = XiaozhiSettings(
    public_url="https://relay.test", token_secret=Secret("s" * 32), key="devices"
)
OTA_URL = "https://xiaozhi.test/xiaozhi/ota/"


def test_devices_are_told_of_relayd_where_all_of_it_is_there() -> None:
    assert paths(devices(TOLD, key=KEY_OF_DEVICES, ota_url=OTA_URL)) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (devices(attrs.evolve(TOLD, key=None)), ["xiaozhi.key"]),
        (devices(TOLD), ["xiaozhi.key"]),
        (devices(TOLD, key=attrs.evolve(KEY_OF_DEVICES, enabled=False)), ["xiaozhi.key"]),
        (
            devices(XiaozhiSettings(), ota_url=OTA_URL),
            ["xiaozhi.public_url", "xiaozhi.token_secret"],
        ),
        (
            devices(attrs.evolve(TOLD, public_url=None), key=KEY_OF_DEVICES, ota_url=OTA_URL),
            ["xiaozhi.public_url"],
        ),
        (devices(XiaozhiSettings(), boards=("esp-box",)), ["xiaozhi.public_url"]),
        (devices(XiaozhiSettings(), firmware=("2.*",)), ["xiaozhi.public_url"]),
        (devices(XiaozhiSettings(), tenants=("home",)), []),
    ],
)
def test_what_devices_tokens_need_is_asked_for(settings: Settings, expected: list[str]) -> None:
    assert paths(settings) == expected


def test_a_server_that_is_not_used_asks_for_nothing() -> None:
    settings = devices(XiaozhiSettings(), ota_url=OTA_URL)
    (account,) = settings.accounts
    off = attrs.evolve(settings, accounts=(attrs.evolve(account, enabled=False),))

    assert paths(off) == []


def test_only_a_server_of_devices_has_its_table() -> None:
    table = DeviceServerSettings(protocol_version=3)
    accounts = (
        AccountSettings(name="a", provider="sim:realtime", xiaozhi=table),
        AccountSettings(name="b", provider="sim:xiaozhi", xiaozhi=table),
    )

    assert paths(Settings(accounts=accounts)) == ["accounts[0].xiaozhi"]


@pytest.mark.parametrize(
    ("mistaken", "follows"),
    [
        ("accounts[0].base_url", True),
        ("accounts[0].provider", True),
        ("accounts[0]", True),
        ("accounts[0].base_url.inner", True),
        ("accounts[0].base", False),
        ("accounts[1].base_url", False),
        ("accounts[0].weight", False),
    ],
)
def test_a_clash_follows_from_a_mistake_in_what_it_is_about(mistaken: str, follows: bool) -> None:
    clash = Clash(Mistake("accounts[0].base_url", ""), ("accounts[0].provider",))

    assert clash.follows_from([Mistake(mistaken, "")]) is follows
