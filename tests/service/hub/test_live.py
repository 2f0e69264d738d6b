"""What runs, as its tenant and as an operator sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import relayd
from relayd.config.keys import Role
from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.observe.bus import SessionFacts
from relayd.protocol.directions import ClientFlow
from relayd.service.hub.live import Live
from relayd.session.hub.identity import Identity
from relayd.session.reporter import Timing
from tests.service.admin.stage import PlayedEndpoint, PlayedMeter, PlayedReporter, PlayedSession
from tests.service.http.stage import Reply
from tests.service.hub.stage import OPERATOR, STARTED_AT, USER, Asked, identity, live_of, token

Sessions = dict[str, PlayedSession]


@pytest.fixture
def sessions() -> Sessions:
    return {}


def begin(
    sessions: Sessions, number: int, *, began_at: float = 0.0, **facts: str | None
) -> PlayedSession:
    """One more session, ``sess_<number>``."""
    given: dict[str, Any] = {
        "session_id": f"sess_{number}",
        "dialect": "realtime",
        "key": "dev",
        "tenant": "team",
        "account": "talk",
        "model": "gpt-realtime",
    }
    timing = Timing(accepted_at=began_at, started_at=began_at, connect_ms=1.0, first_frame_ms=None)
    made = PlayedSession(PlayedReporter(SessionFacts(**(given | facts)), timing, PlayedMeter()))
    sessions[f"sess_{number}"] = made
    return made


def listing(live: Live, who: Identity = USER) -> Asked:
    return Asked("GET", "/api/v1/sessions", live.list_sessions, who)


def code_of(reply: Reply) -> tuple[int, str]:
    error = json.loads(reply.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return reply.status, error["code"]


async def ids(asked: Asked, query: str = "") -> list[str]:
    return [each["session_id"] for each in (await asked.get(query))["data"]]


# -- who asks


async def test_a_key_sees_who_it_is() -> None:
    said = await Asked("GET", "/api/v1/me", live_of().me).get()

    assert said == {
        "name": "team-user",
        "tenant": "team",
        "role": "user",
        "topics": None,
        "publish": [],
        "expires_at": None,
        "version": relayd.__version__,
    }


async def test_a_token_sees_what_it_is_good_for_and_until_when() -> None:
    who = token("workflow:a", "session:*", publish=("workflow:a",))
    said = await Asked("GET", "/api/v1/me", live_of().me, who).get()

    assert (said["name"], said["role"]) == ("jwt:ann", "publisher")
    assert (said["topics"], said["publish"]) == (["workflow:a", "session:*"], ["workflow:a"])
    assert said["expires_at"] == "2027-01-15T08:01:00Z"


async def test_nobody_on_the_way_keeps_an_answer() -> None:
    reply = await Asked("GET", "/api/v1/me", live_of().me).ask()

    assert reply.headers["cache-control"] == "no-store"


# -- sessions


async def test_a_session_as_its_tenant_sees_it(
    sessions: Sessions, autojump_clock: MockClock
) -> None:
    played = begin(sessions, 1, began_at=trio.current_time())
    played.client = PlayedEndpoint(ClientFlow(message_max_bytes=9, hold=HoldBudget(9)))
    played.client.flow.messages = 7  # type: ignore[union-attr]  # it was just set
    played.conversation.busy = True
    await trio.sleep(2.5)

    (said,) = (await listing(live_of(sessions)).get())["data"]

    assert said == {
        "session_id": "sess_1",
        "dialect": "realtime",
        "key": "dev",
        "tenant": "team",
        "account": "talk",
        "model": "gpt-realtime",
        "state": "busy",
        "started_at": "2027-01-15T07:59:57.500000Z",
        "duration_s": 2.5,
        "turns": 0,
        "messages_up": 7,
        "messages_down": 0,
        "client_address": None,
    }


async def test_an_operator_sees_where_it_comes_from(sessions: Sessions) -> None:
    begin(sessions, 1)
    begin(sessions, 2, account="")

    first, second = (await listing(live_of(sessions), OPERATOR).get())["data"]

    assert (first["account"], second["account"]) == ("talk", None)
    assert first["client_address"] == second["client_address"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("busy", "leaving", "state"),
    [(False, None, "idle"), (True, Reason.DRAIN, "leaving"), (False, Reason.KILLED, "leaving")],
)
async def test_the_state_of_a_session(
    sessions: Sessions, busy: bool, leaving: Reason | None, state: str
) -> None:
    played = begin(sessions, 1)
    played.conversation.busy, played.leaving = busy, leaving

    (said,) = (await listing(live_of(sessions)).get())["data"]

    assert said["state"] == state


async def test_a_tenant_sees_its_own_and_an_operator_all(sessions: Sessions) -> None:
    begin(sessions, 1)
    begin(sessions, 2, tenant="rival")
    live = live_of(sessions)

    assert await ids(listing(live)) == ["sess_1"]
    assert await ids(listing(live, identity(Role.PUBLISHER))) == ["sess_1"]
    assert await ids(listing(live, identity(tenant="rival"))) == ["sess_2"]
    assert await ids(listing(live, token())) == ["sess_1"]
    assert await ids(listing(live, OPERATOR)) == ["sess_1", "sess_2"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?key=other", ["sess_2"]),
        ("?dialect=responses", ["sess_3"]),
        ("?model=gpt-realtime&key=dev", ["sess_1", "sess_4"]),
        ("?tenant=rival", ["sess_4"]),
        ("?account=echo", ["sess_2"]),
        ("?key=nobody", []),
    ],
)
async def test_filters_of_an_operator(sessions: Sessions, query: str, shown: list[str]) -> None:
    begin(sessions, 1)
    begin(sessions, 2, key="other", account="echo")
    begin(sessions, 3, dialect="responses", account="", model=None)
    begin(sessions, 4, tenant="rival")

    assert await ids(listing(live_of(sessions), OPERATOR), query) == shown


@pytest.mark.parametrize("query", ["?tenant=rival", "?api_key=x", "?limt=2"])
async def test_a_user_cannot_ask_for_what_it_may_not_see(sessions: Sessions, query: str) -> None:
    reply = await listing(live_of(sessions)).ask(query)

    assert code_of(reply) == (400, "invalid_parameter")


async def test_who_only_follows_events_can_be_left_out(sessions: Sessions) -> None:
    begin(sessions, 1)
    begin(sessions, 2, dialect="hub", account="", model=None)
    live = live_of(sessions)

    assert await ids(listing(live, OPERATOR), "?listeners=false") == ["sess_1"]
    assert await ids(listing(live, OPERATOR), "?listeners=true") == ["sess_1", "sess_2"]
    refused = await listing(live, OPERATOR).ask("?listeners=no")
    assert code_of(refused) == (400, "invalid_parameter")


async def test_pages_follow_each_other_while_sessions_come_and_go(sessions: Sessions) -> None:
    for number in range(10, 20):
        begin(sessions, number, began_at=float(number // 3))
    asked, seen, cursor = listing(live_of(sessions)), [], ""
    while True:
        page = await asked.get(f"?limit=3{cursor}")
        seen += [each["session_id"] for each in page["data"]]
        if page["next"] is None:
            break
        sessions.pop(seen[-1])  # the one that the cursor names
        cursor = f"&cursor={page['next']}"

    assert seen == [f"sess_{number}" for number in range(10, 20)]


async def test_what_began_at_once_comes_in_one_order(sessions: Sessions) -> None:
    for number in (3, 1, 2):
        begin(sessions, number)

    assert await ids(listing(live_of(sessions))) == ["sess_1", "sess_2", "sess_3"]


async def test_a_last_page_that_is_just_full_has_no_next(sessions: Sessions) -> None:
    for number in range(3):
        begin(sessions, number)
    begin(sessions, 9, tenant="rival")

    page = await listing(live_of(sessions)).get("?limit=3")

    assert (len(page["data"]), page["next"]) == (3, None)


async def test_a_session_that_ends_meanwhile_is_left_out(sessions: Sessions) -> None:
    for number in range(100, 400):
        begin(sessions, number, began_at=float(number))
    asked = listing(live_of(sessions))
    async with asked.client() as client:
        await client.send(b"GET /api/v1/sessions?limit=1000 HTTP/1.1\r\nHost: h\r\n\r\n")
        while not client.has_more() and len(sessions) > 1:
            sessions.popitem()
            await trio.lowlevel.checkpoint()
        data = json.loads((await client.reply()).body)["data"]

    assert 0 < len(data) < 300


@pytest.mark.parametrize("cursor", ["x", "1.0", "@sess_1", ""])
async def test_what_is_no_cursor_is_refused(sessions: Sessions, cursor: str) -> None:
    reply = await listing(live_of(sessions)).ask(f"?cursor={cursor}")

    assert code_of(reply) == (400, "invalid_parameter")
    assert json.loads(reply.body)["error"]["param"] == "cursor"


@pytest.mark.parametrize("cursor", ["inf@x", "nan@x", "1e999@x"])
async def test_a_cursor_that_names_no_moment_shows_nothing(sessions: Sessions, cursor: str) -> None:
    begin(sessions, 1)

    assert await ids(listing(live_of(sessions)), f"?cursor={cursor}") == []


# -- figures


async def test_the_overview_is_of_the_tenant_or_of_all() -> None:
    asked: list[str | None] = []

    def figures(tenant: str | None) -> dict[str, object]:
        asked.append(tenant)
        return {"now": {"sessions": 2}, "reasons": {}}

    live = live_of(figures=figures)
    said = await Asked("GET", "/api/v1/overview", live.overview).get()
    await Asked("GET", "/api/v1/overview", live.overview, OPERATOR).get()

    assert asked == ["team", None]
    assert STARTED_AT == 1_799_996_400
    assert said == {
        "at": "2027-01-15T08:00:00Z",
        "tenant": "team",
        "role": "user",
        "version": relayd.__version__,
        "started_at": "2027-01-15T07:00:00Z",
        "draining": False,
        "now": {"sessions": 2},
        "reasons": {},
    }


@pytest.mark.parametrize("what", ["overview", "list_sessions"])
@pytest.mark.parametrize(
    "topics", [("workflow:x",), ("session:*", "workflow:*"), ("tenant:other",)]
)
async def test_a_narrowed_token_does_not_see_its_whole_tenant(
    what: str, topics: tuple[str, ...]
) -> None:
    asked = Asked("GET", "/x", getattr(live_of(), what), token(*topics))

    assert code_of(await asked.ask()) == (403, "role_not_allowed")


@pytest.mark.parametrize("topics", [("*",), ("tenant:team",), ("tenant:*",)])
async def test_one_that_may_follow_its_tenant_does(topics: tuple[str, ...]) -> None:
    asked = Asked("GET", "/x", live_of().overview, token(*topics))

    assert (await asked.get())["tenant"] == "team"


# -- what operators alone can do


@pytest.mark.parametrize(
    "who", [USER, identity(Role.PUBLISHER), token(), token("*", publish=("*",))]
)
async def test_accounts_and_killing_are_for_operators(sessions: Sessions, who: Identity) -> None:
    played = begin(sessions, 1)
    live = live_of(sessions)
    killing = Asked("POST", "/api/v1/sessions/{session_id}/kill", live.kill, who)

    assert code_of(await Asked("GET", "/x", live.list_accounts, who).ask()) == (
        403,
        "role_not_allowed",
    )
    assert code_of(await killing.ask("/api/v1/sessions/sess_1/kill")) == (403, "role_not_allowed")
    assert played.leaving is None


async def test_an_operator_ends_a_session_and_no_other(sessions: Sessions) -> None:
    killed, other = begin(sessions, 1, tenant="rival"), begin(sessions, 2)
    asked = Asked("POST", "/api/v1/sessions/{session_id}/kill", live_of(sessions).kill, OPERATOR)

    reply = await asked.ask("/api/v1/sessions/sess_1/kill")

    assert (reply.status, json.loads(reply.body)) == (
        202,
        {"session_id": "sess_1", "reason": "killed"},
    )
    assert (killed.leaving, other.leaving) == (Reason.KILLED, None)


async def test_a_session_that_does_not_run_cannot_be_ended(sessions: Sessions) -> None:
    asked = Asked("POST", "/api/v1/sessions/{session_id}/kill", live_of(sessions).kill, OPERATOR)

    assert code_of(await asked.ask("/api/v1/sessions/sess_9/kill")) == (404, "not_found")


async def test_an_operator_sees_the_accounts() -> None:
    said = await Asked("GET", "/api/v1/accounts", live_of().list_accounts, OPERATOR).get()

    assert [each["name"] for each in said["data"]] == ["talk", "echo", "asleep"]
