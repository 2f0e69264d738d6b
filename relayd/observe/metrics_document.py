"""Writes ``docs/metrics.md`` from the table of metrics.

``python -m relayd.observe.metrics_document`` in a checkout rewrites the file; a test keeps it true.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import NO_ACCOUNT, OTHER, Label, Spec

PATH: Final = Path(__file__).parents[2] / "docs" / "metrics.md"

_VALUES_SHOWN_MAX: Final = 16

_HEAD: Final = f"""\
# Metrics

Generated from relayd's own table by `python -m relayd.observe.metrics_document`; do not edit.

`GET /metrics` on the admin listener answers in Prometheus' text format, or in OpenMetrics where the
`Accept` header names it. `etc/alerts.yml` has alert rules over these metrics and `etc/grafana.json`
a dashboard; [operating.md](operating.md) has a remedy for each alert.

Labels hold names of the configuration and words that relayd knows, nothing that a client or an
upstream chose; what has no value of its own counts under `{OTHER}`. A model is named where the
configuration (`accounts.models`, `model_map`) or the prices name it exactly, not by a pattern. No
key, session or address is ever in a label: the log and the ledger have those.

A session of the responses dialect has no account: each of its turns finds one, and a socket of the
[pool](operating.md#the-pool). What counts by session has the account `{NO_ACCOUNT}` there; what
counts by turn, or by socket, has the account's name.

Sessions, turns, requests and rows of the ledger count when they end. Messages and bytes of open
sessions count at every scrape, and the rest of them when the session ends. Gauges are looked at
when the scrape comes. Counters begin at 0 when relayd starts: use `rate` and `increase`. A
histogram has `_bucket`, `_sum` and `_count`.
"""


def document() -> str:
    """The whole text of ``docs/metrics.md``."""
    return "\n".join([_HEAD, *(_section(metric.spec) for metric in Metric)])


def _section(spec: Spec) -> str:
    lines = [
        f"## `{spec.name}`\n",
        f"{spec.kind.capitalize()}. {spec.meaning}\n",
        *_labels(spec.labels),
        *_buckets(spec.buckets),
        f"- *Normal.* {spec.normal}",
        f"- *Otherwise.* {spec.remedy}\n",
    ]
    return "\n".join(lines)


def _labels(labels: tuple[Label, ...]) -> Iterable[str]:
    for label in labels:
        values = ", ".join(f"`{value}`" for value in label.values)
        if len(label.values) > _VALUES_SHOWN_MAX:
            values = label.listed
        yield f"- `{label.name}`: {label.meaning}" + (f": {values}" if values else "")


def _buckets(buckets: tuple[float, ...]) -> Iterable[str]:
    if buckets:
        yield f"- Buckets, in seconds: {', '.join(f'{bound:g}' for bound in buckets)}"


if __name__ == "__main__":
    PATH.write_text(document(), encoding="utf-8")
