"""One connection from the 101 on."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relayd.sim.runtask.faults import FAULT_AFTER_RESULTS, SILENCE_S, SLOW_RESULT_S
from relayd.sim.runtask.scenario import Scenario
from relayd.sim.runtask.tally import Ending
from relayd.sim.runtask.upstream import IDLE_S, RunTaskUpstream
from tests.sim.peer import Peer
from tests.sim.runtask.stage import connected, kinds, run, said, say, task, until_end


async def failure(peer: Peer, code: str) -> None:
    """Demand that the last event fails a task with ``code``, and the connection with it."""
    events = await until_end(peer)
    ended = await peer.end()

    assert events[-1]["header"]["error_code"] == code
    assert (ended.code, ended.reason) == (1000, "task failed")


async def test_tasks_follow_each_other() -> None:
    upstream = RunTaskUpstream()
    async with connected(upstream) as peer:
        one = await task(peer, "one", task="a")
        two = await task(peer, "two", task="b")

    assert {event["header"]["task_id"] for event in one} == {"a"}
    assert {event["header"]["task_id"] for event in two} == {"b"}
    assert said(two) == "Answer 1. You said: two"
    assert upstream.statistics().total.completed == 2


@pytest.mark.parametrize("streaming", ["in", "duplex"])
async def test_input_may_follow_and_is_answered_when_it_is_complete(streaming: str) -> None:
    async with connected(RunTaskUpstream()) as peer:
        await peer.send(run(streaming=streaming, messages=[]))
        assert (await peer.event())["header"]["event"] == "task-started"
        await peer.send(say("continue-task", "one"))
        await peer.send(say("continue-task", "two"))
        await peer.send(say("finish-task"))
        events = await until_end(peer)

    assert said(events) == "Answer 1. You said: two"
    assert events[-1]["payload"]["usage"]["input_tokens"] == 2


async def test_input_that_never_ends_is_not_waited_for(autojump_clock: MockClock) -> None:
    upstream = RunTaskUpstream()
    async with connected(upstream) as peer:
        await peer.send(run(streaming="duplex"))
        ended = await peer.end()

    assert ended.reason == "idle"
    assert trio.current_time() == pytest.approx(IDLE_S)
    assert upstream.statistics().total.cut == 1


async def test_a_task_is_stopped_by_name(autojump_clock: MockClock) -> None:
    upstream = RunTaskUpstream()
    async with connected(upstream) as peer:
        await peer.send(run("[sim:stalled] a long answer"))
        await trio.sleep(1)
        await peer.send(say("finish-task"))
        events = await until_end(peer)
        assert said(await task(peer, "next", task="b")) == "Answer 1. You said: next"

    assert kinds(events) == [
        "task-started",
        *["result-generated"] * FAULT_AFTER_RESULTS,
        "task-finished",
    ]
    assert events[-1]["payload"]["usage"]["output_tokens"] == FAULT_AFTER_RESULTS
    stopped, completed = upstream.statistics().records
    assert (stopped.ending, completed.ending) == (Ending.CANCELLED, Ending.COMPLETED)
    assert stopped.told is not None
    assert stopped.told.wire() == events[-1]["payload"]["usage"]


@pytest.mark.parametrize("scenario", ["slow", "stalled", "silent"])
async def test_a_client_that_leaves_cancels_its_task(
    scenario: str, autojump_clock: MockClock
) -> None:
    upstream = RunTaskUpstream()
    async with connected(upstream) as peer:
        await peer.send(run(f"[sim:{scenario}] a long answer"))
        await trio.sleep(0.12)
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()

        assert upstream.statistics().running == 0
    (record,) = upstream.statistics().records
    assert record.ending is Ending.CANCELLED
    assert record.results == {"slow": 2, "stalled": FAULT_AFTER_RESULTS, "silent": 0}[scenario]


@pytest.mark.parametrize(
    "message",
    [
        "nonsense",
        b"\xff",
        {"header": {"action": "run-task"}},
        say("finish-task"),
        say("continue-task"),
    ],
)
async def test_what_begins_no_task_fails(message: object) -> None:
    upstream = RunTaskUpstream()
    async with connected(upstream) as peer:
        await peer.send(message)  # type: ignore[arg-type]  # anything
        await failure(peer, "InvalidParameter")

    (record,) = upstream.statistics().records
    assert (record.ending, record.code) == (Ending.FAILED, "InvalidParameter")


@pytest.mark.parametrize(
    "message", [run(task="other"), run(), say("continue-task", "x"), say("finish-task", task="b")]
)
async def test_what_does_not_belong_to_the_running_task_fails_it(
    message: dict[str, object], autojump_clock: MockClock
) -> None:
    upstream = RunTaskUpstream()
    async with connected(upstream) as peer:
        await peer.send(run("[sim:stalled] x"))
        await trio.sleep(1)
        await peer.send(message)
        await failure(peer, "InvalidParameter")

    assert upstream.statistics().total.failed == 1


async def test_a_task_without_a_question_fails() -> None:
    async with connected(RunTaskUpstream()) as peer:
        await peer.send(run(messages=[{"role": "system", "content": "x"}]))
        await failure(peer, "InvalidParameter")


@pytest.mark.parametrize("scenario", [s for s in Scenario if s.error])
async def test_errors_fail_the_task_at_once(scenario: Scenario) -> None:
    assert scenario.error is not None
    async with connected(RunTaskUpstream()) as peer:
        await peer.send(run(f"[sim:{scenario.value}] x"))
        await failure(peer, scenario.error.code)


@pytest.mark.parametrize(
    ("scenario", "before"),
    [
        (Scenario.FAILED_AFTER_START, ["task-started"]),
        (Scenario.FAILED_MID_STREAM, ["task-started", *["result-generated"] * FAULT_AFTER_RESULTS]),
    ],
)
async def test_a_task_may_fail_late(scenario: Scenario, before: list[str]) -> None:
    async with connected(RunTaskUpstream(scenario)) as peer:
        events = await task(peer)

    assert kinds(events) == [*before, "task-failed"]


@pytest.mark.parametrize(
    ("scenario", "code", "events"),
    [
        (Scenario.CLOSE_BEFORE_START, 1000, 0),
        (Scenario.CLOSE_MID_STREAM, 1000, 1 + FAULT_AFTER_RESULTS),
        (Scenario.CLOSE_1011, 1011, 1 + FAULT_AFTER_RESULTS),
        (Scenario.EOF_MID_STREAM, None, 1 + FAULT_AFTER_RESULTS),
        (Scenario.RESET_BEFORE_START, None, 0),
        (Scenario.RESET_MID_STREAM, None, 1 + FAULT_AFTER_RESULTS),
    ],
)
async def test_how_a_task_is_cut(scenario: Scenario, code: int | None, events: int) -> None:
    upstream = RunTaskUpstream(scenario)
    async with connected(upstream) as peer:
        assert len(await task(peer)) == events
        assert (await peer.end()).code == code

    assert upstream.statistics().total.cut == 1


async def test_silences_last_as_long_as_they_are_asked_to(autojump_clock: MockClock) -> None:
    for marker, lasts_s in (
        ("silent_start", SILENCE_S),
        ("stall", SILENCE_S),
        ("stall s=3", 3),
        ("slow", 7 * SLOW_RESULT_S),
    ):
        began = trio.current_time()
        async with connected(RunTaskUpstream()) as peer:
            events = await task(peer, f"[sim:{marker}] hello there")
        assert said(events) == "Answer 1. You said: hello there"
        assert trio.current_time() - began == pytest.approx(lasts_s)


async def test_a_scenario_that_no_task_can_play_fails() -> None:
    for name in ("nothing", "impatient"):
        async with connected(RunTaskUpstream()) as peer:
            await peer.send(run(f"[sim:{name}] x"))
            await failure(peer, "InvalidParameter")
