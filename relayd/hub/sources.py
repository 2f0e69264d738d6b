"""What relayd itself tells the hub: its sessions, their turns, and how its accounts stand.

Events of the bus become publications, in the same step and in their order. What is about a session
goes to the session's topic, its tenant's and ``ops``; what is about an account to ``ops``. An HTTP
request is no session: it has no topic of its own, and is named by its ``request_id``. The hub's
clients are sessions too, but nobody is told of who listens.

As long as nobody listens nothing is made for anybody. Whoever went is remembered for as long as the
hub's history lasts, so that all that came meanwhile is there; an event that was not told later than
that breaks the history of its topics, so that nobody who comes back believes to have seen it all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol, TypeAlias

import attrs
import msgspec

from relayd.config.providers import Dialect
from relayd.dialect.hub_envelope import timestamp
from relayd.dialect.hub_topics import OPS, OWN_SESSION_PREFIX, TENANT_PREFIX
from relayd.hub.figures import NAME_MAX_CHARS, Figures
from relayd.hub.sources_devices import told_of_device
from relayd.observe.bus import (
    AccountChanged,
    AccountFailed,
    BusEvent,
    SessionEnded,
    SessionFacts,
    SessionFailedOver,
    SessionOpened,
    TurnEnded,
    TurnFirstOutput,
    TurnRefused,
    TurnStarted,
    TurnToolCalled,
    UpstreamConnected,
    UsageCharged,
)

STATS: Final = "stats"
STATS_EVERY_S: Final = 1.0

BROKEN_MAX: Final = 10_000
"""Topics that are known to have a broken history already; more are broken again."""

_SESSION_PREFIX: Final = "session:"
_OWN_ID_PREFIX: Final = OWN_SESSION_PREFIX.removeprefix(_SESSION_PREFIX)
_OPS: Final = (("", OPS),)
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode

Topic: TypeAlias = tuple[str, str]
"""Tenant and name."""

_Data: TypeAlias = dict[str, object]


class Topics(Protocol):
    """What is used of the :class:`~relayd.hub.hub.Hub`."""

    @property
    def listeners(self) -> int:
        """How many clients there are that follow anything."""

    @property
    def looks(self) -> int:
        """How often anybody was told how far the hub or a topic has come."""

    def follows(self, tenant: str, topic: str) -> bool:
        """Whether anybody follows this topic, by its name or a prefix."""

    def publish_to(
        self,
        topics: Sequence[Topic],
        *,
        event: str,
        data: bytes,
        session_id: str | None = None,
        droppable: bool = False,
        now: float,
        wall: float,
    ) -> object:
        """Publish one event to several topics."""

    def skip(self, topics: Sequence[Topic]) -> None:
        """Something happened there that nobody will be told: what was before can be resumed from
        no more."""


@attrs.define(eq=False, kw_only=True)
class Sources:
    """See the module's text.

    Attributes:
        topics: Where it is told.
        figures: Counted along, whether anybody listens or not.
        clock: Seconds that only go forward: the hub's ``now``.
        wall: Seconds since the epoch.
        history_s: How long the hub keeps what was published.
    """

    topics: Topics
    figures: Figures
    clock: Callable[[], float]
    wall: Callable[[], float]
    history_s: float
    _remembered_to: float = attrs.field(default=-math.inf, init=False)
    _looks: int = attrs.field(default=0, init=False)
    _broken: set[Topic] = attrs.field(factory=set, init=False)  # since anybody looked

    def hear(self, event: BusEvent) -> None:
        """Tell an event on; a :data:`~relayd.observe.bus.Subscriber`."""
        wall = self.wall()
        self.figures.hear(event, wall)
        topics, session_id = _where(event)
        if not topics:
            return
        if not self._is_heard():
            self._break(topics)
            return
        name, data = _told(event, wall)
        now = self.clock()
        self.topics.publish_to(
            topics, event=name, data=_encode(data), session_id=session_id, now=now, wall=wall
        )

    def tell_stats(self) -> Iterator[None]:
        """Publish the latest figures to ``ops`` and to tenants' topics, where somebody follows.

        To be begun every :data:`STATS_EVERY_S`; each step of it publishes once, for some 0.1 ms,
        and others may run between them. A slow client is spared what it says.
        """
        if not self.topics.listeners:
            return
        if self.topics.follows("", OPS):
            self._tell_stats(("", OPS), None)
            yield
        for tenant in self.figures.tenants:
            if self.topics.follows(tenant, topic := TENANT_PREFIX + tenant):
                self._tell_stats((tenant, topic), tenant)
                yield

    def _tell_stats(self, topic: Topic, tenant: str | None) -> None:
        wall = self.wall()
        data = _encode(self.figures.stats(tenant, wall))
        self.topics.publish_to(
            (topic,), event=STATS, data=data, droppable=True, now=self.clock(), wall=wall
        )

    def _is_heard(self) -> bool:
        """Whether anybody listens, or may come back for this."""
        if self.topics.listeners:
            self._remembered_to = self.clock() + self.history_s
            self._broken.clear()
        elif self._remembered_to > -math.inf and self.clock() >= self._remembered_to:
            self._remembered_to = -math.inf
        return self._remembered_to > -math.inf

    def _break(self, topics: Sequence[Topic]) -> None:
        """Break their history, once for all that comes until anybody looks at it again."""
        if self._looks != self.topics.looks or len(self._broken) > BROKEN_MAX:
            self._looks = self.topics.looks
            self._broken.clear()
        if not self._broken.issuperset(topics):
            self.topics.skip([topic for topic in topics if topic not in self._broken])
            self._broken.update(topics)


def _where(event: BusEvent) -> tuple[Sequence[Topic], str | None]:
    """The topics of an event, and its session's id."""
    if isinstance(event, AccountFailed | AccountChanged):
        return _OPS, None
    facts = event.session
    if facts.dialect == Dialect.HUB:
        return (), None
    tenant, session_id = facts.tenant, facts.session_id
    of_tenant = tenant, TENANT_PREFIX + tenant
    if session_id.startswith(_OWN_ID_PREFIX):
        return ((tenant, _SESSION_PREFIX + session_id), of_tenant, *_OPS), session_id
    return (of_tenant, *_OPS), None


def _told(event: BusEvent, wall: float) -> tuple[str, _Data]:
    """An event's name and what it says."""
    match event:
        case TurnStarted() | TurnFirstOutput() | TurnToolCalled() | TurnEnded() | TurnRefused():
            return _turn(event)
        case UsageCharged():
            return "usage.charged", _usage(event)
        case AccountFailed() | AccountChanged():
            return _account(event, wall)
        case SessionOpened() | UpstreamConnected() | SessionFailedOver() | SessionEnded():
            return _session(event)
        case _:
            name, said = told_of_device(event)
            return name, _facts(event.session) | said


def _account(event: AccountFailed | AccountChanged, wall: float) -> tuple[str, _Data]:
    said: _Data = {"account": event.account, "reason": event.reason}
    if isinstance(event, AccountFailed):
        return "account.failed", said | {"dialect": event.dialect}
    until = None if event.retry_in_s is None else timestamp(wall + event.retry_in_s)
    return "account.changed", said | {"state": event.state, "until": until}


def _session(
    event: SessionOpened | UpstreamConnected | SessionFailedOver | SessionEnded,
) -> tuple[str, _Data]:
    said = _facts(event.session)
    match event:
        case SessionOpened():
            said["admission_ms"] = round(event.admission_ms, 1)
            said["connect_ms"] = round(event.connect_ms, 1)
            first_ms = event.first_frame_ms
            said["first_frame_ms"] = None if first_ms is None else round(first_ms, 1)
            return "session.opened", said
        case UpstreamConnected():
            said["wait_ms"] = round(event.wait_ms, 1)
            return "session.connected", said
        case SessionFailedOver():
            said["account_from"], said["reason"] = event.account_from, event.reason
            return "session.failed_over", said
        case SessionEnded():
            said["reason"], said["fault"] = event.reason, event.fault
            said["duration_s"], said["turns"] = event.duration_s, event.turns
            said["messages_up"], said["messages_down"] = event.messages_up, event.messages_down
            said["bytes_up"], said["bytes_down"] = event.bytes_up, event.bytes_down
            said["tokens_in"], said["tokens_out"] = event.tokens_in, event.tokens_out
            said["cost_usd"] = event.cost_usd
            return "session.ended", said


def _turn(
    event: TurnStarted | TurnFirstOutput | TurnToolCalled | TurnEnded | TurnRefused,
) -> tuple[str, _Data]:
    said = _facts(event.session)
    if isinstance(event, TurnRefused):
        said["reason"] = event.reason
        return "turn.refused", said
    turn_id = event.turn_id
    said["turn_id"] = None if turn_id is None else turn_id[:NAME_MAX_CHARS]
    match event:
        case TurnStarted():
            return "turn.started", said
        case TurnFirstOutput():
            said["ttft_ms"] = event.ttft_ms
            return "turn.first_output", said
        case TurnToolCalled():
            said["name"], said["call_id"] = event.name, event.call_id
            return "turn.tool_called", said
        case TurnEnded():
            said["reason"], said["ttft_ms"] = event.reason, event.ttft_ms
            said["duration_ms"] = event.duration_ms
            said["tokens_in"], said["tokens_out"] = event.tokens_in, event.tokens_out
            said["cost_usd"] = event.cost_usd
            return "turn.ended", said


def _usage(event: UsageCharged) -> _Data:
    model = event.upstream_model
    return _facts(event.session) | {
        "source": event.source,
        "upstream_model": None if model is None else model[:NAME_MAX_CHARS],
        "tokens_in": event.tokens_in,
        "tokens_out": event.tokens_out,
        "tokens_in_text": event.tokens_in_text,
        "tokens_in_audio": event.tokens_in_audio,
        "tokens_in_image": event.tokens_in_image,
        "tokens_in_cached_text": event.tokens_in_cached_text,
        "tokens_in_cached_audio": event.tokens_in_cached_audio,
        "tokens_in_cached_image": event.tokens_in_cached_image,
        "tokens_out_text": event.tokens_out_text,
        "tokens_out_audio": event.tokens_out_audio,
        "cost_usd": event.cost_usd,
    }


def _facts(facts: SessionFacts) -> _Data:
    """Whose it is and where, as every event of a session begins; its id is in the envelope.

    The tenant is in the envelope too, but not in that of ``ops``, which belongs to none.
    """
    model = facts.model
    said: _Data = {
        "dialect": facts.dialect,
        "key": facts.key,
        "tenant": facts.tenant,
        "account": facts.account or None,
        "model": None if model is None else model[:NAME_MAX_CHARS],
    }
    if not facts.session_id.startswith(_OWN_ID_PREFIX):
        said["request_id"] = facts.session_id
    return said
