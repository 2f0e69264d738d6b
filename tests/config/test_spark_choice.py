"""Which model a table means."""

from __future__ import annotations

import pytest

from relayd.config.spark_choice import SparkMistake, base_url_of, mistake_in, model_of
from relayd.config.spark_models import MODELS, SparkModel
from tests.dialect.chat import settings


def meant(version: str | None = None, **members: object) -> SparkModel:
    found = model_of(settings(version, **members))
    assert isinstance(found, SparkModel), found
    return found


def mistake(version: str | None = None, **members: object) -> SparkMistake:
    found = mistake_in(settings(version, **members))
    assert found is not None
    return found


def test_every_model_can_be_meant_by_its_version_alone() -> None:
    for row in MODELS:
        if row.domain is not None and row.endpoint is not None:
            assert row.endpoint in {meant(version).endpoint for version in row.versions}


@pytest.mark.parametrize(
    ("version", "members", "product"),
    [
        ("v3.5", {}, "Max"),
        ("3.5", {}, "Max"),
        ("V3.5", {}, "Max"),
        ("v1.1", {}, "Lite"),
        ("x1", {}, "X1.5"),
        ("x1", {"domain": "x1"}, "X1"),
        ("x2", {}, "X2"),
        (None, {"domain": "generalv3.5"}, "Max"),
        (None, {"domain": "max-32k"}, "Max-32K"),
        (None, {"domain": "x1"}, "X1"),
        (None, {"domain": "spark-x"}, "X1.5"),
        (None, {"domain": "spark-x", "endpoint": "/x2"}, "X2"),
        (None, {"domain": "x1", "endpoint": "/v1/reasoner-x1-preview"}, "X1-Preview"),
        (None, {"endpoint": "/v4.0/chat"}, "4.0 Ultra"),
        (None, {"endpoint": "/v1.1/chat"}, "Lite"),
        (None, {"domain": "patch", "patch_id": ("1",)}, "fine-tuned"),
        ("maas", {"domain": "xopkimik25"}, "fine-tuned"),
        (None, {"domain": "generalv3.5", "endpoint": "/v1/assistants/a"}, "assistant"),
        ("v3.5", {"domain": "generalv3.5", "endpoint": "/v3.5/chat"}, "Max"),
    ],
)
def test_a_model_is_found_by_what_is_said_of_it(
    version: str | None, members: dict[str, object], product: str
) -> None:
    assert meant(version, **members).product == product


@pytest.mark.parametrize(
    "members",
    [
        {"api_version": "v1.1"},
        {"api_version": "v1.1", "domain": "general"},
        {"api_version": "v1.1", "domain": "general", "endpoint": "/v1.1/chat"},
        {"domain": "general"},
        {"domain": "lite"},
    ],
)
def test_the_domain_of_v1_1_is_lite(members: dict[str, str]) -> None:
    version = members.get("api_version")
    others = {name: value for name, value in members.items() if name != "api_version"}

    assert meant(version, **others).domain == "lite"


def test_an_assistant_s_general_is_no_retired_name() -> None:
    assert meant(domain="general", endpoint="/v1/assistants/a").domain == "general"


def test_a_new_name_goes_with_the_version_that_it_replaces() -> None:
    model = meant("v3.5", domain="generalv3.6", endpoint="/v3.6/chat")

    assert (model.product, model.domain, model.endpoint) == ("Max", "generalv3.6", "/v3.6/chat")


def test_what_a_table_says_stands_instead_of_the_row() -> None:
    model = meant("v3.1", context=10, max_out=20, system=True, tools=True, reasoning=True)

    assert (model.context, model.max_out, model.default_out) == (10, 20, 20)
    assert (model.system, model.tools, model.reasoning) == (True, True, True)
    assert meant("v3.5", system=False, tools=False).system is False


@pytest.mark.parametrize(
    ("version", "members", "setting", "words"),
    [
        ("v9", {}, "api_version", 'no version "v9" is known'),
        ("v35", {}, "api_version", 'did you mean "v3.5"'),
        (None, {}, "api_version", "known: v1.1"),
        (None, {"endpoint": "/v9/chat"}, "api_version", "this endpoint is not known"),
        (None, {"domain": "generalv9"}, "domain", "known: lite"),
        (None, {"domain": "generalv9", "endpoint": "/v3.5/chat"}, "domain", "api_version"),
        ("v3.5", {"domain": "generalv3"}, "domain", "belongs to Spark Pro"),
        ("v3.5", {"endpoint": "/v4.0/chat"}, "endpoint", "belongs to Spark 4.0 Ultra"),
        (None, {"domain": "generalv3", "endpoint": "/v3.5/chat"}, "endpoint", "means Pro"),
        ("maas", {}, "domain", "missing"),
        (None, {"patch_id": ("1",)}, "domain", "missing"),
        ("assistant", {"domain": "d"}, "endpoint", "/v1/assistants/"),
        ("assistant", {"endpoint": "/v1/assistants/a"}, "domain", "missing"),
    ],
)
def test_what_names_no_model_is_a_mistake_with_its_remedy(
    version: str | None, members: dict[str, object], setting: str, words: str
) -> None:
    wrong = mistake(version, **members)

    assert wrong.setting == setting
    assert words in wrong.message


def test_a_sound_table_has_no_mistake() -> None:
    assert mistake_in(settings("v3.5")) is None


@pytest.mark.parametrize(
    ("version", "members", "base_url"),
    [
        ("v3.5", {}, "wss://spark-api.xf-yun.com"),
        ("kjwx", {}, "wss://spark-openapi-n.cn-huabei-1.xf-yun.com"),
        ("maas", {"domain": "d"}, "wss://maas-api.cn-huabei-1.xf-yun.com"),
        ("v9", {}, None),
    ],
)
def test_each_model_is_somewhere(
    version: str, members: dict[str, object], base_url: str | None
) -> None:
    assert base_url_of(settings(version, **members)) == base_url
