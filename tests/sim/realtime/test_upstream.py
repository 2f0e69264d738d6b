"""The simulated Realtime upstream on the wire: one conversation, and every scenario."""

from __future__ import annotations

import itertools
import json

import pytest
import trio
from trio.testing import MockClock
from websockets.frames import Opcode

from relayd.sim.realtime import delivery
from relayd.sim.realtime.billing import BILLINGS
from relayd.sim.realtime.delivery import FAULT_AT_DELTA, FAULTS
from relayd.sim.realtime.scenario import REFUSALS, HttpRefusal, InBandRefusal, Scenario
from relayd.sim.realtime.tally import Tally
from relayd.sim.realtime.upstream import SESSION_MAX_S, RealtimeUpstream
from tests.sim.peer import BEARER, Peer, connected, served

HTTP = [s for s, refusal in REFUSALS.items() if isinstance(refusal, HttpRefusal)]
IN_BAND = [s for s, refusal in REFUSALS.items() if isinstance(refusal, InBandRefusal)]
GENTLE = [
    Scenario.NORMAL,
    Scenario.SLOW,
    Scenario.OVERSIZED,
    Scenario.FRAGMENTED,
    *(each for each in BILLINGS if each is not Scenario.RESPONSE_FAILED),
]
"""Scenarios in which a conversation runs to its end, as often as one likes."""


async def ask(peer: Peer, text: str = "hello there") -> None:
    assert (await peer.event())["type"] == "session.created"
    await peer.say(text)


async def test_a_conversation_from_the_upgrade_to_its_statistics() -> None:
    upstream = RealtimeUpstream()
    async with connected(upstream) as peer:
        await ask(peer)
        done = (await peer.until("response.done"))[-1]["response"]
        peer.protocol.send_close(1000)
        await peer.send_raw(b"".join(peer.protocol.data_to_send()))
        assert (await peer.end()).code == 1000
        await trio.testing.wait_all_tasks_blocked()

    statistics = upstream.statistics()
    (ended,) = statistics.ended
    assert (statistics.upgrades, statistics.running) == (1, 0)
    assert (ended.session_id, ended.model) == ("sess_sim000001", "gpt-realtime")
    assert ended.tally == statistics.total
    assert ended.tally.usage.read.total == done["usage"]["input_tokens"]
    assert ended.tally.usage.written.total == done["usage"]["output_tokens"]


async def test_sessions_have_names_of_their_own() -> None:
    upstream = RealtimeUpstream()
    ids = set()
    for _ in range(3):
        async with connected(upstream) as peer:
            ids.add((await peer.event())["session"]["id"])

    assert len(ids) == 3


async def test_a_client_event_is_answered_between_two_deltas(autojump_clock: MockClock) -> None:
    async with connected(RealtimeUpstream(Scenario.SLOW)) as peer:
        await ask(peer)
        await peer.until("response.output_audio.delta")

        await peer.send({"type": "response.cancel"})
        events = await peer.until("response.done")

    assert events[-1]["response"]["status"] == "cancelled"
    assert trio.current_time() < 1


@pytest.mark.parametrize("scenario", HTTP)
async def test_some_scenarios_refuse_the_upgrade(scenario: Scenario) -> None:
    async with served(RealtimeUpstream(scenario)) as peer:
        response = await peer.upgrade(BEARER)

    assert response.status_code == int(scenario.value.removeprefix("refuse_http_"))


@pytest.mark.parametrize("scenario", IN_BAND)
async def test_some_scenarios_refuse_after_the_101(scenario: Scenario) -> None:
    refusal = REFUSALS[scenario]
    async with connected(RealtimeUpstream(scenario)) as peer:
        error = await peer.event()
        ended = await peer.end()

    assert (error["type"], error["error"]["code"]) == ("error", refusal.code)
    assert (ended.code, ended.reason) == (4000, f"{refusal.kind}.{refusal.code}")


async def test_a_missing_key_is_refused_after_the_101() -> None:
    async with served(RealtimeUpstream()) as peer:
        assert (await peer.upgrade({})).status_code == 101
        assert (await peer.event())["error"]["code"] == "invalid_api_key"


async def test_a_silent_handshake_answers_nothing(autojump_clock: MockClock) -> None:
    async with served(RealtimeUpstream(Scenario.SILENT_HANDSHAKE)) as peer:
        with trio.move_on_after(100) as waiting:
            await peer.upgrade(BEARER)

    assert waiting.cancelled_caught


@pytest.mark.parametrize("scenario", [Scenario.SILENT_FIRST_FRAME, Scenario.SILENT_MID_TURN])
async def test_a_mute_upstream_still_answers_pings(scenario: Scenario) -> None:
    async with connected(RealtimeUpstream(scenario)) as peer:
        if scenario is Scenario.SILENT_MID_TURN:
            await ask(peer)
            await _deltas(peer, FAULT_AT_DELTA - 1)
        peer.protocol.send_ping(b"still there?")
        await peer.send_raw(b"".join(peer.protocol.data_to_send()))

        frame = await peer.frame()

    assert (frame.opcode, frame.data) == (Opcode.PONG, b"still there?")


async def test_a_half_open_upstream_answers_nothing(autojump_clock: MockClock) -> None:
    async with connected(RealtimeUpstream(Scenario.HALF_OPEN)) as peer:
        await ask(peer)
        await _deltas(peer, FAULT_AT_DELTA - 1)
        peer.protocol.send_ping(b"still there?")
        await peer.send_raw(b"".join(peer.protocol.data_to_send()))

        with trio.move_on_after(100) as waiting:
            await peer.frame()

    assert waiting.cancelled_caught


async def _deltas(peer: Peer, count: int) -> None:
    while count:
        count -= delivery.is_delta(await peer.event())


@pytest.mark.parametrize("scenario", FAULTS)
async def test_a_fault_strikes_when_output_was_seen(
    scenario: Scenario, autojump_clock: MockClock
) -> None:
    async with connected(RealtimeUpstream(scenario)) as peer:
        await ask(peer)

        await _deltas(peer, FAULT_AT_DELTA - 1)


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        (Scenario.RESET_MID_TURN, None),
        (Scenario.RESET_MID_FRAME_SMALL, None),
        (Scenario.RESET_MID_FRAME_LARGE, None),
        (Scenario.CLOSE_1012, 1012),
        (Scenario.CLOSE_1001_MAX_AGE, 1001),
        (Scenario.CLOSE_AND_FIN, 1000),
    ],
)
async def test_how_a_turn_is_ended(scenario: Scenario, code: int | None) -> None:
    async with connected(RealtimeUpstream(scenario)) as peer:
        await ask(peer)

        assert (await peer.end()).code == code


async def test_the_last_bytes_a_close_and_fin_leave_at_once() -> None:
    async with connected(RealtimeUpstream(Scenario.CLOSE_AND_FIN)) as peer:
        await ask(peer)

        events = await peer.until("response.done")

    assert events[-1]["response"]["status"] == "completed"


async def test_a_masked_frame_is_what_a_strict_client_fails_on() -> None:
    async with connected(RealtimeUpstream(Scenario.MASKED_FRAME)) as peer:
        await ask(peer)
        await peer.end()

    assert peer.protocol.close_sent is not None
    assert peer.protocol.close_sent.code == 1002


async def test_bad_utf8_is_in_a_text_frame_of_its_own() -> None:
    async with connected(RealtimeUpstream(Scenario.BAD_UTF8)) as peer:
        await ask(peer)
        await _deltas(peer, FAULT_AT_DELTA - 1)
        frame = await peer.frame()
        while not delivery.is_delta(json.loads(bytes(frame.data).decode(errors="replace"))):
            frame = await peer.frame()

    assert frame.opcode is Opcode.TEXT
    with pytest.raises(UnicodeDecodeError):
        bytes(frame.data).decode()


async def test_a_ping_flood_is_many_pings() -> None:
    async with connected(RealtimeUpstream(Scenario.PING_FLOOD)) as peer:
        await ask(peer)
        await _deltas(peer, FAULT_AT_DELTA - 1)

        frames = [await peer.frame() for _ in range(delivery.PINGS)]

    assert {frame.opcode for frame in frames} == {Opcode.PING}


async def test_an_empty_fragment_flood_begins_a_message_and_never_ends_it() -> None:
    async with connected(RealtimeUpstream(Scenario.EMPTY_FRAGMENTS)) as peer:
        await ask(peer)
        await _deltas(peer, FAULT_AT_DELTA - 1)

        first, *rest = [await peer.frame() for _ in range(delivery.EMPTY_FRAGMENTS + 1)]

    assert first.data
    assert not any(frame.data or frame.fin for frame in rest)


@pytest.mark.parametrize("scenario", GENTLE)
async def test_a_gentle_scenario_serves_turn_after_turn(
    scenario: Scenario, autojump_clock: MockClock
) -> None:
    async with connected(RealtimeUpstream(scenario)) as peer:
        await ask(peer, "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n")
        first = (await peer.until("response.done"))[-1]["response"]
        await peer.say("again")
        second = (await peer.until("response.done"))[-1]["response"]

    assert [first["status"], second["status"]] == ["completed", "completed"]
    assert "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n" in json.dumps(first, ensure_ascii=False)


async def test_slow_takes_time_over_every_delta(autojump_clock: MockClock) -> None:
    async with connected(RealtimeUpstream(Scenario.SLOW)) as peer:
        await ask(peer)
        events = await peer.until("response.done")

    deltas = sum(map(delivery.is_delta, events))
    assert trio.current_time() == pytest.approx(deltas * delivery.SLOW_DELTA_S)


async def test_usage_is_wrong_in_every_known_way() -> None:
    reported = []
    async with connected(RealtimeUpstream(Scenario.WRONG_USAGE)) as peer:
        assert (await peer.event())["type"] == "session.created"
        for _ in range(4):
            await peer.say("hello")
            reported.append((await peer.until("response.done"))[-1]["response"])

    assert [response.get("usage", "absent") for response in reported] == [
        None,
        {},
        "absent",
        {"output_token_details": None},
    ]


async def test_what_is_told_last_is_counted_though_the_session_ends_with_it() -> None:
    upstream = RealtimeUpstream(Scenario.CLOSE_1001_MAX_AGE)
    async with connected(upstream) as peer:
        await ask(peer)
        done = (await peer.until("response.done"))[-1]["response"]

    assert upstream.statistics().total.usage.read.total == done["usage"]["input_tokens"]


async def test_a_response_may_fail_without_a_word() -> None:
    upstream = RealtimeUpstream(Scenario.RESPONSE_FAILED)
    async with connected(upstream) as peer:
        await ask(peer)
        done = (await peer.until("response.done"))[-1]["response"]

    assert (done["status"], done["usage"]["total_tokens"]) == ("failed", 0)
    assert upstream.statistics().total == Tally(responses=1)


async def test_oversized_frames_are_that() -> None:
    async with connected(RealtimeUpstream(Scenario.OVERSIZED)) as peer:
        await ask(peer)
        sizes: dict[str, int] = {}
        while "response.done" not in sizes:
            message = await peer.message()
            kind = json.loads(message)["type"]
            sizes[kind] = max(sizes.get(kind, 0), len(message))
        await peer.send({"type": "conversation.item.retrieve", "item_id": "item_sim000001_1"})
        retrieved = await peer.message()

    assert sizes["response.output_audio.delta"] > 65_536
    assert sizes["response.done"] > 65_536
    assert len(retrieved) > 5 * 1024 * 1024


async def test_fragments_have_pings_between_them() -> None:
    async with connected(RealtimeUpstream(Scenario.FRAGMENTED)) as peer:
        await ask(peer)
        frames = [await peer.frame() for _ in range(300)]

    before_pings = [
        before.fin for before, frame in itertools.pairwise(frames) if frame.opcode is Opcode.PING
    ]
    assert before_pings
    assert not any(before_pings)
    assert all(frame.data for frame in frames)


async def test_a_session_ends_at_sixty_minutes(autojump_clock: MockClock) -> None:
    async with connected(RealtimeUpstream()) as peer:
        ended = await peer.end()

    assert (ended.code, ended.reason) == (1001, delivery.MAX_AGE_REASON)
    assert trio.current_time() == pytest.approx(SESSION_MAX_S, abs=5)


async def test_a_scenario_may_change_between_connections() -> None:
    upstream = RealtimeUpstream(Scenario.BAD_KEY)
    async with connected(upstream) as peer:
        assert (await peer.event())["type"] == "error"

    upstream.scenario = Scenario.NORMAL
    async with connected(upstream) as peer:
        assert (await peer.event())["type"] == "session.created"
