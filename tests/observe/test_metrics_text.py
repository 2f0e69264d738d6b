"""The exposition: what Prometheus' own parsers read, in slices, whatever the names are."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as PrometheusMetric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_plain
from trio.testing import Sequencer

from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import Kind, Label, Spec
from relayd.observe.metrics_text import SLICE_SAMPLES, TextFormat, render
from relayd.observe.metrics_values import Family, Histogram, Numbers, Registry

WHERE = Label("account", "an account")
COUNTER = Spec(Kind.COUNTER, "relayd_things_total", 'Things \\ "and" more.', "", "", (WHERE,))
GAUGE = Spec(Kind.GAUGE, "relayd_now", "Now.", "", "")
TIMES = Spec(Kind.HISTOGRAM, "relayd_time_seconds", "Time.", "", "", (WHERE,), (0.1, 1.0))

Samples = set[tuple[str, tuple[tuple[str, str], ...], float]]


async def rendered(families: Iterable[Family], form: TextFormat) -> list[bytes]:
    return [piece async for piece in render(families, form)]


def whole(families: Iterable[Family], form: TextFormat) -> str:
    return b"".join(trio.run(rendered, families, form)).decode()


def samples_of(metrics: Iterable[PrometheusMetric]) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for metric in metrics
        for sample in metric.samples
    }


def read(text: str, form: TextFormat) -> list[PrometheusMetric]:
    plain = form is TextFormat.PLAIN
    return list(read_plain(text) if plain else read_openmetrics(text))  # type: ignore[no-untyped-call]  # theirs has no types


def crowded() -> Registry:
    """Every metric with more series than fit into a slice, where it has labels."""
    registry = Registry()
    for number in range(SLICE_SAMPLES + 3):
        for metric in Metric:
            labels = {label.name: f"n{number}" for label in metric.spec.labels}
            labels |= {each.name: each.values[0] for each in metric.spec.labels if each.values}
            if metric.spec.kind is Kind.HISTOGRAM:
                registry.histogram(metric).observe(number / 10, **labels)
            else:
                registry.numbers(metric).add(number, **labels)
    return registry


@pytest.mark.parametrize("form", TextFormat)
async def test_the_slices_together_are_what_prometheus_client_writes_in_one_go(
    form: TextFormat,
) -> None:
    registry = crowded()

    pieces = await rendered(registry.families, form)

    if form is TextFormat.PLAIN:
        expected = generate_latest(registry)
    else:
        expected = generate_openmetrics(registry)  # type: ignore[no-untyped-call]  # theirs has no types
    assert len(pieces) > 10
    assert b"".join(pieces) == expected


@pytest.mark.parametrize("form", TextFormat)
async def test_no_slice_is_much_longer_than_the_others(form: TextFormat) -> None:
    pieces = await rendered(crowded().families, form)

    longest_series = max(len(metric.spec.buckets) + 3 for metric in Metric)
    for piece in pieces:
        lines = [line for line in piece.splitlines() if not line.startswith(b"#")]
        assert len(lines) < 2 * SLICE_SAMPLES + longest_series


@pytest.mark.parametrize("form", TextFormat)
def test_the_parsers_of_prometheus_read_it(form: TextFormat) -> None:
    registry = crowded()

    text = whole(registry.families, form)

    assert samples_of(read(text, form)) == samples_of(registry.collect())


@pytest.mark.parametrize("form", TextFormat)
def test_an_empty_registry_is_readable(form: TextFormat) -> None:
    text = whole(Registry().families, form)

    assert text.endswith("# EOF\n") == (form is TextFormat.OPENMETRICS)
    assert {metric.name for metric in read(text, form)} == {
        metric.spec.name.removesuffix("_total") for metric in Metric
    }


@given(st.lists(st.text(), max_size=5), st.sampled_from(TextFormat))
def test_no_label_value_can_look_like_a_line(names: list[str], form: TextFormat) -> None:
    counter, now = Numbers(COUNTER), Numbers(GAUGE)
    for name in names:
        counter.add(1, account=name)

    text = whole([counter, now], form)

    lines = text.split("\n")
    assert len([line for line in lines if line.startswith("relayd_now ")]) == 1
    assert len([line for line in lines if line.startswith("relayd_things_total{")]) == len(
        set(names)
    )
    assert len(lines) == 4 + 1 + len(set(names)) + (2 if form is TextFormat.OPENMETRICS else 1)


async def test_other_tasks_run_between_two_slices() -> None:
    counter = Numbers(COUNTER)
    for number in range(SLICE_SAMPLES * 5):
        counter.add(1, account=str(number))
    order: list[str] = []
    note, done = order.append, trio.Event()

    async def scrape() -> None:
        async for _ in render([counter], TextFormat.PLAIN):
            note("slice")
        done.set()

    async def work() -> None:
        while not done.is_set():
            note("work")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrape)
        nursery.start_soon(work)

    assert order.count("slice") == 6
    for end in range(len(order)):  # each runs once in a round of the loop
        assert abs(order[:end].count("slice") - order[:end].count("work")) <= 1


async def test_a_series_is_told_whole_though_it_changes_meanwhile() -> None:
    times = Histogram(TIMES)
    for number in range(SLICE_SAMPLES):
        times.observe(0.5, account=str(number))
    steps, text = Sequencer(), b""

    async def change() -> None:
        async with steps(1):
            for number in range(SLICE_SAMPLES):
                times.observe(5.0, account=str(number))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        pieces = render([times], TextFormat.OPENMETRICS)
        async with steps(0):
            text += await anext(pieces)
        async with steps(2):
            text += b"".join([piece async for piece in pieces])

    (family,) = read(text.decode(), TextFormat.OPENMETRICS)  # which checks each histogram
    counts = {sample.value for sample in family.samples if sample.name.endswith("_count")}
    assert counts == {1, 2}


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, TextFormat.PLAIN),
        ("", TextFormat.PLAIN),
        ("*/*", TextFormat.PLAIN),
        ("text/plain;version=0.0.4", TextFormat.PLAIN),
        ("application/openmetrics-text", TextFormat.OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", TextFormat.OPENMETRICS),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            TextFormat.OPENMETRICS,
        ),
        ("text/plain, Application/OpenMetrics-Text;q=0.1", TextFormat.OPENMETRICS),
        ("application/openmetrics-text;q=0, text/plain", TextFormat.PLAIN),
        ("application/openmetrics-text-but-not-quite", TextFormat.PLAIN),
        (",;=,;", TextFormat.PLAIN),
    ],
)
def test_the_form_is_the_one_asked_for(accept: str | None, form: TextFormat) -> None:
    assert TextFormat.accepted(accept) is form


def test_the_content_types_say_what_follows() -> None:
    assert TextFormat.PLAIN.value == "text/plain; version=0.0.4; charset=utf-8"
    assert (
        TextFormat.OPENMETRICS.value == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )
