"""What all tests share: how Hypothesis searches, and the log as values."""

from __future__ import annotations

import gc
import io
import json
import os
from collections.abc import Iterator
from typing import Any

import attrs
import hypothesis
import pytest

from relayd.observe import logs
from relayd.observe.events import EVENTS, LogEvent

# A run gives the same verdict every time, on a slow machine too; HYPOTHESIS_PROFILE=explore
# looks for examples that no run has tried yet.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("quick", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
# `make test` is for every few minutes; the recipe of .ci/run sets CI and takes twice the examples.
_USUAL = "repeatable" if os.environ.get("CI") else "quick"
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _USUAL))

WORKERS_MAX = 5

_HEAD = {"ts", "level", "event"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than processors, since a fifth of the time is waiting; five at most.

    More would cost more than they do: each of them has to read all tests first.
    """
    return min(len(os.sched_getaffinity(0)) + 1, WORKERS_MAX)


def pytest_collection_finish() -> None:
    """Keep the tests and all modules out of later garbage collections: they live to the end.

    With them a full collection takes 0.2 s, and all of them a twelfth of the run.
    """
    gc.collect()
    gc.freeze()


@attrs.define
class LogLines:
    """The lines logged during one test."""

    stream: io.BytesIO = attrs.Factory(io.BytesIO)

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def of(self, event: LogEvent) -> list[dict[str, Any]]:
        return [line for line in self.all if line["event"] == event]


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    """Everything logged while the test runs; a field that the event does not declare fails it."""
    lines = LogLines()
    logs.configure("json", "debug", lines.stream)
    yield lines
    logs.configure("json", "critical", io.BytesIO())
    for line in lines.all:
        assert set(line) - _HEAD == set(EVENTS[LogEvent(line["event"])].fields), line["event"]
