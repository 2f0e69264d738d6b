"""A client that speaks the Centrifuge protocol, as its published SDKs do.

A command that fails is answered; what no client of the protocol sends ends it. A channel is one
topic by its name.
"""

from __future__ import annotations

import math
from typing import Final

import attrs
import trio

import relayd
from relayd.core.endings import Reason
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_centrifuge import (
    PING,
    ReplyError,
    encode_connected,
    encode_done,
    encode_error,
    encode_history,
    encode_presence_stats,
    encode_refreshed,
    encode_subscribed,
    encode_unsubscribe_push,
)
from relayd.dialect.hub_commands import (
    Command,
    Connect,
    Declined,
    History,
    Pong,
    PresenceStats,
    Publish,
    Refresh,
    Subscribe,
    Unsubscribe,
    parse_commands,
)
from relayd.dialect.hub_errors import Mistake
from relayd.dialect.hub_publish import parse_channel_data
from relayd.dialect.hub_topics import Selector
from relayd.dialect.hub_wanted import Wanted
from relayd.session.hub.guest import Guest
from relayd.session.hub.lifetime import ttl_of

NOT_ALLOWED: Final = 2000
"""Of a subscription that relayd has ended for good; the protocol's word for a server's own."""


@attrs.define(eq=False, kw_only=True)
class CentrifugeTalk:
    """A :class:`~relayd.session.hub.session.Talk`.

    Attributes:
        connect_by: When the client has to have sent ``connect``.
        ping_s: How often it is sent a ping, which it counts on and answers.
    """

    guest: Guest
    connect_by: float
    ping_s: float
    _ping_at: float = attrs.field(default=math.inf, init=False)
    _is_connected: bool = attrs.field(default=False, init=False)

    async def begin(self) -> None:
        """The client speaks first."""
        await trio.lowlevel.checkpoint()

    async def hear(self, text: bytes, now: float) -> None:
        """Deal with one message, command by command."""
        commands = parse_commands(text)
        if isinstance(commands, Mistake):
            self.guest.verdict.end(Reason.POLICY, message=commands.message)
            return
        for command in commands:
            if not self.guest.admits(now):
                return
            if self._is_connected is isinstance(command, Connect):
                self.guest.verdict.end(Reason.POLICY, message="one connect comes first")
                return
            await self._do(command)
            if self.guest.verdict.reason is not None:
                return

    def look(self, now: float) -> float:
        """Send a ping where one is due; when to look again."""
        if not self._is_connected:
            if now >= self.connect_by:
                self.guest.verdict.end(Reason.FIRST_MESSAGE_TIMEOUT)
            return self.connect_by
        if now >= self._ping_at:
            self.guest.say(PING)
            self._ping_at = now + self.ping_s
        return self._ping_at

    def lost(self, selectors: tuple[Selector, ...]) -> None:
        """The client may follow these no longer, and does not."""
        for selector in selectors:
            push = encode_unsubscribe_push(selector.text, code=NOT_ALLOWED, reason="not allowed")
            self.guest.say(push)

    async def _do(self, command: Command) -> None:
        match command:
            case Pong():
                pass  # that it came is what counts
            case Connect():
                await self._connect(command)
            case Subscribe():
                await self._subscribe(command)
            case Unsubscribe(id_, channel):
                if channel in self.guest.subscriber.followed:
                    self.guest.desk.hub.unsubscribe(self.guest.subscriber, [_selector(channel)])
                self.guest.say(encode_done(id_, "unsubscribe"))
            case Publish():
                self._publish(command)
            case PresenceStats():
                self._presence_stats(command)
            case History():
                await self._history(command)
            case Refresh():
                self._refresh(command)
            case Declined(id_, error):
                self._fail(id_, error)

    def _fail(self, command_id: int, error: ReplyError) -> None:
        self.guest.say(encode_error(command_id, error))

    # -- who it is

    async def _connect(self, command: Connect) -> None:
        """What came before the 101 says who it is; else the token here does."""
        guest = self.guest
        if guest.identity is None:
            refusal = await guest.enter(command.token)
            if refusal is not None:
                self._refused(command.id, refusal)
            if guest.identity is None:
                return
        self._is_connected = True
        self._ping_at = trio.current_time() + self.ping_s
        guest.look_at(self._ping_at)
        connected = encode_connected(
            command.id,
            client=guest.client_id,
            version=relayd.__version__,
            ping_s=math.ceil(self.ping_s),
            ttl_s=ttl_of(guest.who, guest.desk.wall()),
        )
        guest.say(connected)

    def _refresh(self, command: Refresh) -> None:
        guest = self.guest
        found = guest.identify(command.token)
        if isinstance(found, Refusal):
            self._refused(command.id, found)
        elif not guest.who.is_same(found):
            guest.verdict.end(Reason.TOKEN_REFUSED, message="it is somebody else's")
        else:
            dropped = guest.become(found)
            refreshed = encode_refreshed(
                command.id,
                client=guest.client_id,
                version=relayd.__version__,
                ttl_s=ttl_of(found, guest.desk.wall()),
            )
            guest.say(refreshed)
            self.lost(dropped)

    def _refused(self, command_id: int, refusal: Refusal) -> None:
        """A client whose token has expired gets another and comes back; any other stays away."""
        if refusal.code is RefusalCode.KEY_EXPIRED:
            self._fail(command_id, ReplyError.TOKEN_EXPIRED)
        else:
            self.guest.verdict.end(Reason.TOKEN_REFUSED, message=refusal.message)

    # -- channels

    async def _subscribe(self, command: Subscribe) -> None:
        guest, selector = self.guest, _selector(command.channel)
        subscriber = guest.subscriber
        if command.since is not None:
            await guest.outlet.room()
        if command.channel in subscriber.followed:
            self._fail(command.id, ReplyError.ALREADY_SUBSCRIBED)
            return
        if not guest.who.scope.may_follow(selector):
            self._fail(command.id, ReplyError.PERMISSION_DENIED)
            return
        if not subscriber.may_add((selector,)):
            self._fail(command.id, ReplyError.LIMIT_EXCEEDED)
            return
        since = {} if command.since is None else {selector.text: command.since}
        found = guest.follow(Wanted(topics=(selector,), since=since))
        if command.rejects_unrecovered and found.recovered is False:
            guest.desk.hub.unsubscribe(subscriber, [selector])
            self._fail(command.id, ReplyError.UNRECOVERABLE_POSITION)
            return
        offset = found.positions[selector.text].number
        if found.recovered and command.since is not None:
            offset = command.since.number
        subscribed = encode_subscribed(
            command.id,
            epoch=found.epoch,
            offset=offset,
            recoverable=command.recoverable,
            positioned=command.positioned,
            recovered=found.recovered,
            publications=[shared.publication for shared in found.publications],
        )
        guest.answer(subscribed)

    def _publish(self, command: Publish) -> None:
        guest, now = self.guest, trio.current_time()
        who, desk = guest.who, guest.desk
        draft = parse_channel_data(command.channel, command.data)
        if isinstance(draft, Mistake):
            self._fail(command.id, ReplyError.BAD_REQUEST)
        elif not who.scope.may_publish(draft.topic):
            self._fail(command.id, ReplyError.PERMISSION_DENIED)
        elif desk.pace(who.tenant, 1, now):
            self._fail(command.id, ReplyError.TOO_MANY_REQUESTS)
        else:
            desk.hub.publish(who.tenant, draft, now=now, wall=desk.wall())
            guest.say(encode_done(command.id, "publish"))

    def _presence_stats(self, command: PresenceStats) -> None:
        guest, channel = self.guest, command.channel
        scope = guest.who.scope
        if not scope.may_follow(_selector(channel)):
            self._fail(command.id, ReplyError.PERMISSION_DENIED)
            return
        clients = guest.desk.hub.num_clients(scope.owner(channel), channel)
        guest.say(encode_presence_stats(command.id, clients=clients))

    async def _history(self, command: History) -> None:
        guest, channel = self.guest, command.channel
        await guest.outlet.room()
        scope = guest.who.scope
        if not scope.may_follow(_selector(channel)):
            self._fail(command.id, ReplyError.PERMISSION_DENIED)
            return
        past = guest.desk.hub.history(
            scope.owner(channel),
            channel,
            limit=None if command.limit < 0 else command.limit,
            since=command.since,
            reverse=command.reverse,
            now=trio.current_time(),
        )
        if past.publications is None:
            self._fail(command.id, ReplyError.UNRECOVERABLE_POSITION)
            return
        place = past.position
        history = encode_history(
            command.id, epoch=place.epoch, offset=place.number, publications=past.publications
        )
        guest.answer(history)


def _selector(channel: str) -> Selector:
    return Selector(channel, is_prefix=False)
