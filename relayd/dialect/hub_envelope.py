"""The envelope: how an event looks to a client, whichever wire it came by.

Shape, on one line and in this order, so that a reader can take what it needs from the front::

    {"id": "<epoch>:<offset>", "seq": 7, "ts": "2026-11-20T08:15:30.250Z", "topic": "workflow:w1",
     "tenant": "acme", "event": "token_stream", "session_id": null, "node_id": "n1", "data": {…}}

It is built once per event and wire, and then shared by all who get it. No byte below 0x20 is in it:
a line end would break both SSE and the Centrifuge protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from relayd.dialect.hub_event import RESYNC_REQUIRED, Publication

WALL_MAX_S: Final = 253_402_300_800
"""The first second of the year 10000, which RFC 3339 cannot write."""

_DAY_S: Final = 86_400

_encode: Final = msgspec.json.encode


def envelope(publication: Publication) -> bytes:
    """The event as one JSON object."""
    each = publication
    head = (
        f'{{"id":"{each.epoch}:{each.offset}","seq":{each.seq},"ts":"{timestamp(each.ts)}",'
        f"{_names(each.topic, each.tenant, each.event)}"
        f'"session_id":{_quoted(each.session_id)},"node_id":{_quoted(each.node_id)},"data":'
    )
    return b"%b%b}" % (head.encode(), each.data)


def resync_envelope(
    *, epoch: str, seq: int, now: float, tenant: str, topics: Sequence[str]
) -> bytes:
    """What a client is told that missed events: load your state anew, then go on from here.

    Its ``id`` is the place in everything from which the client misses nothing.

    Args:
        now: In seconds since the epoch of Unix.
        tenant: The client's.
        topics: The topics and prefixes that it is about, as the client wrote them.
    """
    head = {"id": f"{epoch}@{seq}", "seq": seq, "ts": timestamp(now), "topic": None}
    names = {"tenant": tenant, "event": RESYNC_REQUIRED, "session_id": None, "node_id": None}
    return _encode({**head, **names, "data": {"topics": list(topics)}})


def timestamp(wall: float) -> str:
    """A time as RFC 3339 has it, in UTC with milliseconds; what is finer is cut off.

    Args:
        wall: Seconds since the epoch of Unix, from 0 up to :data:`WALL_MAX_S`.
    """
    assert 0 <= wall < WALL_MAX_S, "a time that RFC 3339 cannot write"
    millis = int(wall * 1000)
    return f"{_second(millis // 1000)}.{millis % 1000:03d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """Date and time of day, as far as the second."""
    days, rest = divmod(seconds, _DAY_S)
    year, month, day = _civil(days)
    hours, rest = divmod(rest, 3600)
    return f"{year:04d}-{month:02d}-{day:02d}T{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of the ``days``-th day after 1970-01-01 in the Gregorian calendar.

    Years are counted from March on, so that the leap day is their last one; 719,468 days lie
    between the March of year 0 and 1970, and 146,097 make 400 years.
    """
    era, day_of_era = divmod(days + 719_468, 146_097)
    leap_days = day_of_era // 1460 - day_of_era // 36_524 + day_of_era // 146_096
    year_of_era = (day_of_era - leap_days) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    next_year = month // 10  # January and February
    return 400 * era + year_of_era + next_year, month + 3 - 12 * next_year, day


@lru_cache(maxsize=4096)
def _names(topic: str, tenant: str, event: str) -> str:
    """Three members, for what repeats from event to event."""
    return f'"topic":{_quote(topic)},"tenant":{_quote(tenant)},"event":{_quote(event)},'


@lru_cache(maxsize=4096)
def _quoted(text: str | None) -> str:
    return "null" if text is None else _quote(text)


def _quote(text: str) -> str:
    return _encode(text).decode()
