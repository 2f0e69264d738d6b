"""Hubs, publications and clients for tests, and what a client reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from relayd.dialect.hub_event import Position, Publication, read_position
from relayd.dialect.hub_publish import Draft
from relayd.dialect.hub_streams import stream_of
from relayd.dialect.hub_topics import Scope, Selector, parse_filter, parse_selector
from relayd.dialect.hub_wanted import Wanted
from relayd.hub.bounds import Bounds
from relayd.hub.history import Topic
from relayd.hub.hub import Hub
from relayd.hub.index import Subscriber
from relayd.hub.shared import Shared, Wire

EPOCH = "00c0ffee00c0ffee"
ACME = Scope(tenant="acme")
OPERATOR = Scope(tenant="acme", everything=True)
WALL = 1_700_000_000.0


def publication(seq: int = 1, **more: object) -> Publication:
    """One in ``workflow:w1``."""
    usual: dict[str, Any] = {
        "tenant": "acme",
        "topic": "workflow:w1",
        "epoch": EPOCH,
        "offset": seq,
        "seq": seq,
        "ts": WALL,
        "event": "note",
        "data": b'{"n":%d}' % seq,
    }
    return Publication(**usual | more)


def shared(seq: int = 1, *, at: float = 0.0, **more: object) -> Shared:
    """The same, on its way."""
    return Shared(publication=publication(seq, **more), at=at)


def token(
    seq: int, chunk: str, *, node: str = "n1", agent: str = "a1", at: float = 0.0, **more: object
) -> Shared:
    """A part of a stream."""
    data = json.dumps({"node_id": node, "agent_id": agent, "chunk": chunk}).encode()
    stream = stream_of("token_stream", data)
    made = publication(seq, event="token_stream", data=data, stream=stream, node_id=node, **more)
    return Shared(publication=made, at=at)


def draft(topic: str = "workflow:w1", event: str = "note", **more: object) -> Draft:
    """An event that is to be published."""
    usual: dict[str, Any] = {"topic": topic, "event": event, "data": b"{}"}
    return Draft(**usual | more)


def hub(**bounds: int) -> Hub:
    """One of these bounds."""
    return Hub(EPOCH, Bounds(**bounds))


def topics(of: Hub) -> list[Topic]:
    """All that are known."""
    return [topic for known in of._history.latest(None) for topic in known]


def publish(
    to: Hub, *topics: str, tenant: str = "acme", now: float = 0.0, event: str = "note"
) -> int:
    """Publish a note to each topic, or to ``workflow:w1``; return the latest ``seq``."""
    for topic in topics or ("workflow:w1",):
        to.publish(tenant, draft(topic, event), now=now, wall=WALL)
    return to.seq


def selector(text: str) -> Selector:
    """The selector that ``text`` is."""
    found = parse_selector(text)
    assert found is not None
    return found


def wanted(
    *topics: str,
    since: str | dict[str, str] | None = None,
    only: Sequence[str] = (),
    but: Sequence[str] = (),
) -> Wanted:
    """What a client asks for."""
    chosen = parse_filter(only, but)
    assert chosen is not None
    places: Position | dict[str, Position] = {}
    if isinstance(since, str):
        places = place(since)
    elif since is not None:
        places = {name: place(text) for name, text in since.items()}
    return Wanted(topics=tuple(map(selector, topics)), filter=chosen, since=places)


def place(text: str) -> Position:
    """The position that ``text`` is: of this hub where it names no epoch."""
    found = read_position(text if len(text) > len(EPOCH) else EPOCH + text)
    assert found is not None
    return found


def client(
    of: Hub,
    scope: Scope = ACME,
    wire: Wire = Wire.COUNCIL,
    on_dirty: Callable[[], None] = lambda: None,
) -> Subscriber:
    """One that follows nothing yet."""
    return of.subscriber(scope, wire, on_dirty)


def unframed(frame: bytes) -> bytes:
    """The payload of an unmasked frame."""
    short = frame[1] & 0x7F
    return frame[2 if short < 126 else 4 if short == 126 else 10 :]


def told(frame: bytes) -> dict[str, Any]:
    """The envelope in a frame of either WebSocket wire."""
    message: dict[str, Any] = json.loads(unframed(frame))
    return message["push"]["pub"]["data"] if "push" in message else message


def read(by: Subscriber, *, now: float = 0.0) -> list[dict[str, Any]]:
    """The envelopes of all that waits."""
    frames: list[bytes] = []
    while taken := by.outbox.take(65_536, now):
        frames += taken
    return [told(frame) for frame in frames]


def seqs(by: Subscriber) -> list[int]:
    """Their numbers."""
    return [each["seq"] for each in read(by)]
