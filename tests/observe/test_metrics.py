"""The table of metrics: named as Prometheus wants it, explained, and bounded."""

from __future__ import annotations

import re

import pytest

from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import Kind

NAME = re.compile(r"relayd_[a-z]+(_[a-z]+)*")
OTHER_UNITS = (
    "_ms",
    "_milliseconds",
    "_kb",
    "_mb",
    "_minutes",
    "_hours",
    "_count",
    "_sum",
    "_bucket",
)

CONFIGURED = {"account", "model"}
"""Labels whose values come from the configuration, through the names that measuring bounds."""

ROUTED = {"route"}
"""Those whose values are the patterns of relayd's own tables of routes."""


@pytest.mark.parametrize("metric", Metric)
def test_a_metric_is_named_as_prometheus_wants_it(metric: Metric) -> None:
    spec = metric.spec
    base = spec.name.removesuffix("_total")

    assert NAME.fullmatch(spec.name)
    assert spec.name == f"relayd_{metric.name.lower()}"
    assert spec.name.endswith("_total") == (spec.kind is Kind.COUNTER)
    assert not base.endswith(OTHER_UNITS)


@pytest.mark.parametrize("metric", Metric)
def test_a_metric_says_what_it_means_what_is_normal_and_what_to_do(metric: Metric) -> None:
    spec = metric.spec

    for text in (spec.meaning, spec.normal, spec.remedy):
        assert text.endswith(".")
        assert text[0].isupper() or not text[0].isalpha()
        assert "\n" not in text
        assert "  " not in text


@pytest.mark.parametrize("metric", Metric)
def test_a_histogram_has_rising_buckets_in_a_base_unit_and_nothing_else_has(metric: Metric) -> None:
    spec = metric.spec

    assert bool(spec.buckets) == (spec.kind is Kind.HISTOGRAM)
    assert list(spec.buckets) == sorted(set(spec.buckets))
    if spec.buckets:
        assert spec.name.endswith("_seconds")


@pytest.mark.parametrize("metric", Metric)
def test_a_label_is_of_a_known_set_or_of_relayd_s_own_names(metric: Metric) -> None:
    spec = metric.spec
    names = [label.name for label in spec.labels]

    assert len(set(names)) == len(names)
    for label in spec.labels:
        open_ones = label.name in CONFIGURED | ROUTED or spec is Metric.BUILD_INFO.spec
        failure = spec is Metric.ACCOUNT_FAILURES_TOTAL.spec and label.name == "reason"
        assert bool(label.values) or open_ones or failure


def test_no_label_is_about_a_client_or_a_session() -> None:
    names = {label.name for metric in Metric for label in metric.spec.labels}

    assert not names & {
        "key",
        "tenant",
        "session_id",
        "turn_id",
        "client_address",
        "address",
        "tag",
    }


def test_metrics_mentioned_in_a_remedy_exist() -> None:
    names = {metric.spec.name for metric in Metric}
    texts = " ".join(f"{m.spec.normal} {m.spec.remedy} {m.spec.meaning}" for m in Metric)

    assert set(re.findall(r"relayd_\w+", texts)) <= names


def test_no_two_families_share_a_name_in_openmetrics() -> None:
    families = [metric.spec.name.removesuffix("_total") for metric in Metric]

    assert len(set(families)) == len(families)
