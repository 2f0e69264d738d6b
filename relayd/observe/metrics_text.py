"""The metrics as Prometheus reads them, written in slices between which other tasks run.

prometheus-client writes every line. It is given some sixty samples at a time: a slice takes
less than 2 ms, however many series there are.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final

import attrs
import trio
from prometheus_client import Metric as PrometheusMetric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.samples import Sample

from relayd.observe.metrics_values import Family

SLICE_SAMPLES: Final = 64
"""About as many samples are written in one go: under 1 ms on a 2.5 GHz core."""

_OPENMETRICS: Final = "application/openmetrics-text"
_HEAD_LINES: Final = 2  # HELP and TYPE


class TextFormat(enum.Enum):
    """A form of the exposition; the value is its content type."""

    PLAIN = CONTENT_TYPE_PLAIN_0_0_4
    OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST

    @classmethod
    def accepted(cls, accept: str | None) -> TextFormat:
        """What an ``Accept`` header asks for: OpenMetrics where it is named, else the plain form.

        The order of preference does not matter: whoever names OpenMetrics reads it.
        """
        for media_range in (accept or "").lower().split(","):
            media_type, *parameters = (part.strip() for part in media_range.split(";"))
            if media_type == _OPENMETRICS and "q=0" not in parameters:
                return cls.OPENMETRICS
        return cls.PLAIN

    @property
    def ending(self) -> bytes:
        """What follows the last family."""
        return b"# EOF\n" if self is TextFormat.OPENMETRICS else b""

    def encode(self, metric: PrometheusMetric) -> bytes:
        """Head and samples of one family."""
        if self is TextFormat.OPENMETRICS:
            text: bytes = openmetrics.generate_latest(_Part(metric))  # type: ignore[no-untyped-call]  # theirs has no types
            return text.removesuffix(self.ending)
        return generate_latest(_Part(metric))


async def render(families: Iterable[Family], form: TextFormat) -> AsyncIterator[bytes]:
    """The exposition, in pieces; other tasks run between any two.

    A series is told as it is when its piece is made. Cancelling it, or leaving it half-way, is
    fine.
    """
    pieces, count = list[bytes](), 0
    for family in families:
        for samples, begins in _slices(family):
            metric = family.described()
            metric.samples = samples
            text = form.encode(metric)
            pieces.append(text if begins else text.split(b"\n", _HEAD_LINES)[_HEAD_LINES])
            count += len(samples)
            if count >= SLICE_SAMPLES:
                yield b"".join(pieces)
                pieces, count = [], 0
                await trio.lowlevel.checkpoint()
    yield b"".join(pieces) + form.ending


def _slices(family: Family) -> Iterator[tuple[list[Sample], bool]]:
    """The samples of ``family`` in slices of whole series, and whether a slice is the first."""
    samples, begins = list[Sample](), True
    for series in family.series():
        samples.extend(series)
        if len(samples) >= SLICE_SAMPLES:
            yield samples, begins
            samples, begins = [], False
    if samples or begins:
        yield samples, begins


@attrs.frozen
class _Part:
    """A collector of one family, or of a part of it."""

    metric: PrometheusMetric

    def collect(self) -> Iterable[PrometheusMetric]:
        """What prometheus-client asks for."""
        return (self.metric,)
