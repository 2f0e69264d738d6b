"""A client that speaks the hub's own JSON, with council's event names."""

from __future__ import annotations

import math
from typing import Final

import attrs

from relayd.core.endings import Reason
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_council import (
    Message,
    Ping,
    Refresh,
    Subscribe,
    Unsubscribe,
    encode_error,
    encode_pong,
    encode_refreshed,
    encode_subscribed,
    encode_unsubscribed,
    encode_welcome,
    parse_message,
)
from relayd.dialect.hub_envelope import resync_envelope
from relayd.dialect.hub_errors import PERMISSION, Mistake
from relayd.dialect.hub_topics import Selector
from relayd.dialect.hub_wanted import TOO_MANY_TOPICS, Wanted
from relayd.hub.answers import Subscribed
from relayd.session.hub.admission import refused_topic
from relayd.session.hub.guest import Guest

_NOT_ALLOWED: Final = Mistake(
    code=RefusalCode.TOPIC_NOT_ALLOWED,
    message="One of these topics may not be followed by this client.",
    param="topics",
    type=PERMISSION,
    status=403,
)


@attrs.define(eq=False, kw_only=True)
class CouncilTalk:
    """A :class:`~relayd.session.hub.session.Talk`.

    Attributes:
        wanted: What the client follows from the start.
    """

    guest: Guest
    wanted: Wanted

    async def begin(self) -> None:
        """Follow what the client's URL says, and welcome it."""
        if self.wanted.resumes:
            await self.guest.outlet.room()
        # It was let in with these; what it may do can have changed since.
        scope, asked = self.guest.who.scope, self.wanted.topics
        dropped = tuple(each for each in asked if refused_topic(scope, (each,)) is not None)
        topics = tuple(each for each in asked if each not in dropped)
        found = self.guest.follow(attrs.evolve(self.wanted, topics=topics))
        welcome = encode_welcome(
            client=self.guest.client_id,
            epoch=found.epoch,
            seq=found.seq,
            topics=topics,
            recovered=found.recovered,
        )
        self._answer(welcome, found, topics)
        self.lost(dropped)

    async def hear(self, text: bytes, now: float) -> None:
        """Deal with one message."""
        if not self.guest.admits(now):
            return
        message = parse_message(text)
        if isinstance(message, Mistake):
            self._mistaken(message)
        else:
            await self._do(message)

    def look(self, now: float) -> float:
        """Nothing is due: the clock sends this wire's pings."""
        return math.inf

    def lost(self, selectors: tuple[Selector, ...]) -> None:
        """The client may follow these no longer, and does not."""
        if selectors:
            self.guest.say(encode_unsubscribed(selectors, None))

    async def _do(self, message: Message) -> None:
        guest = self.guest
        match message:
            case Ping(id_):
                guest.say(self._pong(id_))
            case Subscribe():
                await self._subscribe(message)
            case Unsubscribe(topics, id_):
                guest.desk.hub.unsubscribe(guest.subscriber, topics)
                guest.say(encode_unsubscribed(topics, id_))
            case Refresh():
                self._refresh(message)

    def _pong(self, request_id: bytes | None) -> bytes:
        """The answer to a ping, with the client's place where all that it follows has been sent.

        A client for which nothing happens keeps its place fresh so: the old one might be
        forgotten by the time it comes back. Where something still waits, that says the place, and
        a number here could be wrong: parts of a stream may yet be joined behind this.
        """
        guest = self.guest
        pong = encode_pong(guest.desk.wall(), request_id)
        if guest.subscriber.outbox:
            return pong
        hub = guest.desk.hub
        return b'%b,"epoch":"%b","seq":%d}' % (pong[:-1], hub.epoch.encode(), hub.place())

    async def _subscribe(self, message: Subscribe) -> None:
        guest, wanted = self.guest, message.wanted
        if wanted.resumes:
            await guest.outlet.room()
        if refused_topic(guest.who.scope, wanted.topics) is not None:
            self._mistaken(attrs.evolve(_NOT_ALLOWED, id=message.id))
            return
        if not guest.subscriber.may_add(wanted.topics):
            guest.verdict.end(Reason.TOPICS_EXCEEDED)
            return
        found = guest.follow(wanted)
        told = encode_subscribed(
            topics=wanted.topics,
            epoch=found.epoch,
            seq=found.seq,
            recovered=found.recovered,
            request_id=message.id,
        )
        self._answer(told, found, wanted.topics)

    def _answer(self, told: bytes, found: Subscribed, topics: tuple[Selector, ...]) -> None:
        """The answer first, then what was missed, or that some of it is lost.

        With one of its topics lost a client loads all of them anew: events are about one another.
        """
        texts = [told]
        if found.recovered is False:
            resync = resync_envelope(
                epoch=found.epoch,
                seq=found.seq,
                now=self.guest.desk.wall(),
                tenant=self.guest.who.tenant,
                topics=[selector.text for selector in topics],
            )
            texts.append(resync)
        self.guest.answer(*texts, missed=found.publications)

    def _refresh(self, message: Refresh) -> None:
        guest = self.guest
        identity = guest.identify(message.token)
        if isinstance(identity, Refusal):
            refused = Mistake(code=identity.code, message=identity.message, id=message.id)
            self.guest.say(encode_error(refused))
            if identity.code is not RefusalCode.KEY_EXPIRED:  # it may still bring a newer one
                guest.verdict.end(Reason.TOKEN_REFUSED, message=identity.message)
        elif not guest.who.is_same(identity):
            guest.verdict.end(Reason.TOKEN_REFUSED, message="it is somebody else's")
        else:
            dropped = guest.become(identity)
            guest.say(encode_refreshed(identity.expires_at, message.id))
            self.lost(dropped)

    def _mistaken(self, mistake: Mistake) -> None:
        """Answer a message that is wrong; one that is no message of this protocol ends it."""
        self.guest.say(encode_error(mistake))
        if mistake.code == TOO_MANY_TOPICS:
            self.guest.verdict.end(Reason.TOPICS_EXCEEDED)
        elif mistake.fatal:
            self.guest.verdict.end(Reason.POLICY, message=mistake.message)
