"""What a client wants of the hub: which topics, which events, and since when.

A WebSocket and an SSE request say it in the query of their URL, and a WebSocket later in messages;
the checks are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

import attrs

from relayd.dialect.hub_errors import Mistake, malformed, wrong
from relayd.dialect.hub_event import Position, read_position
from relayd.dialect.hub_topics import (
    ALL_EVENTS,
    EVENT_PATTERNS_MAX,
    EVERYTHING,
    SELECTORS_MAX,
    Filter,
    Selector,
    parse_filter,
    parse_selector,
)

FIELDS_MAX: Final = 256
"""Parameters in one query."""

TOO_MANY_TOPICS: Final = "too_many_topics"
"""The code of the mistake to follow more than :data:`~relayd.dialect.hub_topics.SELECTORS_MAX`."""

LOST: Final = Position("", 0, overall=True)
"""A place that no topic has: the client missed something, it is not known what."""

_SESSION: Final = "session:"
_LISTS: Final = ("topics", "events", "except")


@attrs.frozen(kw_only=True)
class Wanted:
    """What to follow.

    Attributes:
        topics: At least one, none twice; in the order that the client names them.
        filter: For all of them.
        since: How far the client came: in everything, or by selector. Empty for no further than
            now.
    """

    topics: tuple[Selector, ...] = (EVERYTHING,)
    filter: Filter = ALL_EVENTS
    since: Position | Mapping[str, Position] = attrs.field(factory=dict)

    def since_for(self, selector: Selector) -> Position | None:
        """How far the client came in what ``selector`` matches; ``None``: it begins now."""
        if isinstance(self.since, Position):
            return self.since
        return self.since.get(selector.text)

    @property
    def resumes(self) -> bool:
        """Whether the client asks for what it missed."""
        return isinstance(self.since, Position) or bool(self.since)


def parse_query(query: str, *, last_event_id: str | None = None) -> Wanted | Mistake:
    """Read ``topics``, ``session_id``, ``events``, ``except`` and ``since`` of a query.

    Lists are separated by commas. A parameter of another name is somebody else's.

    Args:
        query: What stands behind the ``?`` of the target; hostile.
        last_event_id: The header of that name, of an SSE request. It is newer than ``since``. One
            that names no place of the client's topics is taken as :data:`LOST`: a browser repeats
            what it was last told, whatever it asks for now.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        return malformed(f"more than {FIELDS_MAX} parameters in the query")
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    since: str | None = None
    for name, value in pairs:
        if name in lists:
            lists[name] += filter(None, value.split(","))
        elif name == "session_id" and value:
            lists["topics"].append(_SESSION + value)
        elif name == "since":
            if since is not None:
                return wrong("since", "given twice")
            since = value
    topics = parse_topics(lists["topics"] or [EVERYTHING.text])
    if isinstance(topics, Mistake):
        return topics
    chosen = parse_events(lists["events"], lists["except"])
    if isinstance(chosen, Mistake):
        return chosen
    if last_event_id:
        position = place_in(topics, last_event_id) or LOST
        return Wanted(topics=topics, filter=chosen, since=position)
    if not since:
        return Wanted(topics=topics, filter=chosen)
    place = parse_since(topics, since)
    if isinstance(place, Mistake):
        return place
    return Wanted(topics=topics, filter=chosen, since=place)


def parse_topics(texts: Sequence[str]) -> tuple[Selector, ...] | Mistake:
    """The selectors that a list names, none twice."""
    if len(texts) > SELECTORS_MAX:
        return wrong("topics", f"more than {SELECTORS_MAX} topics", code=TOO_MANY_TOPICS)
    selectors: dict[str, Selector] = {}
    for index, text in enumerate(texts):
        selector = parse_selector(text)
        if selector is None:
            return wrong(f"topics[{index}]", "neither a topic nor the beginning of one with a *")
        selectors[text] = selector
    if not selectors:
        return wrong("topics", "expected at least one topic")
    return tuple(selectors.values())


def parse_events(only: Sequence[str], but: Sequence[str]) -> Filter | Mistake:
    """The filter that two lists make, ``events`` and ``except``."""
    for name, patterns in (("events", only), ("except", but)):
        if parse_filter(patterns, ()) is None:
            message = (
                f"expected at most {EVENT_PATTERNS_MAX} names of events, or beginnings with a *"
            )
            return wrong(name, message)
    return parse_filter(only, but) or ALL_EVENTS


def is_one_topic(topics: Sequence[Selector]) -> bool:
    """Whether these are one topic by its name, in which an ``offset`` says how far a client is."""
    return len(topics) == 1 and not topics[0].is_prefix


def place_in(topics: Sequence[Selector], text: str) -> Position | None:
    """The position that ``text`` says, where it can be one in these topics.

    A place in one topic says nothing of another, so it needs one topic by its name.
    """
    position = read_position(text)
    if position is None or position.overall:
        return position
    return position if is_one_topic(topics) else None


def parse_places(
    topics: Sequence[Selector], texts: Mapping[str, str]
) -> Mapping[str, Position] | Mistake:
    """The positions of several topics, each under the name that the client follows it by."""
    places: dict[str, Position] = {}
    followed = {selector.text: selector for selector in topics}
    for name, text in texts.items():
        selector = followed.get(name)
        place = None if selector is None else place_in((selector,), text)
        if place is None:
            return wrong("since", "expected, for topics of this message, the id of an event each")
        places[name] = place
    return places


def parse_since(topics: Sequence[Selector], text: str) -> Position | Mistake:
    """The one position of a message."""
    expected = "expected the id of an event, and epoch@seq for more than one exact topic"
    return place_in(topics, text) or wrong("since", expected)
