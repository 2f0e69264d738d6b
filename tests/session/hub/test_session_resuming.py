"""A client that loses its connection again and again misses nothing, or is told that it did.

What a client has seen is what it has read: what was on its way when it was lost has to come again.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from relayd.hub.bounds import Bounds
from tests.conftest import LogLines
from tests.faults.wire import CLOSE, Ended
from tests.session.hub.stage import CENTRIFUGE, EPOCH, Client, Stage, staged
from tests.session.hub.test_identity import USER

TOPICS = ("workflow:a", "workflow:b", "workflow:c")
BOUNDS = Bounds(ring_messages_max=12, outbox_messages_max=8, outbox_grace_s=0.0)
SEND_BUFFER = 4096
PADDING = "x" * 3000

Json = dict[str, Any]

# Publish some events in one topic, read some and lose the connection, or read all there is.
PUBLISH = st.tuples(st.just("publish"), st.sampled_from(TOPICS), st.integers(1, 30))
LOSE = st.tuples(st.just("lose"), st.just(""), st.integers(0, 12))
READ = st.tuples(st.just("read"), st.just(""), st.just(0))
STEPS = st.lists(st.one_of(PUBLISH, PUBLISH, LOSE, READ), max_size=14)


@attrs.define(eq=False)
class Truth:
    """What was published: each event's topic, offset and seq."""

    events: list[tuple[str, int, int]] = attrs.field(factory=list)

    def last(self, topic: str, seq: float) -> int:
        """The offset of the topic's last event up to ``seq``."""
        return max(
            (at for name, at, number in self.events if name == topic and number <= seq), default=0
        )


class Reader(Protocol):
    """How a client of one wire resumes; ``seen`` has the last offset by topic."""

    seen: dict[str, int]
    resyncs: int

    async def come(self, stage: Stage) -> Client:
        """Connect, and resume."""

    async def barrier(self, client: Client) -> None:
        """Ask for something that is answered behind everything that waits."""

    def read(self, message: Json) -> bool:
        """Look at one message; ``False`` for that answer."""


@attrs.define(eq=False)
class CouncilReader:
    """Follows a prefix, and resumes by its place among everything."""

    truth: Truth
    seen: dict[str, int] = attrs.field(factory=dict)
    resyncs: int = 0
    cursor: int | None = None

    async def come(self, stage: Stage) -> Client:
        since = "" if self.cursor is None else f"&since={EPOCH}@{self.cursor}"
        client = await stage.client(f"/ws?topics=workflow:*{since}", send_buffer=SEND_BUFFER)
        welcome = await client.json()
        assert welcome["recovered"] in (None, True, False)
        assert (welcome["recovered"] is None) == (self.cursor is None)
        if self.cursor is None:
            self.starts_at(welcome["seq"])
        return client

    async def barrier(self, client: Client) -> None:
        await client.send({"type": "ping"})

    def read(self, message: Json) -> bool:
        if message.get("type") == "pong":
            if "seq" in message:  # nothing up to there is still to come
                assert self.cursor is not None
                assert message["seq"] >= self.cursor
                for topic, offset in self.seen.items():
                    assert offset == self.truth.last(topic, message["seq"]), "a gap"
                self.cursor = message["seq"]
            return False
        if message["event"] == "resync_required":
            self.resyncs += 1
            self.starts_at(int(message["id"].partition("@")[2]))
            return True
        topic, seq = message["topic"], message["seq"]
        offset = int(message["id"].partition(":")[2])
        assert self.cursor is not None
        assert seq > self.cursor, "twice, or out of order"
        assert offset == self.seen[topic] + 1, "a gap"
        assert (topic, offset, seq) in self.truth.events
        self.cursor, self.seen[topic] = seq, offset
        return True

    def starts_at(self, seq: int) -> None:
        self.cursor = seq
        self.seen = {topic: self.truth.last(topic, seq) for topic in TOPICS}


@attrs.define(eq=False)
class CentrifugeReader:
    """Follows each topic, and resumes by its place in each, as the SDKs do."""

    truth: Truth
    seen: dict[str, int] = attrs.field(factory=dict)
    resyncs: int = 0

    async def come(self, stage: Stage) -> Client:
        client = await stage.client(CENTRIFUGE, USER, send_buffer=SEND_BUFFER)
        await client.connect()
        for number, topic in enumerate(TOPICS):
            asked: Json = {"channel": topic, "recoverable": True}
            if topic in self.seen:
                asked |= {"recover": True, "epoch": EPOCH, "offset": self.seen[topic]}
            await client.send({"id": 100 + number, "subscribe": asked})
        return client

    async def barrier(self, client: Client) -> None:
        await client.send({"id": 999, "presence_stats": {"channel": TOPICS[0]}})

    def read(self, message: Json) -> bool:
        if message.get("id") == 999:
            return False
        if "push" in message:
            push = message["push"]
            self.published(push["channel"], push["pub"])
            return True
        topic, found = TOPICS[message["id"] - 100], message["subscribe"]
        if not found.get("recovered"):
            self.resyncs += topic in self.seen
            self.seen[topic] = found["offset"]
        for publication in found.get("publications", ()):
            self.published(topic, publication)
        return True

    def published(self, topic: str, publication: Json) -> None:
        assert publication["offset"] == self.seen[topic] + 1, "a gap, or twice"
        envelope = publication["data"]
        assert (topic, publication["offset"], envelope["seq"]) in self.truth.events
        self.seen[topic] = publication["offset"]


@attrs.define(eq=False)
class Play:
    """One run: what is done, and the client that lives through it."""

    stage: Stage
    reader: Reader
    truth: Truth
    client: Client | None = None

    async def step(self, what: str, topic: str, count: int) -> None:
        if what == "publish":
            for _ in range(count):
                made = self.stage.publish(topic, data=PADDING)
                self.truth.events.append((topic, made.offset, made.seq))
                self.stage.publish("session:unseen")
        elif what == "read":
            while not await self.read(1_000_000):
                pass
        else:
            await self.read(count)
            if self.client is not None:
                self.client.wire.close()
                self.client = None

    async def read(self, count: int) -> bool:
        """Read what there is, ``count`` messages of it; ``False`` where relayd has ended it."""
        if self.client is None:
            self.client = await self.reader.come(self.stage)
        client = self.client
        try:
            await self.reader.barrier(client)
            for _ in range(count):
                got = await client.text()
                if got.opcode == CLOSE:
                    assert got.close_code == 4008, got
                    break
                if not self.reader.read(json_of(got.payload)):
                    return True
            else:
                return True
        except Ended:
            pass  # it was too slow to take even the goodbye
        client.wire.close()
        self.client = None
        return False


def json_of(payload: bytes) -> Json:
    found: Json = json.loads(payload)
    return found


async def play(
    steps: list[tuple[str, str, int]], kind: type[CouncilReader | CentrifugeReader]
) -> int:
    truth = Truth()
    async with staged(LogLines(), bounds=BOUNDS) as stage:
        reader = kind(truth)
        run = Play(stage, reader, truth)
        await run.step("read", "", 0)
        for step in steps:
            await run.step(*step)
        await run.step("read", "", 0)
        assert reader.seen == {topic: truth.last(topic, float("inf")) for topic in TOPICS}
    return reader.resyncs


@pytest.mark.parametrize("kind", [CouncilReader, CentrifugeReader])
@given(steps=STEPS)
def test_every_event_comes_once_and_in_order_or_a_resync_is_asked_for(
    kind: type[CouncilReader | CentrifugeReader], steps: list[tuple[str, str, int]]
) -> None:
    trio.run(play, steps, kind)


@pytest.mark.parametrize("kind", [CouncilReader, CentrifugeReader])
@pytest.mark.parametrize(("missed", "resyncs"), [(12, 0), (13, 1)])
def test_what_is_remembered_is_not_lost_and_what_is_not_is(
    kind: type[CouncilReader | CentrifugeReader], missed: int, resyncs: int
) -> None:
    steps = [("publish", "workflow:a", 2), ("read", "", 0), ("lose", "", 0)]
    steps += [("publish", "workflow:a", missed)]
    assert trio.run(play, steps, kind) == resyncs


@pytest.mark.parametrize("kind", [CouncilReader, CentrifugeReader])
def test_who_falls_behind_is_cut_and_catches_up(
    kind: type[CouncilReader | CentrifugeReader],
) -> None:
    steps = [("publish", topic, 10) for topic in TOPICS]
    assert trio.run(play, [*steps, ("read", "", 0)], kind) == 0
