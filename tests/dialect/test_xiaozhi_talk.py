"""What is said between a device and its servers, and what outlives one of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_actions import (
    AudioToServer,
    Called,
    Dropped,
    Step,
    ToDevice,
    ToServer,
)
from relayd.dialect.xiaozhi_buffer import HeldPacket
from relayd.dialect.xiaozhi_frames import AudioFrame
from relayd.dialect.xiaozhi_mcp import PAGES_MAX
from relayd.dialect.xiaozhi_messages import read_text
from relayd.dialect.xiaozhi_talk import (
    ANSWERS_MAX_BYTES,
    LISTEN_MAX_BYTES,
    SHORT_ANSWER_BYTES,
    UNCOUNTED_MAX_BYTES,
    Conversation,
    Talk,
)

START = {"type": "listen", "state": "start", "mode": "auto", "session_id": "d"}
STOP = {"type": "listen", "state": "stop", "session_id": "d"}


class Stage:
    """A conversation that the first server called ``d``; the present one calls it ``s``."""

    def __init__(self, server_id: str = "s") -> None:
        self.hold = HoldBudget(1 << 20)
        self.talk = Conversation(self.hold)
        self.talk.device_id, self.talk.server_id = "d", server_id

    def device(self, fields: object, connected: bool = True) -> list[Step]:
        message = read_text(json.dumps(fields).encode())
        return self.talk.from_device(message, 0.0, connected=connected)

    def hold_audio(self, packet: bytes, timestamp_ms: int | None = None) -> None:
        """60 ms that the device says while it has no server."""
        self.talk.buffer.put(HeldPacket(packet, 60_000, timestamp_ms))

    def server(self, fields: object) -> list[Step]:
        return self.talk.from_server(read_text(json.dumps(fields).encode()), 0.0)


def audio_of(*packets: bytes, after: int = 0) -> AudioToServer:
    """So many packets of 60 ms, behind ``after`` others."""
    return AudioToServer(
        tuple(
            AudioFrame(packet, timestamp_ms=60 * number)
            for number, packet in enumerate(packets, after)
        )
    )


def sent(steps: list[Step]) -> list[dict[str, Any]]:
    return [json.loads(each.payload) for each in steps if isinstance(each, ToServer | ToDevice)]


def test_the_session_id_is_mapped_both_ways() -> None:
    stage = Stage()
    assert sent(stage.device(START)) == [{**START, "session_id": "s"}]
    assert sent(stage.server({"type": "stt", "text": "x", "session_id": "s"})) == [
        {"type": "stt", "text": "x", "session_id": "d"}
    ]


def test_a_device_that_names_no_session_goes_on_as_it_is() -> None:
    message = {"type": "abort", "session_id": ""}
    assert sent(Stage().device(message)) == [message]


@pytest.mark.parametrize("kind", ["server", "hello"])
def test_what_is_not_a_devices_to_say_is_dropped(kind: str) -> None:
    assert Stage().device({"type": kind}) == [Dropped(kind, from_device=True)]


def test_a_second_hello_never_reaches_the_device() -> None:
    assert Stage().server({"type": "hello"}) == [Dropped("hello", from_device=False)]


def test_a_ping_is_the_servers_to_answer() -> None:
    stage = Stage()
    assert sent(stage.device({"type": "ping"})) == [{"type": "ping"}]
    dropped = stage.device({"type": "ping"}, connected=False)
    assert dropped == [Dropped("no server", from_device=True)]


def test_whose_turn_it_is() -> None:
    stage = Stage()
    seen = []
    said: list[tuple[Callable[[object], list[Step]], object]] = [
        (stage.device, START),
        (stage.server, {"type": "stt"}),
        (stage.server, {"type": "tts", "state": "start"}),
        (stage.server, {"type": "tts", "state": "sentence_start"}),
        (stage.server, {"type": "tts", "state": "stop"}),
        (stage.device, START),
        (stage.server, {"type": "tts", "state": "stop"}),  # of the turn before
        (stage.device, STOP),
        (stage.server, {"type": "tts", "state": "start"}),
        (stage.device, {"type": "abort"}),
    ]
    for side, fields in said:
        side(fields)
        seen.append(stage.talk.talk)

    listening, speaking, idle = Talk.LISTENING, Talk.SPEAKING, Talk.IDLE
    assert seen == [
        *[listening, listening, speaking, speaking, idle],
        *[listening, listening, idle, speaking, idle],
    ]
    assert stage.talk.usage.aborts == 1


def test_what_was_being_said_is_said_again_to_the_next_server() -> None:
    stage = Stage("d")
    stage.device(START)
    assert stage.talk.lost(0.0) == (False, 0)
    stage.hold_audio(b"a")
    stage.hold_audio(b"b")
    assert stage.device(STOP, connected=False) == []
    stage.talk.server_id = "s2"

    start, audio, stop = stage.talk.replay(1.0)

    assert sent([start, stop]) == [{**START, "session_id": "s2"}, {**STOP, "session_id": "s2"}]
    assert audio == audio_of(b"a", b"b")
    assert stage.talk.usage.audio_in.packets == 2
    assert stage.hold.bytes_held == 0
    stage.talk.lost(2.0)
    assert stage.talk.replay(3.0) == []


def test_what_was_said_to_its_end_is_not_said_again() -> None:
    stage = Stage()
    stage.device(START)
    stage.device(STOP)
    stage.talk.lost(0.0)
    assert stage.talk.replay(1.0) == []


def test_a_new_utterance_takes_the_place_of_the_one_that_nobody_heard() -> None:
    stage = Stage("d")
    stage.device(START)
    stage.talk.lost(0.0)
    stage.hold_audio(b"old")
    stage.device(STOP, connected=False)
    again = {**START, "mode": "manual"}
    assert stage.device(again, connected=False) == []
    stage.hold_audio(b"new")

    start, audio = stage.talk.replay(1.0)

    assert sent([start]) == [again]
    assert audio == audio_of(b"new")


def test_what_is_said_meanwhile_keeps_its_order() -> None:
    stage = Stage("d")
    stage.device(START)
    stage.talk.lost(0.0)
    hold = stage.hold_audio
    detect = {"type": "listen", "state": "detect", "text": "x"}
    iot = [{"type": "iot", "n": number} for number in range(3)]
    again = {**START, "mode": "manual"}

    hold(b"old")
    assert stage.device({"type": "abort"}, connected=False) == [
        Dropped("no server", from_device=True)
    ]
    for said in (STOP, detect, iot[0], again, iot[1]):
        assert stage.device(said, connected=False) == []
    hold(b"a")
    hold(b"b")
    stage.device(iot[2], connected=False)
    hold(b"c")
    stage.device(STOP, connected=False)

    steps = stage.talk.replay(1.0)

    order = [step if isinstance(step, AudioToServer) else sent([step])[0] for step in steps]
    first, last = audio_of(b"a", b"b"), audio_of(b"c", after=2)
    assert order == [detect, iot[0], again, iot[1], first, iot[2], last, STOP]
    assert stage.talk.usage.aborts == 0
    assert stage.talk.replay(2.0) == []


def test_an_order_holds_where_the_oldest_audio_went() -> None:
    stage = Stage("d")
    stage.talk.lost(0.0)
    for number in range(40):
        if number in {3, 20}:
            stage.device({"type": "iot", "n": number}, connected=False)
        stage.hold_audio(bytes([number]))

    first, early, late, rest = stage.talk.replay(1.0)

    assert [each["n"] for each in sent([first, late])] == [3, 20]
    assert early == audio_of(*(bytes([number]) for number in range(7, 20)))
    assert rest == audio_of(*(bytes([number]) for number in range(20, 40)), after=13)


def test_audio_that_was_held_has_the_timestamps_of_live_audio() -> None:
    stage = Stage()
    stage.talk.usage.audio_in.count(1, 500_000, 0.0)  # heard by the server that was lost
    stage.talk.lost(0.0)
    for packet, timestamp_ms in ((b"a", None), (b"b", None), (b"c", 7), (b"d", 0)):
        stage.hold_audio(packet, timestamp_ms)

    (audio,) = stage.talk.replay(1.0)

    assert isinstance(audio, AudioToServer)
    assert [each.timestamp_ms for each in audio.packets] == [500, 560, 7, 0]


def test_a_device_is_told_that_nobody_speaks_any_more() -> None:
    stage = Stage()
    stage.server({"type": "tts", "state": "start"})
    assert stage.talk.lost(0.0) == (True, 0)
    assert sent([stage.talk.silence()]) == [{"type": "tts", "state": "stop", "session_id": "d"}]
    assert stage.talk.lost(0.0) == (False, 0)


def call(number: int) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {}}


def test_a_servers_call_and_its_answer_pass() -> None:
    stage = Stage()
    asked = {"type": "mcp", "payload": call(1), "session_id": "s"}
    assert sent(stage.server(asked)) == [{**asked, "session_id": "d"}]
    answer = {"type": "mcp", "payload": {"jsonrpc": "2.0", "id": 1, "result": {}}}
    assert sent(stage.device(answer)) == [answer]
    assert stage.talk.usage.calls == 1


def test_the_late_answer_to_a_lost_server_goes_nowhere() -> None:
    stage = Stage()
    stage.server({"type": "mcp", "payload": call(1)})
    assert stage.talk.lost(0.0) == (False, 1)
    answer = {"type": "mcp", "payload": {"jsonrpc": "2.0", "id": 1, "result": {}}}
    steps = stage.device(answer, connected=False)
    assert steps == [Dropped("an answer nobody waits for", from_device=True)]


def test_an_answer_to_relayd_stays_here_with_or_without_a_server() -> None:
    stage = Stage()
    call_id, (asked,) = stage.talk.call("tools/call", b"{}", 10.0)
    assert sent([asked])[0]["payload"]["id"] == call_id
    answer = {"jsonrpc": "2.0", "id": call_id, "result": 7}
    (called,) = stage.device({"type": "mcp", "payload": answer}, connected=False)
    assert isinstance(called, Called)
    assert json.loads(called.answer) == answer


@pytest.mark.parametrize("payload", [{}, {"payload": "x"}])
def test_mcp_without_a_message_goes_nowhere(payload: dict[str, object]) -> None:
    stage = Stage()
    for steps in (
        stage.server({"type": "mcp", **payload}),
        stage.device({"type": "mcp", **payload}),
    ):
        assert [type(step) for step in steps] == [Dropped]


def test_nothing_is_held_after_the_end() -> None:
    stage = Stage()
    stage.hold_audio(b"a")
    stage.device({"type": "iot"}, connected=False)
    call_id, _ = stage.talk.call("tools/call", b"{}", 10.0)
    stage.server({"type": "stt"})

    (failed,) = stage.talk.end(1.0, "gone")

    assert failed.call_id == call_id
    assert stage.hold.bytes_held == 0
    assert [turn.ended_by for turn in stage.talk.usage.reports] == ["cut"]


# -- what is kept, and counted


def asked(number: int) -> dict[str, Any]:
    """A server asks for a page of tools."""
    params = {"cursor": str(number)}
    rpc = {"jsonrpc": "2.0", "id": number, "method": "tools/list", "params": params}
    return {"type": "mcp", "session_id": "s", "payload": rpc}


def answered(number: int, size: int) -> dict[str, Any]:
    """The device answers, at a length of about ``size``."""
    rpc = {"jsonrpc": "2.0", "id": number, "result": {"tools": [], "x": "x" * size}}
    return {"type": "mcp", "session_id": "d", "payload": rpc}


def test_what_is_kept_of_a_devices_answers_is_counted_up_to_its_bound() -> None:
    stage = Stage()
    for number, size in enumerate([30_000] * 8):
        stage.server(asked(number))
        before = stage.hold.bytes_held
        stage.device(answered(number, size))
        grown = stage.hold.bytes_held - before
        assert grown >= size or stage.hold.bytes_held == ANSWERS_MAX_BYTES

    assert stage.hold.bytes_held == ANSWERS_MAX_BYTES
    stage.talk.end(1.0, "gone")
    assert stage.hold.bytes_held == 0


def test_short_answers_are_not_counted_and_come_to_little() -> None:
    stage = Stage()
    for number in range(2 * PAGES_MAX):
        stage.server(asked(number))
        stage.device(answered(number, SHORT_ANSWER_BYTES - 100))

    assert stage.hold.bytes_held == 0
    assert UNCOUNTED_MAX_BYTES - LISTEN_MAX_BYTES >= PAGES_MAX * SHORT_ANSWER_BYTES
    assert UNCOUNTED_MAX_BYTES < 40_000


def test_an_answer_that_nobody_waits_for_is_not_counted() -> None:
    stage = Stage()
    steps = stage.device(answered(7, 30_000))

    assert steps == [Dropped("an answer nobody waits for", from_device=True)]
    assert stage.hold.bytes_held == 0


def test_a_late_answer_is_counted_where_it_is_kept() -> None:
    stage = Stage()
    stage.server(asked(1))
    stage.server({"type": "mcp", "payload": call(2)})
    stage.talk.lost(0.0)

    for number in (1, 2):
        steps = stage.device(answered(number, 30_000), connected=False)
        assert steps == [Dropped("an answer nobody waits for", from_device=True)]
        assert 30_000 <= stage.hold.bytes_held < 31_000

    (back,) = sent(stage.server(asked(1)))
    assert len(back["payload"]["result"]["x"]) == 30_000
    stage.talk.end(1.0, "gone")
    assert stage.hold.bytes_held == 0


def test_an_answer_to_relayd_is_not_counted() -> None:
    stage = Stage()
    call_id, _ = stage.talk.call("tools/list", b"{}", 10.0)

    (called,) = stage.device(answered(call_id, 30_000))

    assert isinstance(called, Called)
    assert stage.hold.bytes_held == 0


def test_an_answer_that_there_is_no_room_for_is_dropped_and_not_kept() -> None:
    stage = Stage()
    stage.server(asked(1))
    assert stage.hold.take(stage.hold.bytes_max - 20_000)

    assert stage.device(answered(1, 30_000)) == [Dropped("no room", from_device=True)]
    stage.talk.lost(1.0)
    (again,) = sent(stage.server(asked(2)))
    assert again["payload"]["method"] == "tools/list"  # the next server's question goes on
