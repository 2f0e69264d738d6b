"""The files in ``etc`` for Prometheus and Grafana: every query is over metrics that there are.

promtool and Grafana are not at hand where the tests run. The rules are written in a small part of
YAML, which is read here line by line, and a query is taken apart as far as names go.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import OTHER, POOL_EVENT, POOL_WORDS, Kind, Label

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "etc" / "alerts.yml"
DASHBOARD = ROOT / "etc" / "grafana.json"
OPERATING = ROOT / "docs" / "operating.md"
PROMTOOL = shutil.which("promtool")

FUNCTIONS = {"rate", "increase", "changes", "avg_over_time", "histogram_quantile"}
AGGREGATIONS = {"sum", "max", "min"}
WORDS = {"and", "or", "unless", "bool"}
GROUPINGS = {"by", "without", "on", "ignoring"}
OF_COUNTERS = {"rate", "increase"}
TARGET_LABELS = {"instance", "job"}
"""What Prometheus itself puts on every series."""

TOKEN = re.compile(
    r'\s*(?P<text>"[^"]*")|\s*(?P<number>\d[\d.]*[a-z]*)|\s*(?P<variable>\$\w+)'
    r"|\s*(?P<name>[A-Za-z_]\w*)|\s*(?P<sign>=~|!~|==|!=|>=|<=|[-+*/<>=(){}\[\],])"
)
SUFFIXES = ("_bucket", "_count", "_sum")
NESTED = {"severity", "summary", "remedy"}
"""What stands under ``labels`` and ``annotations``."""


@attrs.frozen
class Sampled:
    """What a query may name: a sample, its labels, and whether it only grows."""

    labels: dict[str, Label | None]
    grows: bool


def samples() -> dict[str, Sampled]:
    found: dict[str, Sampled] = {"up": Sampled({}, grows=False)}
    for metric in Metric:
        spec = metric.spec
        labels: dict[str, Label | None] = {label.name: label for label in spec.labels}
        if spec.kind is Kind.HISTOGRAM:
            for suffix in SUFFIXES:
                le: dict[str, Label | None] = {"le": None} if suffix == "_bucket" else {}
                found[spec.name + suffix] = Sampled({**labels, **le}, grows=True)
        else:
            found[spec.name] = Sampled(labels, grows=spec.kind is Kind.COUNTER)
    return found


SAMPLES = samples()


@attrs.define
class Query:
    """One PromQL expression, taken apart into tokens; what is wrong with its names."""

    text: str
    tokens: list[tuple[str, str]] = attrs.field(factory=list)
    mistakes: list[str] = attrs.field(factory=list)
    metrics: set[str] = attrs.field(factory=set)
    at: int = 0

    def __attrs_post_init__(self) -> None:
        place = 0
        while place < len(self.text.rstrip()):
            match = TOKEN.match(self.text, place)
            assert match is not None, f"not understood: {self.text[place:]}"
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind]))
            place = match.end()
        self._check_brackets()
        wanted: list[str] = []
        while self.at < len(self.tokens):
            wanted += self._step()
        known = set(TARGET_LABELS).union(*(SAMPLES[name].labels for name in self.metrics))
        self.mistakes += [
            f"no metric here has the label {name}" for name in wanted if name not in known
        ]

    def _check_brackets(self) -> None:
        waiting: list[str] = []
        for kind, token in self.tokens:
            if kind == "sign" and token in "([{":
                waiting.append({"(": ")", "[": "]", "{": "}"}[token])
            elif kind == "sign" and token in ")]}" and (not waiting or waiting.pop() != token):
                self.mistakes.append(f"an unexpected {token}")
        self.mistakes += [f"a missing {token}" for token in waiting]

    def _next(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "")

    def _take(self) -> str:
        token = self._next()[1]
        self.at += 1
        return token

    def _step(self) -> list[str]:
        """One token with what belongs to it; the labels that are grouped by."""
        kind, token = self._next()
        self.at += 1
        if kind != "name":
            return []
        if token in GROUPINGS:
            return self._grouping()
        if token in AGGREGATIONS or token in WORDS:
            return []
        if token in FUNCTIONS:
            argument = self.tokens[self.at + 1][1]
            if token in OF_COUNTERS and not SAMPLES.get(argument, Sampled({}, grows=True)).grows:
                self.mistakes.append(f"{token} of {argument}, which does not only grow")
        elif token in SAMPLES:
            self._selector(token)
        else:
            self.mistakes.append(f"unknown: {token}")
        return []

    def _grouping(self) -> list[str]:
        names: list[str] = []
        assert self._take() == "("
        while (token := self._take()) != ")":
            names += [token] if token != "," else []
        return names

    def _selector(self, metric: str) -> None:
        self.metrics.add(metric)
        if self._next()[1] != "{":
            return
        while self._take() != "}":
            name, operator, value = self._take(), self._take(), self._take().strip('"')
            if name in TARGET_LABELS:
                continue
            if name not in SAMPLES[metric].labels:
                self.mistakes.append(f"{metric} has no label {name}")
            elif not _exists(SAMPLES[metric].labels[name], operator, value):
                self.mistakes.append(f"{metric} has no {name} {value}")


def _exists(label: Label | None, operator: str, value: str) -> bool:
    if label is None or not label.values:
        return True
    words = value.split("|") if operator in {"=~", "!~"} else [re.escape(value)]
    return all(any(re.fullmatch(word, each) for each in (*label.values, OTHER)) for word in words)


def mistakes(text: str) -> list[str]:
    return Query(text).mistakes


# -- the rules


def alerts() -> list[dict[str, str]]:
    """The rules, flat. Raises for a line that is written in any other way than these are."""
    rules: list[dict[str, str]] = []
    folded = ""
    lines = [line for line in ALERTS.read_text().splitlines() if not line.startswith("#")]
    assert lines[:3] == ["groups:", "  - name: relayd", "    rules:"]
    for line in filter(None, lines[3:]):
        if folded and line.startswith(" " * 10) and not line.startswith(" " * 11):
            rules[-1][folded] = f"{rules[-1][folded]} {line.strip()}".strip()
            continue
        match = re.fullmatch(r"(      - |        |          )([a-z]+):(?: (.+))?", line)
        assert match is not None, line
        indent, name, value = match[1], match[2], match[3]
        assert (indent == " " * 10) == (name in NESTED), line
        if indent.strip() == "-":
            assert name == "alert"
            rules.append({})
        folded = name if value == ">-" else ""
        if name in {"labels", "annotations"}:
            assert value is None
            continue
        rules[-1][name] = "" if folded else value.removeprefix("'").removesuffix("'")
    return rules


RULES = {rule["alert"]: rule for rule in alerts()}


def test_no_two_alerts_have_one_name() -> None:
    assert len(RULES) == len(alerts()) > 10


@pytest.mark.parametrize("name", RULES)
def test_an_alert_has_all_that_an_operator_needs(name: str) -> None:
    rule = RULES[name]

    assert list(rule) == ["alert", "expr", "for", "severity", "summary", "remedy"]
    assert re.fullmatch(r"Relayd([A-Z][a-z]+)+", name)
    assert rule["severity"] in {"critical", "warning", "info"}
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["summary"].endswith(".")
    assert rule["remedy"] == f"docs/operating.md#alert-{name.lower()}"


@pytest.mark.parametrize("name", RULES)
def test_an_alert_asks_for_what_there_is(name: str) -> None:
    assert mistakes(RULES[name]["expr"]) == []


@pytest.mark.parametrize("name", RULES)
def test_a_summary_uses_labels_that_the_alert_has(name: str) -> None:
    rule = RULES[name]
    used = set(re.findall(r"\$labels\.(\w+)", rule["summary"]))
    grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
    metrics = Query(rule["expr"]).metrics
    own = set(TARGET_LABELS).union(*(SAMPLES[metric].labels for metric in metrics))
    there = set(re.split(r", ", grouped[1])) if grouped else own

    assert used <= there
    assert "{{" not in re.sub(
        r"\{\{ \$(labels\.\w+|value( \| humanize\w*)?) \}\}", "", rule["summary"]
    )


def anchors(text: str) -> set[str]:
    """The headings of a document as links name them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def test_keys_are_guessed_over_http_as_well_as_with_upgrades() -> None:
    query = Query(RULES["RelaydKeysGuessed"]["expr"])

    assert query.metrics == {"relayd_connections_refused_total", "relayd_http_requests_total"}
    assert query.text.count('{status=~"401|403"}') == 2


@pytest.mark.skipif(not OPERATING.exists(), reason="there is no docs/operating.md")
def test_every_remedy_is_written_down() -> None:
    written = anchors(OPERATING.read_text())

    assert [name for name in RULES if f"alert-{name.lower()}" not in written] == []


def test_what_happens_in_the_pool_is_written_down_by_event_and_reason() -> None:
    section = OPERATING.read_text().partition("\n## The pool\n")[2].partition("\n## ")[0]
    written = set(re.findall(r"`([a-z_.]+)`", section))
    affinity = {"affinity.missed", "socket_gone", "unknown", "account_gone"}

    assert {*POOL_EVENT.values, *POOL_WORDS, "lease.waited", *affinity} - written == set()


def test_what_clients_do_to_sockets_is_no_alert() -> None:
    breaking = Query(RULES["RelaydSocketsBreaking"]["expr"])

    assert breaking.metrics == {"relayd_pool_events_total", "relayd_pool_leases_total"}
    assert breaking.text.count('reason!~"client_gone|preempted"') == 2


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool")
def test_prometheus_takes_the_rules() -> None:
    assert PROMTOOL is not None

    result = subprocess.run(
        [PROMTOOL, "check", "rules", ALERTS], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr


# -- the dashboard


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def dashboard_queries() -> Iterator[tuple[str, str]]:
    for panel in panels():
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in dashboard()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


@pytest.mark.parametrize(("where", "query"), list(dashboard_queries()))
def test_the_dashboard_asks_for_what_there_is(where: str, query: str) -> None:
    assert mistakes(query) == []


def test_a_legend_names_labels_that_the_query_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            metrics = Query(target["expr"]).metrics
            there = set(TARGET_LABELS).union(*(SAMPLES[metric].labels for metric in metrics))
            assert used <= there, panel["title"]


def test_panels_have_their_own_ids_and_places() -> None:
    every = dashboard()["panels"]
    places = [
        (x, y)
        for panel in every
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len({panel["id"] for panel in every}) == len(every)
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


def test_every_metric_is_in_the_dashboard_or_in_an_alert() -> None:
    queries = [query for _, query in dashboard_queries()] + [
        rule["expr"] for rule in RULES.values()
    ]
    asked = set().union(*(Query(query).metrics for query in queries))
    asked |= {name.removesuffix(suffix) for name in asked for suffix in SUFFIXES}

    assert {metric.spec.name for metric in Metric} - asked == set()


# -- the reader of queries itself


@pytest.mark.parametrize(
    ("query", "mistake"),
    [
        ("relayd_session", "unknown: relayd_session"),
        ('relayd_sessions_open{key="a"}', "relayd_sessions_open has no label key"),
        ('relayd_sessions_total{fault="upstraem"}', "relayd_sessions_total has no fault upstraem"),
        ('relayd_sessions_total{fault=~"upstream|relai"}', "has no fault upstream|relai"),
        ("sum by (model) (relayd_sessions_open)", "no metric here has the label model"),
        (
            "rate(relayd_sessions_open[5m])",
            "rate of relayd_sessions_open, which does not only grow",
        ),
        ("sum(relayd_sessions_open", "a missing )"),
        ("relayd_sessions_open)", "an unexpected )"),
        ("rat(relayd_sessions_total[5m])", "unknown: rat"),
        ("sum by (le) (rate(relayd_ttft_seconds_count[5m]))", "no metric here has the label le"),
    ],
)
def test_a_wrong_query_is_found(query: str, mistake: str) -> None:
    assert any(mistake in each for each in mistakes(query))
