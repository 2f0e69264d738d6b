"""Whether relayd is ready, and what ``/readyz?verbose`` says of each check."""

from __future__ import annotations

import json
import os
import resource
from typing import Any

import attrs
import pytest
import trio

from relayd.routing.roster import Roster
from relayd.service.admin.readiness import Readiness, account_checks, descriptor_check
from tests.service.admin.stage import ACCOUNTS, READY, Stage

FLAGS = {"draining": False, "overloaded": False, "ledger_failing": False}


async def ready(stage: Stage, query: str = "", *, probes_only: bool = False) -> tuple[int, Any]:
    """Status and JSON of ``/readyz``."""
    async with stage.client(admin=stage.admin(probes_only=probes_only)) as client:
        reply = await client.ask("GET", f"/readyz{query}")
    return reply.status, json.loads(reply.body)


async def checks_of(stage: Stage) -> dict[str, dict[str, Any]]:
    _, said = await ready(stage, "?verbose")
    return {check["name"]: check for check in said["checks"]}


@pytest.mark.parametrize("flag", [None, *FLAGS])
@pytest.mark.parametrize("probes_only", [True, False])
async def test_it_says_whether_connections_are_welcome_and_why_not(
    stage: Stage, flag: str | None, probes_only: bool
) -> None:
    flags = FLAGS | ({flag: True} if flag else {})
    stage.readiness = Readiness(**flags)

    status, said = await ready(stage, probes_only=probes_only)

    assert status == (503 if flag else 200)
    assert said == {"ready": flag is None, **flags}


async def test_relayd_lives_even_when_it_is_not_ready(stage: Stage) -> None:
    stage.readiness = Readiness(draining=True, overloaded=True, ledger_failing=True)

    assert await stage.get("/livez") == {"live": True}


async def test_verbose_names_every_check(stage: Stage) -> None:
    checks = await checks_of(stage)

    assert list(checks) == [
        *("draining", "overloaded", "ledger", "state"),
        *("accounts.realtime", "accounts.responses", "accounts.passthrough", "descriptors"),
    ]
    assert all(check["ok"] and check["remedy"] is None for check in checks.values())
    assert checks["accounts.realtime"]["message"] == "1 of 1 accounts take sessions"


@pytest.mark.parametrize(
    ("flag", "name"),
    [("draining", "draining"), ("overloaded", "overloaded"), ("ledger_failing", "ledger")],
)
async def test_a_check_that_fails_has_a_remedy(stage: Stage, flag: str, name: str) -> None:
    stage.readiness = attrs.evolve(READY, **{flag: True})

    checks = await checks_of(stage)

    assert [each for each in checks if not checks[each]["ok"]] == [name]
    assert checks[name]["required"]
    assert checks[name]["remedy"]


@pytest.mark.parametrize("closed", [True, False])
async def test_a_store_that_is_away_counts_only_where_limits_are_closed_without_it(
    stage: Stage, closed: bool
) -> None:
    stage.readiness = attrs.evolve(READY, state_failing=True, state_closed=closed)

    status, _ = await ready(stage)
    checks = await checks_of(stage)

    assert status == (503 if closed else 200)
    assert (checks["state"]["ok"], checks["state"]["required"]) == (False, closed)


async def test_one_dialect_without_an_account_does_not_keep_the_others_clients_away(
    stage: Stage,
) -> None:
    stage.roster.override("talk", enabled=False)
    stage.roster.override("asleep", enabled=True)
    asleep = stage.roster.standing("asleep")
    assert asleep is not None
    asleep.health.cooled_until = trio.current_time() + 60

    status, _ = await ready(stage)
    checks = await checks_of(stage)

    assert status == 200
    assert (checks["accounts.realtime"]["ok"], checks["accounts.passthrough"]["ok"]) == (
        False,
        True,
    )
    assert checks["accounts.realtime"]["message"] == "none of 1 accounts takes sessions"


async def test_without_any_account_that_takes_sessions_relayd_is_of_no_use() -> None:
    roster = Roster.of(ACCOUNTS)
    for standing in roster.standings():
        standing.health.cooled_until = trio.current_time() + 60

    checks = await account_checks(roster)

    assert [(check.ok, check.required) for check in checks] == [(False, True)] * 3


async def test_without_any_enabled_account_it_says_so() -> None:
    (check,) = await account_checks(Roster.of([attrs.evolve(ACCOUNTS[0], enabled=False)]))

    assert (check.ok, check.required, check.message) == (False, True, "no account is enabled")


async def test_many_accounts_are_looked_at_in_slices() -> None:
    many = [attrs.evolve(ACCOUNTS[0], name=f"a{number}") for number in range(5000)]
    roster, rounds = Roster.of(many), 0

    async def watch() -> None:
        nonlocal rounds
        while True:
            await trio.lowlevel.checkpoint()
            rounds += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await account_checks(roster)
        nursery.cancel_scope.cancel()

    assert rounds >= 3


@pytest.mark.parametrize("told", [True, False])
async def test_descriptors_are_counted_on_old_kernels_too(
    monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    stat = os.stat_result((0, 0, 0, 0, 0, 0, 7 if told else 0, 0, 0, 0))
    monkeypatch.setattr(os, "stat", lambda path: stat)
    monkeypatch.setattr(os, "listdir", lambda path: ["0"] * soft)

    check = await descriptor_check()

    assert check.ok is told
    assert check.message == f"{7 if told else soft} of {soft} descriptors are open"
    assert (check.remedy is None) is told
