"""One connection of a device to the simulated server."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relayd.dialect.xiaozhi_frames import AudioFrame, build, parse
from relayd.sim.xiaozhi.audio import packet
from relayd.sim.xiaozhi.connection import SLOW_HELLO_S, gateway_frame, wrong_frame
from relayd.sim.xiaozhi.scenario import Scenario
from relayd.sim.xiaozhi.upstream import XiaozhiUpstream
from tests.sim.peer import Peer
from tests.sim.xiaozhi.stage import HEADERS, HELLO, peer_at

START = {"type": "listen", "state": "start", "mode": "manual"}
STOP = {"type": "listen", "state": "stop"}


def detect(text: str) -> dict[str, object]:
    return {"type": "listen", "state": "detect", "text": text}


async def greeted(peer: Peer) -> dict[str, Any]:
    """Say hello without tools; the server's hello."""
    await peer.send({**HELLO, "features": {}})
    return await peer.event()


async def heard(peer: Peer) -> tuple[list[dict[str, Any]], list[bytes]]:
    """One answer: its texts and its packets' messages."""
    texts: list[dict[str, Any]] = []
    binary: list[bytes] = []
    while not texts or texts[-1].get("state") != "stop":
        message = await peer.message()
        if message[:1] == b"{":
            texts.append(json.loads(message))
        else:
            binary.append(message)
    return texts, binary


async def test_a_hello_is_answered_with_its_own_audio_params() -> None:
    async with peer_at(XiaozhiUpstream()) as peer:
        audio = {**HELLO["audio_params"], "frame_duration": 20}
        await peer.send({**HELLO, "features": {}, "audio_params": audio})
        hello = await peer.event()

    assert (hello["type"], hello["transport"], hello["version"]) == ("hello", "websocket", 1)
    assert hello["audio_params"] == audio
    assert len(hello["session_id"]) == 32


async def test_nothing_is_answered_before_a_hello(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream()) as peer:
        await peer.send(detect("too early"))
        assert (await greeted(peer))["type"] == "hello"


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_turn_in_each_framing(version: int, autojump_clock: MockClock) -> None:
    upstream = XiaozhiUpstream(name="sim")
    headers = {**HEADERS, "Protocol-Version": str(version)}
    async with peer_at(upstream, headers=headers) as peer:
        session_id = (await greeted(peer))["session_id"]
        await peer.send(START)
        for number in range(4):
            frame = build(AudioFrame(packet(5, number)), version)
            assert frame is not None
            await peer.send(frame)
        await peer.send(STOP)
        texts, binary = await heard(peer)

    said = [text.get("text") for text in texts if text.get("state") == "sentence_start"]
    assert said[0] == "sim heard: 4 packets"
    assert {text["session_id"] for text in texts} == {session_id}
    frames = [parse(one, version) for one in binary]
    assert [frame is not None and frame.payload[8:12] for frame in frames] == [
        struct.pack("!I", number) for number in range(20)
    ]
    (record,) = upstream.statistics().records
    assert (record.version, record.packets_out, record.turns, record.packets_lost) == (
        version,
        20,
        1,
        0,
    )


async def test_packets_are_paced_as_they_sound(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream()) as peer:
        await greeted(peer)
        await peer.send(START)
        began = trio.current_time()
        await peer.send(STOP)
        await heard(peer)

    assert trio.current_time() - began == pytest.approx(18 * 0.06)


async def test_who_does_not_say_stop_is_answered_after_an_utterance(
    autojump_clock: MockClock,
) -> None:
    async with peer_at(XiaozhiUpstream(name="sim")) as peer:
        await greeted(peer)
        await peer.send({**START, "mode": "auto"})
        for number in range(25):
            await peer.send(packet(5, number))
        texts, _ = await heard(peer)

    assert texts[0]["text"] == "20 packets"


async def test_words_are_answered_without_audio(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream(name="sim")) as peer:
        await greeted(peer)
        await peer.send(detect("hello there"))
        texts, binary = await heard(peer)
        await peer.send(detect("aloud [sim:normal words=4]"))
        _, aloud = await heard(peer)

    assert texts[0]["text"] == "hello there"
    assert binary == []
    assert len(aloud) == 4


async def test_an_abort_ends_an_answer_at_once(autojump_clock: MockClock) -> None:
    upstream = XiaozhiUpstream()
    async with peer_at(upstream) as peer:
        await greeted(peer)
        await peer.send(START)
        await peer.send(STOP)
        while (await peer.message())[:1] == b"{":
            pass
        await peer.send({"type": "abort"})
        _, binary = await heard(peer)
        await peer.send(detect("again"))
        texts, _ = await heard(peer)

    assert len(binary) < 19
    assert texts[0]["text"] == "again"
    (record,) = upstream.statistics().records
    assert (record.cut, record.turns) == (1, 1)


async def test_a_device_that_speaks_up_is_not_talked_over(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream()) as peer:
        await greeted(peer)
        await peer.send(START)
        await peer.send(STOP)
        while (await peer.message())[:1] == b"{":
            pass
        await peer.send(detect("wait"))
        await heard(peer)
        texts, _ = await heard(peer)

    assert texts[0]["text"] == "wait"


@pytest.mark.parametrize(
    ("scenario", "hellos"),
    [(Scenario.HELLO_LOST, 2), (Scenario.HELLO_LOST_TWICE, 3)],
)
async def test_lost_hellos(scenario: Scenario, hellos: int, autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream(scenario)) as peer:
        for number in range(1, hellos + 1):
            await peer.send({**HELLO, "features": {}})
            with trio.move_on_after(2) as waiting:
                assert (await peer.event())["type"] == "hello"
            assert waiting.cancelled_caught == (number < hellos)


async def test_a_silent_hello_never_comes(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream(Scenario.SILENT_HELLO)) as peer:
        with trio.move_on_after(30) as waiting:
            await greeted(peer)

    assert waiting.cancelled_caught


async def test_a_slow_hello_comes_late_and_once_for_each(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream(Scenario.SLOW_HELLO)) as peer:
        began = trio.current_time()
        await peer.send({**HELLO, "features": {}})
        assert (await greeted(peer))["type"] == "hello"
        assert trio.current_time() - began == pytest.approx(SLOW_HELLO_S)
        assert (await peer.event())["type"] == "hello"


async def test_a_reset_at_the_hello() -> None:
    async with peer_at(XiaozhiUpstream(Scenario.RESET_AT_HELLO)) as peer:
        await peer.send(HELLO)
        assert (await peer.end()).code is None


async def test_hellos_that_lack_something() -> None:
    async with peer_at(XiaozhiUpstream(Scenario.NO_TRANSPORT)) as peer:
        assert "transport" not in await greeted(peer)
    async with peer_at(XiaozhiUpstream(Scenario.NO_SESSION_ID)) as peer:
        assert "session_id" not in await greeted(peer)
        await peer.send(detect("hi"))
        assert "session_id" not in await peer.event()


async def test_another_session_id_within_an_answer(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream()) as peer:
        session_id = (await greeted(peer))["session_id"]
        await peer.send(detect("[sim:other_session_id]"))
        texts, _ = await heard(peer)

    strange = [text for text in texts if text["session_id"] != session_id]
    assert [text["session_id"] for text in strange] == [f"not-{session_id}"]


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        (Scenario.CLOSE_1011, 1011),
        (Scenario.CLOSE_1012, 1012),
        (Scenario.CLOSE_1013, 1013),
        (Scenario.CLOSE_1000_MID_SPEECH, 1000),
        (Scenario.CLOSE_1000_AFTER_TURN, 1000),
        (Scenario.RESET_MID_SPEECH, None),
        (Scenario.FINISH_MID_SPEECH, None),
    ],
)
async def test_endings_of_an_answer(
    scenario: Scenario, code: int | None, autojump_clock: MockClock
) -> None:
    upstream = XiaozhiUpstream(scenario)
    async with peer_at(upstream) as peer:
        await greeted(peer)
        await peer.send(START)
        await peer.send(STOP)
        assert (await peer.end()).code == code

    (record,) = upstream.statistics().records
    is_whole = scenario is Scenario.CLOSE_1000_AFTER_TURN
    assert (record.turns, record.cut) == (int(is_whole), int(not is_whole))


async def test_an_unplugged_server_reads_nothing_more(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream(Scenario.HALF_OPEN)) as peer:
        await greeted(peer)
        await peer.send(detect("hi"))
        with trio.move_on_after(1000) as waiting:
            await peer.end()

    assert waiting.cancelled_caught


async def test_a_tool_is_called_within_an_answer(autojump_clock: MockClock) -> None:
    upstream = XiaozhiUpstream()
    async with peer_at(upstream) as peer:
        await peer.send(HELLO)
        await peer.event()
        initialize = (await peer.event())["payload"]
        assert initialize["method"] == "initialize"
        await peer.send({"type": "mcp", "payload": {"id": initialize["id"], "result": {}}})
        await peer.until("mcp")
        listing = (await peer.event())["payload"]
        tools = {"tools": [{"name": "lamp"}]}
        await peer.send({"type": "mcp", "payload": {"id": listing["id"], "result": tools}})
        await peer.send(detect("[sim:tool_call]"))
        called = (await peer.until("mcp"))[-1]["payload"]
        result = {"id": called["id"], "result": {"content": ["lit"]}}
        await peer.send({"type": "mcp", "payload": result})
        texts, _ = await heard(peer)

    assert called["params"]["name"] == "lamp"
    assert json.loads(texts[0]["text"])["result"] == {"content": ["lit"]}
    (record,) = upstream.statistics().records
    assert (record.tools, record.calls_answered) == (("lamp",), 1)


async def test_a_device_without_tools_has_none_called(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream()) as peer:
        await greeted(peer)
        await peer.send(detect("[sim:tool_call]"))
        texts, _ = await heard(peer)

    said = [text["text"] for text in texts if text.get("state") == "sentence_start"]
    assert said[0] == "There are no tools."


@pytest.mark.parametrize("version", [2, 3])
async def test_frames_of_a_wrong_size_are_counted(version: int, autojump_clock: MockClock) -> None:
    upstream = XiaozhiUpstream(protocol_version=version)
    async with peer_at(upstream) as peer:
        await greeted(peer)
        await peer.send(wrong_frame(version))
        await peer.send(detect("hi"))
        await heard(peer)

    (record,) = upstream.statistics().records
    assert (record.frames_wrong, record.packets_in) == (1, 0)


async def test_pings_are_ignored_unless_they_are_played(autojump_clock: MockClock) -> None:
    ping = {"type": "ping", "timestamp": 7}
    async with peer_at(XiaozhiUpstream()) as peer:
        await peer.send(ping)
        assert (await greeted(peer))["type"] == "hello"
    async with peer_at(XiaozhiUpstream(Scenario.PONGS)) as peer:
        await peer.send(ping)
        pong = await peer.event()
        assert (pong["type"], pong["timestamp"]) == ("pong", 7)


async def test_who_says_nothing_is_told_goodbye(autojump_clock: MockClock) -> None:
    async with peer_at(XiaozhiUpstream(idle_s=120)) as peer:
        await greeted(peer)
        texts, binary = await heard(peer)
        ended = await peer.end()

    assert texts[0] == {"type": "tts", "state": "start", "session_id": texts[0]["session_id"]}
    assert len(binary) == 20
    assert ended.code == 1000


async def test_types_are_counted_and_nonsense_is_no_harm(autojump_clock: MockClock) -> None:
    upstream = XiaozhiUpstream()
    async with peer_at(upstream) as peer:
        for message in ("{", "[]", '{"type":7}', '{"type":"server","action":"restart"}'):
            await peer.send(message)
        assert (await greeted(peer))["type"] == "hello"

    (record,) = upstream.statistics().records
    assert record.kinds == {"not JSON": 2, "no type": 1, "server": 1, "hello": 1}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_wrong_frame_is_wrong_in_each_framing(version: int) -> None:
    assert parse(wrong_frame(version), version) is None


def test_a_frame_for_the_gateway_has_the_size_twice() -> None:
    frame = gateway_frame(b"Xhello-opus", 3, 1234)

    assert frame[:16].hex() == "0100000b00000003000004d20000000b"
    assert frame[16:] == b"Xhello-opus"
