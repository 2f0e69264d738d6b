"""The hub against a log of everything: no gap, nothing twice, in order, whatever happens."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import attrs
import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from relayd.dialect.hub_event import TOKEN_STREAM, Position
from relayd.dialect.hub_publish import Draft
from relayd.dialect.hub_streams import stream_of
from relayd.dialect.hub_topics import Scope
from relayd.dialect.hub_wanted import Wanted
from relayd.hub.answers import Subscribed
from relayd.hub.bounds import Bounds
from relayd.hub.hub import Hub
from relayd.hub.index import Subscriber
from relayd.hub.relief import Item
from relayd.hub.shared import Wire
from tests.hub import making

TOPICS = ("workflow:a", "workflow:ab", "session:sess_1", "tenant:acme")
SELECTORS = ("*", "workflow:*", "workflow:a*", *TOPICS)
FILTERS: tuple[dict[str, tuple[str, ...]], ...] = (
    {},
    {"only": ("token*", "note")},
    {"but": ("note",)},
)
SCOPES = (
    Scope(tenant="acme"),
    Scope(tenant="acme", everything=True),
    Scope(tenant="acme", topics=tuple(map(making.selector, ("workflow:a*", "workflow:*")))),
)
SIZE = 560
"""Of one of these publications, about."""


@attrs.define
class Event:
    """One event in one topic, as the log has it and as a client reads it."""

    tenant: str
    topic: str
    offset: int
    seq: int
    event: str
    data: Any
    node: str | None

    @property
    def stream(self) -> tuple[Any, ...] | None:
        if self.event != TOKEN_STREAM:
            return None
        return (self.tenant, self.topic, self.data["node_id"], self.data["agent_id"])


@attrs.define(eq=False)
class Client:
    """One that reads what it is sent, and comes back with the last id."""

    scope: Scope
    wire: Wire
    filter: dict[str, tuple[str, ...]]
    selectors: list[str]
    subscriber: Subscriber | None = None
    cursor: str = ""
    offsets: dict[str, Position] = attrs.field(factory=dict)
    expected: list[Event] = attrs.field(factory=list)
    received: list[Event] = attrs.field(factory=list)

    def asks(self, *topics: str) -> Wanted:
        only, but = self.filter.get("only", ()), self.filter.get("but", ())
        return making.wanted(*topics, only=only, but=but)

    @property
    def since(self) -> Position | dict[str, Position]:
        if self.wire is Wire.COUNCIL:
            return making.place(self.cursor)
        return {name: self.offsets[name] for name in self.selectors}

    def note(self, envelope: dict[str, Any]) -> None:
        epoch, offset = envelope["id"].split(":")
        data, topic = envelope["data"], envelope["topic"]
        self.received.append(
            Event(
                tenant=envelope["tenant"],
                topic=topic,
                offset=int(offset),
                seq=envelope["seq"],
                event=envelope["event"],
                data=data,
                node=envelope["node_id"],
            )
        )
        self.cursor = f"{epoch}@{envelope['seq']}"
        self.offsets[topic] = Position(making.EPOCH, int(offset), overall=False)


class HubMachine(RuleBasedStateMachine):
    """Publishes, and has clients that come, go, stop and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.log: list[list[Event]] = []
        self.clients: list[Client] = []
        self.chunk = 0
        self.begin(forgetful=False)

    @initialize(forgetful=st.booleans())
    def begin(self, forgetful: bool) -> None:
        """A hub that forgets topics says rather too often that something may be missing."""
        self.forgetful = forgetful
        self.bounds = Bounds(
            ring_messages_max=5,
            ring_bytes_max=4 * SIZE,
            ring_age_s=50.0,
            rings_bytes_max=9 * SIZE,
            topics_max=2 if forgetful else 100,
            encoded_bytes_max=3 * SIZE,
            outbox_messages_max=6,
            outbox_bytes_max=8 * SIZE,
            outbox_grace_s=1.0,
        )
        self.hub = Hub(making.EPOCH, self.bounds)

    # -- what happens

    @rule(
        topic=st.sampled_from([0, 0, 0, 1, 2]),
        kind=st.sampled_from(["note", "other", "token", "token", "token", "stats"]),
        node=st.sampled_from(["n1", "n2"]),
        times=st.integers(1, 6),
    )
    def publish(self, topic: int, kind: str, node: str, times: int) -> None:
        for _ in range(times):
            self._publish(TOPICS[topic], kind, node)

    def _publish(self, topic: str, kind: str, node: str) -> None:
        self.chunk += 1
        data: dict[str, Any] = {"n": self.chunk}
        event, node_id = kind, None if kind == "stats" else node
        if kind == "token":
            event = TOKEN_STREAM
            data = {"node_id": node, "agent_id": "a", "chunk": f"<{self.chunk}>"}
        raw = json.dumps(data, separators=(",", ":")).encode()
        draft = Draft(
            topic=topic,
            event=event,
            data=raw,
            node_id=node_id,
            droppable=kind == "stats",
            stream=stream_of(event, raw),
        )
        made = self.hub.publish("acme", draft, now=self.now, wall=making.WALL)
        self._log((("acme", topic),), [made.offset], made.seq, event, data, node_id)

    @rule(
        which=st.sampled_from([(2, 3), (3, 2), (3,), (2,)]),
        event=st.sampled_from(["note", "other"]),
    )
    def publish_to(self, which: tuple[int, ...], event: str) -> None:
        self._publish_to(which, event)

    def _publish_to(self, which: tuple[int, ...], event: str) -> None:
        self.chunk += 1
        topics = [("acme", TOPICS[each]) for each in which]
        data = b'{"n":%d}' % self.chunk
        made = self.hub.publish_to(topics, event=event, data=data, now=self.now, wall=making.WALL)
        offsets = [each.offset for each in made]
        self._log(tuple(topics), offsets, made[0].seq, event, json.loads(data), None)

    def _log(
        self,
        topics: tuple[tuple[str, str], ...],
        offsets: list[int],
        seq: int,
        event: str,
        data: object,
        node: str | None,
    ) -> None:
        entry = [
            Event(tenant, name, offset, seq, event, data, node)
            for (tenant, name), offset in zip(topics, offsets, strict=True)
        ]
        self.log.append(entry)
        for client in self.clients:
            matching = [each for each in entry if self._wants(client, each)]
            client.expected += matching if client.wire.by_topic else matching[:1]

    def _wants(self, client: Client, event: Event) -> bool:
        chosen = client.asks("*").filter
        return chosen.passes(event.event) and self._follows(client, event)

    def _follows(self, client: Client, event: Event) -> bool:
        if not client.scope.may_see(event.tenant, event.topic):
            return False
        for text in client.selectors:
            owner = None if text.endswith("*") else client.scope.owner(text)
            if making.selector(text).matches(event.topic) and owner in (None, event.tenant):
                return True
        return False

    @precondition(lambda self: self.forgetful)
    @rule(topic=st.integers(0, 3))
    def skip(self, topic: int) -> None:
        """What was published there before cannot be resumed from: as if the log had ended."""
        self.hub.skip([("acme", TOPICS[topic])])

    @rule(by=st.sampled_from([0.5, 0.5, 20.0, 60.0]))
    def wait(self, by: float) -> None:
        self.now += by

    # -- clients

    @precondition(lambda self: len(self.clients) < 4)
    @rule(
        scope=st.sampled_from(SCOPES),
        wire=st.sampled_from([Wire.COUNCIL, Wire.CENTRIFUGE]),
        chosen=st.sampled_from(FILTERS),
        selectors=st.lists(st.sampled_from(SELECTORS), min_size=1, max_size=4, unique=True),
    )
    def come(
        self, scope: Scope, wire: Wire, chosen: dict[str, tuple[str, ...]], selectors: list[str]
    ) -> None:
        if wire is Wire.CENTRIFUGE:
            selectors = [each for each in selectors if not each.endswith("*")]
        selectors = [each for each in selectors if scope.may_follow(making.selector(each))]
        selectors = selectors or ["workflow:a"]
        client = Client(scope, wire, chosen, selectors)
        self.clients.append(client)
        self._connect(client, {})

    def _connect(self, client: Client, since: Position | dict[str, Position]) -> Subscribed:
        subscriber = client.subscriber = self.hub.subscriber(
            client.scope, client.wire, lambda: None
        )
        asked = client.asks(*client.selectors)
        wanted = Wanted(topics=asked.topics, filter=asked.filter, since=since)
        answer = self.hub.subscribe(subscriber, wanted, self.now)
        subscriber.outbox.replay(answer.publications, self.now)
        if answer.recovered is not True:
            client.expected.clear()
            client.received.clear()
            client.cursor = f"{making.EPOCH}@{answer.seq}"
            client.offsets = dict(answer.positions)
        return answer

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), text=st.sampled_from(SELECTORS[3:]))
    def follow_more_or_less(self, data: st.DataObject, text: str) -> None:
        client = self._one(data)
        subscriber = client.subscriber
        if subscriber is None or not client.scope.may_follow(making.selector(text)):
            return
        self._read(client)
        if text not in client.selectors:
            asked = client.asks(text)
            answer = self.hub.subscribe(subscriber, asked, self.now)
            assert answer.recovered is None
            assert not answer.publications
            client.selectors.append(text)
            client.cursor = f"{making.EPOCH}@{answer.seq}"
            client.offsets |= answer.positions
        elif len(client.selectors) > 1:
            self.hub.unsubscribe(subscriber, [making.selector(text)])
            client.selectors.remove(text)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), much=st.sampled_from([SIZE, 3 * SIZE, 1 << 20]))
    def read(self, data: st.DataObject, much: int) -> None:
        client = self._one(data)
        if client.subscriber is not None:
            for frame in client.subscriber.outbox.take(much, self.now):
                client.note(making.told(frame))

    def _read(self, client: Client) -> None:
        assert client.subscriber is not None
        for envelope in making.read(client.subscriber, now=self.now):
            client.note(envelope)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """The connection breaks; what waits is gone."""
        client = self._one(data)
        if client.subscriber is not None:
            self.hub.remove(client.subscriber)
            client.subscriber = None

    @precondition(lambda self: any(each.subscriber is None for each in self.clients))
    @rule()
    def come_back(self) -> None:
        self._come_back(next(each for each in self.clients if each.subscriber is None))

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), steps=st.lists(st.integers(0, 5), max_size=6), after=st.booleans())
    def be_away(self, data: st.DataObject, steps: list[int], after: bool) -> None:
        """Lose the connection, miss something, come back, and read all of it."""
        client = self._one(data)
        for step in steps[:2] if after else ():
            self._happen(step)
        if client.subscriber is not None:
            if after:
                for frame in client.subscriber.outbox.take(2 * SIZE, self.now):
                    client.note(making.told(frame))
            self.hub.remove(client.subscriber)
            client.subscriber = None
        for step in steps:
            self._happen(step)
        self._come_back(client)
        self._read(client)

    def _happen(self, step: int) -> None:
        if step < 3:
            self._publish(TOPICS[step], "token" if step else "note", "n1")
        else:
            self._publish_to(((2, 3), (3, 2), (3,))[step - 3], "note")

    def _come_back(self, client: Client) -> None:
        since, missing = client.since, self._is_something_lost(client)
        answer = self._connect(client, since)
        assert answer.recovered is not None
        if not answer.recovered:
            assert missing

    def _is_something_lost(self, client: Client) -> bool:
        """Whether there is a reason to say so."""
        if self.forgetful:
            return True
        if isinstance(client.since, Position) and client.since.epoch != making.EPOCH:
            return True  # it was sent something before what is older
        for each in (event for entry in self.log for event in entry):
            if not self._follows(client, each) or self._has_come_to(client, each):
                continue
            past = self.hub.history(each.tenant, each.topic, now=self.now).publications
            assert past is not None
            if each.seq not in {kept.seq for kept in past}:
                return True
        return False

    def _has_come_to(self, client: Client, event: Event) -> bool:
        since = client.since
        if isinstance(since, Position):
            return event.seq <= since.number
        return event.offset <= since[event.topic].number

    def _one(self, data: st.DataObject) -> Client:
        return data.draw(st.sampled_from(self.clients))

    # -- what always holds

    @invariant()
    def bounds_hold(self) -> None:
        bounds, totals = self.bounds, self.hub.totals()
        assert totals.topics <= bounds.topics_max
        assert totals.remembered_bytes <= bounds.rings_bytes_max
        rings = [topic.ring for topic in making.topics(self.hub)]
        assert sum(map(len, rings)) == totals.remembered
        assert sum(ring.size for ring in rings) == totals.remembered_bytes
        assert all(len(ring) <= bounds.ring_messages_max for ring in rings)
        assert all(ring.size <= bounds.ring_bytes_max for ring in rings)
        for client in self.clients:
            if client.subscriber is not None:
                outbox = client.subscriber.outbox
                assert len(outbox._live) <= 2 * bounds.outbox_messages_max
                assert outbox._live_size <= 2 * bounds.outbox_bytes_max
                assert outbox._live_size == sum(map(_size, outbox._live))

    @invariant()
    def evicted_clients_come_back(self) -> None:
        for client in self.clients:
            if client.subscriber is not None and client.subscriber.outbox.overflowed:
                self.hub.remove(client.subscriber)
                client.subscriber = None

    @invariant()
    def who_reads_everything_has_everything(self) -> None:
        for client in self.clients:
            if client.subscriber is None or len(client.subscriber.outbox):
                continue
            if client.wire.by_topic:
                assert _by_topic(client.received) == _by_topic(client.expected)
            else:
                assert _plain(client.received) == _plain(client.expected)
                assert _by_node(client.received) == _by_node(client.expected)
            numbers = [(each.seq, each.topic) for each in client.received]
            assert len(numbers) == len(set(numbers))
            known = {(each.seq, each.topic) for each in client.expected}
            assert known.issuperset(numbers)


def _size(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else item.size


def _plain(events: list[Event]) -> list[tuple[int, str]]:
    return [(each.seq, each.topic) for each in events if each.stream is None and not _may_go(each)]


def _may_go(event: Event) -> bool:
    return event.event == "stats"


def _by_topic(events: list[Event]) -> dict[Any, list[Any]]:
    """What happened in each topic, with the parts of a stream that follow each other joined."""
    return _joined(events, lambda event: (event.tenant, event.topic))


def _by_node(events: list[Event]) -> dict[Any, list[Any]]:
    """Likewise at each node."""
    return _joined(events, lambda event: (event.tenant, event.topic, event.node))


def _joined(events: list[Event], place: Callable[[Event], object]) -> dict[Any, list[Any]]:
    happened: dict[Any, list[Any]] = defaultdict(list)
    for each in events:
        if _may_go(each):
            continue
        here = happened[place(each)]
        if each.stream is None:
            here.append(each.seq)
        elif here and isinstance(here[-1], tuple) and here[-1][0] == each.stream:
            here[-1] = (each.stream, here[-1][1] + each.data["chunk"])
        else:
            here.append((each.stream, each.data["chunk"]))
    return dict(happened)


TestHub = HubMachine.TestCase
TestHub.settings = hypothesis.settings(max_examples=100, stateful_step_count=30)
