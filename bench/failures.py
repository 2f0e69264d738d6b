"""Why a run is worth nothing: one exception, whose text is for the person who ran it."""

from __future__ import annotations


class RunFailed(Exception):
    """The load could not be carried as the row asks; the text says what was seen."""


class UnexpectedAnswer(RunFailed):
    """A peer answered something else than the benchmark needs."""


class SessionLost(RunFailed):
    """A session ended while its row still ran."""
