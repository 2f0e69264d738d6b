"""Clients and upstreams that do anything: what holds for all of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.dialects import ResponsesSettings
from relayd.config.keys import BusyLane
from relayd.config.pools import PoolSettings
from relayd.observe.events import LogEvent
from relayd.sim.responses.faults import RANDOM_FAULTS
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.tally import TurnRecord
from relayd.sim.responses.upstream import ResponsesUpstream
from tests.faults.harness import KEY, Stage
from tests.faults.responses import (
    LAST,
    Client,
    Closed,
    ResponsesStage,
    Scene,
    check_terminals,
    in_file,
    patient_clock,
    playing,
    rows,
)

FAULTS = (
    *RANDOM_FAULTS,
    Scenario.SILENT_BEFORE_CREATED,
    Scenario.SILENT_AFTER_CREATED,
    Scenario.UNKNOWN_LANE,
    Scenario.CREATED_TWICE,
    Scenario.HUGE_EVENTS,
    Scenario.CODEX,
    Scenario.HALF_OPEN,
    Scenario.CLOSE_1009,
)
GENTLE = (
    Scenario.SLOW,
    Scenario.FRAGMENTED,
    Scenario.REORDERED,
    Scenario.BIG_EVENTS,
    Scenario.HUGE_EVENTS,
    Scenario.NO_USAGE,
    Scenario.WRONG_USAGE,
    Scenario.FAILED,
    Scenario.INCOMPLETE,
    Scenario.CODEX,
    Scenario.SERVER_ERROR,
    Scenario.ERROR_MID_TURN,
    Scenario.ERROR_NO_STATUS,
    Scenario.OVERLOADED,
)
"""Faults with which no event is lost on its way."""

ENDINGS = ("completed", "incomplete", "failed")
LANES = (None, "a", "b", "c")
TIMES = ResponsesSettings(keepalive_s=1.0, first_event_s=3.0, idle_s=3.0, total_s=20.0)
CLIENTS, TURNS = 6, 12
TORN = 1011
"""The client stood inside an event of more than 4 MiB that its upstream did not finish: no word
can follow it, and what ran is over unsaid."""


@pytest.fixture
def scenes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> ResponsesStage:
    return ResponsesStage.of(stage, monkeypatch)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    return patient_clock(monkeypatch)


@attrs.define(eq=False)
class Anybody:
    """A client that asks for turns in lanes, goes on from some, and at times leaves in the middle.

    Attributes:
        rng: What it does.
        clients: One for each of its connections.
        faults: What its upstreams may do.
        leaves: Whether it leaves in the middle of turns.
        asked: How many turns it has asked for.
        left: Connections that it has left.
        closed_with: The codes with which relayd has closed others.
    """

    rng: random.Random
    scene: Scene
    faults: Sequence[Scenario]
    leaves: bool
    clients: list[Client] = attrs.field(factory=list)
    asked: int = 0
    left: set[Client] = attrs.field(factory=set)
    closed_with: list[int | None] = attrs.field(factory=list)

    async def run(self) -> None:
        while self.asked < TURNS:
            client = await self.scene.client()
            self.clients.append(client)
            if not await self._converse(client):
                client.wire.reset()

    async def _converse(self, client: Client) -> bool:
        """Ask and read until all is done (``True``), it leaves, or relayd ends the session."""
        codes, last = self.closed_with, dict[str | None, str]()
        waiting: Counter[str | None] = Counter()
        while self.asked < TURNS or waiting.total():
            while self.asked < TURNS and waiting.total() < 5 and self.rng.random() < 0.6:
                lane = self.rng.choice(LANES)
                await self._ask(client, lane, last.get(lane))
                waiting[lane] += 1
            if not waiting.total():
                continue
            if self.leaves and self.rng.random() < 0.01:
                self.left.add(client)
                return False
            try:
                told = await client.event()
            except Closed as closed:
                codes.append(closed.code)
                if closed.code == TORN:
                    self.left.add(client)
                return False
            lane = told.get("stream_id")
            if told["type"] in LAST:
                waiting[lane] -= 1
                last.pop(lane, None)
                if told["type"] == "response.completed":
                    last[lane] = told["response"]["id"]
        return True

    async def _ask(self, client: Client, lane: str | None, previous: str | None) -> None:
        self.asked += 1
        fields: dict[str, object] = {"store": self.rng.random() < 0.5}
        if lane is not None:
            fields["stream_id"] = lane
        if previous is not None and self.rng.random() < 0.7:
            fields["previous_response_id"] = previous
        if self.rng.random() < 0.1:
            fields["generate"] = False
        elif self.rng.random() < 0.4:
            fields |= playing(self.rng.choice(self.faults))
        await client.ask(f"turn {self.asked}", **fields)


async def played(
    scenes: ResponsesStage,
    seed: int,
    faults: Sequence[Scenario],
    *,
    lanes: bool,
    preempt: bool = False,
    leaves: bool = False,
) -> tuple[list[TurnRecord], list[dict[str, Any]]]:
    """Let everybody do what they like: what the upstreams know of it, and what the ledger has.

    Each client has seen one end of each response, no socket is leaked, and each turn has a line.
    """
    kind = Scenario.NORMAL if lanes else Scenario.NO_LANES
    upstreams = [ResponsesUpstream(kind, name=name) for name in ("one", "two")]
    folder = scenes.stage.folder
    async with scenes.serving(
        *upstreams,
        lanes=lanes,
        times=TIMES,
        pool=PoolSettings(slots_max=8, idle_max=4),
        key=attrs.evolve(KEY, busy_lane=BusyLane.PREEMPT if preempt else BusyLane.QUEUE),
        ledger=in_file(folder),
    ) as scene:
        people = [
            Anybody(random.Random(f"{seed} {number}"), scene, faults, leaves)
            for number in range(CLIENTS)
        ]
        async with trio.open_nursery() as nursery:
            for person in people:
                nursery.start_soon(person.run)
        for person in people:
            for client in person.clients:
                client.wire.close()
                check_terminals(client.seen, cut=client in person.left)
        await scene.at_rest()
        await scene.relay.log.session_ended(sum(len(person.clients) for person in people))
        lines = scene.relay.log.of(LogEvent.TURN_ENDED)
    # Only now: an upstream counts a turn that was cut when it hears that its connection is gone.
    known = [turn for upstream in upstreams for turn in upstream.statistics().turns]
    # A session ends so behind a chain whose socket is too old, and else for no such fault.
    assert {code for person in people for code in person.closed_with} <= {1000, TORN}
    written = rows(folder)
    assert Counter(row["reason"] for row in written) == Counter(line["reason"] for line in lines)
    return known, written


def check_ledger(known: Sequence[TurnRecord], written: Sequence[dict[str, Any]]) -> None:
    """The ledger has nothing that did not happen, nothing twice, and usage as it was told."""
    named = [row for row in written if row["upstream_id"] is not None]
    by_id = {row["upstream_id"]: row for row in named}
    assert len(by_id) == len(named)
    assert set(by_id) <= {turn.response_id for turn in known}
    for turn in known:
        row = by_id.get(turn.response_id)
        if row is not None and turn.told is not None and row["reason"] in ENDINGS:
            assert row["tokens_in"] == turn.told.input_tokens or row["estimated"]
            assert row["tokens_out"] == turn.told.output_tokens or row["estimated"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("preempt", [False, True])
@pytest.mark.parametrize("lanes", [True, False])
async def test_every_response_that_a_client_sees_ends_once(
    scenes: ResponsesStage, patient: MockClock, seed: int, *, lanes: bool, preempt: bool
) -> None:
    known, written = await played(scenes, seed, FAULTS, lanes=lanes, preempt=preempt, leaves=True)
    check_ledger(known, written)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lanes", [True, False])
async def test_the_ledger_is_what_the_upstreams_have_counted(
    scenes: ResponsesStage, patient: MockClock, seed: int, *, lanes: bool
) -> None:
    known, written = await played(scenes, seed, GENTLE, lanes=lanes)
    check_ledger(known, written)
    ids = [turn.response_id for turn in known if turn.response_id is not None]
    assert Counter(ids) == Counter(
        row["upstream_id"] for row in written if row["upstream_id"] is not None
    )


ANYWHERE = (
    Scenario.NORMAL,
    Scenario.RESTART_BEFORE_CREATED,
    Scenario.SERVER_ERROR,
    Scenario.SILENT_BEFORE_CREATED,
)


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("scenario", ANYWHERE, ids=lambda each: each.value)
async def test_a_client_may_leave_at_any_step_of_its_turn(
    scenes: ResponsesStage, scenario: Scenario, *, lanes: bool
) -> None:
    """No socket, seat, byte or line is lost, wherever the turn was cancelled."""
    steps = 40
    upstream = ResponsesUpstream(Scenario.NORMAL if lanes else Scenario.NO_LANES)
    folder = scenes.stage.folder
    async with scenes.serving(upstream, lanes=lanes, ledger=in_file(folder)) as scene:
        for step in range(steps):
            client = await scene.client()
            await client.ask(stream_id="a", **playing(scenario))
            for _ in range(step):
                await trio.lowlevel.checkpoint()
            client.wire.reset()
        await scene.relay.log.session_ended(steps)
        await scene.at_rest()
        assert scene.relay.hold.bytes_held == 0
        lines = scene.relay.log.of(LogEvent.TURN_ENDED)
    assert len(rows(folder)) == len(lines)
    assert len({line["session_id"] for line in lines}) == len(lines)


@pytest.mark.parametrize("lanes", [True, False])
async def test_a_newer_request_may_come_at_any_step_of_a_turn(
    scenes: ResponsesStage, *, lanes: bool
) -> None:
    """The older one ends once, as what it was or as preempted, and the newer one is answered."""
    upstream = ResponsesUpstream(Scenario.NORMAL if lanes else Scenario.NO_LANES)
    key = attrs.evolve(KEY, busy_lane=BusyLane.PREEMPT)
    async with scenes.serving(upstream, lanes=lanes, key=key) as scene:
        client = await scene.client()
        for step in range(60):
            await client.ask("older", stream_id="a")
            for _ in range(step):
                await trio.lowlevel.checkpoint()
            await client.ask("newer", stream_id="a")
            ends = [await client.answer("a"), await client.answer("a")]
            assert ends[0]["type"] in {"response.completed", "response.incomplete", "error"}
            (said,) = ends[1]["response"]["output"]
            assert said["content"][0]["text"] == "Answer 1. You said: newer"
        check_terminals(client.seen)
        await scene.at_rest()
