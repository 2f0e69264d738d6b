"""What numbers may be at Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.spark_models import MODELS, SparkModel
from relayd.dialect.spark_http_request import http_prepared
from relayd.dialect.spark_ranges import fitted, limited, ranges_of
from relayd.dialect.spark_request import SAMPLING, prepared
from tests.dialect.chat import account, request

HIGH = {"temperature": 2, "top_p": 1, "presence_penalty": 2, "frequency_penalty": 2, "top_k": 99}
LOW = {"temperature": 0, "top_p": 0, "presence_penalty": -2, "frequency_penalty": -2, "top_k": 1}


def over_websocket(version: str, asked: Mapping[str, float]) -> dict[str, Any]:
    frame = json.loads(prepared(request(**asked), account(version)).frame)
    return {name: frame["parameter"]["chat"][name] for name in sorted(asked)}


def over_http(version: str, asked: Mapping[str, float]) -> dict[str, Any]:
    body = json.loads(http_prepared(request(**asked), account(version)).body)
    return {name: body[name] for name in sorted(asked)}


@pytest.mark.parametrize("version", ["x1.5", "x1", "x2"])
def test_the_x_family_has_ranges_of_its_own_however_it_is_asked(version: str) -> None:
    for asked in (over_websocket, over_http):
        assert asked(version, HIGH) == {
            "frequency_penalty": 1.0,
            "presence_penalty": 2.0,
            "temperature": 2.0,
            "top_k": 6,
            "top_p": 1.0,
        }
        assert asked(version, LOW) == {
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "temperature": 0.01,
            "top_k": 1,
            "top_p": 0.01,
        }


def test_other_models_take_more_over_http() -> None:
    high = {"temperature": 2, "top_k": 99}
    assert over_websocket("v3.5", high) == {"temperature": 1.0, "top_k": 6}
    assert over_http("v3.5", HIGH) == HIGH | {"top_k": 6}
    assert over_http("v3.5", LOW) == LOW | {"top_p": 0.01}


@given(st.sampled_from(MODELS), st.booleans(), st.sampled_from(SAMPLING), st.floats(-9, 99))
def test_whatever_is_asked_for_is_in_its_range(
    model: SparkModel, http: bool, name: str, value: float
) -> None:
    limits = ranges_of(model, over_http=http).get(name)
    if limits is None:
        return
    least, most = limits
    sent = fitted(value, limits)
    assert least <= sent <= most
    assert type(sent) is type(least)
    if isinstance(least, float) and least <= value <= most:
        assert sent == value


def test_tokens_are_the_model_s_at_most() -> None:
    known, unknown = (next(m for m in MODELS if m.product == p) for p in ("Max", "V2.0"))
    assert [limited(asked, known) for asked in (None, 5, 10**6)] == [None, 5, 8192]
    assert limited(10**6, unknown) == 10**6
