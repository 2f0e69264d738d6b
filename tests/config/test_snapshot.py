"""The configuration as sessions use it."""

from __future__ import annotations

import datetime
import hashlib
from decimal import Decimal
from pathlib import Path

import attrs
import pytest

from relayd.config.networks import parse_network
from relayd.config.pricebook import Price, PriceBook
from relayd.config.proxy import parse_proxy
from relayd.config.schema import AccountSettings, BudgetPeriod, KeySettings, Settings
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Account, Key, Snapshot
from relayd.config.url import parse_base_url

SECRET = "correct-horse"


KEY = KeySettings(name="dev", secret=KeyDigest.of(SECRET))
ACCOUNT = AccountSettings(name="main", provider="compatible", base_url="https://a/v1")


def test_a_key_is_found_by_what_the_client_presents() -> None:
    snapshot = Snapshot.of(Settings(keys=(KEY,)))

    for presented in (SECRET, SECRET.encode()):
        key = snapshot.key_for(presented)
        assert key is not None
        assert (key.name, key.tenant) == ("dev", "dev")


@pytest.mark.parametrize(
    "presented",
    ["", "correct-horse ", "Correct-horse", "\udc80", hashlib.sha256(SECRET.encode()).hexdigest()],
)
def test_nothing_else_finds_a_key(presented: str) -> None:
    assert Snapshot.of(Settings(keys=(KEY,))).key_for(presented) is None


def test_a_disabled_key_is_found_and_says_so() -> None:
    key = Snapshot.of(Settings(keys=(attrs.evolve(KEY, enabled=False),))).key_for(SECRET)

    assert key is not None
    assert not key.enabled


def test_a_key_without_a_secret_is_matched_by_nothing() -> None:
    snapshot = Snapshot.of(Settings(keys=(attrs.evolve(KEY, enabled=False, secret=None),)))

    assert not snapshot.keys


def test_a_key_permits_what_its_patterns_match() -> None:
    key = Key.of(attrs.evolve(KEY, models=("gpt-*", "voice"), dialects=("realtime",)))

    assert key is not None
    assert [key.permits_model(name) for name in ("gpt-5", "voice", "Voice", "a")] == [
        True,
        True,
        False,
        False,
    ]
    assert key.permits_dialect("realtime")
    assert not key.permits_dialect("passthrough")


def test_a_key_has_its_limits() -> None:
    expires = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
    key = Key.of(
        attrs.evolve(
            KEY,
            expires=expires,
            allowed_ips=(parse_network("10.0.0.0/8"),),
            sessions_max=1,
            requests_per_minute=2,
            tokens_per_minute=3,
            budget_usd=Decimal("12.50"),
            budget_period="day",
            price_factor=Decimal("1.5"),
        )
    )

    assert key == Key(
        name="dev",
        tenant="dev",
        digest=hashlib.sha256(SECRET.encode()).digest(),
        expires=expires,
        allowed_ips=(parse_network("10.0.0.0/8"),),
        sessions_max=1,
        requests_per_minute=2,
        tokens_per_minute=3,
        budget_nano=12_500_000_000,
        budget_period=BudgetPeriod.DAY,
        price_factor=Decimal("1.5"),
    )


def test_a_key_has_no_limits_unless_they_are_set() -> None:
    assert Key.of(KEY) == Key(
        name="dev", tenant="dev", digest=hashlib.sha256(SECRET.encode()).digest()
    )


def test_a_key_expires_at_its_moment() -> None:
    expires = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
    key, forever = Key.of(attrs.evolve(KEY, expires=expires)), Key.of(KEY)

    assert key is not None
    assert forever is not None
    assert not key.has_expired(expires.timestamp() - 0.001)
    assert key.has_expired(expires.timestamp())
    assert not forever.has_expired(1e12)


def test_a_key_that_is_bound_to_addresses_permits_no_other() -> None:
    bound = Key.of(attrs.evolve(KEY, allowed_ips=(parse_network("10.0.0.0/8"),)))
    free = Key.of(KEY)

    assert bound is not None
    assert free is not None
    assert [bound.permits_address(a) for a in ("10.0.0.1", "::1", "unix")] == [True, False, False]
    assert all(free.permits_address(a) for a in ("10.0.0.1", "::1", "unix"))


def test_a_snapshot_has_the_prices_of_its_settings() -> None:
    price = Price(models=("a",), date=datetime.date(2026, 11, 1), source="a test")
    book = PriceBook((price,))

    assert Snapshot.of(Settings()).prices == PriceBook()
    assert Snapshot.of(Settings(prices=book)).prices is book


def test_an_account_serves_its_models_and_what_it_maps() -> None:
    account = Account.of(
        attrs.evolve(ACCOUNT, models=("gpt-*",), model_map={"voice": "gpt-realtime", "a*": "b"})
    )

    assert [account.upstream_model(name) for name in ("voice", "gpt-5")] == [
        "gpt-realtime",
        "gpt-5",
    ]
    assert account.serves("voice")
    assert account.serves("gpt-5")
    assert not account.serves("other")


def test_an_openai_account_goes_to_openai_unless_told_otherwise() -> None:
    default = Account.of(attrs.evolve(ACCOUNT, provider="openai", base_url=None))
    told = Account.of(attrs.evolve(ACCOUNT, provider="openai", base_url="http://[::1]:9/v1/"))

    assert default.base_url == parse_base_url("https://api.openai.com/v1")
    assert told.base_url == parse_base_url("http://[::1]:9/v1")


def test_an_account_says_how_its_upstream_is_reached() -> None:
    proxy = parse_proxy("socks5://a:b@[::1]:1080")
    account = Account.of(attrs.evolve(ACCOUNT, proxy=proxy, allow_private=True))

    assert (account.proxy, account.allow_private) == (proxy, True)
    assert (Account.of(ACCOUNT).proxy, Account.of(ACCOUNT).allow_private) == (None, False)


def test_a_simulated_account_gets_its_address_when_its_upstream_runs() -> None:
    account = Account.of(
        attrs.evolve(ACCOUNT, provider="sim:realtime", base_url=None, models=("a*",))
    )
    started = attrs.evolve(account, base_url=parse_base_url("http://127.0.0.1:9"))

    assert account.base_url is None
    assert started.base_url is not None
    assert started.serves("abc")


def test_accounts_are_found_by_name_after_a_change_too() -> None:
    snapshot = Snapshot.of(Settings(accounts=(AccountSettings(name="a", provider="openai"),)))
    changed = attrs.evolve(snapshot, accounts=(Account.of(ACCOUNT),))

    assert snapshot.account_named("a") == snapshot.accounts[0]
    assert changed.account_named("a") is None
    assert changed.account_named("main") == Account.of(ACCOUNT)


def test_equal_accounts_are_equal_and_hashable() -> None:
    assert Account.of(attrs.evolve(ACCOUNT, headers={"A": "b"})) == Account.of(
        attrs.evolve(ACCOUNT, headers={"A": "b"})
    )
    assert Account.of(attrs.evolve(ACCOUNT, headers={"A": "b"})) != Account.of(
        attrs.evolve(ACCOUNT, headers={"A": "c"})
    )
    assert len({Account.of(ACCOUNT), Account.of(ACCOUNT)}) == 1


def test_a_snapshot_cannot_be_changed() -> None:
    snapshot = Snapshot.of(Settings(keys=(KEY,)), directory=Path("/etc/relayd"))

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        snapshot.accounts = ()  # type: ignore[misc]  # which is the point
    with pytest.raises(TypeError):
        snapshot.keys[b""] = next(iter(snapshot.keys.values()))  # type: ignore[index]  # likewise


def test_a_snapshot_shows_no_secret() -> None:
    account = AccountSettings(
        name="a",
        provider="openai",
        api_key=Secret("canary-1"),
        headers={"A": "canary-2"},
        proxy=parse_proxy("http://canary-3:canary-4@proxy.example:3128"),
    )
    snapshot = Snapshot.of(Settings(keys=(KEY,), accounts=(account,)))
    digest = hashlib.sha256(SECRET.encode()).digest()

    for shown in (repr(snapshot), str(snapshot.keys), repr(snapshot.accounts)):
        assert "canary" not in shown
        assert SECRET not in shown
    assert repr(digest) not in repr(snapshot)
