"""How accounts are doing, in the dashboard's words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relayd.pool.statistics import AccountPool
from relayd.routing.classify import Failure, FailureKind
from relayd.routing.roster import Roster, Seat
from relayd.service.http.request import Request
from relayd.service.http.responses import Response
from relayd.service.hub.accounts import Accounts
from relayd.session.hub.identity import Identity
from tests.service.admin.stage import ACCOUNTS
from tests.service.hub.stage import OPERATOR, Asked, accounts_of

RATE = Failure(FailureKind.RATE_LIMITED, "rate_limit_exceeded", "slow down", 30.0)
FATAL = Failure(FailureKind.FATAL, "invalid_api_key", "the key is wrong")
LOST = Failure(FailureKind.UNREACHABLE, "upstream_lost", "it went away")


@pytest.fixture
def roster() -> Roster:
    return Roster.of(ACCOUNTS)


def fail(roster: Roster, failure: Failure, name: str = "talk") -> None:
    standing = roster.standing(name)
    assert standing is not None
    with Seat(standing, trio.current_time()) as seat:
        seat.fail(failure, trio.current_time(), jitter=0.0)


def listing(accounts: Accounts) -> Asked:
    async def handle(request: Request, who: Identity) -> Response:
        return await accounts.list_accounts(request)

    return Asked("GET", "/api/v1/accounts", handle, OPERATOR)


async def shown(roster: Roster, name: str = "talk", **parts: object) -> dict[str, Any]:
    page = await listing(accounts_of(roster, **parts)).get()
    (found,) = [each for each in page["data"] if each["name"] == name]
    said: dict[str, Any] = found
    return said


async def test_an_account_that_works(roster: Roster) -> None:
    assert await shown(roster) == {
        "name": "talk",
        "provider": "compatible",
        "dialects": ["realtime", "responses"],
        "state": "closed",
        "reason": None,
        "sessions": 0,
        "sessions_max": 0,
        "enabled": True,
        "until": None,
        "pool": None,
    }


async def test_one_with_sessions(roster: Roster) -> None:
    standing = roster.standing("echo")
    assert standing is not None
    with Seat(standing, 0.0):
        said = await shown(roster, "echo")

    assert (said["sessions"], said["sessions_max"]) == (1, 2)


async def test_one_that_is_off_has_no_moment_to_wait_for(roster: Roster) -> None:
    said = await shown(roster, "asleep")

    assert (said["state"], said["reason"]) == ("disabled", "configuration")
    assert (said["enabled"], said["until"]) == (False, None)


async def test_one_that_an_operator_took_off(roster: Roster) -> None:
    fail(roster, RATE)
    roster.override("talk", enabled=False)

    said = await shown(roster)

    assert (said["state"], said["reason"], said["until"]) == ("disabled", "operator", None)


async def test_one_that_failed_for_good(roster: Roster) -> None:
    fail(roster, FATAL)

    said = await shown(roster)

    assert (said["state"], said["reason"]) == ("disabled", "invalid_api_key")
    assert said["enabled"] is True


async def test_one_that_is_limited_says_until_when(
    roster: Roster, autojump_clock: MockClock
) -> None:
    fail(roster, RATE)

    said = await shown(roster)

    assert (said["state"], said["reason"]) == ("open", "rate_limited")
    assert said["until"] == "2027-01-15T08:00:30Z"

    await trio.sleep(31)

    assert (await shown(roster))["until"] is None


async def test_one_that_failed_too_often(roster: Roster) -> None:
    standing = roster.standing("talk")
    assert standing is not None
    while standing.health.breaker.admits(trio.current_time()):
        fail(roster, LOST)

    said = await shown(roster)

    assert (said["state"], said["reason"]) == ("open", "failures")


async def test_the_sockets_of_its_pool(roster: Roster) -> None:
    pool = AccountPool(
        account="talk",
        cl_active=1,
        cl_waiting=2,
        sv_active=3,
        sv_idle=4,
        sv_tested=5,
        sv_login=6,
        maxwait_s=0.25,
        slots_max=8,
        leases=9,
        reused=7,
    )

    def pools() -> Sequence[AccountPool]:
        return (pool,)

    said = await shown(roster, pools=pools)

    assert (said["pool"]["cl_waiting"], said["pool"]["sv_idle"]) == (2, 4)
    assert (await shown(roster, "echo", pools=pools))["pool"] is None


async def test_pages(roster: Roster) -> None:
    asked = listing(accounts_of(roster))

    first = await asked.get("?limit=2")
    second = await asked.get(f"?limit=2&cursor={first['next']}")

    assert [each["name"] for each in first["data"]] == ["talk", "echo"]
    assert ([each["name"] for each in second["data"]], second["next"]) == (["asleep"], None)


@pytest.mark.parametrize(
    ("query", "param"), [("?cursor=gone", "cursor"), ("?limit=0", "limit"), ("?name=talk", None)]
)
async def test_what_it_does_not_take_is_refused(
    roster: Roster, query: str, param: str | None
) -> None:
    reply = await listing(accounts_of(roster)).ask(query)

    assert (reply.status, json.loads(reply.body)["error"]["param"]) == (400, param)
