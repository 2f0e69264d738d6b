"""A device's WebSocket, from its 101 to its line: it outlives the servers behind it.

The device says hello first; then a server is found, greeted, and joined to it. Audio goes past this
module, from socket to socket. Each text is put to the machine
(:mod:`relayd.dialect.xiaozhi_state`), and what that says is carried out here, without an await
between one step and the next, so that no task sees a session half-way.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason, Side
from relayd.core.redact import redact
from relayd.dialect.base import Timed
from relayd.dialect.meter import Refuse
from relayd.dialect.xiaozhi_actions import (
    AudioToServer,
    Called,
    ContextLost,
    Dial,
    Dropped,
    End,
    Join,
    Part,
    Rejoined,
    Step,
    ToDevice,
    ToServer,
)
from relayd.dialect.xiaozhi_state import Machine
from relayd.protocol.outcomes import Taken
from relayd.session.clock import LAST_RESPONSE_S, Clock
from relayd.session.closing import Closed
from relayd.session.living import Living
from relayd.session.terms import ACCOUNT_REMOVED, KEY_REMOVED, account_removed, removed
from relayd.session.xiaozhi.admission import DENIED, XiaozhiGrant, permits_device
from relayd.session.xiaozhi.asking import Asking
from relayd.session.xiaozhi.carrier import Carrier
from relayd.session.xiaozhi.device import DeviceSide, hear_more
from relayd.session.xiaozhi.farewell import last_words, note_peers_code, say_goodbye, server_code
from relayd.session.xiaozhi.metering import DeviceMeter
from relayd.session.xiaozhi.reckoning import Reckoning
from relayd.session.xiaozhi.servers import Servers
from relayd.session.xiaozhi.telling import DeviceTeller
from relayd.session.xiaozhi.views import DeviceTurns, Downstream, Drops, Presence, presence_of
from relayd.transport.endpoint import Endpoint

_NOT_ALLOWED: Final = Refuse("permission_error", DENIED.code.value, DENIED.message)


class Desk(Protocol):
    """Who knows which devices are here."""

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""

    def enter(self, session: XiaozhiSession) -> None:
        """A device has come; its session of before ends."""

    def leave(self, session: XiaozhiSession) -> None:
        """Its session is over. Calling this again does nothing."""


@attrs.define(eq=False, kw_only=True)
class XiaozhiSession(Living):
    """See the module's text.

    Attributes:
        desk: Knows the devices that are here.
        granted: Which device it is, and what it may do.
        meter: What its turns are charged to.
        teller: Tells the log and the bus.
        machine: Decides what is said to whom.
        device: The device's side.
        conversation: Whether the device is being answered.
        upstream: Counts what the device was sent.
        asking: What operators ask of the device.
        servers: Those behind it, one at a time.
    """

    desk: Desk
    granted: XiaozhiGrant
    meter: DeviceMeter
    teller: DeviceTeller
    machine: Machine
    device: DeviceSide = attrs.field(init=False)
    conversation: DeviceTurns = attrs.field(init=False)
    upstream: Downstream = attrs.field(init=False)
    asking: Asking = attrs.field(init=False)
    servers: Servers = attrs.field(init=False)
    _drops: Drops = attrs.field(factory=Drops, init=False)
    _reckoning: Reckoning = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        talk = self.machine.conversation
        self.conversation = DeviceTurns(talk.usage)
        self._clock = Clock.of(
            self.reactor,
            self.client,
            None,
            self.verdict,
            self.conversation,
            self.deadlines,
            self._look,
        )
        self.device = DeviceSide.of(
            self.client,
            self.reactor,
            talk,
            version=self.granted.version,
            message_max_bytes=self.message_max_bytes,
            hold=self.hold,
            on_blocked=self._clock.on_blocked,
        )
        self.upstream = Downstream(self.device.said)
        self.asking = Asking(
            machine=self.machine, device=self.device, verdict=self.verdict, do=self._do
        )
        self.servers = Servers(
            machine=self.machine,
            device=self.device,
            verdict=self.verdict,
            downstream=self.upstream,
            do=self._do,
            permits=self._permits,
            connected=self._connected,
            crashed=self._crashed,
        )
        self._reckoning = Reckoning(
            machine=self.machine,
            meter=self.meter,
            teller=self.teller,
            reporter=self.reporter,
            verdict=self.verdict,
        )

    @property
    def timed(self) -> Timed:
        """See :class:`~relayd.session.living.Living`."""
        return self.conversation

    def server_blocked(self, endpoint: Endpoint) -> None:
        """A server takes no more for now: its time runs. May be called in the pass."""
        self._clock.on_blocked(endpoint)

    def leave(self, reason: Reason, *, at: float, refuse: Refuse) -> None:
        """See :class:`~relayd.session.living.Living`; what is being said is answered before."""
        Living.leave(self, reason, at=at, refuse=refuse)
        self._clock.look_at(self._look_at_leaving(trio.current_time()))

    def review(self, snapshot: Snapshot) -> None:
        """End, behind the running turn, if ``snapshot`` lacks the key, the account or the device.

        A device whose server was switched off opens another socket when it is spoken to again, and
        goes elsewhere with that.
        """
        account = self.reporter.facts.account
        if removed(self.key, snapshot):
            self.run_out(Reason.KEY_REMOVED, KEY_REMOVED)
        elif not permits_device(snapshot.settings.xiaozhi, self.granted.identity.device_id):
            self.run_out(Reason.POLICY, _NOT_ALLOWED)
        elif self.servers.carrier is not None and account_removed(account, snapshot):
            at = trio.current_time() + LAST_RESPONSE_S
            self.leave(Reason.ACCOUNT_REMOVED, at=at, refuse=ACCOUNT_REMOVED)

    def presence(self, now: float) -> Presence:
        """The device as it is now."""
        return presence_of(
            self.granted,
            self.machine,
            self.reporter.facts,
            client_address=self.client_address,
            has_server=self.servers.carrier is not None,
            since_s=now - self.reporter.timing.started_at,
            drops=self._drops,
        )

    def reboot(self) -> None:
        """See :class:`~relayd.session.xiaozhi.asking.Asking`."""
        self.asking.reboot()

    def alert(self, status: str, message: str, emotion: str) -> None:
        """See :class:`~relayd.session.xiaozhi.asking.Asking`; the bus is told that it was done."""
        self.asking.alert(status, message, emotion)
        self.teller.alerted()

    # -- the device

    async def _relay(self) -> None:
        client, now = self.client, trio.current_time()
        self.desk.enter(self)
        with self.verdict.scope:
            async with trio.open_nursery() as nursery:
                self.servers.nursery = nursery
                client.flow, client.on_event = self.device.flow, None
                nursery.start_soon(self._read)
                nursery.start_soon(self._clock.run)
                client.sink.settle(client.sink.standing, now)  # the 101
                self.reactor.arm(client, now)

    async def _read(self) -> None:
        """Deal with what the device says, one text after the other."""
        while True:
            event = await self.client.next_event()
            now = trio.current_time()
            if not isinstance(event, Taken):
                self._client_ended(event)
                return
            try:
                self._do(self.machine.device_text(event.payload, now), now)
            finally:
                self.hold.give(len(event.payload))
            hear_more(self.reactor, self.client, now)

    def _permits(self, account_name: str) -> bool:
        return not account_removed(account_name, self.desk.snapshot)

    def _connected(self, carrier: Carrier, now: float) -> None:
        self._reckoning.connected(carrier.account.name, carrier.connect_ms)
        self._clock.look_at(now)  # it has a keepalive from now on

    # -- what the machine says

    def _do(self, steps: list[Step], now: float) -> None:
        """Carry ``steps`` out, in order, and see what has come of them."""
        for step in steps:
            self._carry_out(step, now)
        self._reckoning.look()
        self._clock.look_at(min(self.machine.deadline, self._look_at_leaving(now)))

    def _carry_out(self, step: Step, now: float) -> None:
        match step:
            case ToDevice(text):
                if not self.device.say(text, now):
                    self.verdict.end(Reason.OVERLOAD)
            case ToServer(text):
                if not self.servers.say(text, now):
                    self.verdict.end(Reason.OVERLOAD)
            case AudioToServer(packets):
                self.servers.say_audio(packets, now)
            case Dropped(why):
                self._drops.note(why)
            case Called():
                self.asking.answered(step)
            case _:
                self._change(step, now)

    def _change(self, step: Step, now: float) -> None:
        """A server comes or goes, or the session does."""
        match step:
            case Dial():
                self.servers.dial(step, last=self.reporter.facts.account)
            case Join():
                self.servers.join(now)
            case Part():
                self.servers.part(step, now)
            case ContextLost():
                self._reckoning.server_lost(step)
            case Rejoined():
                self.teller.rejoined(step)
            case End(reason, message, code):
                self.verdict.end(reason, code=code, message=redact(message))

    def _look(self, now: float) -> float:
        """What time brings: the machine's deadline, and whether the server is there."""
        if self.machine.deadline <= now:
            self._do(self.machine.timer(now), now)
        look_at = min(self.servers.look(now), self.machine.deadline, self.meter.look(now))
        return min(look_at, self._look_at_leaving(now))

    def _look_at_leaving(self, now: float) -> float:
        """A session that is to leave does once its device is neither heard nor answered."""
        leaving, until = self._clock.leaving, self.conversation.heard_until
        if leaving is None:
            return math.inf
        if not self.conversation.busy:
            self.verdict.end(leaving)
        return until if until > now else math.inf

    # -- the end

    async def _end(self) -> None:
        verdict, now = self.verdict, trio.current_time()
        assert verdict.reason is not None
        self.desk.leave(self)
        self._do(self.machine.end(verdict.reason, now, verdict.message), now)
        closed = Closed()
        if self.servers.carrier is not None:
            closed.note(Side.UPSTREAM, server_code(verdict))
        self.servers.leave(server_code(verdict), now)
        words = last_words(verdict, self.machine.conversation.device_id)
        if words and not self.client.ended:
            self.device.say(words, now)
        try:
            await say_goodbye(self.reactor, self.client, verdict, closed)
        finally:
            note_peers_code(verdict, closed)
            with trio.CancelScope(shield=True):  # bounded
                await self.reporter.settled(verdict.reason.value)
            self.reporter.ended(verdict, closed, self.device.flow, self.upstream)
            self._reckoning.ended()
            self._untie()

    def _untie(self) -> None:
        """Leave no circle of references: it would stay until the garbage collector runs."""
        self._clock.bill = _never
        self.asking.do = _idle
        self.device.on_blocked = _forget
        self.servers.do = _idle
        self.servers.connected = self.servers.crashed = _forget
        self.servers.permits = _no_longer
        del self.servers.finder


def _never(_: float) -> float:
    """Nothing is due any more."""
    return math.inf


def _no_longer(_: str) -> bool:
    """No server is found any more."""
    return False


def _idle(_: list[Step], now: float) -> None:
    """Nobody asks any more."""


def _forget(*_: object) -> None:
    """Nobody is told any more."""
