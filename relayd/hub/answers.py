"""What the hub answers: values, which change no more."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from relayd.dialect.hub_event import Position, Publication
from relayd.dialect.hub_topics import Selector
from relayd.hub.shared import Shared
from relayd.hub.waits import Waited


@attrs.frozen(kw_only=True)
class Subscribed:
    """What following has come to.

    Attributes:
        epoch: What all numbers are counted in.
        seq: The number of the last event before those that will come: with ``publications`` and
            what comes then nothing is missing, nothing there twice.
        recovered: Whether ``publications`` are all that the client missed; ``None`` where it did
            not ask. ``False``: there are none, it is to load its state anew, and goes on from here.
        lost: The selectors of which something was missed that is not here.
        positions: Of the selectors that name one topic, by their text, where that stands.
        publications: What was missed, in order, for :meth:`Outbox.replay
            <relayd.hub.outbox.Outbox.replay>` or the answer itself; the caller sends it.
    """

    epoch: str
    seq: int
    recovered: bool | None
    lost: tuple[Selector, ...]
    positions: Mapping[str, Position]
    publications: tuple[Shared, ...]


@attrs.frozen(kw_only=True)
class Past:
    """A piece of a topic's history.

    Attributes:
        position: Where the topic stands.
        publications: What was asked for; ``None`` where ``since`` is no place in the topic that is
            remembered, or not any more.
    """

    position: Position
    publications: tuple[Publication, ...] | None


@attrs.frozen(kw_only=True)
class Totals:
    """The hub in numbers. From ``published`` on they only grow.

    Attributes:
        topics: That are known.
        subscribers: Clients that follow something.
        streams: Those of them that are spoken to by SSE.
        followings: What they follow, altogether.
        queued_bytes: What waits for them, counted as :attr:`Outbox.size
            <relayd.hub.outbox.Outbox.size>`.
        remembered: Publications in the rings.
        remembered_bytes: Their bytes.
        published: Events; one in several topics is one.
        delivered: Messages taken from outboxes.
        coalesced: As in :class:`~relayd.hub.outbox.Tally`.
        dropped: Likewise.
        overflowed: Likewise: clients that were too slow.
        recovered: Clients that asked for what they missed, and got it.
        lost: Clients that asked, and had to load anew.
        forgotten: Topics that were forgotten, since there were too many.
        waits: How long publications waited.
    """

    topics: int
    subscribers: int
    streams: int
    followings: int
    queued_bytes: int
    remembered: int
    remembered_bytes: int
    published: int
    delivered: int
    coalesced: int
    dropped: int
    overflowed: int
    recovered: int
    lost: int
    forgotten: int
    waits: Waited
