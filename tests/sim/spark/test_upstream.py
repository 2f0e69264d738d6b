"""The simulated Spark on the wire."""

from __future__ import annotations

import json
from email.utils import formatdate

import attrs
import pytest
import trio
from trio.testing import MockClock
from websockets.frames import Opcode

from relayd.sim.spark.errors import CLOSE_REASON, MESSAGES, UNDOCUMENTED
from relayd.sim.spark.faults import FAULT_AFTER_FRAMES, SILENCE_S, SLOW_FRAME_S
from relayd.sim.spark.limits import Limits
from relayd.sim.spark.scenario import REFUSALS, Scenario
from relayd.sim.spark.signing import BAD_DATE, Credential
from relayd.sim.spark.tally import Ending
from relayd.sim.spark.upstream import CLOCK_SKEW_S, IDLE_S, IMPATIENT_S
from tests.sim.peer import Peer, served
from tests.sim.spark.stage import (
    DOMAINS,
    MAX,
    NOW,
    WEATHER,
    ask,
    codes,
    connected,
    frames,
    request,
    said,
    signed,
    talk,
    upstream,
)


async def one(
    scenario: Scenario = Scenario.NORMAL, text: str = "hello there", path: str = MAX
) -> list[dict[str, object]]:
    """The frames of one answer that plays ``scenario``."""
    async with connected(upstream(scenario), path) as peer:
        return await ask(peer, text, domain=DOMAINS[path])


async def ping(peer: Peer) -> None:
    peer.protocol.send_ping(b"still there?")
    await peer.send_raw(b"".join(peer.protocol.data_to_send()))


async def test_a_request_from_the_upgrade_to_its_statistics() -> None:
    spark = upstream()
    async with connected(spark) as peer:
        answer = await ask(peer, "hello there", uid="someone")
        ended = await peer.end()

    statuses = [frame["header"]["status"] for frame in answer]
    assert said(answer) == "Answer 1. You said: hello there"
    assert statuses == [0, *[1] * (len(answer) - 2), 2]
    assert [frame["payload"]["choices"]["status"] for frame in answer] == statuses
    assert [frame["payload"]["choices"]["seq"] for frame in answer] == list(range(len(answer)))
    assert {frame["header"]["sid"] for frame in answer} == {"cht00000001@dxt"}
    assert ["usage" in frame["payload"] for frame in answer].count(True) == 1
    assert answer[-1]["payload"]["usage"]["text"] == {
        "question_tokens": 2,
        "prompt_tokens": 2,
        "completion_tokens": 6,
        "total_tokens": 8,
    }
    assert (ended.code, ended.reason) == (1000, "")
    statistics = spark.statistics()
    (record,) = statistics.records
    assert (statistics.handshakes, statistics.refused, statistics.running) == (1, 0, 0)
    assert (record.app_id, record.domain, record.user) == ("simspark", "generalv3.5", "someone")
    assert record.told is not None
    assert record.told.total_tokens == 8
    assert (statistics.total.completed, statistics.total.frames) == (1, len(answer))


@pytest.mark.parametrize("path", DOMAINS)
async def test_every_path_answers_as_its_model(path: str) -> None:
    answer = await one(path=path)

    assert said(answer) == "Answer 1. You said: hello there"
    assert bool(said(answer, "reasoning_content")) == (DOMAINS[path] in {"spark-x", "x1"})


async def test_thoughts_come_before_words() -> None:
    answer = await one(path="/v1/x1")

    thinking = [said([frame], "reasoning_content") != "" for frame in answer]
    assert thinking == sorted(thinking, reverse=True)
    assert said(answer, "reasoning_content") == "The user says: hello there"
    assert all(said([frame]) == "" for frame in answer if said([frame], "reasoning_content"))


async def test_a_function_is_called_in_one_frame() -> None:
    async with connected(upstream()) as peer:
        (call,) = await ask(peer, "please use the tool", functions=[WEATHER])

    (text,) = call["payload"]["choices"]["text"]
    assert call["header"]["status"] == 2
    assert text["content"] == ""
    assert text["function_call"]["name"] == "get_weather"
    assert json.loads(text["function_call"]["arguments"]) == {"city": "example"}


async def test_a_folded_tool_result_is_answered_in_words() -> None:
    messages = talk("get_weather", '调用 get_weather({"city":"Bonn"})', "get_weather 返回: rain")
    async with connected(upstream()) as peer:
        answer = await ask(peer, messages=messages, functions=[WEATHER])

    assert said(answer) == "Answer 2. The tool said: rain"


async def test_a_path_that_there_is_none_of_is_refused() -> None:
    async with served(upstream(), signed("/v9/chat")) as peer:
        response = await peer.upgrade({})

    assert response.status_code == 404
    assert json.loads(response.body) == {"message": "no Route matched with those values"}


@pytest.mark.parametrize("scenario", REFUSALS)
async def test_some_scenarios_refuse_the_upgrade(scenario: Scenario) -> None:
    spark = upstream(scenario)
    async with served(spark, signed()) as peer:
        response = await peer.upgrade({})

    assert response.status_code == REFUSALS[scenario].status
    assert json.loads(response.body) == {"message": REFUSALS[scenario].message}
    assert spark.statistics().refused == 1


@pytest.mark.parametrize("scenario", [Scenario.NORMAL, Scenario.CLOCK_SKEW])
async def test_a_clock_that_is_off_is_told_and_can_be_followed(scenario: Scenario) -> None:
    spark = upstream(scenario, clock_skew_s=-900.0)
    theirs = NOW - 900 + (CLOCK_SKEW_S if scenario is Scenario.CLOCK_SKEW else 0)

    async with served(spark, signed()) as peer:
        refused = await peer.upgrade({})
    async with served(spark, signed(wall=theirs)) as peer:
        taken = await peer.upgrade({})

    assert (refused.status_code, json.loads(refused.body)["message"]) == (403, BAD_DATE.message)
    assert refused.headers["Date"] == formatdate(theirs, usegmt=True)
    assert taken.status_code == 101


async def test_a_date_that_is_never_right() -> None:
    async with served(upstream(Scenario.BAD_DATE), signed()) as peer:
        response = await peer.upgrade({})

    assert response.status_code == 403
    assert response.headers["Date"] == formatdate(NOW, usegmt=True)


async def test_only_known_applications_are_served() -> None:
    other = Credential(app_id="other", api_key="k", api_secret="s", api_password="p")
    async with served(upstream(), signed(credential=other)) as peer:
        refused = await peer.upgrade({})
    async with served(upstream(credentials=(other,)), signed(credential=other)) as peer:
        taken = await peer.upgrade({})
        await peer.send(request() | {"header": {"app_id": "other"}})
        answer = await frames(peer)

    assert (refused.status_code, taken.status_code) == (401, 101)
    assert codes(answer) == [0] * 6


async def test_another_application_than_the_one_that_signed_is_not_entitled() -> None:
    async with connected(upstream()) as peer:
        await peer.send(request() | {"header": {"app_id": "another"}})
        answer = await frames(peer)

    assert codes(answer) == [11200]


async def test_compression_is_declined() -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    async with served(upstream(), signed()) as peer:
        response = await peer.upgrade(offer)

    assert "Sec-WebSocket-Extensions" not in response.headers


async def test_a_silent_handshake_answers_nothing(autojump_clock: MockClock) -> None:
    async with served(upstream(Scenario.SILENT_HANDSHAKE), signed()) as peer:
        with trio.move_on_after(100) as waiting:
            await peer.upgrade({})

    assert waiting.cancelled_caught


@pytest.mark.parametrize(
    ("scenario", "patience_s"), [(Scenario.NORMAL, IDLE_S), (Scenario.IMPATIENT, IMPATIENT_S)]
)
async def test_a_socket_that_sends_nothing_is_closed(
    scenario: Scenario, patience_s: float, autojump_clock: MockClock
) -> None:
    spark = upstream(scenario)
    async with connected(spark) as peer:
        await ping(peer)
        assert (await peer.frame()).opcode is Opcode.PONG
        ended = await peer.end()

    assert trio.current_time() == pytest.approx(patience_s)
    assert (ended.code, ended.reason) == (1000, CLOSE_REASON)
    assert (spark.statistics().unused, spark.statistics().total.requests) == (1, 0)


async def test_a_second_request_ends_the_connection(autojump_clock: MockClock) -> None:
    async with connected(upstream()) as peer:
        await peer.send(request("[sim:stalled] one"))
        await trio.sleep(1)
        await peer.send(request("two"))
        answer = await frames(peer)

    assert codes(answer) == [0, 0, 0, 10007]
    assert trio.current_time() == pytest.approx(1)


@pytest.mark.parametrize("scenario", ["slow", "stalled", "silent"])
async def test_a_client_that_closes_cancels_the_answer(
    scenario: str, autojump_clock: MockClock
) -> None:
    spark = upstream()
    async with connected(spark) as peer:
        await peer.send(request(f"[sim:{scenario}] a long question"))
        await trio.sleep(0.12)
        peer.protocol.send_close(1000)
        await peer.send_raw(b"".join(peer.protocol.data_to_send()))
        await peer.end()
        await trio.testing.wait_all_tasks_blocked()
        (record,) = spark.statistics().records
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()

    assert spark.statistics().running == 0
    assert record.ending is Ending.CANCELLED
    assert record.frames == {"slow": 2, "stalled": FAULT_AFTER_FRAMES, "silent": 0}[scenario]
    assert record.told is None


async def test_a_client_that_vanishes_cancels_too(autojump_clock: MockClock) -> None:
    spark = upstream(Scenario.SLOW)
    async with connected(spark) as peer:
        await peer.send(request())
        await peer.event()
        await peer.stream.aclose()
        await trio.sleep(1)

    assert spark.statistics().total.cancelled == 1


async def test_a_fine_tuned_model_leaves_the_closing_to_the_client(
    autojump_clock: MockClock,
) -> None:
    spark = upstream()
    async with connected(spark, "/v1.1/chat") as peer:
        await peer.send(request(domain="xopkimik25"))
        while (await peer.event())["header"]["status"] != 2:
            pass
        with trio.move_on_after(IDLE_S / 2) as waiting:
            await peer.frame()
        ended = await peer.end()

    assert waiting.cancelled_caught
    assert ended.code == 1000
    assert trio.current_time() == pytest.approx(IDLE_S)
    assert spark.statistics().total.completed == 1


@pytest.mark.parametrize("code", MESSAGES)
async def test_every_code_can_stand_in_place_of_an_answer(code: int) -> None:
    spark = upstream()
    async with connected(spark) as peer:
        (error,) = await ask(peer, f"[sim:error_{code}] hello")
        ended = await peer.end()

    assert error["header"]["code"] == code
    assert error["header"]["message"] == MESSAGES[code]
    assert error["header"]["status"] == 2
    assert "payload" not in error
    assert (ended.code, ended.reason) == (1000, CLOSE_REASON)
    (record,) = spark.statistics().records
    assert (record.ending, record.code) == (Ending.ERROR, code)


@pytest.mark.parametrize("scenario", [s for s in Scenario if s.late_code])
async def test_some_codes_come_late(scenario: Scenario) -> None:
    spark = upstream(scenario)
    async with connected(spark) as peer:
        answer = await ask(peer, "hello there")

    assert codes(answer) == [0] * FAULT_AFTER_FRAMES + [scenario.late_code]
    (record,) = spark.statistics().records
    if scenario.late_code == 10014:
        told = answer[-1]["payload"]["usage"]["text"]
        assert told["completion_tokens"] == FAULT_AFTER_FRAMES
        assert record.told is not None
        assert record.told.wire() == told
    else:
        assert "payload" not in answer[-1]
        assert record.told is None


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        (Scenario.NOT_ENTITLED, 11200),
        (Scenario.AUDIT_INPUT, 10013),
        (Scenario.UNKNOWN_CODE, UNDOCUMENTED),
    ],
)
async def test_some_errors_have_a_name(scenario: Scenario, code: int) -> None:
    assert codes(await one(scenario)) == [code]


async def test_a_uid_directs_the_answer_too() -> None:
    async with connected(upstream()) as peer:
        assert codes(await ask(peer, uid="sim-error_11202")) == [11202]
    async with connected(upstream()) as peer:
        assert codes(await ask(peer, "[sim:error_10110] hi", uid="sim:error_11202")) == [10110]


@pytest.mark.parametrize("name", ["unheard_of", "unauthorized", "clock_skew"])
async def test_a_scenario_that_no_answer_can_play_is_refused(name: str) -> None:
    async with connected(upstream()) as peer:
        (error,) = await ask(peer, f"[sim:{name}] hello")

    assert error["header"]["code"] == 10005
    assert name in error["header"]["message"]


async def test_the_next_request_is_told_what_was_set_meanwhile() -> None:
    spark = upstream(Scenario.NOT_ENTITLED)
    async with connected(spark) as peer:
        assert codes(await ask(peer)) == [11200]
    spark.scenario = Scenario.NORMAL
    async with connected(spark) as peer:
        assert 0 in codes(await ask(peer))


@pytest.mark.parametrize(
    ("scenario", "code", "before"),
    [
        (Scenario.CLOSE_BEFORE_FIRST, 1000, 0),
        (Scenario.CLOSE_MID_STREAM, 1000, FAULT_AFTER_FRAMES),
        (Scenario.CLOSE_1011, 1011, FAULT_AFTER_FRAMES),
        (Scenario.EOF_BEFORE_FIRST, None, 0),
        (Scenario.EOF_MID_STREAM, None, FAULT_AFTER_FRAMES),
        (Scenario.RESET_BEFORE_FIRST, None, 0),
        (Scenario.RESET_MID_STREAM, None, FAULT_AFTER_FRAMES),
        (Scenario.HALF_FRAME, None, FAULT_AFTER_FRAMES),
    ],
)
async def test_how_an_answer_is_cut(scenario: Scenario, code: int | None, before: int) -> None:
    spark = upstream(scenario)
    async with connected(spark) as peer:
        answer = await ask(peer)
        ended = await peer.end()

    assert (ended.code, len(answer)) == (code, before)
    assert all(frame["header"]["status"] != 2 for frame in answer)
    assert spark.statistics().total.cut == 1


async def test_silences_last_as_long_as_they_are_asked_to(autojump_clock: MockClock) -> None:
    for marker, lasts_s in (
        ("silent_start", SILENCE_S),
        ("stall", SILENCE_S),
        ("silent_start s=3", 3),
        ("stall s=0.5", 0.5),
        ("slow", 6 * SLOW_FRAME_S),
    ):
        began = trio.current_time()
        async with connected(upstream()) as peer:
            answer = await ask(peer, f"[sim:{marker}] hello there")
        assert said(answer) == "Answer 1. You said: hello there"
        assert trio.current_time() - began == pytest.approx(lasts_s)


async def test_a_stalled_answer_still_answers_pings(autojump_clock: MockClock) -> None:
    async with connected(upstream(Scenario.STALLED)) as peer:
        await peer.send(request())
        for _ in range(FAULT_AFTER_FRAMES):
            await peer.event()
        await ping(peer)

        assert (await peer.frame()).opcode is Opcode.PONG


async def test_a_half_open_upstream_answers_no_ping(autojump_clock: MockClock) -> None:
    async with connected(upstream(Scenario.HALF_OPEN)) as peer:
        await peer.send(request())
        for _ in range(FAULT_AFTER_FRAMES):
            await peer.event()
        await ping(peer)
        with trio.move_on_after(IDLE_S / 2) as waiting:
            await peer.frame()

    assert waiting.cancelled_caught


async def test_an_answer_may_stay_open(autojump_clock: MockClock) -> None:
    spark = upstream(Scenario.STAYS_OPEN)
    async with connected(spark) as peer:
        await peer.send(request())
        while (await peer.event())["header"]["status"] != 2:
            pass
        with trio.move_on_after(1000) as waiting:
            await peer.frame()
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()

    assert waiting.cancelled_caught
    assert spark.statistics().total.completed == 1


async def test_requests_per_second_are_counted(autojump_clock: MockClock) -> None:
    spark = upstream(Scenario.QPS_LIMIT)
    got = []
    for pause_s in (0, 0, 0.5, 0.6, 0):
        await trio.sleep(pause_s)
        async with connected(spark) as peer:
            got.append(codes(await ask(peer))[0])

    assert got == [0, 0, 11202, 0, 0]


async def test_answers_at_a_time_are_counted(autojump_clock: MockClock) -> None:
    spark = upstream(Scenario.CONCURRENCY_LIMIT)
    async with connected(spark) as one_, connected(spark) as two, connected(spark) as three:
        await one_.send(request("[sim:stalled] one"))
        await two.send(request("[sim:stalled] two"))
        await trio.sleep(1)
        assert codes(await ask(three)) == [11203]
        await one_.stream.aclose()
        await trio.sleep(1)
        async with connected(spark) as four:
            assert codes(await ask(four))[0] == 0


async def test_requests_per_day_are_counted_from_midnight_in_shanghai() -> None:
    spark = upstream(limits=Limits(per_day=1))
    got = []
    for wall in (NOW, NOW + 60, NOW + 8 * 3600):  # 16:00, 16:01 and 24:00 there
        spark.wall = lambda wall=wall: wall  # type: ignore[misc]  # the loop's own value
        async with served(spark, signed(wall=wall)) as peer:
            await peer.upgrade({})
            got.append(codes(await ask(peer))[0])

    assert got == [0, 11201, 0]


async def test_limits_are_those_of_the_application() -> None:
    other = Credential(app_id="other", api_key="k", api_secret="s", api_password="p")
    spark = upstream(limits=Limits(per_day=1))
    spark.credentials = (*spark.credentials, other)
    async with connected(spark) as peer:
        await ask(peer)
    async with served(spark, signed(credential=other)) as peer:
        await peer.upgrade({})
        await peer.send(request() | {"header": {"app_id": "other"}})

        assert codes(await frames(peer))[0] == 0


async def test_tallies_of_several_requests_add_up() -> None:
    spark = upstream()
    for text in ("one", "two words", "[sim:no_usage] three"):
        async with connected(spark) as peer:
            await ask(peer, text)

    total = spark.statistics().total
    told = [record.told for record in spark.statistics().records]
    assert (total.requests, total.completed, total.untold) == (3, 3, 1)
    assert total.usage.total_tokens == sum(one.total_tokens for one in told if one)
    assert attrs.astuple(total.usage) == (3, 3, 5 + 6)
