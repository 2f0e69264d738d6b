"""A device and its server: hello, texts, audio, ends."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relayd.config.snapshot import Snapshot
from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings
from relayd.core.endings import Reason
from relayd.dialect.meter import Refuse
from relayd.dialect.xiaozhi_frames import SHORT, TIMED, AudioFrame, build
from relayd.dialect.xiaozhi_usage import UTTERANCE_S
from relayd.observe.bus import (
    DeviceEnded,
    DeviceGreeted,
    DeviceTurnEnded,
    SessionEnded,
    SessionOpened,
    TurnEnded,
)
from relayd.observe.events import LogEvent
from tests.conftest import LogLines
from tests.faults.wire import BINARY, TEXT, accepting, frame
from tests.session.xiaozhi.stage import (
    CLIENT,
    HELLO,
    LISTEN,
    MAC,
    OPUS,
    STOP,
    UPSTREAM_KEY,
    Device,
    Peer,
    Stage,
    answer,
)

SPEAKS = {"type": "tts", "state": "start", "session_id": "s-1"}
SPOKE = {"type": "tts", "state": "stop", "session_id": "s-1"}
HEARD = {"type": "stt", "text": "hi", "session_id": "s-1"}
DRAINING = Refuse("server_error", "draining", "relayd is restarting")


def framed(version: int) -> bytes:
    made = build(AudioFrame(OPUS), version)
    assert made is not None
    return made


async def a_turn(device: Device, server: Peer) -> None:
    """Something is said, and answered."""
    await device.say(LISTEN)
    await device.play(OPUS, OPUS)
    await device.say(STOP)
    assert [await server.hear() for _ in range(4)] == [LISTEN, OPUS, OPUS, STOP]
    await trio.sleep(0.3)
    await server.say(HEARD)
    await trio.sleep(0.5)
    await server.say(SPEAKS)
    await server.play(OPUS)
    await server.say(SPOKE)
    assert [await device.hear() for _ in range(4)] == [HEARD, SPEAKS, OPUS, SPOKE]


# -- the hello


async def test_a_hello_finds_a_server_and_its_answer_comes_back(
    autojump_clock: MockClock, stage: Stage
) -> None:
    one = await stage.server()
    device = await stage.device()

    await device.say(HELLO)
    server = await stage.accept(one)
    request = bytes(server.wire.seen).partition(b"\r\n\r\n")[0].decode()
    assert await server.text() == HELLO
    await trio.sleep(0.25)
    await server.say(answer())

    assert await device.text() == answer()
    assert request.startswith("GET /xiaozhi/v1/ HTTP/1.1\r\n")
    lines = request.split("\r\n")
    assert "Connection: Upgrade" in lines
    assert f"Authorization: Bearer {UPSTREAM_KEY}" in lines
    assert f"Device-Id: {MAC}" in lines
    assert f"Client-Id: {CLIENT}" in lines
    assert "Protocol-Version: 1" in lines
    (greeted,) = stage.of(DeviceGreeted)
    assert greeted.hello_ms == pytest.approx(250.0, abs=50.0)
    assert greeted.session.account == "one"


async def test_a_hello_without_transport_gets_one(autojump_clock: MockClock, stage: Stage) -> None:
    one = await stage.server()
    device = await stage.device()
    await device.say(HELLO)
    server = await stage.accept(one)
    said = answer()
    del said["transport"]

    await server.say(said)

    assert (await device.text())["transport"] == "websocket"


async def test_a_device_that_says_no_hello_is_sent_away(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.server()
    device = await stage.device()

    await device.say(LISTEN)
    await trio.sleep(10.0)

    assert await device.closes() == 1008
    assert await device.ended() == "first_message_timeout"


async def test_a_hello_is_said_again_until_it_is_answered(
    autojump_clock: MockClock, stage: Stage
) -> None:
    one = await stage.server()
    device = await stage.device()
    await device.say(HELLO)
    server = await stage.accept(one)

    assert await server.text() == HELLO
    await trio.sleep(4.5)
    assert [await server.text(), await server.text()] == [HELLO, HELLO]
    await server.say(answer())

    assert await device.text() == answer()
    assert len(one.wires) == 1


# -- audio


@pytest.mark.parametrize("speaks", [1, TIMED, SHORT])
@pytest.mark.parametrize("wants", [1, TIMED, SHORT])
async def test_audio_is_framed_as_each_side_has_it(
    autojump_clock: MockClock, stage: Stage, speaks: int, wants: int
) -> None:
    one = await stage.server(xiaozhi=DeviceServerSettings(protocol_version=wants))
    device, server = await stage.talking(one, version=speaks)

    await device.play(framed(speaks))
    await server.play(framed(wants))

    assert await server.audio() == framed(wants)
    assert await device.audio() == framed(speaks)
    assert ("?from=mqtt_gateway" in bytes(server.wire.seen[:80]).decode()) is (wants == TIMED)


async def test_packets_whose_size_is_wrong_go_nowhere(
    autojump_clock: MockClock, stage: Stage
) -> None:
    one = await stage.server(xiaozhi=DeviceServerSettings(protocol_version=SHORT))
    device, server = await stage.talking(one, version=SHORT)
    wrong = framed(SHORT) + b"\0"

    await device.play(wrong, framed(SHORT))
    await server.play(wrong, framed(SHORT))

    assert await server.audio() == framed(SHORT)
    assert await device.audio() == framed(SHORT)
    await device.leave()
    await device.ended()
    (ended,) = stage.of(DeviceEnded)
    assert (ended.dropped_in, ended.dropped_out) == (1, 1)
    assert (ended.packets_in, ended.packets_out) == (1, 1)


async def test_audio_wakes_no_task(autojump_clock: MockClock, stage: Stage) -> None:
    device, server = await stage.talking(await stage.server())
    woken: list[str] = []

    @attrs.define(eq=False)
    class Watch(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            woken.append(task.name)

    await trio.testing.wait_all_tasks_blocked()
    watch = Watch()
    trio.lowlevel.add_instrument(watch)
    await device.play(*[OPUS] * 20)
    assert [await server.audio() for _ in range(20)] == [OPUS] * 20
    trio.lowlevel.remove_instrument(watch)

    assert not [name for name in woken if "xiaozhi" in name]


# -- texts


async def test_managers_words_are_blocked_from_devices(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())

    await device.say({"type": "server", "action": "restart", "content": {"secret": "x"}}, LISTEN)

    assert await server.text() == LISTEN
    (present,) = stage.desk.devices()
    assert present.dropped == {"server": 1}


async def test_what_is_no_json_goes_nowhere(autojump_clock: MockClock, stage: Stage) -> None:
    device, server = await stage.talking(await stage.server())

    await device.wire.send(frame(TEXT, b"not json"))
    await device.say(LISTEN)

    assert await server.text() == LISTEN


# -- what it comes to


async def test_a_turn_is_a_row_a_line_and_events(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    device, server = await stage.talking(await stage.server())

    await a_turn(device, server)
    await device.leave()
    await device.ended()

    row = stage.ledger.rows[0]
    assert (row.source, row.entry, row.reason) == ("device", "turn:1", "completed")
    assert row.seconds == pytest.approx(0.18)
    assert (row.upstream_model, row.account, row.cost_nano) == ("xiaozhi/one", "one", None)
    (line,) = log_lines.of(LogEvent.TURN_ENDED)
    assert (line["audio_in_s"], line["audio_out_s"]) == (0.12, 0.06)
    assert line["stt_ms"] == pytest.approx(300.0, abs=50.0)
    assert line["ttft_ms"] == pytest.approx(800.0, abs=50.0)
    (turn,) = stage.of(DeviceTurnEnded)
    assert (turn.audio_in_s, turn.first_audio_ms) == (0.12, line["ttft_ms"])
    assert len(stage.of(TurnEnded)) == 1
    (opened,), (ended,) = stage.of(SessionOpened), stage.of(SessionEnded)
    assert opened.session.session_id == ended.session.session_id
    assert (ended.turns, ended.session.account) == (1, "one")
    (last,) = log_lines.of(LogEvent.SESSION_ENDED)
    assert (last["reason"], last["client_close"], last["upstream_close"]) == (
        "client_closed",
        1000,
        1000,
    )
    assert last["first_frame_ms"] is not None
    (own,) = log_lines.of(LogEvent.XIAOZHI_ENDED)
    assert (own["device_id"], own["turns"], own["losses"]) == (MAC, 1, 0)


async def test_audio_of_no_turn_has_a_row_too(autojump_clock: MockClock, stage: Stage) -> None:
    device, server = await stage.talking(await stage.server())

    await device.play(OPUS)
    await server.audio()
    await device.leave()
    await device.ended()

    (row,) = stage.ledger.rows
    assert (row.entry, row.source, row.reason, row.seconds) == (
        "audio:1",
        "device",
        "client_closed",
        0.06,
    )


async def test_messages_are_counted_both_ways(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    device, server = await stage.talking(await stage.server())

    await a_turn(device, server)
    await device.leave()
    await device.ended()

    (line,) = log_lines.of(LogEvent.SESSION_ENDED)
    assert (line["messages_up"], line["messages_down"]) == (5, 5)


# -- ends


@pytest.mark.parametrize("code", [1000, 1001, 1008, 4001])
async def test_a_server_that_ends_the_session_ends_it_for_the_device(
    autojump_clock: MockClock, stage: Stage, code: int
) -> None:
    device, server = await stage.talking(await stage.server())

    await server.leave(code)

    assert await device.closes() == code
    assert await device.ended() == "upstream_closed"


async def test_an_empty_close_of_a_server_travels_on_empty(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())

    await server.wire.send(frame(8, b"", masked=False))

    assert await device.closes() is None
    assert await device.ended() == "upstream_closed"


async def test_a_device_that_vanishes_frees_its_server(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())

    device.wire.reset()

    assert await server.closes() == 1001
    assert await device.ended() == "client_gone"


async def test_a_device_gets_ten_seconds_for_its_close(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, _ = await stage.talking(await stage.server())
    began = trio.current_time()

    device.session.kill()

    assert await device.ended() == "killed"
    assert 9.5 < trio.current_time() - began < 11.0


async def test_a_session_that_is_cancelled_takes_a_second(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    device, _ = await stage.talking(await stage.server())
    began = trio.current_time()

    device.scope.cancel()

    assert await device.ended() == "drain"
    assert trio.current_time() - began < 1.5
    (line,) = log_lines.of(LogEvent.SESSION_ENDED)
    assert line["client_close"] == 1012


async def test_another_socket_of_a_device_ends_the_first(
    autojump_clock: MockClock, stage: Stage
) -> None:
    one = await stage.server()
    device, server = await stage.talking(one)

    second, _ = await stage.talking(one)

    assert await device.closes() == 1001
    assert await server.closes() == 1001
    assert await device.ended() == "device_replaced"
    assert len(stage.desk) == 1
    assert stage.desk.find(MAC) is second.session


async def test_an_idle_device_leaves_a_draining_process_at_once(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, _ = await stage.talking(await stage.server())

    device.session.leave(Reason.DRAIN, at=trio.current_time() + 30.0, refuse=DRAINING)

    assert await device.closes() == 1012
    assert await device.ended() == "drain"


async def test_a_device_that_is_answered_is_let_out_behind_that(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())
    await server.say(SPEAKS)
    assert await device.text() == SPEAKS

    device.session.leave(Reason.DRAIN, at=trio.current_time() + 30.0, refuse=DRAINING)
    await server.play(OPUS)
    await server.say(SPOKE)

    assert [await device.hear(), await device.hear()] == [OPUS, SPOKE]
    assert await device.closes() == 1012
    assert await device.ended() == "drain"


async def test_what_is_being_said_is_answered_before_a_process_drains(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())
    await device.say(LISTEN)
    assert await server.text() == LISTEN

    device.session.leave(Reason.DRAIN, at=trio.current_time() + 30.0, refuse=DRAINING)
    for said in (OPUS, OPUS):
        await device.play(said)
        assert await server.audio() == said
    await device.say(STOP)
    assert await server.text() == STOP
    await trio.sleep(3.0)
    await server.say(HEARD, SPEAKS)
    await server.play(OPUS)
    await server.say(SPOKE)

    assert [await device.hear() for _ in range(4)] == [HEARD, SPEAKS, OPUS, SPOKE]
    assert await device.closes() == 1012
    assert await device.ended() == "drain"


async def test_what_nobody_answers_is_not_waited_for_for_ever(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())
    began = trio.current_time()
    await device.play(OPUS)
    assert await server.audio() == OPUS

    device.session.leave(Reason.DRAIN, at=began + 100.0, refuse=DRAINING)
    await trio.sleep(UTTERANCE_S - 1.0)
    assert device.session.verdict.reason is None

    await trio.sleep(2.0)
    assert await device.closes() == 1012
    assert await device.ended() == "drain"


# -- a reload


def without_account(snapshot: Snapshot) -> Snapshot:
    accounts = tuple(attrs.evolve(each, enabled=False) for each in snapshot.settings.accounts)
    return Snapshot.of(attrs.evolve(snapshot.settings, accounts=accounts))


def without_key(snapshot: Snapshot) -> Snapshot:
    return Snapshot.of(attrs.evolve(snapshot.settings, keys=()))


def without_device(snapshot: Snapshot) -> Snapshot:
    denied = XiaozhiSettings(devices_denied=("AA:*",))
    return Snapshot.of(attrs.evolve(snapshot.settings, xiaozhi=denied))


@pytest.mark.parametrize(
    ("changed", "reason", "code"),
    [
        (without_account, "account_removed", 1012),
        (without_key, "key_removed", 1008),
        (without_device, "policy", 1008),
    ],
)
async def test_a_reload_that_takes_something_away_ends_the_session(
    autojump_clock: MockClock, stage: Stage, changed: object, reason: str, code: int
) -> None:
    device, _ = await stage.talking(await stage.server())
    assert callable(changed)

    device.session.review(changed(stage.snapshot))

    while (got := await device.wire.frame()).opcode == TEXT:
        assert json.loads(got.payload)["type"] == "alert"  # of what a person can do about
    assert got.close_code == code
    await device.wire.finish()
    assert await device.ended() == reason


async def test_an_account_that_is_taken_away_while_it_is_dialled_serves_nobody(
    autojump_clock: MockClock, stage: Stage
) -> None:
    one, two = await stage.server("one"), await stage.server("two")
    device = await stage.device()
    await device.say(HELLO)
    wire = await one.accept()
    head = await wire.head()
    accounts = attrs.evolve(stage.snapshot.settings.accounts[0], enabled=False)
    settings = attrs.evolve(
        stage.snapshot.settings, accounts=(accounts, stage.snapshot.settings.accounts[1])
    )
    stage.desk.apply(Snapshot.of(settings))
    device.session.review(stage.desk.snapshot)

    await wire.send(accepting(head))

    server = await stage.accept(two)
    assert await server.text() == HELLO
    await server.say(answer("s-2"))
    assert (await device.text())["session_id"] == "s-2"
    assert await Peer(wire).closes() == 1001
    assert stage.in_flight == [0, 1]


async def test_a_reload_that_changes_nothing_ends_nothing(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())

    device.session.review(stage.snapshot)
    await device.say(LISTEN)

    assert await server.text() == LISTEN


# -- who does not read, or says too much


async def test_a_message_that_is_too_long_ends_the_session(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.settings = XiaozhiSettings(message_max_bytes=2000)
    device, _ = await stage.talking(await stage.server())

    await device.wire.send(frame(BINARY, bytes(2001)))

    assert await device.closes() == 1009
    assert await device.ended() == "too_big"


async def test_a_servers_message_that_is_too_long_ends_the_session_for_that(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.settings = XiaozhiSettings(message_max_bytes=2000)
    device, server = await stage.talking(await stage.server())

    await server.wire.send(frame(BINARY, bytes(2001), masked=False))

    assert await device.closes() == 1011
    assert await device.ended() == "too_big"


async def test_a_silent_device_is_pinged_and_then_gone(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())
    began = trio.current_time()

    async def answer_pings() -> None:
        while True:
            await trio.sleep(3.0)
            await server.say({"type": "pong"})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_pings)
        assert await device.ended() == "client_silent"
        nursery.cancel_scope.cancel()
    assert 39.0 < trio.current_time() - began - 10.0 < 52.0


async def test_texts_wait_for_a_server_that_does_not_read(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, _ = await stage.talking(await stage.server())
    long = {"type": "iot", "states": "x" * 60_000}

    async def talk() -> None:
        while True:
            await device.say(long)

    with trio.move_on_after(2.0):
        await talk()

    assert stage.hold.bytes_held < 2 << 20
    assert device.session.verdict.reason is None
