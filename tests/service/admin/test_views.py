"""What runs, as it is shown: pages, filters, order, and that no page holds the loop."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from relayd.config.accounts import UpstreamMode
from relayd.config.keys import BudgetPeriod
from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.ledger.errors import LedgerError
from relayd.protocol.directions import ClientFlow
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.routing.roster import Roster, Seat
from relayd.service.admin.paging import SHOWN_PER_SLICE
from relayd.service.admin.shapes import SessionView
from relayd.service.admin.state import LiveSession
from relayd.service.admin.views import Views, _in_order, takes_sessions
from tests.service.admin.stage import ACCOUNTS, KEY, WALL, Stage, error_of
from tests.service.measured import pool_of

FATAL = Failure(FailureKind.FATAL, "invalid_api_key", "the key is wrong")
LIMITED = Failure(FailureKind.RATE_LIMITED, "rate_limit_exceeded", "slow down", 40.0)


def fail(stage: Stage, name: str, failure: Failure, times: int = 1) -> None:
    standing = stage.roster.standing(name)
    assert standing is not None
    for _ in range(times):
        with Seat(standing, trio.current_time()) as seat:
            seat.fail(failure, trio.current_time())


# -- sessions


async def test_a_session_is_shown_with_all_that_is_known_of_it(
    autojump_clock: MockClock, stage: Stage
) -> None:
    session = stage.session(1, began_at=trio.current_time())
    up, down = (ClientFlow(message_max_bytes=1, hold=HoldBudget(1), reader=None) for _ in "ud")
    up.messages, up.bytes, down.messages, down.bytes = 3, 400, 50, 6000
    session.client.flow, session.upstream.flow = up, down
    session.reporter.turns, session.conversation.busy = 2, True
    session.reporter.meter.tokens_in, session.reporter.meter.tokens_out = 11, 22
    session.reporter.meter.cost_usd = Decimal("0.001500000")
    session.leaving = Reason.DRAIN
    await trio.sleep(90.5)

    assert await stage.get("/admin/v1/sessions/sess_1") == {
        "session_id": "sess_1",
        "dialect": "realtime",
        "key": "dev",
        "tenant": "team",
        "account": "talk",
        "model": "gpt-realtime",
        "client_address": "192.0.2.7",
        "since": "2027-01-15T07:58:29.500000Z",
        "duration_s": 90.5,
        "turns": 2,
        "busy": True,
        "messages_up": 3,
        "messages_down": 50,
        "bytes_up": 400,
        "bytes_down": 6000,
        "tokens_in": 11,
        "tokens_out": 22,
        "cost_usd": 0.0015,
        "leaving": "drain",
    }


async def test_a_session_whose_turns_have_their_own_accounts_has_none(stage: Stage) -> None:
    stage.session(1, account="", dialect="responses", model=None)
    stage.session(2)

    shown, _ = (await stage.get("/admin/v1/sessions"))["sessions"]
    at_talk = (await stage.get("/admin/v1/sessions?account=talk"))["sessions"]

    assert (shown["dialect"], shown["account"], shown["model"]) == ("responses", None, None)
    assert [each["session_id"] for each in at_talk] == ["sess_2"]


async def test_a_session_that_has_only_begun_or_has_no_price_says_so(stage: Stage) -> None:
    stage.session(1, model=None).reporter.meter.cost_usd = None

    (shown,) = (await stage.get("/admin/v1/sessions"))["sessions"]

    assert (shown["messages_up"], shown["bytes_down"], shown["cost_usd"]) == (0, 0, None)
    assert (shown["model"], shown["leaving"], shown["busy"]) == (None, None, False)


@pytest.mark.parametrize("path", ["/admin/v1/sessions/sess_2", "/admin/v1/sessions/sess_1%20"])
async def test_a_session_that_does_not_run_is_404(stage: Stage, path: str) -> None:
    stage.session(1)

    reply = await stage.ask("GET", path)

    assert (reply.status, error_of(reply)["param"]) == (404, "session_id")


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [1, 2, 3, 4]),
        ("?key=dev", [1, 3]),
        ("?account=echo", [3, 4]),
        ("?dialect=passthrough", [4]),
        ("?key=dev&account=echo", [3]),
        ("?key=DEV", []),
        ("?key=", []),
        ("?limit=2", [1, 2]),
        ("?key=dev&limit=1", [1]),
    ],
)
async def test_sessions_are_filtered(stage: Stage, query: str, numbers: list[int]) -> None:
    stage.session(1, began_at=1.0)
    stage.session(2, began_at=2.0, key="ops")
    stage.session(3, began_at=3.0, account="echo")
    stage.session(4, began_at=4.0, key="ops", account="echo", dialect="passthrough")

    page = await stage.get(f"/admin/v1/sessions{query}")

    assert [each["session_id"] for each in page["sessions"]] == [f"sess_{n}" for n in numbers]
    assert page["total"] == 4


async def test_a_last_page_that_is_just_full_has_no_cursor(stage: Stage) -> None:
    for number in range(4):
        stage.session(number, began_at=float(number))
    stage.session(9, began_at=9.0, key="ops")

    page = await stage.get("/admin/v1/sessions?limit=4&key=dev")

    assert (len(page["sessions"]), page["next_cursor"]) == (4, None)


async def test_pages_show_every_session_once_whatever_ends_and_begins_between(
    stage: Stage,
) -> None:
    for number in range(10):
        stage.session(number, began_at=float(number // 3))  # several in one moment
    seen: list[str] = []
    cursor = ""
    while True:
        page = await stage.get(f"/admin/v1/sessions?limit=3{cursor}")
        seen += [each["session_id"] for each in page["sessions"]]
        stage.sessions.pop(seen[-1], None)  # the one that the cursor names
        stage.session(100 + len(seen), began_at=50.0 + len(seen))
        if page["next_cursor"] is None or len(seen) > 30:
            break
        cursor = f"&cursor={page['next_cursor']}"
        if len(stage.sessions) > 12:
            del stage.sessions[f"sess_{100 + len(seen)}"]

    assert len(set(seen)) == len(seen)
    assert seen[:10] == [f"sess_{number}" for number in range(10)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), unique_by=lambda s: s[1]))
def test_the_order_is_that_of_beginning_then_of_ids(places: list[tuple[int, int]]) -> None:
    made = Stage.__new__(Stage)
    made.sessions = {}
    for began_at, number in sorted(places, key=lambda place: place[0]):
        Stage.session(made, number, began_at=float(began_at))

    shown = [s.reporter.facts.session_id for s in _in_order(tuple(made.sessions.values()))]  # type: ignore[arg-type]  # played ones

    assert shown == [f"sess_{number}" for _, number in sorted((b, f"{n}") for b, n in places)]


@pytest.mark.parametrize(
    "query",
    ["?cursor=x", "?cursor=1.0", "?cursor=@sess_1", "?limit=0", "?limit=1001", "?limit=-1"],
)
async def test_what_is_no_cursor_and_no_limit_is_refused(stage: Stage, query: str) -> None:
    reply = await stage.ask("GET", f"/admin/v1/sessions{query}")

    assert (reply.status, error_of(reply)["code"]) == (400, "invalid_parameter")


async def test_a_cursor_that_names_no_moment_shows_nothing(stage: Stage) -> None:
    stage.session(1)

    for cursor in ("inf@x", "nan@x", "1e999@x"):
        assert (await stage.get(f"/admin/v1/sessions?cursor={cursor}"))["sessions"] == []


async def test_a_page_does_not_hold_the_loop(stage: Stage) -> None:
    for number in range(3000):
        stage.session(number, began_at=float(number), key="ops" if number % 2 else "dev")
    rounds, rendered = 0, [0]
    original = Views.session_view

    async def watch() -> None:
        nonlocal rounds
        most = 0
        while True:
            before = rendered[0]
            await trio.lowlevel.checkpoint()
            rounds += 1
            most = max(most, rendered[0] - before)
            assert most <= 2 * SHOWN_PER_SLICE

    def counted(self: Views, session: LiveSession) -> SessionView:
        rendered[0] += 1
        return original(self, session)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Views, "session_view", counted)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            page = await stage.get("/admin/v1/sessions?limit=1000&key=ops")
            nursery.cancel_scope.cancel()

    assert (len(page["sessions"]), rendered[0]) == (1000, 1000)
    assert rounds > 1000 / SHOWN_PER_SLICE


# -- accounts


async def test_accounts_are_shown_in_the_order_of_the_configuration(stage: Stage) -> None:
    page = await stage.get("/admin/v1/accounts")
    talk, echo, asleep = page["accounts"]

    assert talk == {
        "name": "talk",
        "provider": "compatible",
        "dialects": ["realtime", "responses"],
        "base_url": "https://talk.test/v1",
        "state": "ready",
        "takes_sessions": True,
        "overridden": False,
        "sessions": 0,
        "sessions_max": 0,
        "priority": 0,
        "weight": 100,
        "error_average": 0.0,
        "first_frame_ms": None,
        "reason": None,
        "message": None,
        "retry_at": None,
    }
    assert (echo["name"], echo["dialects"], echo["sessions_max"]) == ("echo", ["passthrough"], 2)
    assert (asleep["state"], asleep["reason"], asleep["base_url"]) == ("off", "configuration", None)
    assert (page["total"], page["next_cursor"]) == (3, None)


async def test_an_account_speaks_no_dialect_that_it_is_not_used_for(stage: Stage) -> None:
    stage.roster.update([attrs.evolve(ACCOUNTS[0], websocket=UpstreamMode.OFF)])

    (talk,) = (await stage.get("/admin/v1/accounts"))["accounts"]

    assert talk["dialects"] == ["realtime"]


async def test_an_account_out_of_use_says_why_and_until_when(
    autojump_clock: MockClock, stage: Stage
) -> None:
    fail(stage, "talk", FATAL)
    fail(stage, "echo", LIMITED)

    talk, echo, _ = (await stage.get("/admin/v1/accounts"))["accounts"]

    assert (talk["state"], talk["reason"], talk["message"]) == (
        "disabled",
        "invalid_api_key",
        "the key is wrong",
    )
    assert talk["retry_at"] == "2027-01-15T08:05:00Z"
    assert (echo["state"], echo["retry_at"]) == ("cooled", "2027-01-15T08:00:40Z")
    assert (talk["takes_sessions"], echo["takes_sessions"]) == (False, False)


async def test_a_full_account_and_an_open_breaker_take_no_session(
    autojump_clock: MockClock,
) -> None:
    roster = Roster.of([attrs.evolve(ACCOUNTS[1], sessions_max=1), ACCOUNTS[0]])
    echo, talk = roster.standings()
    with Seat(echo, 0.0):
        assert not takes_sessions(echo, 0.0)
    assert takes_sessions(echo, 0.0)
    for _ in range(5):
        with Seat(talk, 0.0) as seat:
            seat.fail(unreachable("connect_timeout", "no"), 0.0)
    assert not takes_sessions(talk, 0.0)
    assert takes_sessions(talk, 60.0), "as a trial"


async def test_accounts_and_keys_come_in_pages(stage: Stage) -> None:
    stage.keys = tuple(
        attrs.evolve(KEY, name=f"k{number}", digest=bytes([number]) * 32) for number in range(3)
    )
    for what, names in (("accounts", ["talk", "echo", "asleep"]), ("keys", ["k0", "k1", "k2"])):
        first = await stage.get(f"/admin/v1/{what}?limit=2")
        second = await stage.get(f"/admin/v1/{what}?limit=2&cursor={first['next_cursor']}")

        assert [each["name"] for each in first[what] + second[what]] == names
        assert (first["total"], second["next_cursor"]) == (3, None)
        reply = await stage.ask("GET", f"/admin/v1/{what}?cursor=gone")
        assert (reply.status, error_of(reply)["param"]) == (400, "cursor")


# -- keys


async def test_a_key_is_shown_with_what_it_uses_and_never_itself(stage: Stage) -> None:
    key = attrs.evolve(
        KEY,
        sessions_max=5,
        requests_per_minute=60,
        tokens_per_minute=1000,
        budget_nano=12_500_000_000,
        budget_period=BudgetPeriod.DAY,
        price_factor=Decimal("1.50"),
    )
    stage.keys, stage.money = (key,), lambda _: (2_000_000_000, 500_000_000)
    use = stage.limits.use_of(key)
    use.sessions.live = 2
    await use.tokens.take(1000, 1200, WALL, need=0)
    use.requests.owe(60, 1)

    (shown,) = (await stage.get("/admin/v1/keys"))["keys"]

    assert shown == {
        "name": "dev",
        "tenant": "team",
        "enabled": True,
        "expires": None,
        "models": ["*"],
        "dialects": ["*"],
        "allowed_ips": [],
        "sessions": 2,
        "sessions_max": 5,
        "requests_per_minute": 60,
        "requests_left": 59.0,
        "tokens_per_minute": 1000,
        "tokens_left": -200.0,
        "budget_usd": 12.5,
        "budget_period": "day",
        "price_factor": 1.5,
        "spent_usd": 2,
        "reserved_usd": 0.5,
        "left_usd": 10,
        "renewed_at": "2027-01-16T00:00:00Z",
    }


async def test_a_key_without_limits_has_nothing_left_to_tell(stage: Stage) -> None:
    (shown,) = (await stage.get("/admin/v1/keys"))["keys"]

    told = ("requests_left", "tokens_left", "spent_usd", "reserved_usd", "left_usd", "renewed_at")
    assert [shown[name] for name in told] == [None] * 6
    assert KEY.digest.hex() not in str(shown)


async def test_a_budget_that_cannot_be_read_is_not_known(stage: Stage) -> None:
    def away(_: object) -> tuple[int, int]:
        raise LedgerError("the disk is gone")

    stage.keys, stage.money = (attrs.evolve(KEY, budget_nano=1),), away

    (shown,) = (await stage.get("/admin/v1/keys"))["keys"]

    assert (shown["spent_usd"], shown["left_usd"]) == (None, None)


# -- pools


async def test_a_pool_is_shown_in_the_words_of_pgbouncer(stage: Stage) -> None:
    stage.pools = (
        pool_of(
            "talk",
            cl_active=3,
            cl_waiting=2,
            sv_active=3,
            sv_idle=4,
            sv_tested=5,
            sv_login=6,
            maxwait_s=1.23456,
            slots_max=18,
            leases=100,
            reused=90,
        ),
    )

    page = await stage.get("/admin/v1/pools")

    assert page["pools"] == [
        {
            "account": "talk",
            "cl_active": 3,
            "cl_waiting": 2,
            "sv_active": 3,
            "sv_idle": 4,
            "sv_tested": 5,
            "sv_login": 6,
            "maxwait_s": 1.235,
            "slots_max": 18,
            "leases": 100,
            "reused": 90,
        }
    ]
    assert (page["total"], page["next_cursor"]) == (1, None)


async def test_without_such_accounts_there_are_no_pools(stage: Stage) -> None:
    page = await stage.get("/admin/v1/pools")

    assert page == {"pools": [], "total": 0, "next_cursor": None}


async def test_pools_come_in_pages(stage: Stage) -> None:
    stage.pools = tuple(map(pool_of, ("a", "b", "c")))

    first = await stage.get("/admin/v1/pools?limit=2")
    second = await stage.get(f"/admin/v1/pools?limit=2&cursor={first['next_cursor']}")
    reply = await stage.ask("GET", "/admin/v1/pools?cursor=gone")

    assert [each["account"] for each in first["pools"] + second["pools"]] == ["a", "b", "c"]
    assert (first["total"], second["next_cursor"]) == (3, None)
    assert (reply.status, error_of(reply)["param"]) == (400, "cursor")


async def test_a_page_of_pools_does_not_hold_the_loop(stage: Stage) -> None:
    stage.pools = tuple(pool_of(f"account-{number:04}") for number in range(1000))
    rounds = 0

    async def watch() -> None:
        nonlocal rounds
        while True:
            await trio.lowlevel.checkpoint()
            rounds += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        page = await stage.get("/admin/v1/pools?limit=1000")
        nursery.cancel_scope.cancel()

    assert len(page["pools"]) == 1000
    assert rounds > 1000 / SHOWN_PER_SLICE
