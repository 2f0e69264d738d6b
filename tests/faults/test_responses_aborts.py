"""Each row of the table of aborts, provoked: what the client hears, and what becomes of it all."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from decimal import Decimal

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.dialects import ResponsesSettings
from relayd.config.keys import BusyLane
from relayd.config.pools import PoolSettings
from relayd.config.pricebook import Price, PriceBook
from relayd.core.endings import Reason
from relayd.dialect.responses_aborts import CONSEQUENCES, Abort
from relayd.observe.events import LogEvent
from relayd.session.responses.holder import Holder
from relayd.session.responses.session import ResponsesSession
from relayd.session.responses.way import Way
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.upstream import ResponsesUpstream
from tests.faults.harness import KEY, Stage
from tests.faults.responses import (
    LARGE,
    Client,
    Event,
    ResponsesStage,
    Scene,
    patient_clock,
    playing,
)
from tests.faults.wire import BINARY, CLOSE, TEXT, Ending, frame

PROVOKED: set[Abort] = set()
"""Every row that a test here is about."""

SHORT = ResponsesSettings(keepalive_s=5.0, first_event_s=2.0, idle_s=4.0, total_s=8.0)
PRICES = PriceBook(
    (
        Price(
            models=("gpt-5*",),
            text_in=Decimal(1),
            text_out=Decimal(10),
            date=datetime.date(2026, 11, 2),
            source="a test",
        ),
    )
)
TINY_BUDGET = attrs.evolve(KEY, budget_usd=Decimal("0.041"))
"""Bears one turn of 4,096 tokens, and not another."""

Test = Callable[..., Awaitable[None]]


def row(*aborts: Abort) -> Callable[[Test], Test]:
    """The test provokes these rows."""
    PROVOKED.update(aborts)
    return lambda test: test


@pytest.fixture
def scenes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> ResponsesStage:
    return ResponsesStage.of(stage, monkeypatch)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    return patient_clock(monkeypatch)


def check_told(told: Event, abort: Abort, *, lane: str | None = None) -> None:
    """``told`` is the event of the table."""
    words = CONSEQUENCES[abort].words
    assert words is not None
    assert told["type"] == "error"
    assert told.get("stream_id") == lane
    error = told["error"]
    assert (told["status"], error["type"], error["code"]) == (words.status, words.type, words.code)
    assert error["param"] == words.param


def broken(scene: Scene) -> list[str]:
    """Why sockets were broken, in order."""
    return [line["reason"] for line in scene.relay.log.of(LogEvent.SLOT_BROKEN)]


async def reasons(scene: Scene, count: int) -> list[str]:
    """How all turns ended, which are ``count``, in order."""
    return [line["reason"] for line in await scene.turns_ended(count)]


def unused(scene: Scene) -> int:
    """Sockets that are kept."""
    return sum(account.sv_idle for account in scene.shared.pool.statistics())


async def goes_on(client: Client, lane: str | None = None) -> None:
    """The session is as good as before."""
    fields = {} if lane is None else {"stream_id": lane}
    assert (await client.turn("again", **fields))["type"] == "response.completed"


async def running(client: Client, **fields: object) -> str:
    """A turn that says nothing behind its ``response.created``, whose id is returned."""
    await client.ask(**{**playing(Scenario.SILENT_AFTER_CREATED), **fields})
    created = (await client.until("response.created"))[-1]
    return str(created["response"]["id"])


# -- what the client did


MISTAKES = [
    (b"[]", "invalid_json"),
    (b'{"type":"response.create"', "invalid_json"),
    (b'{"type":"response.create","input":"x"}', "missing_required_parameter"),
    (b'{"type":"response.nonsense"}', "unknown_event"),
    (b'{"type":"response.append"}', "unsupported_event"),
    (b'{"type":"response.create","model":"gpt-5.2","stream_id":""}', "invalid_stream_id"),
]


@row(Abort.INVALID_MESSAGE)
@pytest.mark.parametrize(("message", "code"), MISTAKES)
async def test_a_mistake_is_told_and_the_session_goes_on(
    scenes: ResponsesStage, message: bytes, code: str
) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        for _ in range(2):
            await client.say(message)
            told = await client.error()
            assert (told["status"], told["error"]["type"]) == (400, "invalid_request_error")
            assert told["error"]["code"] == code
        await goes_on(client)
        for _ in range(2):  # counted anew
            await client.say(message)
            await client.error()
        await goes_on(client)
        assert len(await scene.turns_ended(2)) == 2


@row(Abort.TOO_MANY_MISTAKES)
async def test_the_third_mistake_in_a_row_ends_the_session(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await running(client)
        for _ in range(3):
            await client.say(b"{}x")
        assert await client.closed() == 1008
        assert [each["status"] for each in client.seen if each["type"] == "error"] == [400] * 3
        assert (await scene.turn_ended())["reason"] == "policy"
        assert (await scene.relay.log.session_ended())["reason"] == "policy"
        assert broken(scene) == ["client_gone"]


@row(Abort.DUPLICATE_TYPE)
async def test_two_types_end_the_session_at_once(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await goes_on(client)
        await client.say(b'{"type":"response.create","type":"response.steer"}')
        check_told(await client.error(), Abort.DUPLICATE_TYPE)
        assert await client.closed() == 1008
        assert (await scene.relay.log.session_ended())["reason"] == "duplicate_type"
        assert (broken(scene), unused(scene)) == ([], 1)


@row(Abort.FIRST_MESSAGE_TIMEOUT)
async def test_a_client_that_says_nothing_is_not_waited_for(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    limits = attrs.evolve(LARGE, first_message_s=3.0)
    async with scenes.serving(limits=limits) as scene:
        client = await scene.client()
        began = trio.current_time()
        assert await client.closed() == 1008
        assert trio.current_time() - began == pytest.approx(3.0, abs=0.5)
        assert (await scene.relay.log.session_ended())["reason"] == "first_message_timeout"


@row(Abort.BINARY_FRAME)
async def test_a_binary_message_ends_the_session_and_not_its_old_socket(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await goes_on(client)
        await client.wire.send(frame(BINARY, b"{}"))
        assert await client.closed() == 1003
        assert (await scene.relay.log.session_ended())["reason"] == "unsupported_data"
        assert (broken(scene), unused(scene)) == ([], 1)


@row(Abort.MESSAGE_OVER_LIMIT)
async def test_a_message_over_the_limit_ends_the_session(scenes: ResponsesStage) -> None:
    limits = attrs.evolve(LARGE, message_max_bytes=1 << 20)
    async with scenes.serving(limits=limits) as scene:
        client = await scene.client()
        await goes_on(client)
        await client.wire.send(frame(TEXT, bytes(100) + b" " * (1 << 20))[:64])
        assert await client.closed() == 1009
        assert (await scene.relay.log.session_ended())["reason"] == "too_big"
        assert (broken(scene), unused(scene)) == ([], 1)


@row(Abort.CREATE_TOO_BIG)
async def test_a_create_that_no_upstream_takes_is_not_sent(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await client.say(b'{"model":"gpt-5.2","stream_id":"a","input":"%b"}' % (b"x" * (15 << 20)))
        told = await client.error()
        assert (told["status"], told["error"]["code"]) == (400, "message_too_big")
        assert told["stream_id"] == "a"
        await goes_on(client, "a")
        assert scene.sim.statistics().total.turns == 1


@row(Abort.QUEUE_FULL)
async def test_a_lane_takes_64_that_wait_and_no_more(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await running(client)
        for _ in range(65):
            await client.ask()
        check_told(await client.error(), Abort.QUEUE_FULL)
        await goes_on(client, "another")


@row(Abort.STREAM_LIMIT)
async def test_a_connection_names_32_lanes_and_no_more(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        for number in range(32):
            await goes_on(client, f"lane-{number}")
        check_told(await client.turn(stream_id="one-more"), Abort.STREAM_LIMIT, lane="one-more")
        await goes_on(client)
        await goes_on(client, "lane-0")
        assert scene.sim.statistics().upgrades == 1


PREEMPTING = attrs.evolve(KEY, busy_lane=BusyLane.PREEMPT)


@row(Abort.PREEMPTED)
async def test_a_newer_request_takes_the_place_of_one_that_was_seen(scenes: ResponsesStage) -> None:
    async with scenes.serving(key=PREEMPTING) as scene:
        client = await scene.client()
        response_id = await running(client)
        last = await client.turn("instead")
        assert last["type"] == "response.incomplete"
        ended = last["response"]
        assert (ended["id"], ended["incomplete_details"]) == (response_id, {"reason": "preempted"})
        assert (await client.answer())["type"] == "response.completed"
        first, second = await scene.turns_ended(2)
        assert (first["reason"], first["turn_id"]) == ("preempted", response_id)
        assert second["reason"] == "completed"
        assert broken(scene) == ["preempted"]


@row(Abort.PREEMPTED)
async def test_a_newer_request_takes_the_place_of_one_that_was_not_seen(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving(key=PREEMPTING) as scene:
        client = await scene.client()
        fields = {"stream_id": "a", **playing(Scenario.SILENT_BEFORE_CREATED)}
        await client.ask("one", **fields)
        await scene.relay.log.wait(LogEvent.SLOT_OPENED)
        check_told(await client.turn("two", stream_id="a"), Abort.PREEMPTED, lane="a")
        assert (await client.answer("a"))["type"] == "response.completed"
        assert await reasons(scene, 2) == ["preempted", "completed"]
        assert broken(scene) == ["preempted"]


@row(Abort.CLIENT_GONE)
async def test_a_client_that_leaves_frees_its_socket_at_once(scenes: ResponsesStage) -> None:
    async with scenes.serving(pool=PoolSettings(slots_max=1)) as scene:
        client, other = await scene.client(), await scene.client()
        response_id = await running(client)
        await other.ask("mine")
        client.wire.reset()
        assert (await other.answer())["type"] == "response.completed"
        first, _ = await scene.turns_ended(2)
        assert (first["reason"], first["turn_id"]) == ("client_gone", response_id)
        assert broken(scene) == ["client_gone"]


@row(Abort.CLIENT_SLOW)
async def test_a_client_that_does_not_read_is_cut(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        opened = await scene.relay.asking("/v1/responses", receive_buffer=4096)
        client = Client(opened)
        await opened.head()
        for number in range(12):
            await client.ask(stream_id=f"lane-{number}", **playing(Scenario.BIG_EVENTS))
        line = await scene.relay.log.session_ended()
        assert line["reason"] == "client_stalled"
        assert await opened.end() is Ending.RESET
        await scene.at_rest()
        await scene.relay.log.wait(LogEvent.TURN_ENDED)
        lines = scene.relay.log.of(LogEvent.TURN_ENDED)
        assert "client_stalled" in {line["reason"] for line in lines}
        assert set(broken(scene)) == {"client_gone"}


@row(Abort.CLIENT_IDLE)
async def test_a_client_that_answers_no_ping_is_gone(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    limits = attrs.evolve(LARGE, keepalive_s=1.0, keepalive_timeout_s=2.0)
    async with scenes.serving(limits=limits) as scene:
        client = await scene.client()
        await goes_on(client)
        assert await client.wire.goodbye() == 1001
        assert (await scene.relay.log.session_ended())["reason"] == "client_silent"
        assert (broken(scene), unused(scene)) == ([], 1)


# -- what the client may not, or not now


@row(Abort.KEY_REVOKED)
@pytest.mark.parametrize("busy", [False, True])
async def test_a_removed_key_ends_the_session_behind_an_event(
    scenes: ResponsesStage, patient: MockClock, *, busy: bool
) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await goes_on(client)
        response_id = await running(client) if busy else None
        if busy:
            await client.ask("waits", stream_id=None)
        settings = scenes.made[-1].snapshot.settings
        await trio.testing.wait_all_tasks_blocked(0.01)
        scene.relay.running.apply(
            type(scenes.made[-1].snapshot).of(attrs.evolve(settings, keys=()))
        )
        told = await client.error()
        check_told(told, Abort.KEY_REVOKED)
        if busy:
            assert str(response_id) in told["error"]["message"]
            check_told(await client.error(), Abort.KEY_REVOKED)  # of the one that waits
        assert await client.closed() == 1008
        assert (await scene.relay.log.session_ended())["reason"] == "key_removed"
        expected = ["completed", *(["key_removed"] if busy else [])]
        assert await reasons(scene, len(expected)) == expected
        assert broken(scene) == (["client_gone"] if busy else [])


@row(Abort.KEY_REVOKED)
async def test_an_expired_key_ends_the_session_behind_an_event(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    expires = datetime.datetime.fromtimestamp(1_800_000_005, datetime.UTC)
    async with scenes.serving(key=attrs.evolve(KEY, expires=expires)) as scene:
        client = await scene.client()
        await goes_on(client)
        check_told(await client.error(), Abort.KEY_REVOKED)
        assert await client.closed() == 1008
        assert (await scene.relay.log.session_ended())["reason"] == "key_expired"


@row(Abort.QUOTA_EXHAUSTED)
async def test_a_turn_that_the_budget_does_not_bear_ends_the_session(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving(key=TINY_BUDGET, prices=PRICES) as scene:
        client = await scene.client()
        await goes_on(client)
        told = await client.turn("more", stream_id="a")
        check_told(told, Abort.QUOTA_EXHAUSTED, lane="a")
        assert await client.closed() == 1008
        assert [each["type"] for each in client.seen].count("error") == 1
        assert (await scene.relay.log.session_ended())["reason"] == "budget_exhausted"
        assert (await reasons(scene, 1), unused(scene)) == (["completed"], 1)


@row(Abort.RATE_LIMITED)
async def test_a_rate_limit_refuses_the_turn_and_not_the_session(scenes: ResponsesStage) -> None:
    async with scenes.serving(key=attrs.evolve(KEY, requests_per_minute=1)) as scene:
        client = await scene.client()
        await goes_on(client)
        check_told(await client.turn("more", stream_id="a"), Abort.RATE_LIMITED, lane="a")
        check_told(await client.turn("more"), Abort.RATE_LIMITED)
        assert (await reasons(scene, 1), unused(scene)) == (["completed"], 1)


@row(Abort.REFUSED)
async def test_a_model_that_the_key_may_not_use_is_refused(scenes: ResponsesStage) -> None:
    async with scenes.serving(key=attrs.evolve(KEY, models=("gpt-5.2",))) as scene:
        client = await scene.client()
        told = await client.turn("hello", model="gpt-5.3", stream_id="a")
        assert (told["status"], told["error"]["type"]) == (403, "permission_error")
        assert (told["error"]["code"], told["error"]["param"]) == ("model_not_allowed", "model")
        assert told["stream_id"] == "a"
        await goes_on(client, "a")
        assert len(await scene.turns_ended(1)) == 1


@row(Abort.REFUSED)
async def test_a_model_without_a_price_is_refused_under_a_budget(scenes: ResponsesStage) -> None:
    async with scenes.serving(key=TINY_BUDGET) as scene:
        client = await scene.client()
        told = await client.turn()
        assert (told["status"], told["error"]["code"]) == (403, "model_not_priced")
        assert await reasons(scene, 0) == []


@row(Abort.GATEWAY_BUSY)
async def test_a_turn_does_not_wait_for_ever_for_a_socket(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    pool = PoolSettings(slots_max=1, acquire_s=3.0)
    async with scenes.serving(pool=pool) as scene:
        client, other = await scene.client(), await scene.client()
        await running(client)
        began = trio.current_time()
        check_told(await other.turn(stream_id="a"), Abort.GATEWAY_BUSY, lane="a")
        assert trio.current_time() - began == pytest.approx(3.0, abs=0.1)
        line = await scene.turn_ended()
        assert (line["reason"], line["lane"], line["slot"]) == ("gateway_busy", "a", None)
        client.wire.reset()
        await goes_on(other, "a")


@row(Abort.GATEWAY_BUSY)
async def test_a_full_account_is_busy(scenes: ResponsesStage) -> None:
    async with scenes.serving(sessions_max=1) as scene:
        client, other = await scene.client(), await scene.client()
        await running(client)
        check_told(await other.turn(), Abort.GATEWAY_BUSY)
        assert await reasons(scene, 0) == []


@row(Abort.MODEL_NOT_FOUND)
async def test_a_model_that_nobody_serves_is_told_so(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        check_told(await client.turn(model="other"), Abort.MODEL_NOT_FOUND)
        await goes_on(client)


@row(Abort.PREVIOUS_RESPONSE_NOT_FOUND)
async def test_a_chain_that_nobody_knows_is_not_asked_for(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        told = await client.turn(previous_response_id="resp_x", store=False, stream_id="a")
        check_told(told, Abort.PREVIOUS_RESPONSE_NOT_FOUND, lane="a")
        assert told["error"]["message"] == "Previous response with id 'resp_x' not found."
        assert scene.sim.statistics().upgrades == 0
        (line,) = scene.relay.log.of(LogEvent.AFFINITY_MISSED)
        assert (line["reason"], line["account"]) == ("unknown", None)
        assert await reasons(scene, 0) == []


# -- what the upstream did


@row(Abort.UPSTREAM_UNREACHABLE)
async def test_an_upstream_that_is_not_there(scenes: ResponsesStage) -> None:
    upstream = await scenes.stage.upstream()
    upstream.sock.close()
    upstream.sock = trio.socket.socket()
    await upstream.sock.bind(("127.0.0.1", 0))  # and does not listen
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        check_told(await client.turn(stream_id="a"), Abort.UPSTREAM_UNREACHABLE, lane="a")
        assert (await scene.turn_ended())["reason"] == "upstream_unreachable"
        (line,) = scene.relay.log.of(LogEvent.UPSTREAM_FAILED)
        assert line["account"] == "account-1"
        (refused,) = scene.relay.log.of(LogEvent.LEASE_REFUSED)
        assert refused["reason"] == "dial_failed"


@attrs.frozen
class Case:
    """What an upstream does in its turn, and what comes of it."""

    scenario: Scenario
    abort: Abort
    status: int
    code: str | None
    sockets: int = 1  # that it takes, with hidden attempts
    shows_id: bool = False
    slot: str | None = None  # why they are broken, if not for the turn's reason


CASES = [
    Case(Scenario.SERVER_ERROR, Abort.UPSTREAM_ERROR, 500, "server_error", sockets=2),
    Case(Scenario.ERROR_NO_STATUS, Abort.UPSTREAM_ERROR, 500, "server_error", sockets=2),
    Case(Scenario.ERROR_MID_TURN, Abort.UPSTREAM_ERROR, 500, "server_error"),
    Case(Scenario.OVERLOADED, Abort.UPSTREAM_ERROR, 503, "server_is_overloaded"),
    Case(Scenario.FORBIDDEN, Abort.UPSTREAM_ERROR, 403, "unsupported_country_region_territory"),
    Case(Scenario.UNAUTHORIZED, Abort.UPSTREAM_AUTH, 503, "upstream_unavailable"),
    Case(Scenario.USAGE_LIMIT, Abort.UPSTREAM_LIMIT, 429, None),
    Case(Scenario.RATE_LIMITED, Abort.UPSTREAM_LIMIT, 429, "rate_limit_exceeded"),
    Case(
        Scenario.RESTART_BEFORE_CREATED, Abort.UPSTREAM_RESTART, 502, "upstream_restart", sockets=2
    ),
    Case(Scenario.TRY_LATER_1013, Abort.UPSTREAM_RESTART, 502, "upstream_restart", sockets=2),
    Case(Scenario.RESET_BEFORE_CREATED, Abort.UPSTREAM_CLOSED, 502, "upstream_closed", sockets=2),
    Case(
        Scenario.RESTART_1012,
        Abort.UPSTREAM_LOST,
        502,
        "upstream_closed",
        shows_id=True,
        slot="upstream_restart",
    ),
    Case(
        Scenario.RESET_MID_TURN,
        Abort.UPSTREAM_LOST,
        502,
        "upstream_closed",
        shows_id=True,
        slot="upstream_closed",
    ),
    Case(
        Scenario.HALF_FRAME,
        Abort.UPSTREAM_LOST,
        502,
        "upstream_closed",
        shows_id=True,
        slot="upstream_closed",
    ),
    Case(Scenario.CLOSE_1009, Abort.UPSTREAM_TOO_BIG, 400, "message_too_big"),
    Case(
        Scenario.BINARY_FRAME,
        Abort.UPSTREAM_PROTOCOL,
        502,
        "upstream_protocol_error",
        shows_id=True,
    ),
    Case(Scenario.BAD_UTF8, Abort.UPSTREAM_PROTOCOL, 502, "upstream_protocol_error", shows_id=True),
    Case(
        Scenario.CREATED_TWICE,
        Abort.UPSTREAM_PROTOCOL,
        502,
        "upstream_protocol_error",
        shows_id=True,
    ),
]


@row(*{case.abort for case in CASES})
@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.scenario.value)
async def test_what_an_upstream_does_ends_the_turn_and_not_the_session(
    scenes: ResponsesStage, case: Case, *, lanes: bool
) -> None:
    upstream = ResponsesUpstream(Scenario.NORMAL if lanes else Scenario.NO_LANES)
    async with scenes.serving(upstream, lanes=lanes) as scene:
        client = await scene.client()
        told = await client.turn(stream_id="a", **playing(case.scenario))
        error = told["error"]
        assert (told["type"], told["status"], error["code"]) == ("error", case.status, case.code)
        created = [each for each in client.seen if each["type"] == "response.created"]
        shown = created[0]["response"]["id"] if created else None
        assert (f"(response {shown})" in error["message"]) is case.shows_id
        (line,) = await scene.turns_ended(1)
        assert (line["reason"], line["lane"], line["turn_id"]) == (case.abort.value, "a", shown)
        assert broken(scene) == [case.slot or case.abort.value] * case.sockets
        assert scene.sim.statistics().upgrades == case.sockets
        await scene.at_rest()
        assert unused(scene) == 0
        after = await client.turn("again", stream_id="a")
        rests_for_a_moment = case.scenario is Scenario.RATE_LIMITED
        if case.abort in {Abort.UPSTREAM_AUTH, Abort.UPSTREAM_LIMIT} and not rests_for_a_moment:
            check_told(after, Abort.GATEWAY_BUSY, lane="a")  # the account is out
        else:
            assert after["type"] == "response.completed"


@row(Abort.CONNECTION_LIMIT)
async def test_a_chain_on_a_socket_that_is_too_old_ends_its_session(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        first = await client.turn(store=False)
        await client.ask(
            previous_response_id=first["response"]["id"],
            store=False,
            **playing(Scenario.CONNECTION_LIMIT),
        )
        await client.ask("and this")
        check_told(await client.answer(), Abort.CONNECTION_LIMIT)
        check_told(await client.answer(), Abort.CONNECTION_LIMIT)
        assert await client.closed() == 1000
        assert await reasons(scene, 2) == ["completed", "connection_limit"]
        assert broken(scene) == ["connection_limit"]
        assert (await scene.relay.log.session_ended())["reason"] == "upstream_closed"


@row(Abort.CONNECTION_LIMIT)
async def test_a_session_that_is_too_old_ends_behind_its_turn(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    limits = attrs.evolve(LARGE, session_max_s=10.0)
    async with scenes.serving(limits=limits) as scene:
        client = await scene.client()
        await client.ask(**playing(Scenario.SILENT_TURN, sim_s="25"))
        await client.until("response.created")
        await trio.sleep(11.0)
        check_told(await client.turn(stream_id="a"), Abort.CONNECTION_LIMIT, lane="a")
        assert (await client.answer())["type"] == "response.completed"
        assert await client.closed() == 1001
        assert (await scene.relay.log.session_ended())["reason"] == "session_max_age"
        assert (await reasons(scene, 1), unused(scene)) == (["completed"], 1)


@row(Abort.FIRST_EVENT_TIMEOUT)
async def test_an_upstream_that_does_not_begin(scenes: ResponsesStage, patient: MockClock) -> None:
    async with scenes.serving(times=SHORT) as scene:
        client = await scene.client()
        began = trio.current_time()
        told = await client.turn(stream_id="a", **playing(Scenario.SILENT_BEFORE_CREATED))
        assert trio.current_time() - began == pytest.approx(2.0, abs=0.2)
        check_told(told, Abort.FIRST_EVENT_TIMEOUT, lane="a")
        assert (await scene.turn_ended())["reason"] == "first_event_timeout"
        assert broken(scene) == ["first_event_timeout"]
        await goes_on(client, "a")


@row(Abort.READ_TIMEOUT)
async def test_an_upstream_that_goes_silent(scenes: ResponsesStage, patient: MockClock) -> None:
    async with scenes.serving(times=SHORT) as scene:
        client = await scene.client()
        began = trio.current_time()
        told = await client.turn(stream_id="a", **playing(Scenario.SILENT_AFTER_CREATED))
        took_s = trio.current_time() - began
        assert 4.0 <= took_s <= 5.1  # late by a quarter at most
        check_told(told, Abort.READ_TIMEOUT, lane="a")
        assert (await scene.turn_ended())["reason"] == "read_timeout"
        assert broken(scene) == ["read_timeout"]
        await goes_on(client, "a")


@row(Abort.READ_TIMEOUT)
async def test_a_turn_that_never_ends(scenes: ResponsesStage, patient: MockClock) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream, times=SHORT) as scene:
        client = await scene.client()
        began = trio.current_time()
        await client.ask()
        far = await upstream.accept_upgrade()
        await far.frame()
        created = b'{"type":"response.created","response":{"id":"resp_1"}}'
        await far.send(frame(TEXT, created, masked=False))

        async def dawdle() -> None:
            while True:
                await trio.sleep(1.0)
                delta = b'{"type":"response.output_text.delta","delta":"x"}'
                await far.send(frame(TEXT, delta, masked=False))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dawdle)
            check_told(await client.answer(), Abort.READ_TIMEOUT)
            assert trio.current_time() - began == pytest.approx(8.0, abs=0.2)
            assert (await scene.turn_ended())["reason"] == "read_timeout"
            nursery.cancel_scope.cancel()


@row(Abort.READ_TIMEOUT)
async def test_an_upstream_that_does_not_read(scenes: ResponsesStage, patient: MockClock) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        began = trio.current_time()
        await client.ask("x" * (12 << 20))
        await upstream.accept_upgrade()
        check_told(await client.answer(), Abort.READ_TIMEOUT)
        assert trio.current_time() - began == pytest.approx(LARGE.stall_s, abs=0.2)
        assert broken(scene) == ["read_timeout"]


# -- what relayd does


@row(Abort.DRAIN)
async def test_a_drain_ends_a_session_that_waits_for_nothing(scenes: ResponsesStage) -> None:
    async with scenes.serving(drain_s=30.0) as scene:
        client, silent = await scene.client(), await scene.client()
        await goes_on(client)
        scene.relay.running.drain()
        assert await client.closed() == 1012
        assert await silent.closed() == 1012
        await scene.relay.stopped()
        assert [each["type"] for each in client.seen].count("error") == 0
        assert {line["reason"] for line in scene.relay.log.of(LogEvent.SESSION_ENDED)} == {"drain"}
        assert broken(scene) == []


async def test_the_servers_last_line_is_behind_those_of_its_sockets(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await goes_on(client)
        await client.wire.send(frame(CLOSE, b""))
        await scene.relay.log.session_ended()
        await scene.at_rest()
        scene.relay.running.drain()
        await scene.relay.stopped()
        events = [line["event"] for line in scene.relay.log.lines]
        assert events.count(LogEvent.SLOT_ROTATED) == 1
        assert events[-1] == LogEvent.SERVER_STOPPED


@row(Abort.DRAINING)
async def test_a_drain_lets_a_turn_end_and_none_begin(scenes: ResponsesStage) -> None:
    async with scenes.serving(drain_s=30.0) as scene:
        client = await scene.client()
        await client.ask(**playing(Scenario.SILENT_TURN, sim_s="0.3"))
        await client.until("response.created")
        await client.ask("waits")
        await trio.testing.wait_all_tasks_blocked(0.02)
        scene.relay.running.drain()
        await scene.relay.log.wait(LogEvent.DRAIN_STARTED)
        check_told(await client.turn(stream_id="a"), Abort.DRAINING, lane="a")
        assert (await client.answer())["type"] == "response.completed"
        check_told(await client.error(), Abort.DRAINING)  # in its lane's order
        assert await client.closed() == 1012
        await scene.relay.stopped()
        assert (await reasons(scene, 1), broken(scene)) == (["completed"], [])


@row(Abort.DRAIN_DEADLINE)
async def test_what_still_runs_when_the_drain_is_over_ends(scenes: ResponsesStage) -> None:
    async with scenes.serving(drain_s=0.2) as scene:
        client = await scene.client()
        one, two = await running(client), await running(client, stream_id="a")
        scene.relay.running.drain()
        for lane, response_id in ((None, one), ("a", two)):
            told = await client.answer(lane)
            check_told(told, Abort.DRAIN_DEADLINE, lane=lane)
            assert response_id in told["error"]["message"]
        assert await client.closed() == 1012
        await scene.relay.stopped()
        assert await reasons(scene, 2) == ["drain", "drain"]
        assert broken(scene) == ["client_gone"]


@row(Abort.DRAIN_DEADLINE)
async def test_a_second_signal_ends_turns_at_once_and_bills_them(scenes: ResponsesStage) -> None:
    async with scenes.serving(drain_s=30.0) as scene:
        client = await scene.client()
        response_id = await running(client)
        scene.relay.running.stop()
        check_told(await client.answer(), Abort.DRAIN_DEADLINE)
        assert await client.closed() == 1012
        await scene.relay.stopped()
        (line,) = scene.relay.log.of(LogEvent.TURN_ENDED)
        assert (line["reason"], line["turn_id"]) == ("drain", response_id)


@row(Abort.KILLED)
async def test_a_session_is_killed_by_an_operator(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        response_id = await running(client, stream_id="a")
        (session,) = scenes.made[-1].door.sessions.values()
        session.kill()
        told = await client.answer("a")
        check_told(told, Abort.KILLED, lane="a")
        assert response_id in told["error"]["message"]
        assert await client.closed() == 1008
        assert (await scene.turn_ended())["reason"] == "killed"
        assert broken(scene) == ["client_gone"]


@row(Abort.INTERNAL_LANE)
async def test_a_bug_in_a_turn_ends_that_turn(
    scenes: ResponsesStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken_remember(*_: object) -> None:
        raise RuntimeError("a bug")

    async with scenes.serving() as scene:
        client = await scene.client()
        with monkeypatch.context() as patch:

            async def broken_find(way: Way) -> None:
                raise RuntimeError("a bug")

            patch.setattr(Way, "find", broken_find)
            check_told(await client.turn(stream_id="a"), Abort.INTERNAL_LANE, lane="a")
        with monkeypatch.context() as patch:
            patch.setattr(Way, "remember", broken_remember)
            assert (await client.turn(stream_id="a"))["type"] == "response.completed"
            await scene.turns_ended(1)
        await goes_on(client, "a")
        assert [each["type"] for each in client.seen].count("error") == 1
        assert await reasons(scene, 2) == ["completed", "completed"]
    scenes.stage.log.crashes_expected = 2


@row(Abort.INTERNAL_LANE)
async def test_a_bug_in_a_lease_ends_the_turns_on_it(
    scenes: ResponsesStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        response_id = await running(client)
        with monkeypatch.context() as patch:

            def noticed(holder: Holder) -> None:
                raise RuntimeError("a bug")

            patch.setattr(Holder, "_noticed", noticed)
            await client.ask("more", stream_id="a", store=False)
            told = await client.answer()
        check_told(told, Abort.INTERNAL_LANE)
        assert response_id in told["error"]["message"]
        assert client.seen[-2]["type"] == "response.completed"  # of lane a, before the bug
        await goes_on(client)
        assert broken(scene) == ["internal_lane"]
    scenes.stage.log.crashes_expected = 1


@row(Abort.INTERNAL_SESSION)
async def test_a_bug_in_the_session_ends_it(
    scenes: ResponsesStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        response_id = await running(client, stream_id="a")

        def take_in(session: ResponsesSession, *_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(ResponsesSession, "_take_in", take_in)
        await client.ask()
        told = await client.answer("a")
        check_told(told, Abort.INTERNAL_SESSION, lane="a")
        assert response_id in told["error"]["message"]
        assert await client.closed() == 1011
        assert (await scene.turn_ended())["reason"] == Reason.INTERNAL_ERROR
        assert broken(scene) == ["client_gone"]
        scene.relay.hold.give(scene.relay.hold.bytes_held)  # of the message that it fell over
    scenes.stage.log.crashes_expected = 1


def test_every_row_is_provoked() -> None:
    assert set(Abort) == PROVOKED
