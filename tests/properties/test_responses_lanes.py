"""Whatever a client asks for and however turns end, lanes never overlap and keep their order."""

from __future__ import annotations

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relayd.dialect.responses_client import Create, Mistake
from relayd.dialect.responses_lanes import (
    ACTIVE_MAX,
    NAMES_MAX,
    QUEUED_MAX,
    QUEUED_MAX_BYTES,
    Lanes,
    Placed,
)
from tests.dialect.responses import create

NAMES = st.one_of(st.none(), st.integers(0, NAMES_MAX + 3).map(lambda number: f"lane{number}"))
MIB = 1 << 20
SIZES = st.sampled_from([1, MIB, 15 * MIB])


class Sized(bytes):
    """A payload that is as long as it says, without the memory."""

    size: int

    def __len__(self) -> int:
        return self.size


def asked(name: str | None, size: int) -> Create:
    payload = Sized()
    payload.size = size
    return attrs.evolve(create(name), payload=payload)


class LanesMachine(RuleBasedStateMachine):
    """The lanes beside a model of them: every create that was let in, in the order of coming."""

    preempt = False

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(preempt=self.preempt)
        self.waiting: list[Create] = []
        self.running: dict[str | None, Create] = {}
        self.named: set[str] = set()

    def may_start(self) -> list[Create]:
        """Of those that wait the first of each lane where nothing runs, oldest first."""
        first: dict[str | None, Create] = {}
        for one in self.waiting:
            first.setdefault(one.stream_id, one)
        return [one for name, one in first.items() if name not in self.running]

    @rule(name=NAMES, size=SIZES)
    def add(self, name: str | None, size: int) -> None:
        one = asked(name, size)
        beside = [other for other in self.waiting if other.stream_id == name]
        running = self.running.get(name)
        answer = self.lanes.add(one)
        if isinstance(answer, Mistake):
            self.check_refusal(answer, one, beside)
            return
        if name is not None:
            self.named.add(name)
        assert answer.starts == (not (running or beside) and len(self.running) < ACTIVE_MAX)
        if answer.starts:
            assert answer == Placed(starts=True)
            self.running[name] = one
            return
        self.place(one, beside, answer)

    def place(self, one: Create, beside: list[Create], answer: Placed) -> None:
        assert answer == Placed()
        self.waiting.append(one)

    def check_refusal(self, answer: Mistake, one: Create, beside: list[Create]) -> None:
        assert answer.stream_id == one.stream_id
        if answer.status == 400:
            assert one.stream_id not in {None, *self.named}
            assert len(self.named) == NAMES_MAX
            return
        held = sum(len(other.payload) for other in self.waiting)
        assert len(beside) == QUEUED_MAX or held + len(one.payload) > QUEUED_MAX_BYTES

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.running, key=str)))
        del self.running[name]
        expected = next(iter(self.may_start()), None)

        started = self.lanes.ended(name)

        assert started is expected
        if started is not None:
            self.waiting.remove(started)
            self.running[started.stream_id] = started

    @rule()
    def drop_all(self) -> None:
        assert self.lanes.drop_all() == tuple(self.waiting)
        self.waiting.clear()

    @invariant()
    def holds(self) -> None:
        lanes = self.lanes
        assert lanes.active == len(self.running) <= ACTIVE_MAX
        assert all(lanes.running(name) is one for name, one in self.running.items())
        assert lanes.queued == len(self.waiting)
        assert lanes.queued_bytes == sum(len(one.payload) for one in self.waiting)
        assert lanes.queued_bytes <= QUEUED_MAX_BYTES
        assert len(self.running) == ACTIVE_MAX or not self.may_start()
        assert lanes.busy == bool(self.running or self.waiting)


class PreemptingMachine(LanesMachine):
    """The same, where a newer create takes the place of what is on its lane."""

    preempt = True

    def __init__(self) -> None:
        super().__init__()
        self.given_up: set[Create] = set()

    def place(self, one: Create, beside: list[Create], answer: Placed) -> None:
        running = self.running.get(one.stream_id)
        assert answer.dropped == tuple(beside)
        assert answer.aborts is (None if running in self.given_up else running)
        if running is not None:
            self.given_up.add(running)
        if beside:
            self.waiting[self.waiting.index(beside[0])] = one
        else:
            self.waiting.append(one)

    def check_refusal(self, answer: Mistake, one: Create, beside: list[Create]) -> None:
        if answer.status == 400:
            super().check_refusal(answer, one, beside)
            return
        held = sum(len(other.payload) for other in self.waiting if other not in beside)
        assert held + len(one.payload) > QUEUED_MAX_BYTES

    @invariant()
    def at_most_one_waits_on_a_lane(self) -> None:
        names = [one.stream_id for one in self.waiting]
        assert len(names) == len(set(names))


TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(stateful_step_count=100)
TestPreempting = PreemptingMachine.TestCase
TestPreempting.settings = settings(stateful_step_count=100)
