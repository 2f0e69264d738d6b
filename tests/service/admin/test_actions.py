"""What operators can do, and what is said and logged of it."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.mistakes import Mistake
from relayd.core.endings import Reason
from relayd.core.refusals import RefusalCode
from relayd.observe.bus import AccountChanged, AccountStanding, BusEvent
from relayd.observe.events import LogEvent
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.routing.roster import Seat
from relayd.service.difference import Changes, Difference, ReloadOutcome
from relayd.session.attempts import AttemptFailed
from tests.conftest import LogLines
from tests.service.admin.stage import Stage, error_of

FATAL = Failure(FailureKind.FATAL, "invalid_api_key", "the key is wrong")


async def post(stage: Stage, path: str, status: int = 200) -> dict[str, Any]:
    """The JSON of the answer, which has ``status``."""
    reply = await stage.ask("POST", f"/admin/v1/{path}")
    assert reply.status == status, reply.body
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


def fail(stage: Stage, name: str, failure: Failure) -> None:
    standing = stage.roster.standing(name)
    assert standing is not None
    with Seat(standing, trio.current_time()) as seat:
        seat.fail(failure, trio.current_time())


# -- sessions


async def test_a_session_is_killed_and_no_other(stage: Stage) -> None:
    killed, other = stage.session(1), stage.session(2)

    assert await post(stage, "sessions/sess_1/kill", 202) == {
        "session_id": "sess_1",
        "reason": "killed",
    }

    assert (killed.leaving, other.leaving) == (Reason.KILLED, None)


async def test_a_session_that_does_not_run_cannot_be_killed(stage: Stage) -> None:
    answer = await post(stage, "sessions/sess_1/kill", 404)

    assert answer["error"]["code"] == "not_found"


# -- accounts


async def test_disabling_lasts_until_the_next_configuration(
    stage: Stage, log_lines: LogLines
) -> None:
    answer = await post(stage, "accounts/talk/disable")

    assert (answer["account"]["state"], answer["account"]["overridden"]) == ("off", True)
    assert answer["message"] == "it takes no new session until the next reload or restart"
    assert answer["probe"] is None
    assert stage.roster.serving("realtime", None) == ()
    (line,) = log_lines.of(LogEvent.ACCOUNT_DISABLED)
    assert (line["account"], line["reason"]) == ("talk", "operator")

    stage.roster.update(stage.accounts)

    assert [each.account.name for each in stage.roster.serving("realtime", None)] == ["talk"]


async def test_what_operators_do_to_accounts_is_told_as_it_stands_then(stage: Stage) -> None:
    heard: list[BusEvent] = []
    stage.connector.bus.subscribe(heard.append)
    await post(stage, "accounts/talk/disable")
    await post(stage, "accounts/talk/disable")
    await post(stage, "accounts/talk/enable")
    fail(stage, "talk", Failure(FailureKind.RATE_LIMITED, "rate_limit_exceeded", "slower", 60.0))
    await post(stage, "accounts/talk/enable")

    closed = AccountChanged(account="talk", state=AccountStanding.CLOSED)
    off = attrs.evolve(closed, state=AccountStanding.DISABLED, reason="operator")
    assert heard == [off, closed, closed]


async def test_disabling_twice_is_said_once_and_sessions_go_on(
    stage: Stage, log_lines: LogLines
) -> None:
    standing = stage.roster.standing("talk")
    assert standing is not None
    with Seat(standing, trio.current_time()):
        await post(stage, "accounts/talk/disable")
        answer = await post(stage, "accounts/talk/disable")

        assert answer["message"].endswith("restart; 1 session under way there may go on")
        assert answer["account"]["sessions"] == 1
    assert len(log_lines.of(LogEvent.ACCOUNT_DISABLED)) == 1


async def test_what_the_configuration_disables_is_disabled(
    stage: Stage, log_lines: LogLines
) -> None:
    answer = await post(stage, "accounts/asleep/disable")

    assert answer["message"] == "the configuration disables it"
    assert answer["account"]["overridden"] is False
    assert log_lines.of(LogEvent.ACCOUNT_DISABLED) == []


async def test_enabling_undoes_disabling_and_dials_at_once(
    stage: Stage, log_lines: LogLines
) -> None:
    await post(stage, "accounts/talk/disable")

    answer = await post(stage, "accounts/talk/enable")

    assert (answer["account"]["state"], answer["account"]["overridden"]) == ("ready", False)
    assert answer["message"] == "it takes sessions"
    assert answer["probe"] == {
        "ok": True,
        "reason": None,
        "message": None,
        "connect_ms": 12.3,
        "first_frame_ms": 5.0,
    }
    assert stage.connector.dialled == ["talk"]
    (line,) = log_lines.of(LogEvent.ACCOUNT_ENABLED)
    assert (line["account"], line["cause"]) == ("talk", "operator")


@pytest.mark.parametrize(
    "failure",
    [
        FATAL,
        Failure(FailureKind.RATE_LIMITED, "rate_limit_exceeded", "slow down", 40.0),
        unreachable("connect_timeout", "no answer"),
    ],
)
async def test_enabling_forgets_what_stood_against_it(
    autojump_clock: MockClock, stage: Stage, failure: Failure
) -> None:
    for _ in range(5 if failure.kind is FailureKind.UNREACHABLE else 1):
        fail(stage, "echo", failure)
    before = (await stage.get("/admin/v1/accounts"))["accounts"][1]

    answer = await post(stage, "accounts/echo/enable")

    assert before["takes_sessions"] is False
    assert (answer["account"]["state"], answer["account"]["takes_sessions"]) == ("ready", True)
    assert answer["account"]["retry_at"] is None
    assert answer["probe"]["first_frame_ms"] is None, "passthrough waits for none"


async def test_a_probe_that_fails_counts_as_any_session_s_attempt(
    stage: Stage, log_lines: LogLines
) -> None:
    fail(stage, "talk", FATAL)
    stage.connector.failures["talk"] = AttemptFailed(FATAL)

    answer = await post(stage, "accounts/talk/enable")

    assert answer["probe"]["ok"] is False
    assert answer["probe"]["reason"] == "invalid_api_key"
    assert "the probe failed" in answer["message"]
    assert answer["account"]["state"] == "disabled"
    events = [line["event"] for line in log_lines.all if line["event"].startswith("account.")]
    assert events == ["account.enabled", "account.disabled"]


async def test_what_relayd_itself_lacks_is_not_the_account_s_fault(stage: Stage) -> None:
    failed = AttemptFailed(unreachable("resources_exhausted", "no"), RefusalCode.OVERLOAD)
    stage.connector.failures["talk"] = failed

    answer = await post(stage, "accounts/talk/enable")

    assert (answer["probe"]["ok"], answer["account"]["error_average"]) == (False, 0.0)


async def test_an_account_may_be_enabled_that_the_configuration_disables(stage: Stage) -> None:
    stage.accounts = (attrs.evolve(stage.accounts[0], enabled=False),)
    stage.roster.update(stage.accounts)

    answer = await post(stage, "accounts/talk/enable")

    assert (answer["account"]["state"], answer["account"]["overridden"]) == ("ready", True)
    assert answer["message"].endswith("disables it, so until the next reload or restart")


async def test_a_simulated_upstream_that_was_not_started_cannot_be_enabled(stage: Stage) -> None:
    answer = await post(stage, "accounts/asleep/enable", 409)

    assert answer["error"]["code"] == "account_not_started"
    assert stage.connector.dialled == []


@pytest.mark.parametrize("action", ["enable", "disable"])
async def test_an_account_that_is_not_there_is_404(stage: Stage, action: str) -> None:
    for name in ("nobody", "Talk", "talk%00", "%2e%2e"):
        reply = await stage.ask("POST", f"/admin/v1/accounts/{name}/{action}")

        assert reply.status in {400, 404}
        assert error_of(reply)["param"] == "name"


# -- the whole


async def test_a_drain_is_begun_and_told(stage: Stage) -> None:
    stage.session(1)
    async with stage.client() as client:
        await client.send(b"POST /admin/v1/drain HTTP/1.1\r\nHost: x\r\n\r\n")
        reply = await client.reply("POST")

    assert json.loads(reply.body) == {"draining": True, "sessions": 1, "drain_s": 30.0}
    assert reply.status == 202
    assert stage.done == ["drain"]


async def test_a_drain_begins_even_if_nobody_waits_for_the_answer(stage: Stage) -> None:
    async with stage.client() as client:
        await client.send(b"POST /admin/v1/drain HTTP/1.1\r\nHost: x\r\n\r\n")
        client.finish()

    assert stage.done == ["drain"]


async def test_looking_does_not_drain(stage: Stage) -> None:
    await stage.get("/admin/v1/sessions")

    assert stage.done == []


async def test_a_reload_tells_what_it_changed(stage: Stage) -> None:
    stage.outcome = ReloadOutcome(
        difference=Difference(
            keys=Changes(added=("new",), removed=("old", "older")),
            accounts=Changes(changed=("talk",)),
            listeners_added=("127.0.0.1:1",),
        ),
        postponed=("server.admin",),
        duration_ms=12.5,
    )

    assert await post(stage, "reload") == {
        "applied": True,
        "keys": {"added": ["new"], "changed": [], "removed": ["old", "older"]},
        "accounts": {"added": [], "changed": ["talk"], "removed": []},
        "listeners_added": ["127.0.0.1:1"],
        "listeners_removed": [],
        "postponed": ["server.admin"],
        "duration_ms": 12.5,
    }


@pytest.mark.parametrize("count", [1, 2])
async def test_a_reload_that_is_refused_tells_every_mistake(stage: Stage, count: int) -> None:
    mistakes = (Mistake("limits.stall_s", "too small"), Mistake("", "no TOML", "prices.toml"))
    stage.outcome = ReloadOutcome(mistakes=mistakes[:count])

    answer = await post(stage, "reload", 422)

    assert answer["error"]["code"] == "config_refused"
    assert ("2 mistakes" in answer["error"]["message"]) is (count == 2)
    assert (
        answer["mistakes"]
        == [
            {"path": "limits.stall_s", "message": "too small", "file": None},
            {"path": "", "message": "no TOML", "file": "prices.toml"},
        ][:count]
    )


async def test_while_relayd_drains_it_is_not_reloaded(stage: Stage) -> None:
    stage.draining = True

    answer = await post(stage, "reload", 409)

    assert answer["error"]["code"] == "draining"
    assert stage.done == []


@pytest.mark.parametrize("path", ["drain", "reload", "accounts/talk/disable", "sessions/x/kill"])
async def test_an_action_with_a_parameter_it_does_not_know_does_nothing(
    stage: Stage, path: str
) -> None:
    answer = await post(stage, f"{path}?force=1", 400)

    assert "force" in answer["error"]["message"]
    assert stage.done == []
    assert (await stage.get("/admin/v1/accounts"))["accounts"][0]["state"] == "ready"
