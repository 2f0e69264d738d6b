"""Whatever devices, servers and clocks do: what a session never does."""

from __future__ import annotations

import json
import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_actions import (
    Called,
    Dial,
    End,
    Join,
    Loss,
    Part,
    Step,
    ToDevice,
    ToServer,
)
from relayd.dialect.xiaozhi_buffer import HeldPacket
from relayd.dialect.xiaozhi_mcp import TooManyCalls
from relayd.dialect.xiaozhi_rules import DIALS_MAX, HELLO_RESENDS_MAX, MachineSettings
from relayd.dialect.xiaozhi_state import Machine, NotConnected, Phase

RECONNECTS_MAX = 2
HELLO = b'{"type":"hello","version":1,"transport":"websocket"}'
SERVER_HELLO = b'{"type":"hello","session_id":"s1"}'

device_texts = st.sampled_from(
    [
        HELLO,
        b'{"type":"listen","state":"start"}',
        b'{"type":"listen","state":"stop","session_id":"s1"}',
        b'{"type":"listen","state":"detect","text":"x"}',
        b'{"type":"abort"}',
        b'{"type":"server"}',
        b'{"type":"mcp","payload":{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}}',
        b'{"type":"mcp","payload":{"jsonrpc":"2.0","id":1610612736,"result":1}}',
        b"plain",
    ]
)
server_texts = st.sampled_from(
    [
        SERVER_HELLO,
        b'{"type":"hello"}',
        b'{"type":"stt","text":"x","session_id":"s1"}',
        b'{"type":"tts","state":"start"}',
        b'{"type":"tts","state":"stop"}',
        b'{"type":"mcp","payload":{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}}',
        b'{"type":"mcp","payload":{"jsonrpc":"2.0","id":1,"method":"tools/list"}}',
        b'{"type":"mcp","payload":{"jsonrpc":"2.0","id":1,"method":"tools/call"}}',
        b"plain",
    ]
)
codes = st.sampled_from([1011, 1012, 1013, 1006, 1000, None, 1008])


class Sessions(RuleBasedStateMachine):
    """One session; the steps that its machine asks for are written down and judged."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.hold = HoldBudget(1 << 20)
        self.machine = Machine(MachineSettings(reconnects_max=RECONNECTS_MAX), self.hold, self.now)
        self.hellos_to_device = 0
        self.hellos_to_server: dict[int, int] = {}
        self.dials: list[Dial] = []
        self.joined: set[int] = set()
        self.parted: set[int] = set()
        self.open_calls: set[int] = set()
        self.ends: list[End] = []

    def judge(self, steps: list[Step]) -> None:
        assert not (self.ends and steps), "nothing follows the end"
        for number, step in enumerate(steps):
            last = number == len(steps) - 1
            match step:
                case Dial():
                    assert last
                    assert step.deadline > self.now
                    assert self.hellos_to_device or not step.again
                    self.dials.append(step)
                case End():
                    assert last
                    self.ends.append(step)
                case Join(generation):
                    assert generation not in self.joined | self.parted
                    self.joined.add(generation)
                case Part():
                    assert step.generation not in self.parted
                    assert (step.hangup is None) == (step.generation in self.joined)
                    self.parted.add(step.generation)
                case Called():
                    self.open_calls.remove(step.call_id)
                case ToDevice(payload):
                    self.hellos_to_device += json.loads(payload)["type"] == "hello"
                case ToServer(payload):
                    generation = self.machine.generation
                    assert generation not in self.parted
                    hello = json.loads(payload)["type"] == "hello"
                    said = self.hellos_to_server.get(generation, 0) + hello
                    self.hellos_to_server[generation] = said
                case _:
                    pass

    @rule(payload=device_texts)
    def device_says(self, payload: bytes) -> None:
        self.judge(self.machine.device_text(payload, self.now))

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.machine.deadline:
            self.judge(self.machine.timer(self.now))

    @precondition(lambda self: self.machine.deadline < math.inf)
    @rule()
    def something_is_due(self) -> None:
        self.now = max(self.now, self.machine.deadline)
        self.judge(self.machine.timer(self.now))
        assert self.machine.deadline > self.now, "what was due has been done"

    @precondition(lambda self: self.machine.generation > 0)
    @rule(reached=st.booleans(), behind=st.integers(0, 1))
    def dial_is_over(self, reached: bool, behind: int) -> None:
        generation = self.machine.generation - behind
        if reached:
            self.judge(self.machine.dialled(generation, 1, self.now))
        else:
            self.judge(self.machine.undialled(generation, self.now))

    @precondition(lambda self: self.machine.generation > 0)
    @rule(payload=server_texts, behind=st.integers(0, 1))
    def server_says(self, payload: bytes, behind: int) -> None:
        generation = self.machine.generation - behind
        self.judge(self.machine.server_text(generation, payload, self.now))

    @precondition(lambda self: self.machine.phase is Phase.DIALLING)
    @rule()
    def server_is_silent(self) -> None:
        self.judge(self.machine.dialled(self.machine.generation, 1, self.now))
        for _ in range(HELLO_RESENDS_MAX + 1):
            if self.machine.phase is Phase.GREETING:
                self.something_is_due()

    @precondition(lambda self: self.machine.generation > 0)
    @rule(loss=st.sampled_from(list(Loss)), code=codes, behind=st.integers(0, 1))
    def server_goes(self, loss: Loss, code: int | None, behind: int) -> None:
        generation = self.machine.generation - behind
        self.judge(self.machine.server_ended(generation, loss, code, self.now))

    @precondition(lambda self: self.machine.phase in {Phase.AWAITING_HELLO, Phase.DIALLING})
    @rule()
    def all_goes_well(self) -> None:
        """The way to a talk is long; without this few examples would get there."""
        self.judge(self.machine.device_text(HELLO, self.now))
        generation = self.machine.generation
        self.judge(self.machine.dialled(generation, 1, self.now))
        self.judge(self.machine.server_text(generation, SERVER_HELLO, self.now))

    @precondition(lambda self: self.machine.phase is Phase.TALKING)
    @rule(
        payload=st.sampled_from(
            [SERVER_HELLO, b'{"type":"stt"}', b'{"type":"tts","state":"start"}']
        )
    )
    def server_talks(self, payload: bytes) -> None:
        self.judge(self.machine.server_text(self.machine.generation, payload, self.now))

    @precondition(lambda self: self.machine.phase is Phase.TALKING)
    @rule()
    def server_is_lost(self) -> None:
        generation = self.machine.generation
        self.judge(self.machine.server_ended(generation, Loss.CONNECTION, None, self.now))

    @rule(size=st.integers(1, 200))
    def audio_is_held(self, size: int) -> None:
        if self.machine.phase not in {Phase.TALKING, Phase.ENDED}:
            self.machine.conversation.buffer.put(HeldPacket(bytes(size), 60_000))

    @rule()
    def a_tool_is_called(self) -> None:
        try:
            call_id, steps = self.machine.call("tools/call", b"{}", self.now)
        except (NotConnected, TooManyCalls):
            return
        self.open_calls.add(call_id)
        self.judge(steps)

    @precondition(lambda self: self.machine.phase is Phase.TALKING)
    @rule(seldom=st.integers(0, 4))
    def the_session_is_ended(self, seldom: int) -> None:
        if seldom == 4:
            self.judge(self.machine.end(Reason.DRAIN, self.now))

    @invariant()
    def a_device_is_greeted_once(self) -> None:
        assert self.hellos_to_device <= 1

    @invariant()
    def dials_have_a_bound(self) -> None:
        again = [dial for dial in self.dials if dial.again]
        assert len(again) <= RECONNECTS_MAX
        assert len(self.dials) <= DIALS_MAX * (1 + len(again))
        assert len(self.machine.conversation.usage.reports) == self.turns()

    def turns(self) -> int:
        return self.machine.conversation.usage.totals().turns

    @invariant()
    def a_hello_is_not_said_for_ever(self) -> None:
        assert all(said <= 1 + HELLO_RESENDS_MAX for said in self.hellos_to_server.values())

    @invariant()
    def one_server_at_a_time(self) -> None:
        assert len(self.joined - self.parted) <= 1

    @invariant()
    def nothing_is_left_behind_the_end(self) -> None:
        if not self.ends:
            return
        assert len(self.ends) == 1
        assert self.machine.phase is Phase.ENDED
        assert self.machine.deadline == math.inf
        assert self.hold.bytes_held == 0
        assert not self.open_calls
        assert not self.machine.conversation.usage.turn_runs


Sessions.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSessions = Sessions.TestCase
