"""The values of the metrics: plain numbers in dictionaries, one family for each row of the table.

prometheus-client writes the exposition, but does not keep the values: its metrics take a lock for
each addition and hand out a whole family in one piece, which with 100 accounts and 30 models holds
the event loop for a tenth of a second. Here a family's samples are made one series at a time, so
that the rendering can pause between any two.

Everything happens in the event loop's thread, in whole steps; there is nothing to lock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs
from prometheus_client import Metric as PrometheusMetric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import OTHER, Kind, Label, Spec

SERIES_MAX: Final = 20_000
"""Label sets of one family. Configurations come and go in a process's life, so there has to be an
end; what comes later counts under ``other``."""

Key = tuple[str, ...]
"""Label values, in the order of the specification."""


@attrs.define(eq=False)
class Family:
    """One metric with all its series.

    Attributes:
        spec: Its row of the table.
        series_max: How many label sets are kept.
    """

    spec: Spec
    series_max: int = SERIES_MAX
    _bounded: dict[tuple[tuple[str, str], ...], Key] = attrs.field(factory=dict, init=False)

    def series(self) -> Iterator[list[Sample]]:
        """The samples, one series at a time; those of one series were true together.

        Series that are added while this is iterated are left out.
        """
        raise AssertionError("a family is of numbers or of histograms")

    def described(self) -> PrometheusMetric:
        """The family without its samples, as prometheus-client knows it."""
        name = self.spec.name
        if self.spec.kind is Kind.COUNTER:
            name = name.removesuffix("_total")  # OpenMetrics names the family without it
        return PrometheusMetric(name, self.spec.meaning, self.spec.kind)

    def key(self, labels: Mapping[str, str], known: Mapping[Key, object]) -> Key:
        """The bounded label values for ``labels``; raises ``KeyError`` for a missing one."""
        said = tuple(labels.items())  # a place in the code spells them in one order
        key = self._bounded.get(said)
        if key is None:
            assert len(labels) == len(self.spec.labels), f"{self.spec.name} has other labels"
            given = tuple(labels[label.name] for label in self.spec.labels)
            key = tuple(map(Label.bound, self.spec.labels, given))
            if key == given and len(self._bounded) < self.series_max:  # no word of a peer's
                self._bounded[said] = key
        if key in known or len(known) < self.series_max:
            return key
        return tuple(
            value if label.values else OTHER
            for label, value in zip(self.spec.labels, key, strict=True)
        )

    def label_dict(self, key: Key) -> dict[str, str]:
        """As prometheus-client wants them."""
        return {label.name: value for label, value in zip(self.spec.labels, key, strict=True)}


@attrs.define(eq=False)
class Numbers(Family):
    """A counter or a gauge."""

    _values: dict[Key, float] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        if not self.spec.labels:
            self._values[()] = 0

    def add(self, amount: float = 1, **labels: str) -> None:
        """Add ``amount``, which must not be negative for a counter: less than 0 adds nothing."""
        values = self._values
        key = self._bounded.get(tuple(labels.items()))
        if key is None or key not in values:
            key = self.key(labels, values)
        if amount < 0 and self.spec.kind is Kind.COUNTER:
            amount = 0
        values[key] = values.get(key, 0) + amount

    def set(self, value: float, **labels: str) -> None:
        """Set one series; also a counter's, from where something else counts."""
        self._values[self.key(labels, self._values)] = value

    def replace(self, values: Iterable[tuple[float, Mapping[str, str]]]) -> None:
        """Set all series and forget those that are not among them."""
        fresh: dict[Key, float] = {}
        for value, labels in values:
            key = self.key(labels, fresh)
            fresh[key] = fresh.get(key, 0) + value
        self._values = fresh

    def value(self, **labels: str) -> float:
        """The value of one series, 0 where there is none."""
        return self._values.get(self.key(labels, self._values), 0)

    def series(self) -> Iterator[list[Sample]]:
        """See :meth:`Family.series`."""
        values = self._values  # a replacement is for those who come later
        for key in tuple(values):
            yield [Sample(self.spec.name, self.label_dict(key), values[key])]


@attrs.define(eq=False)
class _Observed:
    """One series of a histogram: how many fell into each bucket, the last one without a bound."""

    counts: list[int]
    total: float = 0.0


@attrs.define(eq=False)
class Histogram(Family):
    """Observations, counted by size."""

    _observed: dict[Key, _Observed] = attrs.field(factory=dict, init=False)
    _bounds: tuple[str, ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._bounds = (*map(floatToGoString, self.spec.buckets), "+Inf")
        if not self.spec.labels:
            self._observed[()] = self._empty()

    def observe(self, value: float, **labels: str) -> None:
        """Count ``value``, in the metric's unit; a negative one counts as 0."""
        key = self._bounded.get(tuple(labels.items()))
        if key is None or key not in self._observed:
            key = self.key(labels, self._observed)
        observed = self._observed.get(key)
        if observed is None:
            observed = self._observed[key] = self._empty()
        value = max(value, 0.0)
        observed.counts[bisect_left(self.spec.buckets, value)] += 1
        observed.total += value

    def set(self, counts: Sequence[int], total: float, **labels: str) -> None:
        """Set one series, from where something else counts.

        Args:
            counts: How many fell into each bucket, and behind the last one.
            total: All that was observed, added up.
        """
        assert len(counts) == len(self._bounds), f"{self.spec.name} has other buckets"
        self._observed[self.key(labels, self._observed)] = _Observed([*counts], total)

    def begin(self, **labels: str) -> None:
        """Show one series from now on, even while it has no observation."""
        self._observed.setdefault(self.key(labels, self._observed), self._empty())

    def count(self, **labels: str) -> int:
        """How many observations one series has."""
        observed = self._observed.get(self.key(labels, self._observed))
        return 0 if observed is None else sum(observed.counts)

    def series(self) -> Iterator[list[Sample]]:
        """See :meth:`Family.series`."""
        name = self.spec.name
        for key in tuple(self._observed):
            labels, observed, so_far = self.label_dict(key), self._observed[key], 0
            samples: list[Sample] = []
            for bound, count in zip(self._bounds, observed.counts, strict=True):
                so_far += count
                samples.append(Sample(f"{name}_bucket", {**labels, "le": bound}, so_far))
            samples.append(Sample(f"{name}_count", labels, so_far))
            samples.append(Sample(f"{name}_sum", labels, observed.total))
            yield samples

    def _empty(self) -> _Observed:
        return _Observed([0] * len(self._bounds))


class Registry:
    """All families, in the order of the table. A collector in the sense of prometheus-client."""

    def __init__(self, series_max: int = SERIES_MAX) -> None:
        self._numbers: dict[Metric, Numbers] = {}
        self._histograms: dict[Metric, Histogram] = {}
        self.families: tuple[Family, ...] = tuple(
            self._made(metric, series_max) for metric in Metric
        )

    def numbers(self, metric: Metric) -> Numbers:
        """The family of a counter or a gauge."""
        return self._numbers[metric]

    def histogram(self, metric: Metric) -> Histogram:
        """The family of a histogram."""
        return self._histograms[metric]

    def collect(self) -> Iterator[PrometheusMetric]:
        """All of it, a family at a time and each in one piece: for tests and tools."""
        for family in self.families:
            described = family.described()
            described.samples = [sample for series in family.series() for sample in series]
            yield described

    def _made(self, metric: Metric, series_max: int) -> Family:
        if metric.spec.kind is Kind.HISTOGRAM:
            histogram = self._histograms[metric] = Histogram(metric.spec, series_max)
            return histogram
        numbers = self._numbers[metric] = Numbers(metric.spec, series_max)
        return numbers
