"""Which names may stand in a label, where peers have a say: models, and why an account failed.

Clients choose the model they ask for, within patterns, and upstreams choose the words of their
errors. A name that the operator has written down, or that relayd itself knows, is shown; every
other one counts under ``other``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from relayd.config.providers import Dialect
from relayd.config.snapshot import Snapshot
from relayd.core.refusals import RefusalCode
from relayd.observe.metrics_labels import OTHER, TURN_FAULTS
from relayd.routing.classify import (
    KINDS_BY_CLOSE,
    KINDS_BY_CODE,
    KINDS_BY_STATUS,
    KINDS_BY_TYPE,
    KINDS_BY_WORD,
    UNKNOWN_CODE,
)
from relayd.session.dialects import passthrough_model
from relayd.transport.errors import DialErrorKind

LABELS_MAX: Final = 1024
"""Answers that are kept. The names come from clients, so there is no end of them."""

MODELS_MAX: Final = 200
"""Models that are told apart in the life of a process: those that come first."""

FAILURE_WORDS: Final = frozenset(
    {
        *KINDS_BY_WORD,
        *KINDS_BY_CODE,
        *KINDS_BY_TYPE,
        *DialErrorKind,
        *(f"http_{status}" for status in (*KINDS_BY_STATUS, 400, 403, 404, 500, 502, 503, 504)),
        *(f"closed_{code}" for code in (*KINDS_BY_CLOSE, 1000, 1001, 1011, 1012)),
        RefusalCode.FIRST_FRAME_TIMEOUT,
        UNKNOWN_CODE,
        "closed_early",
        "malformed_response",
        "rate_limit_exceeded",
        "rate_limits_updated",
        "server_error",
        *TURN_FAULTS,
    }
)
"""The words of a failure that have a series of their own."""


def failure_word(word: str) -> str:
    """The label for ``word``, which may be an upstream's own."""
    return word if word in FAILURE_WORDS else OTHER


@attrs.define(eq=False)
class ModelNames:
    """Finds the label of a model.

    Attributes:
        models_max: How many are told apart.
    """

    models_max: int = MODELS_MAX
    _snapshot: Snapshot | None = attrs.field(default=None, init=False)
    _known: frozenset[str] = attrs.field(default=frozenset(), init=False)
    _shown: set[str] = attrs.field(factory=set, init=False)
    _labels: dict[tuple[str, str], str] = attrs.field(factory=dict, init=False)

    def label(self, snapshot: Snapshot, account: str, model: str | None) -> str:
        """The account's name for ``model``, if the configuration or the prices name it exactly.

        Args:
            snapshot: The configuration in force.
            account: Name of the account that serves it.
            model: What the client asked for, or what the upstream says it is.
        """
        if model is None:
            return OTHER
        if snapshot is not self._snapshot:
            self._snapshot, self._known = snapshot, frozenset(_exact_names(snapshot))
            self._labels.clear()
        found = self._labels.get((account, model))
        if found is None:
            found = self._find(snapshot, account, model)
            if len(self._labels) >= LABELS_MAX:
                self._labels.clear()
            self._labels[account, model] = found
        return found

    def _find(self, snapshot: Snapshot, account: str, model: str) -> str:
        serving = snapshot.account_named(account)
        name = model if serving is None else serving.upstream_model(model)
        if name not in self._known:
            return OTHER
        if name not in self._shown:
            if len(self._shown) >= self.models_max:
                return OTHER
            self._shown.add(name)
        return name


def _exact_names(snapshot: Snapshot) -> Iterator[str]:
    """Every model that is written down by its whole name."""
    for account in snapshot.accounts:
        yield from account.model_map.values()
        yield from (name for name in account.models if "*" not in name)
        if account.speaks(Dialect.PASSTHROUGH):
            yield passthrough_model(account.name)
    for price in snapshot.prices.prices:
        yield from (name for name in price.models if "*" not in name)
