"""The settings of Spark accounts, read as the configuration reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from relayd.config.about import about_of
from relayd.config.files import Surroundings
from relayd.config.mistakes import Mistake
from relayd.config.secret import Secret
from relayd.config.spark import ChatDefaults, SparkSettings
from relayd.config.structure import TableReader


def read(
    raw: Mapping[str, object], table: type[SparkSettings | ChatDefaults], **environ: str
) -> tuple[SparkSettings | ChatDefaults, list[Mistake]]:
    reader = TableReader(Surroundings(environ=environ, directory=Path()), (table,))
    return reader.table(table, dict(raw), "at"), reader.mistakes


LEAST = {"app_id": "a1b2c3d4", "api_secret": "canary"}


def test_a_table_in_full() -> None:
    raw = LEAST | {
        "app_id": "ENV:APP",
        "api_secret": "ENV:SECRET",
        "api_version": "v3.5",
        "domain": "generalv3.5",
        "endpoint": "/v3.5/chat",
        "patch_id": ["1"],
        "uid": "u",
        "context": 8192,
        "max_out": 4096,
        "system": True,
        "tools": False,
        "reasoning": False,
        "http_password": "ENV:SECRET",
    }

    settings, mistakes = read(raw, SparkSettings, APP="a1b2c3d4", SECRET="canary")

    assert mistakes == []
    assert settings == SparkSettings(
        app_id="a1b2c3d4",
        api_secret=Secret("canary"),
        api_version="v3.5",
        domain="generalv3.5",
        endpoint="/v3.5/chat",
        patch_id=("1",),
        uid="u",
        context=8192,
        max_out=4096,
        system=True,
        tools=False,
        reasoning=False,
        http_password=Secret("canary"),
    )
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({"app_id": "a1b2c3d4"}, "at.api_secret"),
        ({"api_secret": "s"}, "at.app_id"),
        (LEAST | {"app_id": 5}, "at.app_id"),
        (LEAST | {"app_id": "two words"}, "at.app_id"),
        (LEAST | {"app_id": "ENV:NOT_SET"}, "at.app_id"),
        (LEAST | {"api_secret": "sha256:" + "0" * 64}, "at.api_secret"),
        (LEAST | {"api_version": 3.5}, "at.api_version"),
        (LEAST | {"domain": "a b"}, "at.domain"),
        (LEAST | {"endpoint": "v3.5/chat"}, "at.endpoint"),
        (LEAST | {"endpoint": "/v3.5/../chat"}, "at.endpoint"),
        (LEAST | {"endpoint": "/v3.5/chat?x"}, "at.endpoint"),
        (LEAST | {"patch_id": "1"}, "at.patch_id"),
        (LEAST | {"uid": "u" * 33}, "at.uid"),
        (LEAST | {"context": 0}, "at.context"),
        (LEAST | {"max_out": True}, "at.max_out"),
        (LEAST | {"system": 1}, "at.system"),
        (LEAST | {"secret": "canary"}, "at.secret"),
    ],
)
def test_mistakes_are_found_at_their_place(raw: dict[str, object], path: str) -> None:
    _, mistakes = read(raw, SparkSettings)

    assert [each.path for each in mistakes] == [path]
    assert "canary" not in mistakes[0].message


def test_an_app_id_that_is_no_such_thing_is_not_repeated() -> None:
    _, mistakes = read(LEAST | {"app_id": "canary canary"}, SparkSettings)

    assert "canary" not in mistakes[0].message


def test_defaults_of_requests() -> None:
    defaults, mistakes = read(
        {"temperature": 0.7, "max_tokens": 2000, "top_p": 1, "top_k": 4, "presence_penalty": -2},
        ChatDefaults,
    )

    assert mistakes == []
    assert defaults == ChatDefaults(
        temperature=0.7, max_tokens=2000, top_p=1.0, top_k=4, presence_penalty=-2.0
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2.1),
        ("temperature", "0.7"),
        ("temperature", True),
        ("temperature", float("nan")),
        ("top_p", -0.1),
        ("top_k", 0),
        ("presence_penalty", float("inf")),
        ("frequency_penalty", -3),
        ("max_tokens", 1.5),
    ],
)
def test_defaults_have_the_ranges_of_requests(name: str, value: object) -> None:
    defaults, mistakes = read({name: value}, ChatDefaults)

    assert [each.path for each in mistakes] == [f"at.{name}"]
    assert defaults == ChatDefaults()


@pytest.mark.parametrize("table", [SparkSettings, ChatDefaults])
def test_each_setting_says_what_it_is(table: type[attrs.AttrsInstance]) -> None:
    for field in attrs.fields(table):
        assert about_of(field).meaning.endswith(".")
