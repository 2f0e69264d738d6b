"""Reading a configuration file: every mistake at once, each where it was made."""

from __future__ import annotations

import contextlib
import datetime
import string
from collections.abc import Callable
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.files import Surroundings
from relayd.config.load import (
    CONFIG_MAX_BYTES,
    ConfigError,
    find_config,
    load,
    load_ledger,
    settings_of,
)
from relayd.config.schema import BudgetPeriod, LedgerSettings, Settings
from relayd.config.secret import KeyDigest

Load = Callable[..., Settings]
Mistakes = Callable[..., dict[str, str]]

PRICES = """
[[prices]]
models = ["a"]
date = 2026-11-01
source = "a list"
per_second = "1"
"""
KEY = '[[keys]]\nname = "dev"\nsecret = "correct-horse"\n'
ACCOUNT = '[[accounts]]\nname = "main"\nprovider = "compatible"\nbase_url = "http://[::1]:9/v1"\n'
OPENAI = '[[accounts]]\nname = "main"\nprovider = "openai"\n'

# A configuration, the path of its only mistake, and a piece of what is said about it.
BROKEN = [
    # The file as a whole.
    ("listen = [", "", "at end of document"),
    ("a = 1\na = 2\n", "", "line 2, column 6"),
    ("[server]\n[server]", "", "line 2, column"),
    (f"a = {'9' * 5000}", "", "not valid TOML"),
    (f"a = {'[' * 5000}", "", "nested too deeply"),
    ("serve = 1", "serve", 'did you mean "server"'),
    ("workers = 2", "workers", "known here: server, limits"),
    ('"line\\nbreak" = 1', '"line break"', "unknown setting"),
    ("server = 3", "server", "expected a table, found 3"),
    ("limits = []", "limits", "expected a table, found a list"),
    ("keys = {}", "keys", "[[keys]]"),
    ('accounts = ["main"]', "accounts[0]", 'expected a table, found "main"'),
    # Table server.
    ('[server]\nlisten = "127.0.0.1:1"', "server.listen", "write it in brackets"),
    ("[server]\nlisten = []", "server.listen", "at least one address"),
    ("[server]\nlisten = [8765]", "server.listen[0]", "found 8765"),
    ('[server]\nlisten = ["127.0.0.1"]', "server.listen[0]", "the port is missing"),
    ('[server]\nlisten = ["127.0.0.1:1", ":2"]', "server.listen[1]", "the host is missing"),
    ('[server]\nlisten = ["127.0.0.1:65536"]', "server.listen[0]", "at most 65535"),
    ('[server]\nlisten = ["::1:8765"]', "server.listen[0]", "in brackets"),
    ('[server]\nlisten = ["unix:"]', "server.listen[0]", 'a path after "unix:"'),
    (f'[server]\nlisten = ["unix:/{"a" * 107}"]', "server.listen[0]", "at most 107 bytes"),
    (
        '[server]\nlisten = ["[::1]:1", "[0:0::1]:1"]',
        "server.listen[1]",
        "repeats server.listen[0]",
    ),
    ('[server]\nadmin = "unix:/s"\nlisten = ["unix:/s"]', "server.admin", "its own address"),
    ('[server]\nadmin = ""', "server.admin", "host"),
    ('[server]\nadmin = "127.0.0.1:1"', "server.admin_token", "server.admin is on TCP"),
    ('[server]\nadmin_token = "abc"', "server.admin_token", "shorter than 4"),
    ('[server]\nadmin_token = "sha256:00"', "server.admin_token", "only a client's key"),
    ("[server]\ndrain_s = -1", "server.drain_s", "0 or more, found -1"),
    ("[server]\ndrain_s = nan", "server.drain_s", "found nan"),
    ("[server]\ndrain_s = inf", "server.drain_s", "a year"),
    ('[server]\ndrain_s = "5"', "server.drain_s", 'found "5"'),
    ("[server]\ndrain_s = true", "server.drain_s", "found true"),
    (f"[server]\ndrain_s = 0x{'F' * 5000}", "server.drain_s", "much larger"),
    (f"[server]\ndrain_s = -1{'0' * 400}", "server.drain_s", "much smaller"),
    ('[server]\nallowed_origins = ["app.example"]', "server.allowed_origins[0]", "scheme://host"),
    ('[server]\nallowed_origins = ["https://a/"]', "server.allowed_origins[0]", "without a path"),
    ("[server]\nworkers = 1", "server.workers", "unknown setting"),
    ('[server]\ntrusted_proxies = "::1"', "server.trusted_proxies", "write it in brackets"),
    ('[server]\ntrusted_proxies = ["unix:"]', "server.trusted_proxies[0]", "an address such as"),
    ('[server]\nclient_address_header = "forwarded"', "server.client_address_header", "one of"),
    ("[server]\nproxy_protocol = 2", "server.proxy_protocol", "true or false, found 2"),
    ("[server]\nproxy_protocol = true", "server.proxy_protocol", "server.trusted_proxies"),
    ("[server]\ntls = true", "server.tls", "expected a table, found true"),
    # Tables limits and log.
    ("[limits]\nsessions_max = -1", "limits.sessions_max", "at least 0, found -1"),
    ("[limits]\nsessions_max = 1.0", "limits.sessions_max", "found 1.0"),
    ("[limits]\nsessions_max = false", "limits.sessions_max", "found false"),
    (f"[limits]\nhold_max_bytes = 0x{'F' * 5000}", "limits.hold_max_bytes", "much larger"),
    ("[limits]\nrequest_head_max_bytes = 10", "limits.request_head_max_bytes", "at least 1024"),
    ("[limits]\nhandshakes_per_ip_max = 0", "limits.handshakes_per_ip_max", "at least 1"),
    ("[limits]\nkeepalive_s = 45", "limits.keepalive_timeout_s", "longer than limits.keepalive_s"),
    ("[limits]\nkeepalive = 1", "limits.keepalive", 'did you mean "keepalive_s"'),
    ('[log]\nformat = "xml"', "log.format", 'one of "json", "console", found "xml"'),
    ('[log]\nlevel = "inf"', "log.level", 'did you mean "info"'),
    ("[log]\nlevel = 2020-01-01", "log.level", "found a date or time"),
    # Tables state and ledger.
    ('[state]\nurl = "redis://127.0.0.1:6379/0"', "state.url", "not in this version"),
    ('[state]\nurl = "memory"', "state.url", 'expected "memory:"'),
    ('[state]\non_failure = "opened"', "state.on_failure", 'did you mean "open"'),
    ('[ledger]\nurl = "postgresql://host/db"', "ledger.url", "not in this version"),
    ('[ledger]\nurl = "relayd.db"', "ledger.url", 'expected "sqlite:path"'),
    ('[ledger]\nprices = "nope.toml"', "ledger.prices", "No such file"),
    ('[ledger]\nprices = ""', "ledger.prices", "the path of a TOML file"),
    ('[ledger]\non_failure = "drop"', "ledger.on_failure", 'one of "refuse", "spill"'),
    ("[[prices]]", "prices", "a file of their own"),
    # Tables keys.
    ('[[keys]]\nsecret = "correct-horse"', "keys[0].name", "missing; expected a name"),
    ('[[keys]]\nname = "dev"', "keys[0].secret", "missing"),
    ('[[keys]]\nname = "dev"\nsecret = ""', "keys[0].secret", "the secret is empty"),
    ('[[keys]]\nname = "dev"\nsecret = "123"', "keys[0].secret", "shorter than 4"),
    ('[[keys]]\nname = "dev"\nsecret = "a secret here"', "keys[0].secret", "RFC 7230"),
    ('[[keys]]\nname = "dev"\nsecret = 12345678', "keys[0].secret", "found an integer"),
    ('[[keys]]\nname = "dev"\nsecret = "sha256:abc"', "keys[0].secret", "64 hexadecimal digits"),
    ('[[keys]]\nname = "dev"\nsecret = "env:KEY"', "keys[0].secret", "ENV:, FILE:, sha256:"),
    ('[[keys]]\nname = "dev"\nsecret = "ENV:KEY"', "keys[0].secret", "KEY is not set"),
    ('[[keys]]\nname = "dev"\nsecret = "ENV:"', "keys[0].secret", "the name of an environment"),
    ('[[keys]]\nname = "dev"\nsecret = "FILE:nope"', "keys[0].secret", "No such file"),
    ('[[keys]]\nname = "dev"\nsecret = "FILE:."', "keys[0].secret", "not a regular file"),
    ('[[keys]]\nname = "dev"\nsecret = "FILE:"', "keys[0].secret", "a path after FILE:"),
    (KEY + 'tenant = "two words"', "keys[0].tenant", 'found "two words"'),
    (KEY + "models = []", "keys[0].models", 'write ["*"]'),
    (KEY + 'models = ["a", " b"]', "keys[0].models[1]", "expected a model's name"),
    (KEY + 'dialects = ["realtme"]', "keys[0].dialects[0]", 'did you mean "realtime"'),
    (
        KEY + 'dialects = ["q*"]',
        "keys[0].dialects[0]",
        "known: realtime, responses, chat, passthrough, hub, xiaozhi",
    ),
    (KEY + "expires = 2027-12-31T00:00:00", "keys[0].expires", "the time zone is missing"),
    (KEY + "expires = 2027-12-31", "keys[0].expires", "time and zone together"),
    (KEY + 'expires = "2027-12-31T00:00:00Z"', "keys[0].expires", "without quotes"),
    (KEY + 'allowed_ips = "::1"', "keys[0].allowed_ips", "write it in brackets"),
    (KEY + 'allowed_ips = ["::1", "10.0.0.1/8"]', "keys[0].allowed_ips[1]", "10.0.0.0/8"),
    (KEY + "sessions_max = -1", "keys[0].sessions_max", "at least 0, found -1"),
    (KEY + "requests_per_minute = 0.5", "keys[0].requests_per_minute", "found 0.5"),
    (KEY + "tokens_per_minute = 9999999999", "keys[0].tokens_per_minute", "at most 1000000000"),
    (KEY + "budget_usd = 12.5", "keys[0].budget_usd", "write it in quotes"),
    (KEY + 'budget_usd = "-1"', "keys[0].budget_usd", "at least 0"),
    (KEY + 'budget_usd = "0.0000000001"', "keys[0].budget_usd", "at most 9 digits"),
    (KEY + "budget_usd = 1000000001", "keys[0].budget_usd", "at most 1000000000"),
    (KEY + 'budget_period = "moth"', "keys[0].budget_period", 'did you mean "month"'),
    (KEY + 'price_factor = "0"', "keys[0].price_factor", "at least 0.0001"),
    (KEY + 'price_factor = "10000.1"', "keys[0].price_factor", "at most 10000"),
    (KEY + "price_factor = 1.5", "keys[0].price_factor", "write it in quotes"),
    (KEY + 'websocket = "pool"', "keys[0].websocket", "true or false"),
    (KEY + 'busy_lane = "drop"', "keys[0].busy_lane", 'one of "queue", "preempt"'),
    (KEY + 'recovery = "all"', "keys[0].recovery", 'one of "none", "inject_previous_id"'),
    ("[dialects.realtime]\nidle_s = 1.0", "dialects.realtime", "unknown setting"),
    ("[dialects.responses]\nkeepalive_s = 0", "dialects.responses.keepalive_s", "0"),
    (KEY + 'enabled = "yes"', "keys[0].enabled", "true or false"),
    (KEY + KEY.replace("horse", "cart-"), "keys[1].name", "repeats keys[0].name"),
    (KEY + KEY.replace("dev", "two"), "keys[1].secret", "repeats keys[0].secret"),
    # Tables accounts.
    ('[[accounts]]\nname = "main"', "accounts[0].provider", 'expected one of "openai"'),
    (OPENAI.replace("openai", "azure"), "accounts[0].provider", 'found "azure"'),
    (OPENAI.replace("openai", "opnai"), "accounts[0].provider", 'did you mean "openai"'),
    (OPENAI.replace("main", "a/b"), "accounts[0].name", 'found "a/b"'),
    (OPENAI + OPENAI, "accounts[1].name", "repeats accounts[0].name"),
    (OPENAI.replace("openai", "compatible"), "accounts[0].base_url", '"https://host/v1"'),
    (OPENAI.replace("openai", "websocket"), "accounts[0].base_url", '"wss://host/path"'),
    (ACCOUNT.replace("compatible", "sim:realtime"), "accounts[0].base_url", "remove it"),
    (OPENAI + 'base_url = ""', "accounts[0].base_url", "starts with http://"),
    (OPENAI + 'base_url = "ftp://host/"', "accounts[0].base_url", "starts with http://"),
    (OPENAI + 'base_url = "https://u:p@host/"', "accounts[0].base_url", "use api_key"),
    (OPENAI + 'base_url = "https://host/?a=b"', "accounts[0].base_url", "a query or fragment"),
    (OPENAI + 'base_url = "https://host:0/"', "accounts[0].base_url", "a port of 1 to 65535"),
    (OPENAI + 'api_key = "sha256:00"', "accounts[0].api_key", "a digest cannot be sent"),
    (OPENAI + 'api_key = "two words"', "accounts[0].api_key", "a space"),
    (OPENAI + 'api_key = ""', "accounts[0].api_key", "the secret is empty"),
    (OPENAI + 'api_key = ["x"]', "accounts[0].api_key", "found a list"),
    (OPENAI + 'model_map = { "a*" = "b" }', 'accounts[0].model_map."a*"', "no meaning here"),
    (OPENAI + "model_map = { a = 1 }", "accounts[0].model_map.a", "found 1"),
    (OPENAI + "model_map = []", "accounts[0].model_map", "a table of model names"),
    (OPENAI + 'headers = { Host = "a" }', "accounts[0].headers.Host", "sets this header itself"),
    (OPENAI + 'headers = { sec-x = "a" }', "accounts[0].headers.sec-x", "sets this header itself"),
    (OPENAI + 'headers = { "a:b" = "a" }', 'accounts[0].headers."a:b"', "a header name"),
    (OPENAI + 'headers = { A = "a\\r\\nb" }', "accounts[0].headers.A", "no line break"),
    (OPENAI + 'headers = { A = "a", a = "b" }', "accounts[0].headers.a", "case does not count"),
    (OPENAI + 'headers = { A = "ENV:NOPE" }', "accounts[0].headers.A", "NOPE is not set"),
    (
        OPENAI + 'api_key = "abc"\nheaders = { authorization = "Basic abc" }',
        "accounts[0].headers",
        "which api_key sets as well",
    ),
    (OPENAI + 'weight = "x"', "accounts[0].weight", 'an integer of at least 1, found "x"'),
    (OPENAI + "weight = 0", "accounts[0].weight", "found 0"),
    (OPENAI + "priority = 0.5", "accounts[0].priority", "found 0.5"),
    (OPENAI + "sessions_max = 99999999999", "accounts[0].sessions_max", "at most 1000000000"),
    (OPENAI + 'tls_ca = "nope.pem"', "accounts[0].tls_ca", "No such file"),
    (OPENAI + 'tls_ca = "relayd.toml"', "accounts[0].tls_ca", "PEM form"),
    (OPENAI + "timeouts = { idle_s = 0 }", "accounts[0].timeouts.idle_s", "above 0"),
    (OPENAI + "timeouts = { idle = 1 }", "accounts[0].timeouts.idle", 'did you mean "idle_s"'),
    (OPENAI + 'proxy = "http://host"', "accounts[0].proxy", "the port is missing"),
    (OPENAI + 'proxy = "ENV:NOPE"', "accounts[0].proxy", "NOPE is not set"),
    (OPENAI + "proxy = 3128", "accounts[0].proxy", "found an integer"),
    (OPENAI + 'allow_private = "yes"', "accounts[0].allow_private", "true or false"),
]


@pytest.mark.parametrize(("text", "path", "fragment"), BROKEN)
def test_a_mistake_is_reported_where_it_was_made(
    mistakes_in: Mistakes, text: str, path: str, fragment: str
) -> None:
    mistakes = mistakes_in(text)

    assert list(mistakes) == [path]
    assert fragment in mistakes[path]


def test_all_mistakes_are_reported_at_once(mistakes_in: Mistakes) -> None:
    text = """
        [server]
        admin = "127.0.0.1:1"
        typo = 1
        [server.tls]
        [limits]
        stall_s = "x"
        keepalive_timeout_s = 3
        [[keys]]
        [[keys]]
        name = "b"
        secret = "ENV:B_KEY"
        [[accounts]]
        weight = -1
        timeouts = { idle_s = 0, connect_s = 0 }
        provider = "websocket"
    """

    assert set(mistakes_in(text)) == {
        "server.typo",
        "server.admin_token",
        "server.tls.certificate",
        "server.tls.private_key",
        "limits.stall_s",
        "limits.keepalive_timeout_s",
        "keys[0].name",
        "keys[0].secret",
        "keys[1].secret",
        "accounts[0].name",
        "accounts[0].weight",
        "accounts[0].timeouts.idle_s",
        "accounts[0].timeouts.connect_s",
        "accounts[0].base_url",
    }


def test_a_mistake_is_not_followed_by_complaints_about_its_consequences(
    mistakes_in: Mistakes,
) -> None:
    text = '[limits]\nkeepalive_s = "x"\nkeepalive_timeout_s = 3\n' + OPENAI + 'base_url = "x"'

    assert set(mistakes_in(text)) == {"limits.keepalive_s", "accounts[0].base_url"}


def test_the_lines_of_an_error_start_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text("a = 1\nb = 2")

    with pytest.raises(ConfigError) as caught:
        load(path, environ={})

    assert str(caught.value).splitlines() == caught.value.lines()
    assert [line.split(": unknown")[0] for line in caught.value.lines()] == [
        f"{path}: a",
        f"{path}: b",
    ]


def test_an_empty_file_is_all_defaults(load_text: Load) -> None:
    assert load_text("") == Settings()


@pytest.mark.parametrize(
    "table",
    [
        each.name
        for each in attrs.fields(Settings)
        if each.name not in {"prices", "keys", "accounts"}
    ],
)
def test_every_table_is_read(table: str, mistakes_in: Mistakes) -> None:
    assert list(mistakes_in(f"[{table}]\nnonsense = 1")) == [f"{table}.nonsense"]


def test_values_arrive_as_they_stand(load_text: Load) -> None:
    settings = load_text(
        KEY
        + 'models = ["gpt-*"]\n'
        + ACCOUNT
        + 'model_map = { voice = "gpt-realtime" }\nheaders = { X-A = "ENV:A" }\n'
        + "api_key = 'ENV:B'\ntimeouts = { idle_s = 7 }\n",
        {"A": "first", "B": "second"},
    )

    (key,), (account,) = settings.keys, settings.accounts
    assert (key.name, key.tenant, key.models) == ("dev", "dev", ("gpt-*",))
    assert key.secret == KeyDigest.of("correct-horse")
    assert dict(account.model_map) == {"voice": "gpt-realtime"}
    assert dict(account.headers) == {"X-A": "first"}
    assert account.api_key is not None
    assert account.api_key.reveal() == "second"
    assert (account.timeouts.idle_s, account.timeouts.total_s) == (7.0, 300.0)
    assert isinstance(account.timeouts.idle_s, float)


def test_an_empty_reference_means_none_where_none_is_the_default(load_text: Load) -> None:
    settings = load_text('[server]\nadmin_token = ""\n' + OPENAI + 'tls_ca = ""')

    assert settings.server.admin_token is None
    assert settings.accounts[0].tls_ca is None


def test_several_listeners_may_ask_for_a_free_port(load_text: Load) -> None:
    assert load_text('[server]\nlisten = ["[::1]:0", "[::1]:0"]').server.listen == ("[::1]:0",) * 2


def test_what_is_disabled_may_refer_to_what_is_not_there(load_text: Load) -> None:
    settings = load_text(
        '[[keys]]\nname = "a"\nenabled = false\nsecret = "ENV:NOPE"\n'
        '[[keys]]\nname = "b"\nenabled = false\n'
        + OPENAI
        + 'enabled = false\napi_key = "FILE:/nope"\ntls_ca = "/nope"\nheaders = {A = "ENV:NOPE"}\n'
    )

    assert [key.secret for key in settings.keys] == [None, None]
    assert settings.accounts[0].api_key is None
    assert settings.accounts[0].tls_ca is None


def test_what_is_disabled_may_still_not_be_malformed(mistakes_in: Mistakes) -> None:
    text = OPENAI + 'enabled = false\nweight = 0\napi_key = "two words"\nheaders = {A = "ENV:"}'

    assert set(mistakes_in(text)) == {
        "accounts[0].weight",
        "accounts[0].api_key",
        "accounts[0].headers.A",
    }


@pytest.mark.parametrize("name", ["missing.toml", ".", "nul\0.toml"])
def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the file"):
        load(f"{tmp_path}/{name}", environ={})


def test_a_file_that_is_no_text_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "relayd.toml"
    path.write_bytes(b"# fine\n# \xff\n")

    with pytest.raises(ConfigError, match=r"not UTF-8 text \(at line 2\)"):
        load(path, environ={})


def test_a_file_is_not_read_beyond_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "relayd.toml"
    with path.open("wb") as file:
        file.truncate(CONFIG_MAX_BYTES + 1)  # sparse

    with pytest.raises(ConfigError, match="longer than"):
        load(path, environ={})


def test_the_limits_of_a_key_arrive_as_they_stand(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(PRICES)
    (key,) = load_text(
        KEY
        + "expires = 2028-01-01T01:00:00+01:00\n"
        + 'allowed_ips = ["10.0.0.0/8", "::1"]\n'
        + "sessions_max = 1\nrequests_per_minute = 2\ntokens_per_minute = 3\n"
        + 'budget_usd = "12.50"\nbudget_period = "day"\nprice_factor = "1.2"\n'
    ).keys

    assert key.expires == datetime.datetime(2028, 1, 1, tzinfo=datetime.UTC)
    assert key.allowed_ips == (IPv4Network("10.0.0.0/8"), IPv6Network("::1"))
    assert (key.sessions_max, key.requests_per_minute, key.tokens_per_minute) == (1, 2, 3)
    assert (key.budget_usd, key.price_factor) == (Decimal("12.5"), Decimal("1.2"))
    assert key.budget_period is BudgetPeriod.DAY


BUDGET = KEY + 'budget_usd = "1"\n'


def test_a_budget_without_any_price_is_a_mistake(mistakes_in: Mistakes, tmp_path: Path) -> None:
    assert list(mistakes_in(BUDGET)) == ["keys[0].budget_usd"]
    (tmp_path / "prices.toml").touch()
    assert list(mistakes_in(BUDGET)) == ["keys[0].budget_usd"]
    (tmp_path / "prices.toml").write_text(PRICES)
    assert mistakes_in(BUDGET) == {}


@pytest.mark.parametrize(
    ("prices", "text", "path"),
    [
        ("typo = 1", BUDGET, "typo"),
        (None, "[ledger]\nprices = 3\n" + BUDGET, "ledger.prices"),
        (None, BUDGET + "enabled = 3\n", "keys[0].enabled"),
    ],
)
def test_prices_that_are_missing_by_mistake_are_not_missed_by_a_budget(
    mistakes_in: Mistakes, tmp_path: Path, prices: str | None, text: str, path: str
) -> None:
    if prices is not None:
        (tmp_path / "prices.toml").write_text(prices)

    assert list(mistakes_in(text)) == [path]


def test_the_ledger_is_found_without_secrets_and_whatever_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "relayd.toml"
    path.write_text(
        '[ledger]\nurl = "sqlite:other.db"\nprices = "nowhere.toml"\n'
        '[[keys]]\nname = "dev"\nsecret = "ENV:NOT_SET"\ntypo = 1\n'
    )

    assert load_ledger(path, environ={}) == LedgerSettings(url="sqlite:other.db")


@pytest.mark.parametrize(
    ("text", "mistaken"),
    [
        ("[ledger]\nulr = 'sqlite:a'", "ledger.ulr"),
        ("[ledger]\nurl = 3", "ledger.url"),
        ("ledger = 3", "ledger"),
        ("ledger", ""),
    ],
)
def test_a_mistake_in_where_the_ledger_is_is_told(tmp_path: Path, text: str, mistaken: str) -> None:
    path = tmp_path / "relayd.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_ledger(path, environ={})

    assert [mistake.path for mistake in caught.value.mistakes] == [mistaken]


CANARY = "canary-secret-value"


@pytest.mark.parametrize(
    "text",
    [
        f'[[keys]]\nname = "a"\nsecret = "{CANARY} "',
        f'[[keys]]\nname = "a"\nsecret = "ENV:{CANARY}"',
        f'[[keys]]\nname = "a"\nsecret = "sha256:{CANARY}"',
        f'[[keys]]\nname = "a"\nsecret = ["{CANARY}"]',
        f'[[keys]]\nname = "a"\nsecret = "{CANARY}"\n[[keys]]\nname = "b"\nsecret = "{CANARY}"',
        OPENAI + f'api_key = "{CANARY} "',
        OPENAI + f'api_key = {{ a = "{CANARY}" }}',
        OPENAI + f'api_key = "sha256:{CANARY}"',
        OPENAI + f'base_url = "https://user:{CANARY}@host/"',
        OPENAI + f'base_url = "https://host/?key={CANARY}"',
        OPENAI + f'headers = {{ A = "{CANARY}\\n" }}',
        OPENAI + f'headers = {{ A = ["{CANARY}"] }}',
        f'[server]\nadmin_token = "{CANARY} "',
        f'[state]\nurl = "redis://:{CANARY}@host"',
        f'[ledger]\nurl = "postgresql://user:{CANARY}@host/db"',
        f'[ledger]\nurl = ["{CANARY}"]',
        f'[server]\nadmin_token = "{CANARY}" "',
        f'[[keys]]\nname = "a"\nsecret = "{CANARY}',
    ],
)
def test_no_message_holds_a_secret(load_text: Load, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text)

    said = [str(caught.value), repr(caught.value), repr(caught.value.mistakes)]
    assert CANARY not in "".join(said)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_no_secret_is_in_the_settings_repr(load_text: Load) -> None:
    settings = load_text(
        f'[server]\nadmin_token = "{CANARY}-1"\n[[keys]]\nname = "a"\nsecret = "{CANARY}-2"\n'
        + OPENAI
        + f'api_key = "{CANARY}-3"\nheaders = {{ A = "{CANARY}-4" }}'
    )

    assert CANARY not in repr(settings)
    assert CANARY not in str(settings)


# TOML's values, as its parser returns them.
SCALARS = (
    st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400)])  # beyond what a float holds
    | st.floats()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.text()
    | st.sampled_from(["ENV:A", "ENV:NOPE", "FILE:/", "sha256:", "openai", "*", "https://h/", ""])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
TABLE = {
    "server": ["listen", "admin", "admin_token", "drain_s", "allowed_origins", "tls"],
    "limits": ["sessions_max", "keepalive_s", "keepalive_timeout_s"],
    "log": ["format", "level"],
    "state": ["url", "on_failure"],
    "ledger": ["url", "prices", "on_failure"],
    "keys": [
        *("name", "enabled", "secret", "tenant", "models", "dialects", "expires", "allowed_ips"),
        *("sessions_max", "budget_usd", "budget_period", "price_factor"),
    ],
    "accounts": ["name", "provider", "base_url", "api_key", "headers", "model_map", "timeouts"],
}


def _tables(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=3), VALUES, max_size=5)


DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        name: VALUES | _tables(names) | st.lists(_tables(names), max_size=3)
        for name, names in TABLE.items()
    },
)


@given(DOCUMENTS)
def test_whatever_stands_in_a_document_only_mistakes_come_of_it(document: dict[str, Any]) -> None:
    around = Surroundings(environ={"A": "some-secret"}, directory=Path("/nonexistent"))

    settings, mistakes = settings_of(document, around)

    assert isinstance(settings, Settings)
    for mistake in mistakes:
        assert mistake.message
        assert str(mistake).isprintable()


@given(st.text() | st.text(string.printable))
def test_whatever_text_is_loaded_only_a_config_error_comes_of_it(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    with contextlib.suppress(ConfigError):
        assert load(path, environ={}) == Settings()  # as of an empty file


def test_the_given_configuration_comes_first(tmp_path: Path) -> None:
    given_path = tmp_path / "given.toml"

    assert find_config(given_path, environ={"RELAYD_CONFIG": "/other"}) == given_path


def test_the_environment_names_the_configuration_otherwise() -> None:
    assert find_config(None, environ={"RELAYD_CONFIG": "/other"}) == Path("/other")


def test_the_usual_places_are_looked_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "relayd.config.load.CONFIG_PLACES", (tmp_path / "a.toml", tmp_path / "b.toml")
    )
    with pytest.raises(ConfigError, match=r"neither .*a\.toml nor .*b\.toml exists"):
        find_config(None, environ={})

    (tmp_path / "b.toml").touch()
    assert find_config(None, environ={}) == tmp_path / "b.toml"


@pytest.mark.parametrize(
    "table", [each.name for each in attrs.fields(Settings) if each.name != "prices"]
)
def test_every_table_of_the_file_is_read(mistakes_in: Mistakes, table: str) -> None:
    """One that is known by name but not read would be passed over in silence."""
    is_list = table in {"keys", "accounts"}

    mistakes = mistakes_in(f"[[{table}]]\nnonsense = 1" if is_list else f"[{table}]\nnonsense = 1")

    assert f"{table}[0].nonsense" in mistakes if is_list else f"{table}.nonsense" in mistakes
