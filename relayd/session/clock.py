"""A session's time: pings, silence, stalls, turns that hang, and the age at which it ends.

One task sleeps until the earliest thing that could be due and then looks what is. The pass keeps
the times; nothing is scheduled per message.
"""

from __future__ import annotations

import fcntl
import math
import struct
import termios
from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.core.endings import Reason
from relayd.dialect.base import Timed
from relayd.session.terms import Deadlines
from relayd.session.verdict import Verdict
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

LAST_RESPONSE_S: Final = 30.0
"""How long a running response may go on after the session's maximum age."""

PROGRESS_LOOKS: Final = 4
"""How often progress is looked for: of a turn within ``idle_s``, of a slow peer in ``stall_s``."""

_PING: Final = b"relayd"


@attrs.define
class _Peer:
    """One side, as far as time goes."""

    endpoint: Endpoint
    stalled: Reason
    silent: Reason
    pinged_at: float = -math.inf
    took_at: float = -math.inf  # when it was last known to take bytes
    untaken_bytes: int = 0  # what it had not acknowledged then


@attrs.define(kw_only=True)
class Clock:
    """Looks after one session's deadlines.

    Attributes:
        deadlines: What it goes by.
        bill: Called with the time; does what is due and says when it wants to be called again.
    """

    reactor: Reactor
    verdict: Verdict
    conversation: Timed
    deadlines: Deadlines
    bill: Callable[[float], float]
    _peers: tuple[_Peer, ...]
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _leave_at: float = math.inf
    _leave_reason: Reason | None = None
    _progress: int = 0
    _progress_at: float = 0.0

    @classmethod
    def of(
        cls,
        reactor: Reactor,
        client: Endpoint,
        upstream: Endpoint | None,
        verdict: Verdict,
        conversation: Timed,
        deadlines: Deadlines,
        bill: Callable[[float], float],
    ) -> Clock:
        """The clock of a session between ``client`` and ``upstream``, if it has one of its own."""
        peers: tuple[_Peer, ...] = (_Peer(client, Reason.CLIENT_STALLED, Reason.CLIENT_SILENT),)
        if upstream is not None:
            lost = Reason.UPSTREAM_STALLED, Reason.UPSTREAM_KEEPALIVE_TIMEOUT
            peers += (_Peer(upstream, *lost),)
        clock = cls(
            reactor=reactor,
            verdict=verdict,
            conversation=conversation,
            deadlines=deadlines,
            bill=bill,
            peers=peers,
        )
        for peer in peers:
            peer.endpoint.on_blocked = clock.on_blocked
        return clock

    async def run(self) -> None:
        """Watch until cancelled. Every deadline that passes is a verdict or a ping."""
        while True:
            now = trio.current_time()
            self._scope = trio.CancelScope(deadline=self._look(now))
            with self._scope:
                await trio.sleep_forever()

    def look_at(self, when: float) -> None:
        """Look again at ``when``, if that is sooner than planned. May be called in the pass."""
        if when < self._scope.deadline:  # noqa: PLR1730 - setting it costs, also to what it was
            self._scope.deadline = when

    def turn_began(self, now: float) -> None:
        """A turn was asked for or has started: its time runs."""
        self.look_at(now + self.deadlines.timeouts.session_idle_s / PROGRESS_LOOKS)

    def on_blocked(self, endpoint: Endpoint) -> None:
        """A sink blocked: its stall deadline starts."""
        self.look_at(endpoint.sink.blocked_since + self.deadlines.limits.stall_s / PROGRESS_LOOKS)

    def leave(self, reason: Reason, at: float) -> None:
        """End with ``reason`` at ``at`` at the latest, sooner once no response runs."""
        if at < self._leave_at:
            self._leave_at, self._leave_reason = at, reason
            self.look_at(at)

    @property
    def leaving(self) -> Reason | None:
        """Why the session ends as soon as no response runs, if it does."""
        return self._leave_reason

    def _look(self, now: float) -> float:
        """Act on what is due; returns when to look again."""
        next_at = min(self._look_at_age(now), self._look_at_turn(now), self.bill(now))
        for peer in self._peers:
            # In this order: a ping that does not fit starts the stall.
            next_at = min(next_at, self._look_at_silence(peer, now), self._look_at_stall(peer, now))
        return next_at

    def _look_at_age(self, now: float) -> float:
        if now >= self._leave_at and self._leave_reason is not None:
            self.verdict.end(self._leave_reason)
        term = self.deadlines.term
        if now >= term.at and self._leave_reason is None:
            if not self.conversation.busy:
                self.verdict.end(term.reason)
            self.conversation.tell_idle = True
            self.conversation.closed_to_turns = term.refuse
            self.leave(term.reason, now + LAST_RESPONSE_S)
        return self._leave_at if now >= term.at else min(term.at, self._leave_at)

    def _look_at_turn(self, now: float) -> float:
        """A running turn must get on: some message each ``idle_s``, an end within ``total_s``."""
        since = self.conversation.busy_since
        if since is None:
            return math.inf
        upstream = self._peers[1].endpoint
        if upstream.flow is None:
            return math.inf
        if upstream.flow.progress != self._progress:
            self._progress, self._progress_at = upstream.flow.progress, now
        silent_at = max(since, self._progress_at) + self.deadlines.timeouts.session_idle_s
        ends_at = since + self.deadlines.timeouts.total_s
        if now >= ends_at:
            self.verdict.end(Reason.TURN_TIMEOUT)
        elif now >= silent_at and upstream.armed:
            self.verdict.end(Reason.UPSTREAM_SILENT)
        # Progress is seen only when looked for: often enough to be late by a quarter at most.
        # A silent upstream that is not heard, since its client is slow, is looked at again later.
        look_at = now + self.deadlines.timeouts.session_idle_s / PROGRESS_LOOKS
        return min(look_at, ends_at, silent_at if silent_at > now else look_at)

    def _look_at_stall(self, peer: _Peer, now: float) -> float:
        sink = peer.endpoint.sink
        if not sink.blocked:
            return math.inf
        # The socket says that it is writable only when a third of its buffer, which may hold
        # megabytes, is free: a slow peer that takes all it can is told from a stalled one here.
        untaken_bytes = _untaken_bytes(peer.endpoint)
        if peer.took_at < sink.blocked_since:
            peer.took_at, peer.untaken_bytes = sink.blocked_since, untaken_bytes
        elif untaken_bytes < peer.untaken_bytes:
            peer.took_at, peer.untaken_bytes = now, untaken_bytes
        cut_at = peer.took_at + self.deadlines.limits.stall_s
        if now >= cut_at:
            self.verdict.end(peer.stalled)
        return min(cut_at, now + self.deadlines.limits.stall_s / PROGRESS_LOOKS)

    def _look_at_silence(self, peer: _Peer, now: float) -> float:
        """Any byte is life; silence counts only while relayd is willing to hear."""
        endpoint = peer.endpoint
        heard_at = max(endpoint.last_received, endpoint.armed_since)
        if not endpoint.armed:
            return now + self.deadlines.limits.keepalive_s
        gone_at = heard_at + self.deadlines.limits.keepalive_timeout_s
        if now >= gone_at:
            self.verdict.end(peer.silent)
            return gone_at
        ping_at = max(heard_at, peer.pinged_at) + self.deadlines.limits.keepalive_s
        if now >= ping_at:
            endpoint.sink.ping(_PING, now)
            if endpoint.sink.blocked:
                self.reactor.update(endpoint)
            peer.pinged_at = now
            ping_at = now + self.deadlines.limits.keepalive_s
        return min(ping_at, gone_at)


def _untaken_bytes(endpoint: Endpoint) -> int:
    """What the kernel has of us that the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    try:
        answer = fcntl.ioctl(endpoint.fd, termios.TIOCOUTQ, bytes(struct.calcsize("i")))
    except OSError:
        return 0  # the connection is lost, which its reading side reports
    return int(struct.unpack("i", answer)[0])
