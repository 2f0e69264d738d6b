"""Messages and bytes of sessions, counted while these are open and never twice.

A session may last an hour, so what it relays is not left for its end to tell. Each look at an open
session adds what has come since the look before, and its end adds the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import attrs

from relayd.observe.bus import SessionEnded, SessionFacts
from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import NO_ACCOUNT
from relayd.observe.metrics_values import Registry
from relayd.protocol.outcomes import Counts


class LiveEndpoint(Protocol):
    """One side of an open session."""

    @property
    def flow(self) -> Counts | None:
        """Counts what this side sends; ``None`` when it is not relayed any more."""


class LiveReporter(Protocol):
    """What knows whose session it is."""

    @property
    def facts(self) -> SessionFacts:
        """Who and where."""


class LiveSession(Protocol):
    """What is read of a :class:`~relayd.session.session.Session` while it runs."""

    @property
    def client(self) -> LiveEndpoint:
        """Its flow counts upwards."""

    @property
    def upstream(self) -> LiveEndpoint:
        """Its flow counts downwards."""

    @property
    def reporter(self) -> LiveReporter:
        """Whose it is."""


@attrs.frozen
class Relayed:
    """What one session has relayed."""

    messages_up: int = 0
    messages_down: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


_NOTHING: Final = Relayed()


@attrs.define(eq=False)
class Traffic:
    """Keeps the counters of messages and bytes."""

    registry: Registry
    _counted: dict[str, Relayed] = attrs.field(factory=dict, init=False)  # by open session

    def look_at(self, session: LiveSession) -> None:
        """Count what an open session has relayed since it was looked at."""
        up, down = session.client.flow, session.upstream.flow
        if up is None or down is None:
            return  # it is just being opened
        facts = session.reporter.facts
        relayed = Relayed(up.messages, down.messages, up.bytes, down.bytes)
        self._count(facts, relayed, self._counted.get(facts.session_id, _NOTHING))
        self._counted[facts.session_id] = relayed

    def ended(self, event: SessionEnded) -> None:
        """Count the rest of a session that is over."""
        relayed = Relayed(event.messages_up, event.messages_down, event.bytes_up, event.bytes_down)
        counted = self._counted.pop(event.session.session_id, _NOTHING)
        self._count(event.session, relayed, counted)

    def forget_all_but(self, sessions: Mapping[str, object]) -> None:
        """Forget sessions that are gone without having told their end, by a bug."""
        if len(self._counted) > len(sessions):
            self._counted = {
                session_id: relayed
                for session_id, relayed in self._counted.items()
                if session_id in sessions
            }

    def _count(self, facts: SessionFacts, relayed: Relayed, counted: Relayed) -> None:
        place = {"dialect": facts.dialect, "account": facts.account or NO_ACCOUNT}
        messages = self.registry.numbers(Metric.MESSAGES_TOTAL)
        messages.add(relayed.messages_up - counted.messages_up, direction="up", **place)
        messages.add(relayed.messages_down - counted.messages_down, direction="down", **place)
        payload = self.registry.numbers(Metric.BYTES_TOTAL)
        payload.add(relayed.bytes_up - counted.bytes_up, direction="up", **place)
        payload.add(relayed.bytes_down - counted.bytes_down, direction="down", **place)
