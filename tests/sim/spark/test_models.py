"""What there is at which path."""

from __future__ import annotations

import pytest

from relayd.sim.spark.models import ASSISTANT, HTTP_PATHS, PATHS, Model, models_at
from tests.sim.spark.stage import DOMAINS


@pytest.mark.parametrize("path", DOMAINS)
def test_every_path_has_a_model_of_its_domain_and_no_second(path: str) -> None:
    assert sum(model.is_called(DOMAINS[path]) for model in models_at(path)) == 1


def test_no_path_is_left_out_of_these_tests() -> None:
    assert set(PATHS) == {path for path in DOMAINS if not path.startswith("/v1/assistants/")}


@pytest.mark.parametrize("path", ["", "/", "/v9/chat", "/v1/assistants/", "/v1/assistants/a/b"])
def test_there_is_nothing_elsewhere(path: str) -> None:
    assert models_at(path) == ()


def test_an_assistant_has_a_path_of_its_own() -> None:
    assert models_at("/v1/assistants/3f9") == (ASSISTANT,)


@pytest.mark.parametrize("domain", ["general", "generalv3.5", "spark-x", ""])
def test_a_path_knows_no_other_domains(domain: str) -> None:
    assert not any(model.is_called(domain) for model in models_at("/v1.1/chat"))


@pytest.mark.parametrize(
    "model", [model for models in [*PATHS.values(), *HTTP_PATHS.values()] for model in models]
)
def test_a_model_is_consistent(model: Model) -> None:
    assert model.domains or model.prefixes
    assert model.answer_tokens <= model.answer_tokens_max


def test_over_http_every_model_takes_tools_roles_and_higher_temperatures() -> None:
    models = [model for at in HTTP_PATHS.values() for model in at]

    assert all(model.is_over_http and model.has_system and model.is_closing for model in models)
    assert {model.temperature_max for model in models} == {2.0}
    assert not any(model.has_functions for model in models if model.is_called("lite"))
