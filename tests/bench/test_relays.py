from __future__ import annotations

import json
import tomllib
from pathlib import Path

import attrs
import pytest

from bench import certificates, relays
from bench.handshake import Dialect
from bench.relays import Wiring
from bench.rows import ROWS, Traffic
from relayd.config.load import load
from relayd.config.providers import Provider


@pytest.fixture
def wiring(tmp_path: Path) -> Wiring:
    return Wiring(
        directory=tmp_path,
        upstream=("127.0.0.1", 4433),
        trusted=None,
        secret="bench-0123456789",
        cpus=frozenset({0}),
        relayd=Path("relayd"),
    )


def with_tls(wiring: Wiring) -> Wiring:
    trusted = wiring.directory / "authority.pem"
    trusted.write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    return attrs.evolve(wiring, trusted=trusted)


def test_haproxy_tunnels_on_one_thread_from_the_socket_it_is_handed(wiring: Wiring) -> None:
    lines = {line.strip() for line in relays.haproxy_config(wiring, 7).splitlines()}

    assert {"nbthread 1", "mode http", "timeout tunnel 1h", "bind fd@7"} <= lines
    assert "server upstream 127.0.0.1:4433" in lines


def test_haproxy_speaks_tls_1_3_without_resumption_where_the_row_has_tls(wiring: Wiring) -> None:
    config = relays.haproxy_config(with_tls(wiring), 7)

    assert (
        "server upstream 127.0.0.1:4433 "
        "ssl verify none alpn http/1.1 ssl-min-ver TLSv1.3 no-ssl-reuse\n"
    ) in config


def test_relayd_gets_one_key_and_one_unlimited_account(wiring: Wiring) -> None:
    config = tomllib.loads(relays.relayd_config(wiring))

    (account,) = config["accounts"]
    (key,) = config["keys"]
    assert config["server"]["listen"] == ["127.0.0.1:0"]
    assert key["secret"] == wiring.secret
    assert account["base_url"] == "http://127.0.0.1:4433/v1"
    assert account["models"] == ["*"]
    assert account["sessions_max"] == 0
    assert "tls_ca" not in account


def test_relayd_keeps_a_socket_for_each_session_of_the_turn_rows(wiring: Wiring) -> None:
    pool = tomllib.loads(relays.relayd_config(wiring))["pool"]

    turns = [row for row in ROWS.values() if row.traffic is Traffic.TURNS]
    assert turns
    assert all(row.sessions <= pool["idle_max"] for row in turns)


def test_relayd_trusts_the_throw_away_authority_where_the_row_has_tls(wiring: Wiring) -> None:
    secured = with_tls(wiring)

    (account,) = tomllib.loads(relays.relayd_config(secured))["accounts"]

    assert account["base_url"] == "https://127.0.0.1:4433/v1"
    assert account["tls_ca"] == str(secured.trusted)


def test_relayd_finds_no_mistake_in_its_file(wiring: Wiring) -> None:
    path = wiring.directory / "relayd.toml"
    path.write_text(relays.relayd_config(wiring))

    settings = load(path, environ={})

    assert [account.name for account in settings.accounts] == ["bench-upstream"]


def test_rows_of_the_chat_dialect_have_a_spark_account_that_is_patient(wiring: Wiring) -> None:
    _, trusted = certificates.make(wiring.directory)
    secured = attrs.evolve(wiring, trusted=trusted, dialect=Dialect.CHAT, ready=7)
    path = wiring.directory / "relayd.toml"
    path.write_text(relays.relayd_config(secured))

    settings = load(path, environ={})

    (account,) = settings.accounts
    assert account.provider is Provider.SPARK
    assert account.base_url == "https://127.0.0.1:4433"
    assert account.tls_ca is not None
    assert account.timeouts.idle_s == 600
    assert settings.pool.prewarm == 7


def test_where_nothing_is_said_no_socket_is_opened_ahead(wiring: Wiring) -> None:
    assert tomllib.loads(relays.relayd_config(wiring))["pool"]["prewarm"] == 0


def test_the_clients_key_is_in_no_repr(wiring: Wiring) -> None:
    assert wiring.secret not in repr(wiring)


def test_the_address_is_read_from_server_started_once_its_line_is_whole() -> None:
    started = json.dumps({"event": "server.started", "listen": ["127.0.0.1:4001"]})
    log = f'{{"event": "account.enabled"}}\nno json\n{started}\n'

    assert relays.started_listen(log) == ["127.0.0.1:4001"]
    assert relays.started_listen(log[:-3]) is None


def test_relayd_has_an_account_for_each_server_of_devices(wiring: Wiring) -> None:
    told = attrs.evolve(wiring, dialect=Dialect.XIAOZHI, others=(("127.0.0.1", 4434),))
    path = wiring.directory / "relayd.toml"
    path.write_text(relays.relayd_config(told))

    settings = load(path, environ={})

    assert [account.provider for account in settings.accounts] == [Provider.XIAOZHI] * 2
    assert [str(account.base_url) for account in settings.accounts] == [
        "http://127.0.0.1:4433/xiaozhi/v1/",
        "http://127.0.0.1:4434/xiaozhi/v1/",
    ]
    assert settings.dialects.xiaozhi.keepalive_s == 600.0
