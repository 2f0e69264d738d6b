"""The documents that follow from the schema: the reference, and the two files in ``etc/``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import attrs
import pytest
import trustme

from relayd.config.about import about_of
from relayd.config.document import DOCUMENT, SECTIONS, render, toml
from relayd.config.load import load
from relayd.config.providers import Provider
from relayd.config.schema import AccountSettings, Settings
from relayd.config.structure import TABLES

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "etc/relayd.example.toml"


def test_the_reference_is_what_the_schema_says() -> None:
    assert (ROOT / DOCUMENT).read_text() == render(), "run `python -m relayd.config.document`"


def test_the_reference_has_every_table_and_setting() -> None:
    assert set(SECTIONS.values()) == set(TABLES)
    for title, cls in SECTIONS.items():
        section = render().split(f"## `{title}`")[1].split("\n## ")[0]
        for field in attrs.fields(cls):
            assert f"| `{field.name}` |" in section


def test_every_setting_has_a_sentence() -> None:
    for cls in TABLES:
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
        if title in {"[server.tls]", "[[keys]]", "accounts.timeouts"}:
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
    ]


def test_the_first_configuration_lets_the_first_key_in() -> None:
    settings = load(ROOT / "etc/relayd.toml", environ={})

    assert settings.server.listen == ("127.0.0.1:8765",)
    assert [key.name for key in settings.keys] == ["dev"]


def test_the_example_is_sound_with_everything_in_it_in_use(tmp_path: Path) -> None:
    (tmp_path / "relayd.toml").write_text(_with_everything().replace("enabled = false", ""))
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    (tmp_path / "captions-key").write_text("some-captions-key\n")
    environ = {"RELAYD_TESTS_KEY": "some-tests-key", "OPENAI_API_KEY": "some-openai-key"}

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
        "[log]": [document["log"]],
        "[[keys]]": document["keys"],
        "[[accounts]]": document["accounts"],
        "accounts.timeouts": [document["accounts"][0]["timeouts"]],
    }

    assert tables.keys() == SECTIONS.keys()
    for title, cls in SECTIONS.items():
        named = {name for table in tables[title] for name in table}
        assert named == {field.name for field in attrs.fields(cls)}, title


def _with_everything() -> str:
    """The example with the settings it only mentions switched on."""
    return re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", EXAMPLE.read_text())
