"""The documents that follow from the schema: the reference, and the two files in ``etc/``."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relayd.config import price_file
from relayd.config.about import about_of
from relayd.config.document import DOCUMENT, PRICE_SECTIONS, SECTIONS, render, toml
from relayd.config.load import load
from relayd.config.prices import TokenPrices
from relayd.config.providers import Provider
from relayd.config.schema import AccountSettings, Settings
from relayd.config.structure import TABLES
from relayd.core.money import nano_of

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "etc/relayd.example.toml"


def test_the_reference_is_what_the_schema_says() -> None:
    assert (ROOT / DOCUMENT).read_text() == render(), "run `python -m relayd.config.document`"


def test_the_reference_has_every_table_and_setting() -> None:
    assert set(SECTIONS.values()) == set(TABLES)
    assert set(PRICE_SECTIONS.values()) == set(price_file.TABLES)
    for title, cls in (SECTIONS | PRICE_SECTIONS).items():
        section = render().split(f"## `{title}`")[1].split("\n## ")[0]
        for field in attrs.fields(cls):
            assert f"| `{field.name}` |" in section


def test_every_setting_has_a_sentence() -> None:
    for cls in (*TABLES, *price_file.TABLES):
        for field in attrs.fields(cls):
            assert about_of(field).meaning.endswith(".")


def test_a_default_is_written_as_toml() -> None:
    for value in (True, 1, 1.5, "a", ("a", "b"), ()):
        written = tomllib.loads(f"a = {toml(value)}")["a"]
        assert written == (list(value) if isinstance(value, tuple) else value)


def test_a_default_of_the_schema_is_what_its_rule_takes(tmp_path: Path) -> None:
    path = tmp_path / "relayd.toml"
    path.write_text(_defaults())

    assert attrs.evolve(load(path, environ={}), accounts=()) == Settings()


def _defaults() -> str:
    """Every default that the reference shows, as a configuration."""
    lines = []
    for title, cls in SECTIONS.items():
        if title in {"[server.tls]", "[[keys]]"} or title.startswith("accounts."):
            continue
        required = 'name = "a"\nprovider = "openai"\n' if cls is AccountSettings else ""
        lines.append(f"{title}\n{required}")
        lines += [
            f"{field.name} = {toml(field.default)}\n"
            for field in attrs.fields(cls)
            if isinstance(field.default, bool | int | float | str | tuple)
        ]
    return "".join(lines)


@pytest.mark.parametrize("name", ["relayd.toml", "relayd.example.toml"])
def test_the_files_in_etc_are_sound_as_they_stand(name: str) -> None:
    settings = load(ROOT / "etc" / name, environ={})

    assert [account.name for account in settings.accounts if account.enabled] == [
        "sim-realtime",
        "sim-passthrough",
        "sim-responses",
        "sim-spark",
        *(("sim-tasks",) if name == "relayd.example.toml" else ()),
        "sim-xiaozhi",
    ]


def test_the_first_configuration_lets_the_first_key_in() -> None:
    settings = load(ROOT / "etc/relayd.toml", environ={})

    assert settings.server.listen == ("127.0.0.1:8765",)
    assert [key.name for key in settings.keys] == ["dev"]


@pytest.mark.parametrize("name", ["relayd.toml", "relayd.example.toml"])
def test_everything_that_is_simulated_has_a_price(name: str) -> None:
    settings = load(ROOT / "etc" / name, environ={})

    for model in (
        *("gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-mini", "gpt-realtime-2.1"),
        *("gpt-4o-transcribe", "whisper-1", "relay/sim-passthrough"),
        "xiaozhi/sim-xiaozhi",
        *("gpt-5", "gpt-5-codex", "gpt-5.2", "gpt-5.2-codex-2026-01-14"),
    ):
        assert settings.prices.find(model) is not None, model


@pytest.mark.parametrize(
    ("model", "figures"),
    [
        ("gpt-realtime", "4 0.4 32 0.4 5 0.5 16 64"),
        ("gpt-realtime-1.5", "4 0.4 32 0.4 5 0.5 16 64"),
        ("gpt-realtime-2", "4 0.4 32 0.4 5 0.5 24 64"),
        ("gpt-realtime-2.1-2026-01-01", "4 0.4 32 0.4 5 0.5 24 64"),
        ("gpt-realtime-mini-2025-12-15", "0.6 0.06 10 0.3 0.8 None 2.4 20"),
        ("gpt-realtime-2.1-mini", "0.6 0.06 10 0.3 0.8 None 2.4 20"),
        ("gpt-4o-transcribe", "2.5 None 2.5 None None None 10 None"),
        ("gpt-4o-mini-transcribe-2025-12-15", "1.25 None 1.25 None None None 5 None"),
        ("generalv3.5", "3.5 None None None None None 3.5 None"),
        ("xunfei-spark-max", "3.5 None None None None None 3.5 None"),
        ("generalv3", "3.5 None None None None None 3.5 None"),
        ("lite", "0 None None None None None 0 None"),
    ],
)
def test_the_prices_of_tokens_are_the_listed_ones(model: str, figures: str) -> None:
    price = load(ROOT / "etc/relayd.toml", environ={}).prices.find(model)

    assert price is not None
    names = [field.name for field in attrs.fields(TokenPrices)]
    assert " ".join(str(getattr(price, name)) for name in names) == figures


@pytest.mark.parametrize(
    ("model", "usd_per_minute"),
    [
        ("whisper-1", "0.006"),
        ("gpt-realtime-whisper", "0.017"),
        ("gpt-live-transcribe", "0.017"),
        ("gpt-live-1", "0.05"),
        ("gpt-realtime-translate", "0.034"),
        ("gpt-transcribe", "0.0045"),
        ("grok-voice-think", "0.08"),
    ],
)
def test_the_prices_of_time_are_the_listed_ones(model: str, usd_per_minute: str) -> None:
    price = load(ROOT / "etc/relayd.toml", environ={}).prices.find(model)

    assert price is not None
    assert price.per_second is not None
    assert nano_of(price.per_second * 60) == nano_of(Decimal(usd_per_minute))


def test_a_model_that_is_not_listed_has_no_price() -> None:
    prices = load(ROOT / "etc/relayd.toml", environ={}).prices

    assert prices.find("gpt-realtime-3") is None
    assert prices.find("gpt-4o-transcribe-diarize") is None
    assert prices.find("gpt-4o-mini-transcribe-latest") is None
    assert prices.find("4.0Ultra") is None


def test_the_example_is_sound_with_everything_in_it_in_use(tmp_path: Path) -> None:
    (tmp_path / "relayd.toml").write_text(_with_everything().replace("enabled = false", ""))
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    (tmp_path / "captions-key").write_text("some-captions-key\n")
    (tmp_path / "prices.toml").write_bytes((ROOT / "etc/prices.toml").read_bytes())
    names = ("APP_ID", "API_KEY", "API_SECRET", "API_PASSWORD")
    environ = {"RELAYD_TESTS_KEY": "some-tests-key", "OPENAI_API_KEY": "some-openai-key"}
    for name in ("RELAYD_HUB_SECRET", "RELAYD_XIAOZHI_SECRET"):
        environ[name] = "some-secret-of-thirty-two-bytes-or-more"
    environ["XIAOZHI_AUTH_KEY"] = "some-auth-key"
    (tmp_path / "hub.pem").write_bytes(
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    environ |= {f"XUNFEI_{name}": f"some-{number}" for number, name in enumerate(names)}

    settings = load(tmp_path / "relayd.toml", environ=environ)

    assert settings.server.tls is not None
    assert all(account.enabled for account in settings.accounts)
    assert {account.provider for account in settings.accounts} == set(Provider)


def test_the_example_has_every_setting() -> None:
    document = tomllib.loads(_with_everything())
    tables = {
        "[server]": [document["server"]],
        "[server.tls]": [document["server"]["tls"]],
        "[limits]": [document["limits"]],
        "[pool]": [document["pool"]],
        "[log]": [document["log"]],
        "[state]": [document["state"]],
        "[ledger]": [document["ledger"]],
        "[dialects]": [document["dialects"]],
        "[dialects.responses]": [document["dialects"]["responses"]],
        "[dialects.hub]": [document["dialects"]["hub"]],
        "[dialects.xiaozhi]": [document["dialects"]["xiaozhi"]],
        "[hub]": [document["hub"]],
        "[xiaozhi]": [document["xiaozhi"]],
        "[[keys]]": document["keys"],
        "[[accounts]]": document["accounts"],
        "accounts.timeouts": [document["accounts"][0]["timeouts"]],
        "accounts.spark": [each["spark"] for each in document["accounts"] if "spark" in each],
        "accounts.defaults": [
            each["defaults"] for each in document["accounts"] if "defaults" in each
        ],
        "accounts.xiaozhi": [each["xiaozhi"] for each in document["accounts"] if "xiaozhi" in each],
    }

    assert tables.keys() == SECTIONS.keys()
    for title, cls in SECTIONS.items():
        named = {name for table in tables[title] for name in table}
        assert named == {field.name for field in attrs.fields(cls)}, title


def _with_everything() -> str:
    """The example with the settings it only mentions switched on."""
    return re.sub(r"(?m)^# (?=\[|[a-z0-9_]+ = )", "", EXAMPLE.read_text())
