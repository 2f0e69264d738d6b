"""The simulated Responses upstream on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
import trio
from trio.testing import MockClock
from websockets.frames import Opcode

from relayd.sim.responses.faults import IDLE_FAULT_S, SILENCE_S, SLOW_DELTA_S
from relayd.sim.responses.quota import Quota
from relayd.sim.responses.response import TERMINALS
from relayd.sim.responses.scenario import REFUSALS, SCENARIO_KEY, Scenario
from relayd.sim.responses.tally import Tally
from relayd.sim.responses.upstream import MESSAGE_MAX_BYTES, ResponsesUpstream
from tests.sim.peer import BEARER, Peer, connected, served
from tests.sim.responses.stage import PATH, Event, asked, played, spoken

GENTLE = [
    Scenario.NORMAL,
    Scenario.SLOW,
    Scenario.SILENT_TURN,
    Scenario.CODEX,
    Scenario.REORDERED,
    Scenario.FRAGMENTED,
    Scenario.BIG_EVENTS,
    Scenario.HUGE_EVENTS,
    Scenario.NO_USAGE,
    Scenario.WRONG_USAGE,
    Scenario.CREATED_TWICE,
    Scenario.NO_LANES,
]
"""Scenarios in which turns run to their end, as often as one likes."""


async def until_end(peer: Peer) -> list[Event]:
    """Events up to and with the one that ends a turn."""
    events = [await peer.event()]
    while events[-1]["type"] != "error" and events[-1]["type"] not in TERMINALS:
        events.append(await peer.event())
    return events


async def turn(peer: Peer, given: str = "hello", **fields: object) -> Event:
    await peer.send(asked(given, **fields))
    return (await until_end(peer))[-1]


async def ping(peer: Peer) -> None:
    peer.protocol.send_ping(b"still there?")
    await peer.send_raw(b"".join(peer.protocol.data_to_send()))


async def test_a_turn_from_the_upgrade_to_its_statistics() -> None:
    upstream = ResponsesUpstream()
    async with connected(upstream, PATH) as peer:
        done = await turn(peer, "hello there")
        await trio.testing.wait_all_tasks_blocked()
        assert upstream.statistics().running == 1

    statistics = upstream.statistics()
    (record,) = statistics.turns
    assert spoken(done) == "Answer 1. You said: hello there"
    assert (statistics.upgrades, statistics.running) == (1, 0)
    assert record.told is not None
    assert record.told.wire() == done["response"]["usage"]
    assert statistics.total == statistics.of_key("any-key") == Tally(completed=1, usage=record.used)
    assert statistics.of_key("another") == Tally()


async def test_ids_differ_between_connections_and_upstreams() -> None:
    one = ResponsesUpstream()
    ids = set()
    for upstream in (one, one, ResponsesUpstream()):
        async with connected(upstream, PATH) as peer:
            ids.add((await turn(peer))["response"]["id"])

    assert len(ids) == 3


async def test_what_is_stored_outlives_its_connection() -> None:
    upstream = ResponsesUpstream()
    async with connected(upstream, PATH) as peer:
        kept = (await turn(peer, "one"))["response"]["id"]
        lost = (await turn(peer, "two", store=False))["response"]["id"]

    async with connected(upstream, PATH) as peer:
        assert spoken(await turn(peer, previous_response_id=kept)).startswith("Answer 2.")
        error = await turn(peer, previous_response_id=lost)
    assert error["error"]["code"] == "previous_response_not_found"


async def test_a_client_event_is_answered_between_two_deltas(autojump_clock: MockClock) -> None:
    async with connected(ResponsesUpstream(Scenario.SLOW), PATH) as peer:
        await peer.send(asked("a long question"))
        created = await peer.event()
        await peer.until("response.output_text.delta")

        await peer.send(
            {
                "type": "response.steer",
                "previous_response_id": created["response"]["id"],
                "input": "enough",
            }
        )
        steered = (await until_end(peer))[-1]
        successor = (await until_end(peer))[-1]

    assert steered["response"]["incomplete_details"] == {"reason": "steered"}
    assert spoken(successor) == "Answer 2. You said: enough"
    assert trio.current_time() < 1


@pytest.mark.parametrize("scenario", REFUSALS)
async def test_some_scenarios_refuse_the_upgrade(scenario: Scenario) -> None:
    async with served(ResponsesUpstream(scenario), PATH) as peer:
        response = await peer.upgrade(BEARER)

    assert response.status_code == REFUSALS[scenario].status


async def test_a_missing_key_is_refused_before_the_101() -> None:
    async with served(ResponsesUpstream(), PATH) as peer:
        response = await peer.upgrade({})

    assert response.status_code == 401
    assert json.loads(response.body)["error"]["code"] == "invalid_api_key"


async def test_compression_is_declined() -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    async with served(ResponsesUpstream(), PATH) as peer:
        response = await peer.upgrade(BEARER | offer)

    assert response.status_code == 101
    assert "Sec-WebSocket-Extensions" not in response.headers


async def test_a_bad_key_is_told_after_the_101() -> None:
    async with connected(ResponsesUpstream(Scenario.BAD_KEY), PATH) as peer:
        error = await peer.event()
        ended = await peer.end()

    assert (error["status"], error["error"]["code"]) == (401, "invalid_api_key")
    assert ended.code == 1008


async def test_a_silent_handshake_answers_nothing(autojump_clock: MockClock) -> None:
    async with served(ResponsesUpstream(Scenario.SILENT_HANDSHAKE), PATH) as peer:
        with trio.move_on_after(100) as waiting:
            await peer.upgrade(BEARER)

    assert waiting.cancelled_caught


async def test_a_message_of_sixteen_mib_is_closed_with_1009_and_no_event() -> None:
    for padding, is_taken in ((0, True), (1, False)):
        async with connected(ResponsesUpstream(), PATH) as peer:
            text = json.dumps(asked("x"))
            whole = text[:-1] + " " * (MESSAGE_MAX_BYTES - len(text) + padding) + "}"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.send, whole)
                if is_taken:
                    assert (await until_end(peer))[-1]["type"] == "response.completed"
                else:
                    frame = await peer.frame()
                    assert frame.opcode is Opcode.CLOSE
                    assert (await peer.end()).code == 1009
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize("scenario", GENTLE)
async def test_a_gentle_scenario_serves_turn_after_turn(
    scenario: Scenario, autojump_clock: MockClock
) -> None:
    async with connected(ResponsesUpstream(scenario), PATH) as peer:
        first = await turn(peer, "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", store=False)
        second = await turn(
            peer, "again", store=False, previous_response_id=first["response"]["id"]
        )

    assert spoken(first).endswith("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n")
    assert spoken(second) == "Answer 2. You said: again"


async def test_slow_and_silent_turns_take_their_time(autojump_clock: MockClock) -> None:
    async with connected(ResponsesUpstream(Scenario.SLOW), PATH) as peer:
        await turn(peer, "hi")
        assert trio.current_time() == pytest.approx(5 * SLOW_DELTA_S)
        await turn(peer, "hi", **played(Scenario.SILENT_TURN))

    assert trio.current_time() == pytest.approx(5 * SLOW_DELTA_S + SILENCE_S)


async def test_one_silent_lane_holds_up_no_other(autojump_clock: MockClock) -> None:
    async with connected(ResponsesUpstream(), PATH) as peer:
        await peer.send(asked(stream_id="a", **played(Scenario.SILENT_BEFORE_CREATED)))

        done = await turn(peer, stream_id="b")
        await ping(peer)
        frame = await peer.frame()

    assert done["stream_id"] == "b"
    assert frame.opcode is Opcode.PONG


async def test_a_half_open_upstream_answers_no_ping(autojump_clock: MockClock) -> None:
    async with connected(ResponsesUpstream(Scenario.HALF_OPEN), PATH) as peer:
        assert (await turn(peer))["type"] == "response.completed"
        await trio.sleep(IDLE_FAULT_S)
        await ping(peer)

        with trio.move_on_after(100) as waiting:
            await peer.frame()

    assert waiting.cancelled_caught


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        (Scenario.RESTART_BEFORE_CREATED, 1012),
        (Scenario.RESTART_1012, 1012),
        (Scenario.RESTART_IDLE, 1012),
        (Scenario.TRY_LATER_1013, 1013),
        (Scenario.GOING_AWAY_1001, 1001),
        (Scenario.CLOSE_1009, 1009),
        (Scenario.CONNECTION_LIMIT, 1000),
        (Scenario.RESET_BEFORE_CREATED, None),
        (Scenario.RESET_MID_TURN, None),
        (Scenario.HALF_FRAME, None),
    ],
)
async def test_how_a_connection_is_ended(
    scenario: Scenario, code: int | None, autojump_clock: MockClock
) -> None:
    async with connected(ResponsesUpstream(), PATH) as peer:
        await peer.send(asked(**played(scenario)))

        assert (await peer.end()).code == code


@pytest.mark.parametrize("scenario", [Scenario.RESET_MID_TURN, Scenario.RESTART_BEFORE_CREATED])
async def test_a_turn_that_is_ended_with_its_connection_is_cut(scenario: Scenario) -> None:
    upstream = ResponsesUpstream(scenario)
    async with connected(upstream, PATH) as peer:
        await peer.send(asked())
        await peer.end()

    assert upstream.statistics().total.cut == upstream.statistics().total.turns == 1


async def test_a_peer_that_goes_mid_turn_cuts_it(autojump_clock: MockClock) -> None:
    upstream = ResponsesUpstream(Scenario.SLOW)
    async with connected(upstream, PATH) as peer:
        await peer.send(asked())
        await peer.until("response.output_text.delta")
        await peer.stream.aclose()
        await trio.sleep(1)

        assert upstream.statistics().running == 0
        assert upstream.statistics().total.cut == 1


@pytest.mark.parametrize(
    ("scenario", "opcode"),
    [(Scenario.BAD_UTF8, Opcode.TEXT), (Scenario.BINARY_FRAME, Opcode.BINARY)],
)
async def test_a_frame_that_a_strict_client_fails_on_is_the_last_of_its_turn(
    scenario: Scenario, opcode: Opcode, autojump_clock: MockClock
) -> None:
    frames = []
    async with connected(ResponsesUpstream(), PATH) as peer:
        await peer.send(asked(**played(scenario)))
        with trio.move_on_after(100):
            while True:
                frames.append(await peer.frame())

    *sound, odd = frames
    assert odd.opcode is opcode
    assert {frame.opcode for frame in sound} == {Opcode.TEXT}
    assert json.loads(bytes(sound[-1].data))["type"] == "response.output_text.delta"
    if opcode is Opcode.TEXT:
        with pytest.raises(UnicodeDecodeError):
            bytes(odd.data).decode()


async def test_a_create_names_its_own_scenario() -> None:
    upstream = ResponsesUpstream(Scenario.OVERLOADED)
    async with connected(upstream, PATH) as peer:
        assert (await turn(peer))["status"] == 503
        assert (await turn(peer, **played(Scenario.RATE_LIMITED)))["status"] == 429
        assert (await turn(peer, **played(Scenario.NORMAL)))["type"] == "response.completed"
        upstream.scenario = Scenario.NORMAL
        assert (await turn(peer))["type"] == "response.completed"

    assert [record.scenario for record in upstream.statistics().turns][:2] == [
        Scenario.OVERLOADED,
        Scenario.RATE_LIMITED,
    ]


@pytest.mark.parametrize("name", ["unheard_of", "refuse_http_401", ""])
async def test_a_scenario_that_there_is_none_of_is_refused(name: str) -> None:
    async with connected(ResponsesUpstream(), PATH) as peer:
        error = await turn(peer, metadata={SCENARIO_KEY: name})

    assert (error["status"], error["error"]["param"]) == (400, "metadata.sim")


async def test_lanes_may_be_missing() -> None:
    async with connected(ResponsesUpstream(Scenario.NO_LANES), PATH) as peer:
        error = await turn(peer, stream_id="a")

    assert error["error"]["code"] == "unknown_parameter"


async def test_a_connection_ends_at_its_age(autojump_clock: MockClock) -> None:
    async with connected(ResponsesUpstream(connection_max_s=5.0), PATH) as peer:
        await turn(peer)
        error = await peer.event()
        ended = await peer.end()

    assert error["error"]["code"] == "websocket_connection_limit_reached"
    assert ended.code == 1000
    assert trio.current_time() == pytest.approx(5, abs=0.1)


async def test_a_quota_is_that_of_the_key() -> None:
    upstream = ResponsesUpstream(quota=Quota(turns=1))
    async with connected(upstream, PATH) as peer:
        await turn(peer)
        error = await turn(peer)
    assert error["error"]["type"] == "usage_limit_reached"

    async with served(upstream, PATH) as peer:
        await peer.upgrade({"Authorization": "Bearer another"})
        assert (await turn(peer))["type"] == "response.completed"


async def drawn(upstream: ResponsesUpstream, turns: int) -> Iterable[Scenario]:
    async with connected(upstream, PATH) as peer:
        for _ in range(turns):
            await turn(peer, generate=False)
    return [record.scenario for record in upstream.statistics().turns]


async def test_faults_are_drawn_as_often_as_asked_and_the_same_for_the_same_seed() -> None:
    def upstream(seed: int) -> ResponsesUpstream:
        faults = (Scenario.NO_USAGE, Scenario.OVERLOADED)
        return ResponsesUpstream(Scenario.RANDOM_FAULTS, fault_share=0.2, faults=faults, seed=seed)

    one, same, other = [list(await drawn(upstream(seed), 200)) for seed in (1, 1, 2)]

    assert one == same != other
    assert 20 <= sum(scenario is not Scenario.NORMAL for scenario in one) <= 60
    assert set(one) == {Scenario.NORMAL, Scenario.NO_USAGE, Scenario.OVERLOADED}


async def test_more_creates_than_may_wait_are_read_later(autojump_clock: MockClock) -> None:
    upstream = ResponsesUpstream()
    async with connected(upstream, PATH) as peer, trio.open_nursery() as nursery:

        async def ask() -> None:
            for number in range(200):
                await peer.send(asked(str(number), **played(Scenario.SLOW)))

        nursery.start_soon(ask)
        said = [spoken((await until_end(peer))[-1]) for _ in range(200)]

    assert said == [f"Answer 1. You said: {number}" for number in range(200)]
