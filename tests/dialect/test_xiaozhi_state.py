"""A device's session, step by step: greeting, failover, loss, another server, the end."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_actions import (
    AudioToServer,
    Called,
    ContextLost,
    Dial,
    Dropped,
    End,
    Hangup,
    Join,
    Loss,
    Part,
    Rejoined,
    Step,
    ToDevice,
    ToServer,
)
from relayd.dialect.xiaozhi_buffer import HeldPacket
from relayd.dialect.xiaozhi_frames import AudioFrame
from relayd.dialect.xiaozhi_rules import MachineSettings
from relayd.dialect.xiaozhi_state import Machine, NotConnected, Phase

HELLO = {
    "type": "hello",
    "version": 2,
    "transport": "websocket",
    "features": {"mcp": True},
    "audio_params": {"format": "opus", "frame_duration": 60},
}
START = {"type": "listen", "state": "start", "mode": "auto", "session_id": "s1"}


def text(fields: object) -> bytes:
    return json.dumps(fields).encode()


def server_hello(session_id: str) -> bytes:
    return text({"type": "hello", "version": 1, "session_id": session_id})


def sent(step: Step) -> dict[str, Any]:
    assert isinstance(step, ToServer | ToDevice)
    found: dict[str, Any] = json.loads(step.payload)
    return found


def kinds(steps: list[Step]) -> list[type]:
    return [type(step) for step in steps]


class Stage:
    """A machine, whose servers speak version 1, at time 0."""

    def __init__(self, *, reconnects_max: int = 2) -> None:
        self.hold = HoldBudget(1 << 20)
        settings = MachineSettings(reconnects_max=reconnects_max, device_version=2)
        self.machine = Machine(settings, self.hold, 0.0)

    def hello(self, now: float = 1.0) -> list[Step]:
        return self.machine.device_text(text(HELLO), now)

    def dialled(self, now: float) -> list[Step]:
        return self.machine.dialled(self.machine.generation, 1, now)

    def server(self, payload: bytes, now: float) -> list[Step]:
        return self.machine.server_text(self.machine.generation, payload, now)

    def ended(self, loss: Loss, code: int | None, now: float) -> list[Step]:
        return self.machine.server_ended(self.machine.generation, loss, code, now)

    def talking(self, now: float = 1.0) -> Machine:
        self.hello(now)
        self.dialled(now)
        self.server(server_hello("s1"), now)
        return self.machine

    def again(self, session_id: str, now: float) -> list[Step]:
        """The next server is dialled, and says hello."""
        (dial,) = self.machine.timer(now)
        assert isinstance(dial, Dial)
        (hello,) = self.dialled(now)
        assert sent(hello)["type"] == "hello"
        return self.server(server_hello(session_id), now)


def test_a_device_is_greeted_by_the_server_that_it_was_dialled() -> None:
    stage = Stage()
    assert stage.machine.deadline == 10.0

    assert stage.hello() == [Dial(1, again=False, deadline=11.0)]
    (greeting,) = stage.dialled(1.5)
    answer, join = stage.server(server_hello("s1"), 2.0)

    assert sent(greeting) == {**HELLO, "version": 1}
    assert sent(answer) == {
        "type": "hello",
        "version": 2,
        "session_id": "s1",
        "transport": "websocket",
    }
    assert join == Join(1)
    machine = stage.machine
    assert (machine.phase, machine.hello_s, machine.has_mcp) == (Phase.TALKING, 1.0, True)
    assert machine.deadline == math.inf


def test_a_device_without_a_hello_is_let_go() -> None:
    stage = Stage()
    assert stage.machine.device_text(text(START), 1.0) == [
        Dropped("before hello", from_device=True)
    ]
    assert stage.machine.timer(9.9) == []
    (end,) = stage.machine.timer(10.0)
    assert isinstance(end, End)
    assert end.reason is Reason.FIRST_MESSAGE_TIMEOUT


def test_a_hello_that_gets_lost_is_said_again_three_times() -> None:
    stage = Stage()
    stage.hello(0.0)
    stage.dialled(0.0)
    for now in (2.0, 4.0, 6.0):
        assert stage.machine.deadline == now
        (greeting,) = stage.machine.timer(now)
        assert sent(greeting)["type"] == "hello"

    assert stage.machine.timer(8.0) == [
        Part(1, hangup=Hangup.NO_HELLO, holds=True),
        Dial(2, again=False, deadline=10.0),
    ]


def test_no_server_takes_longer_than_the_device_waits() -> None:
    stage = Stage()
    stage.hello(0.0)
    stage.dialled(5.0)
    stage.machine.timer(7.0)
    stage.machine.timer(9.0)
    part, end = stage.machine.timer(10.0)
    assert isinstance(part, Part)
    assert isinstance(end, End)
    assert end.reason is Reason.FIRST_FRAME_TIMEOUT


def test_a_server_that_refuses_in_plain_text_is_replaced_by_another() -> None:
    stage = Stage()
    stage.hello()
    stage.dialled(1.0)

    part, dial = stage.server("认证失败".encode(), 1.5)

    assert part == Part(1, hangup=Hangup.REFUSED, said="认证失败", holds=True)
    assert dial == Dial(2, again=False, deadline=11.0)
    assert stage.machine.server_ended(1, Loss.CLOSED, 1000, 1.6) == []
    (end,) = stage.machine.undialled(2, 2.0)
    assert isinstance(end, End)
    assert end.reason is Reason.UPSTREAM_REFUSED


@pytest.mark.parametrize("code", [1000, 1011, None])
def test_a_server_that_goes_before_its_hello_is_replaced_whatever_it_says(
    code: int | None,
) -> None:
    stage = Stage()
    stage.hello()
    stage.dialled(1.0)
    assert kinds(stage.ended(Loss.CLOSED, code, 1.0)) == [Part, Dial]


def test_a_server_may_say_other_things_before_its_hello() -> None:
    stage = Stage()
    stage.hello()
    stage.dialled(1.0)
    assert kinds(stage.server(text({"type": "pong"}), 1.0)) == [Dropped]
    assert kinds(stage.server(b'{"type":"hello","type":"x"}', 1.0)) == [Part, Dial]


def test_what_a_device_says_before_it_is_greeted_is_not_lost() -> None:
    stage = Stage()
    stage.hello()
    assert stage.machine.device_text(text({**START, "session_id": ""}), 1.0) == []
    stage.machine.conversation.buffer.put(HeldPacket(b"a", 60_000))
    stage.dialled(1.0)

    answer, start, audio, join = stage.server(server_hello("s1"), 1.0)

    assert [sent(answer)["type"], sent(start)["type"]] == ["hello", "listen"]
    assert (audio, join) == (AudioToServer((AudioFrame(b"a"),)), Join(1))


def test_a_server_killed_while_it_speaks_is_replaced_and_the_device_stays() -> None:
    stage = Stage()
    machine = stage.talking()
    machine.device_text(text(START), 2.0)
    stage.server(text({"type": "stt", "session_id": "s1"}), 3.0)
    stage.server(text({"type": "tts", "state": "start", "session_id": "s1"}), 3.0)

    part, silence, lost = stage.ended(Loss.CONNECTION, None, 4.0)

    assert part == Part(1, holds=True)
    assert sent(silence) == {"type": "tts", "state": "stop", "session_id": "s1"}
    assert lost == ContextLost(1, Loss.CONNECTION, None, speaking=True, calls_failed=0)
    assert (machine.phase, machine.deadline) == (Phase.DELAYING, 6.0)

    machine.device_text(text({**START, "mode": "manual"}), 4.5)
    machine.conversation.buffer.put(HeldPacket(b"new", 60_000))
    start, audio, join, rejoined = stage.again("s2", 6.0)

    assert sent(start) == {**START, "mode": "manual", "session_id": "s2"}
    assert audio == AudioToServer((AudioFrame(b"new"),))
    assert (join, rejoined) == (Join(2), Rejoined(2.0, 0))
    (heard,) = stage.server(text({"type": "stt", "session_id": "s2"}), 7.0)
    assert sent(heard)["session_id"] == "s1"


@pytest.mark.parametrize(
    ("loss", "code"),
    [(Loss.CLOSED, 1011), (Loss.CLOSED, 1012), (Loss.CLOSED, 1013), (Loss.TIMEOUT, None)],
)
def test_a_server_in_trouble_is_replaced(loss: Loss, code: int | None) -> None:
    stage = Stage()
    stage.talking()
    assert kinds(stage.ended(loss, code, 2.0)) == [Part, ContextLost]


@pytest.mark.parametrize("code", [1000, 1001, None, 1008, 4000])
def test_a_server_that_ends_the_session_ends_it_for_the_device(code: int | None) -> None:
    stage = Stage()
    stage.talking()
    assert stage.ended(Loss.CLOSED, code, 2.0) == [End(Reason.UPSTREAM_CLOSED, "", code)]
    assert stage.machine.deadline == math.inf


def test_servers_are_replaced_so_often_and_no_more() -> None:
    stage = Stage()
    machine = stage.talking()
    stage.ended(Loss.CONNECTION, None, 10.0)
    stage.again("s2", 12.0)
    stage.ended(Loss.CONNECTION, None, 20.0)
    assert machine.deadline == 24.0
    stage.again("s3", 24.0)

    (end,) = stage.ended(Loss.CONNECTION, None, 30.0)

    assert isinstance(end, End)
    assert end.reason is Reason.RECONNECTS_EXHAUSTED
    assert (machine.losses, machine.reconnects) == (2, 2)


def test_a_dial_that_fails_is_one_of_them() -> None:
    stage = Stage()
    machine = stage.talking()
    stage.ended(Loss.CONNECTION, None, 10.0)
    machine.timer(12.0)
    assert machine.undialled(2, 13.0) == []
    assert machine.deadline == 17.0
    assert machine.timer(17.0) == [Dial(3, again=True, deadline=27.0)]
    (end,) = machine.undialled(3, 18.0)
    assert isinstance(end, End)
    assert end.reason is Reason.RECONNECTS_EXHAUSTED


def test_a_later_server_that_says_nothing_is_given_up() -> None:
    stage = Stage()
    machine = stage.talking()
    stage.ended(Loss.TIMEOUT, None, 10.0)
    machine.timer(12.0)
    stage.dialled(12.0)
    for now in (14.0, 16.0, 18.0):
        assert kinds(machine.timer(now)) == [ToServer]
    assert machine.timer(20.0) == [
        Part(2, hangup=Hangup.NO_HELLO, holds=True),
        Dial(3, again=False, deadline=22.0),
    ]
    assert machine.undialled(3, 20.0) == []
    assert (machine.phase, machine.deadline) == (Phase.DELAYING, 24.0)


def test_a_reconnect_fails_over_at_once_and_counts_as_one() -> None:
    stage = Stage()
    machine = stage.talking()
    stage.ended(Loss.CONNECTION, None, 10.0)
    machine.timer(12.0)
    for generation in (3, 4):
        stage.dialled(12.0)
        part, dial = stage.ended(Loss.CLOSED, 1011, 12.5)
        assert part == Part(generation - 1, hangup=Hangup.LOST, holds=True)
        assert dial == Dial(generation, again=False, deadline=22.0)
    stage.dialled(13.0)
    assert kinds(stage.server(server_hello("s2"), 13.0)) == [Join, Rejoined]
    assert machine.reconnects == 1


def test_a_reconnect_out_of_time_waits_for_the_next_one() -> None:
    stage = Stage()
    machine = stage.talking()
    stage.ended(Loss.CONNECTION, None, 10.0)
    machine.timer(12.0)
    stage.dialled(21.0)
    assert machine.timer(22.0) == [Part(2, hangup=Hangup.NO_HELLO, holds=True)]
    assert (machine.phase, machine.deadline) == (Phase.DELAYING, 26.0)
    assert machine.timer(26.0) == [Dial(3, again=True, deadline=36.0)]


def test_without_reconnects_a_loss_is_the_end() -> None:
    stage = Stage(reconnects_max=0)
    stage.talking()
    assert kinds(stage.ended(Loss.CONNECTION, None, 2.0)) == [End]


def test_a_dial_that_nobody_answers_for_fails_in_its_time() -> None:
    stage = Stage()
    stage.hello(0.0)
    (end,) = stage.machine.timer(10.0)
    assert isinstance(end, End)
    assert end.reason is Reason.UPSTREAM_LOST


def test_servers_without_room_are_not_lost_ones() -> None:
    stage = Stage()
    stage.hello(0.0)
    (end,) = stage.machine.undialled(1, 0.0, full=True)
    assert isinstance(end, End)
    assert end.reason is Reason.OVERLOAD


def test_what_is_said_about_an_earlier_server_changes_nothing() -> None:
    stage = Stage()
    machine = stage.talking()
    stage.ended(Loss.CONNECTION, None, 2.0)
    stage.again("s2", 4.0)
    assert machine.server_ended(1, Loss.CLOSED, 1000, 5.0) == []
    assert machine.server_text(1, text({"type": "stt"}), 5.0) == []
    assert machine.dialled(1, 1, 5.0) == machine.undialled(1, 5.0) == []
    assert machine.phase is Phase.TALKING


@pytest.mark.parametrize(
    "payload", [b"hello?", b'{"type":"listen","type":"server"}', b'{"type":"server"}']
)
def test_what_a_device_must_not_say_goes_no_further(payload: bytes) -> None:
    stage = Stage()
    machine = stage.talking()
    assert kinds(machine.device_text(payload, 2.0)) == [Dropped]


def test_a_hello_too_long_to_be_kept_is_none() -> None:
    stage = Stage()
    hello = text({**HELLO, "text_font": "x" * 20_000})
    assert kinds(stage.machine.device_text(hello, 0.0)) == [Dropped]
    assert stage.machine.phase is Phase.AWAITING_HELLO


def test_a_tool_is_called_and_fails_after_ten_seconds() -> None:
    stage = Stage()
    with pytest.raises(NotConnected):
        stage.machine.call("tools/call", b"{}", 0.0)
    machine = stage.talking()

    call_id, (asked,) = machine.call("tools/call", b'{"name":"x"}', 2.0)

    assert sent(asked)["payload"]["params"] == {"name": "x"}
    assert machine.deadline == 12.0
    (failed,) = machine.timer(12.0)
    assert isinstance(failed, Called)
    assert failed.call_id == call_id


def test_the_sessions_own_end_fails_its_calls_and_holds_nothing() -> None:
    stage = Stage()
    machine = stage.talking()
    machine.call("tools/call", b"{}", 2.0)
    machine.conversation.buffer.put(HeldPacket(b"a", 60_000))
    assert kinds(machine.end(Reason.CLIENT_GONE, 3.0)) == [Called, End]
    assert machine.end(Reason.DRAIN, 4.0) == machine.timer(99.0) == []
    assert machine.device_text(text(START), 5.0) == []
    with pytest.raises(NotConnected):
        machine.call("tools/call", b"{}", 5.0)
    assert stage.hold.bytes_held == 0


def test_a_hello_counts_as_held_until_the_session_ends() -> None:
    stage = Stage()
    stage.hello()
    assert stage.hold.bytes_held == len(text(HELLO))

    stage.machine.end(Reason.KILLED, 2.0)
    stage.machine.end(Reason.KILLED, 3.0)

    assert stage.hold.bytes_held == 0


def test_a_hello_that_there_is_no_room_for_ends_the_session() -> None:
    stage = Stage()
    held = stage.hold.bytes_max - len(text(HELLO)) + 1
    assert stage.hold.take(held)

    (end,) = stage.hello()

    assert isinstance(end, End)
    assert end.reason is Reason.OVERLOAD
    assert "as many bytes" in end.message
    assert stage.hold.bytes_held == held
