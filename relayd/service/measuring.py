"""Feeds the metrics: hears of sessions, turns and requests, and looks at the rest when scraped.

Nothing happens per message. Sessions, turns and rows of the ledger come over the bus, refusals,
requests and what happens in the pool from where their lines are written; what is there at a moment,
the messages and bytes of open sessions among it, is looked at when somebody asks, in slices.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs

import relayd
from relayd.config.providers import Dialect
from relayd.core.endings import Reason
from relayd.dialect.responses_aborts import Abort
from relayd.observe.bus import (
    AccountFailed,
    BusEvent,
    SessionEnded,
    SessionOpened,
    TurnEnded,
    TurnRefused,
    TurnStarted,
    UsageCharged,
)
from relayd.observe.device_events import DeviceEvent
from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import LIMIT, NO_ACCOUNT, OTHER, OUTCOME
from relayd.observe.metrics_text import TextFormat, render
from relayd.observe.metrics_values import Registry
from relayd.pool.events import PoolEvent
from relayd.service.http.service import Outcome, RequestFacts
from relayd.service.measuring_devices import count_device
from relayd.service.measuring_names import ModelNames, failure_word
from relayd.service.measuring_pauses import LoopWatch, timing_collections
from relayd.service.measuring_pool import count_event
from relayd.service.measuring_samples import Sampler, Sources
from relayd.service.measuring_traffic import Traffic


@attrs.define(eq=False)
class Measuring:
    """The metrics of one relayd.

    Attributes:
        sources: Where the sampled ones come from.
        registry: All of them.
    """

    sources: Sources
    registry: Registry = attrs.field(factory=Registry)
    _models: ModelNames = attrs.field(factory=ModelNames, init=False)
    _loop: LoopWatch = attrs.field(init=False)
    _sampler: Sampler = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = LoopWatch(self.registry.histogram(Metric.LOOP_DELAY_SECONDS))
        self._sampler = Sampler(self.sources, self.registry, Traffic(self.registry))
        # An increase from nothing to 1 is none to Prometheus: what alerts look at begins at 0.
        for reason in LIMIT.values:
            self._add(Metric.LIMITS_REFUSED_TOTAL, 0, reason=reason)
        for outcome in OUTCOME.values:
            self._add(Metric.CONFIG_RELOADS_TOTAL, 0, outcome=outcome)
        for dialect in Dialect:
            self.registry.histogram(Metric.ADMISSION_SECONDS).begin(dialect=dialect)
        now = self.sources.wall()
        self._set(Metric.BUILD_INFO, 1, version=relayd.__version__)
        self._set(Metric.PROCESS_START_TIME_SECONDS, now)
        self._set(Metric.CONFIG_LAST_RELOAD_SUCCESSFUL, 1)
        self._set(Metric.CONFIG_LAST_RELOAD_TIMESTAMP_SECONDS, now)

    # -- what is told

    def hear(self, event: BusEvent) -> None:
        """Take note of an event of the bus; a :data:`~relayd.observe.bus.Subscriber`."""
        match event:
            case SessionOpened():
                self._opened(event)
            case SessionEnded():
                self._ended(event)
            case TurnEnded():
                self._turn_ended(event)
            case TurnRefused():
                self._limited(event.reason)
            case UsageCharged():
                self._charged(event)
            case AccountFailed(account=account):
                reason = failure_word(event.reason)
                self._add(Metric.ACCOUNT_FAILURES_TOTAL, account=account, reason=reason)
            case TurnStarted():
                pass  # it counts when it is over
            case _ if isinstance(event, DeviceEvent):
                count_device(event, self.registry)

    def hear_pool(self, event: PoolEvent) -> None:
        """Take note of what happens in the pool; a :data:`~relayd.pool.events.PoolEvents`."""
        count_event(event, self.registry)

    def refused(self, status: int, reason: str, dialect: str | None) -> None:
        """A connection ended before its 101.

        Args:
            status: The HTTP status, 0 if none was sent.
            reason: The refusal's code.
            dialect: ``None`` where it ended before that was known.
        """
        self._add(
            Metric.CONNECTIONS_REFUSED_TOTAL,
            status=str(status),
            reason=reason,
            dialect=dialect or "unknown",
        )
        self._limited(reason)

    def request_ended(self, facts: RequestFacts, *, listener: str) -> None:
        """A request over HTTP is over, or what came became none.

        Args:
            facts: As they are logged. The route is a pattern of relayd's own.
            listener: A value of :data:`~relayd.observe.metrics_labels.LISTENER`.
        """
        route = facts.route or OTHER
        self._add(
            Metric.HTTP_REQUESTS_TOTAL,
            listener=listener,
            route=route,
            status=str(facts.status),
            outcome=facts.outcome,
        )
        duration_s = facts.duration_ms / 1000
        self._observe(
            Metric.HTTP_REQUEST_DURATION_SECONDS, duration_s, listener=listener, route=route
        )
        if facts.outcome is Outcome.CRASHED:
            self.crashed()

    def crashed(self) -> None:
        """A bug was caught at a boundary that counts none by itself. Raises nothing."""
        self._sampler.bugs_told += 1

    def reloaded(self, *, applied: bool) -> None:
        """A configuration was put in force, or refused."""
        outcome = "applied" if applied else "refused"
        self._add(Metric.CONFIG_RELOADS_TOTAL, outcome=outcome)
        self._set(Metric.CONFIG_LAST_RELOAD_SUCCESSFUL, int(applied))
        if applied:
            self._set(Metric.CONFIG_LAST_RELOAD_TIMESTAMP_SECONDS, self.sources.wall())

    def _opened(self, event: SessionOpened) -> None:
        dialect, account = event.session.dialect, event.session.account
        self._observe(Metric.ADMISSION_SECONDS, event.admission_ms / 1000, dialect=dialect)
        if account:  # else nothing was dialled for it
            self._observe(Metric.CONNECT_SECONDS, event.connect_ms / 1000, account=account)
        if event.first_frame_ms is not None:
            first_frame_s = event.first_frame_ms / 1000
            self._observe(Metric.FIRST_FRAME_SECONDS, first_frame_s, account=account)

    def _ended(self, event: SessionEnded) -> None:
        facts = event.session
        self._add(
            Metric.SESSIONS_TOTAL,
            dialect=facts.dialect,
            account=facts.account or NO_ACCOUNT,
            reason=event.reason,
            fault=event.fault,
        )
        duration_s = event.duration_s
        self._observe(Metric.SESSION_DURATION_SECONDS, duration_s, dialect=facts.dialect)
        if event.reason == Reason.INTERNAL_ERROR:
            self.crashed()
        self._sampler.traffic.ended(event)

    def _turn_ended(self, event: TurnEnded) -> None:
        facts = event.session
        model = self._model(facts.account, facts.model)
        self._add(
            Metric.TURNS_TOTAL,
            dialect=facts.dialect,
            account=facts.account,
            model=model,
            reason=event.reason,
        )
        duration_s = event.duration_ms / 1000
        self._observe(Metric.TURN_DURATION_SECONDS, duration_s, dialect=facts.dialect, model=model)
        if event.ttft_ms is not None:
            ttft_s = event.ttft_ms / 1000
            self._observe(Metric.TTFT_SECONDS, ttft_s, account=facts.account, model=model)
        if event.reason == Abort.INTERNAL_LANE:
            self.crashed()

    def _charged(self, event: UsageCharged) -> None:
        account = event.session.account
        model = self._model(account, event.upstream_model)
        if model == OTHER:  # an upstream may call what was asked for by a name of its own
            model = self._model(account, event.session.model)
        for direction, kind, tokens in _tokens(event):
            if tokens > 0:
                self._add(
                    Metric.TOKENS_TOTAL,
                    tokens,
                    account=account,
                    model=model,
                    direction=direction,
                    kind=kind,
                )
        if event.cost_usd is None:
            self._add(Metric.USAGE_UNPRICED_TOTAL)
        else:
            self._add(Metric.COST_USD_TOTAL, float(event.cost_usd), account=account, model=model)

    def _limited(self, reason: str) -> None:
        if reason in LIMIT.values:
            self._add(Metric.LIMITS_REFUSED_TOTAL, reason=reason)

    # -- what is sampled

    async def run(self) -> None:
        """Watch the loop and the garbage collector until cancelled."""
        with timing_collections(self.registry.histogram(Metric.GC_PAUSE_SECONDS)):
            await self._loop.run()

    async def scrape(self, form: TextFormat) -> AsyncIterator[bytes]:
        """Look, then give the exposition in pieces; other tasks run between any two.

        Cancelling it, or leaving it half-way, is fine. Several at a time are, too.
        """
        await self._sampler.sample()
        self._set(Metric.LOOP_PAUSE_MAX_SECONDS, self._loop.longest_s)
        async for piece in render(self.registry.families, form):
            yield piece

    # -- what they share

    def _model(self, account: str, model: str | None) -> str:
        return self._models.label(self.sources.snapshot(), account, model)

    def _add(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        self.registry.numbers(metric).add(amount, **labels)

    def _set(self, metric: Metric, value: float, **labels: str) -> None:
        self.registry.numbers(metric).set(value, **labels)

    def _observe(self, metric: Metric, value: float, **labels: str) -> None:
        self.registry.histogram(metric).observe(value, **labels)


def _tokens(event: UsageCharged) -> tuple[tuple[str, str, int], ...]:
    """Direction, kind and number; those of one direction add up to what the row says."""
    cached = (
        event.tokens_in_cached_text + event.tokens_in_cached_audio + event.tokens_in_cached_image
    )
    came = event.tokens_in_text + event.tokens_in_audio + event.tokens_in_image
    went = event.tokens_out_text + event.tokens_out_audio
    return (
        ("in", "text", event.tokens_in_text - event.tokens_in_cached_text),
        ("in", "audio", event.tokens_in_audio - event.tokens_in_cached_audio),
        ("in", "image", event.tokens_in_image - event.tokens_in_cached_image),
        ("in", "cached", cached),
        ("in", OTHER, event.tokens_in - came),
        ("out", "text", event.tokens_out_text),
        ("out", "audio", event.tokens_out_audio),
        ("out", OTHER, event.tokens_out - went),
    )
