"""One client of the hub by WebSocket: who it is, what it follows, and what it is told.

Both wires stand on this. It knows nothing of how either is written, and nothing of sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import attrs
import trio

from relayd.core.endings import Reason
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_topics import Scope, Selector
from relayd.dialect.hub_wanted import Wanted
from relayd.hub.answers import Subscribed
from relayd.hub.index import Subscriber
from relayd.hub.shared import Shared
from relayd.protocol.frames import Opcode, encode_frame
from relayd.session.admission import Grant
from relayd.session.hub.admission import refused_topic
from relayd.session.hub.delivery import Outlet
from relayd.session.hub.desk import Entry, HubDesk
from relayd.session.hub.identity import Identity, identity_of
from relayd.session.hub.manners import Rate
from relayd.session.verdict import Verdict

NOBODY: Final = Scope(tenant="", topics=())
"""What a client may see that has not said who it is."""

_ENDINGS: Final = {
    RefusalCode.SESSION_LIMIT_REACHED: Reason.SESSIONS_EXCEEDED,
    RefusalCode.INSUFFICIENT_QUOTA: Reason.BUDGET_EXHAUSTED,
}
"""How a client ends that is refused after the 101; else as ``overload``, and it comes back."""


@attrs.define(eq=False, kw_only=True)
class Guest:
    """See the module's text.

    Attributes:
        grant: What was granted before the 101.
        entry: The right to be here.
        client_id: What it is called.
        identity: Who it is; ``None`` while it has not said so.
        subscriber: As the hub knows it.
        outlet: What it is sent goes through this.
        verdict: How its session ends.
        became: Called when it is known who it is, and again when that has changed.
        look_at: Called with a time at which something is due.
    """

    desk: HubDesk
    grant: Grant
    entry: Entry
    client_id: str
    identity: Identity | None
    subscriber: Subscriber
    outlet: Outlet
    verdict: Verdict
    became: Callable[[Identity], None]
    look_at: Callable[[float], None]
    _rate: Rate = attrs.field(factory=Rate, init=False)

    @property
    def who(self) -> Identity:
        """Who it is, which is known."""
        assert self.identity is not None, "a stranger is asked before anything else"
        return self.identity

    # -- who it is

    def identify(self, presented: str) -> Identity | Refusal:
        """Who presents this credential, by the configuration in force."""
        desk = self.desk
        return identity_of(presented, self.grant.client_address, desk.snapshot, desk.wall())

    async def enter(self, presented: str) -> Refusal | None:
        """A stranger says who it is. Where there is no room for it, that is its end.

        Returns:
            What is wrong with what it presents.

        Cancelling it leaves it outside.
        """
        desk, entry = self.desk, self.entry
        while True:
            snapshot, found = desk.snapshot, self.identify(presented)
            if isinstance(found, Refusal):
                return found
            entry.lease.release()
            lease = await desk.quota.take(attrs.evolve(self.grant, key=found.limited_as))
            if isinstance(lease, Refusal):
                self.verdict.end(_ENDINGS.get(lease.code, Reason.OVERLOAD), message=lease.message)
                return None
            entry.lease = lease
            if desk.snapshot is snapshot:  # else it may be somebody else by now, or nobody
                entry.leave_antechamber()
                self.become(found)
                return None

    def become(self, identity: Identity) -> tuple[Selector, ...]:
        """Be this from now on: a stranger no more, or the same one with other rights.

        Returns:
            What it followed and may follow no more.
        """
        hub, subscriber, scope = self.desk.hub, self.subscriber, identity.scope
        self.identity = identity
        lost: list[Selector] = []
        if scope != subscriber.scope:
            followed = [each.selector for each in subscriber.followed.values()]
            lost = [each for each in followed if refused_topic(scope, (each,)) is not None]
            hub.unsubscribe(subscriber, lost)
            hub.narrow(subscriber, scope)
        self.became(identity)
        return tuple(lost)

    # -- what it asks

    def admits(self, now: float) -> bool:
        """Whether it may ask one thing more; its end where it asks too fast."""
        if self._rate.admits(now):
            return True
        self.verdict.end(Reason.CONTROL_FLOOD)
        return False

    def follow(self, wanted: Wanted) -> Subscribed:
        """Follow more, which it may. What it missed is sent in the same step, by :meth:`answer`.

        Where it missed something there has to be :meth:`room
        <relayd.session.hub.delivery.Outlet.room>` for that. Whether it may follow this is asked
        behind that wait: a reload during it may have taken the right away.
        """
        return self.desk.hub.subscribe(self.subscriber, wanted, trio.current_time())

    # -- what it is told

    def say(self, text: bytes) -> None:
        """Tell it something, behind what waits already."""
        self.subscriber.outbox.say(_message(text), trio.current_time())

    def answer(self, *texts: bytes, missed: Iterable[Shared] = ()) -> None:
        """Likewise what it asked for, which may be much, and what it missed."""
        self.subscriber.outbox.replay((*map(_message, texts), *missed), trio.current_time())


def _message(text: bytes) -> bytes:
    return encode_frame(Opcode.TEXT, text, masked=False)
