"""Making room in the queue of a client that reads slower than is published.

First the parts of a token stream are joined, then what may be dropped is dropped, the oldest first.

Parts are joined where no other event of their node stands between them, so that what happened at a
node stays in its order; an event that names no node counts for all nodes of its topic. The joined
one stands where the last of them stood, with its id. What was between them is now sent before text
that is older. A client that lost its connection just there and resumed from there would miss that
text; so those ids are torn (:meth:`Shared.torn <relayd.hub.shared.Shared.torn>`), and it is told
to load anew. The Centrifuge wire has offsets and no ids, so there parts are joined only where
nothing else of their topic stands between.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import attrs

from relayd.dialect.hub_event import Publication
from relayd.dialect.hub_streams import join_chunks, may_join
from relayd.hub.shared import Shared

JOINED_MAX_BYTES: Final = 65_536
"""Of one joined publication's data, as of any other's."""

Item: TypeAlias = Shared | bytes
"""What waits for a client: a publication, or a whole message of the client's session."""


@attrs.frozen(kw_only=True)
class Relieved:
    """What is left.

    Attributes:
        waiting: In order.
        size: Its bytes.
        coalesced: Messages that went into others.
        dropped: Messages that are gone.
    """

    waiting: deque[Item]
    size: int
    coalesced: int
    dropped: int


@attrs.define(eq=False)
class _Run:
    """Parts of one stream, the last of which stands at ``place``."""

    parts: list[Shared]
    place: int
    size: int


def relieve(
    waiting: Iterable[Item], *, by_topic: bool, messages_max: int, bytes_max: int
) -> Relieved:
    """Join what can be joined, then drop what may be dropped until the rest is within the bounds.

    Args:
        waiting: What waits for the client, in order.
        by_topic: Whether the client resumes by offsets in topics that are sent without an epoch.
        messages_max: What would be enough room.
        bytes_max: Likewise.
    """
    whole = [_whole(item) for item in waiting]
    left = _coalesced(whole, by_topic=by_topic)
    coalesced = len(whole) - len(left)
    size = sum(map(length, left))
    count = len(left)
    kept: deque[Item] = deque()
    for item in left:
        excess = count > messages_max or size > bytes_max
        if excess and isinstance(item, Shared) and item.publication.droppable:
            count -= 1
            size -= item.size
        else:
            kept.append(item)
    dropped = len(left) - count
    if coalesced and not by_topic:
        kept = _torn(kept)
    return Relieved(waiting=kept, size=size, coalesced=coalesced, dropped=dropped)


def length(item: Item) -> int:
    """Bytes that ``item`` is counted as."""
    return item.size if isinstance(item, Shared) else len(item)


def _whole(item: Item) -> Item:
    """What it was before its id was torn."""
    return item.origin or item if isinstance(item, Shared) else item


def _coalesced(items: Sequence[Item], *, by_topic: bool) -> list[Item]:
    places: list[Item | _Run | None] = []
    topics: dict[tuple[str, str], dict[str, _Run]] = {}
    for item in items:
        if isinstance(item, Shared):
            each = item.publication
            runs = topics.setdefault((each.tenant, each.topic), {})
            places.append(_placed(item, runs, places, by_topic=by_topic))
        else:
            places.append(item)
    return [_joined(place) if isinstance(place, _Run) else place for place in places if place]


def _placed(
    item: Shared, runs: dict[str, _Run], places: list[Item | _Run | None], *, by_topic: bool
) -> Item | _Run:
    """What stands for ``item``; its run leaves the place that it had."""
    each = item.publication
    node = each.node_id
    if each.stream is not None and node is None:
        node = each.stream[0]
    run = None if node is None else runs.get(node)
    if node is None or by_topic:
        runs.clear()
    if node is None:
        return item
    if each.stream is None:
        runs.pop(node, None)
        return item
    size = len(each.data)
    if (
        run is not None
        and may_join(run.parts[-1].publication, each)
        and run.size + size <= JOINED_MAX_BYTES
    ):
        places[run.place] = None
        run.parts.append(item)
        run.place = len(places)
        run.size += size
    else:
        run = _Run([item], len(places), size)
    runs[node] = run
    return run


def _joined(run: _Run) -> Shared:
    if len(run.parts) == 1:
        return run.parts[0]
    last = run.parts[-1]
    return Shared(
        publication=_join([part.publication for part in run.parts]),
        at=last.at,
        first_seq=min(part.first_seq for part in run.parts),
        siblings=last.siblings,
    )


def _join(parts: Sequence[Publication]) -> Publication:
    """Half by half, so that a long run costs little more than its length."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return join_chunks(_join(parts[:half]), _join(parts[half:]))


def _torn(waiting: Sequence[Item]) -> deque[Item]:
    """The same, without the ids of what is sent before something older."""
    oldest = math.inf
    kept: deque[Item] = deque()
    for item in reversed(waiting):
        if isinstance(item, Shared):
            kept.appendleft(item.torn() if item.publication.seq >= oldest else item)
            oldest = min(oldest, item.first_seq)
        else:
            kept.appendleft(item)
    return kept
