"""From an admitted device to its session."""

from __future__ import annotations

import functools
from typing import Final

import attrs

from relayd.config.dialects import XiaozhiKeepalive
from relayd.config.providers import Dialect
from relayd.config.schema import LimitSettings, Timeouts
from relayd.config.snapshot import Snapshot
from relayd.config.xiaozhi import TEXTS_AT_ONCE, XiaozhiSettings
from relayd.dialect.xiaozhi_rules import MachineSettings
from relayd.dialect.xiaozhi_state import Machine
from relayd.observe.bus import SessionFacts
from relayd.routing.classify import Failure
from relayd.session.reporter import Reporter, Timing
from relayd.session.terms import Deadlines, term_of
from relayd.session.xiaozhi.admission import XiaozhiGrant
from relayd.session.xiaozhi.desk import DeviceDesk
from relayd.session.xiaozhi.dialling import WebSocketFinder
from relayd.session.xiaozhi.metering import DeviceMeter
from relayd.session.xiaozhi.session import XiaozhiSession
from relayd.session.xiaozhi.telling import DeviceTeller
from relayd.transport.endpoint import Endpoint

_NO_TIMEOUTS: Final = Timeouts()
"""Turns of a device have no clock of their own."""


def make_session(
    desk: DeviceDesk,
    granted: XiaozhiGrant,
    snapshot: Snapshot,
    client: Endpoint,
    *,
    session_id: str,
    accepted_at: float,
    now: float,
) -> XiaozhiSession:
    """A session whose 101 is written at ``now``. It does not run yet.

    Args:
        desk: What all devices share.
        granted: What :func:`~relayd.session.xiaozhi.admission.admit` returned.
        snapshot: The configuration that admitted it, which it keeps.
        client: Adopted by the desk's reactor, with the 101 in its sink.
        session_id: Its name.
        accepted_at: When the device's connection was accepted, by ``trio.current_time()``.
        now: Likewise.
    """
    grant, settings = granted.grant, snapshot.settings
    own = settings.xiaozhi
    machine = _machine(granted, own, desk, now)
    timing = Timing(accepted_at=accepted_at, started_at=now, connect_ms=0.0, first_frame_ms=None)
    facts = _facts(granted, session_id)
    meter = DeviceMeter(
        books=desk.books,
        key=grant.key,
        prices=snapshot.prices,
        tag=grant.tag,
        usage=machine.conversation.usage,
        facts=facts,
        use=desk.allowances.use_of(grant.key.tenant, granted.identity.device_id, own),
    )
    reporter = Reporter(
        facts=facts, bus=desk.bus, meter=meter, timing=timing, account_failed=_judged_elsewhere
    )
    term = term_of(grant.key, now, settings.limits.session_max_s, desk.books.wall())
    limits = limits_of(settings.limits, settings.dialects.xiaozhi)
    session = XiaozhiSession(
        client=client,
        reactor=desk.reactor,
        hold=desk.hold,
        reporter=reporter,
        deadlines=Deadlines(limits, _NO_TIMEOUTS, term),
        message_max_bytes=own.message_max_bytes,
        key=grant.key,
        client_address=grant.client_address,
        desk=desk,
        granted=granted,
        meter=meter,
        teller=_teller(granted, desk, reporter),
        machine=machine,
    )
    session.servers.finder = _finder(session, desk, snapshot)
    meter.leave, meter.charged = session.run_out, reporter.charged
    return session


def _machine(
    granted: XiaozhiGrant, settings: XiaozhiSettings, desk: DeviceDesk, now: float
) -> Machine:
    rules = MachineSettings(
        reconnects_max=settings.reconnects_max,
        hello_s=settings.hello_s,
        device_version=granted.version,
        texts_per_s=settings.device_messages_per_s,
        texts_at_once=TEXTS_AT_ONCE,
    )
    return Machine(rules, desk.hold, now)


def _facts(granted: XiaozhiGrant, session_id: str) -> SessionFacts:
    key = granted.grant.key
    return SessionFacts(
        session_id=session_id,
        dialect=Dialect.XIAOZHI,
        key=key.name,
        tenant=key.tenant,
        account="",
        model=None,
    )


def _teller(granted: XiaozhiGrant, desk: DeviceDesk, reporter: Reporter) -> DeviceTeller:
    return DeviceTeller(
        device_id=granted.identity.device_id,
        bus=desk.bus,
        facts=lambda: reporter.facts,
        lines=reporter.lines,
    )


def _finder(session: XiaozhiSession, desk: DeviceDesk, snapshot: Snapshot) -> WebSocketFinder:
    granted, reporter = session.granted, session.reporter
    return WebSocketFinder(
        means=desk.means,
        snapshot=snapshot,
        identity=granted.identity,
        version=granted.version,
        tally=session.machine.conversation.usage.audio_out,
        key=session.key,
        facts=lambda: reporter.facts,
        message_max_bytes=session.message_max_bytes,
        on_blocked=session.server_blocked,
    )


@functools.lru_cache(maxsize=4)
def limits_of(limits: LimitSettings, keepalive: XiaozhiKeepalive) -> LimitSettings:
    """The limits of every session, with the times that a device has for its answers."""
    return attrs.evolve(
        limits,
        keepalive_s=keepalive.keepalive_s,
        keepalive_timeout_s=keepalive.keepalive_s + keepalive.pong_s,
    )


def _judged_elsewhere(failure: Failure, now: float) -> None:
    """Whoever finds a device's servers judges them."""
