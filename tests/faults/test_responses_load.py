"""A crowd of Responses clients over a small pool, while its upstreams fail at random.

A tenth of the judged size by default; with ``RELAYD_LOAD=full`` in the environment 1,000 clients
of 20 turns each over 50 sockets an account. ``-s`` shows the figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, Final, Unpack

import attrs
import pytest
import trio
import trio.testing

from relayd.config.accounts import AccountSettings
from relayd.config.pools import PoolSettings
from relayd.config.providers import Provider
from relayd.config.schema import LedgerSettings, LimitSettings
from relayd.config.secret import Secret
from relayd.config.snapshot import Snapshot
from relayd.ledger.database import open_read_only
from relayd.observe import logs
from relayd.observe.bus import BusEvent, SessionEnded
from relayd.observe.events import LogEvent
from relayd.pool.pool import Pool
from relayd.pool.statistics import AccountPool
from relayd.sim.responses.scenario import Scenario
from tests.faults.harness import CLIENT_KEY, UPSTREAM_KEY, Options, Relay, Stage
from tests.faults.wire import SOON_S

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[2]
SEED: Final = 20261121
TURNS: Final = 20
PROGRAM_S_MAX: Final = 900.0
LOOK_EVERY_S: Final = 0.1

CUTTING: Final = {
    scenario.value
    for scenario in (
        Scenario.STRAY_EVENT,
        Scenario.STRAY_IDLE,
        Scenario.TERMINAL_TWICE,
        Scenario.CONNECTION_LIMIT,
        Scenario.RESTART_BEFORE_CREATED,
        Scenario.RESTART_1012,
        Scenario.RESTART_IDLE,
        Scenario.TRY_LATER_1013,
        Scenario.GOING_AWAY_1001,
        Scenario.RESET_BEFORE_CREATED,
        Scenario.RESET_MID_TURN,
        Scenario.HALF_FRAME,
        Scenario.BAD_UTF8,
        Scenario.BINARY_FRAME,
    )
}
"""What ends a socket at once, on which another turn may just have been told to its end."""


@attrs.frozen
class Size:
    """How many clients, over how many sockets of each of two accounts."""

    clients: int
    slots_max: int


SIZE: Final = Size(1000, 50) if os.environ.get("RELAYD_LOAD") == "full" else Size(100, 5)

LIMITS: Final = LimitSettings(
    handshakes_per_ip_max=SIZE.clients, handshake_s=60.0, admission_s=60.0, stall_s=30.0
)
"""All clients come at once, on a machine that may be busy with other things too."""


@attrs.define
class LoadStage(Stage):
    """A stage whose relayd has a small pool, where turns wait for as long as it takes."""

    def snapshot(self, *accounts: AccountSettings, **options: Unpack[Options]) -> Snapshot:
        """See :class:`~tests.faults.harness.Stage`."""
        settings = super().snapshot(*accounts, **options).settings
        pool = PoolSettings(slots_max=SIZE.slots_max, acquire_s=60.0, connect_s=30.0)
        return Snapshot.of(attrs.evolve(settings, pool=pool))


# -- the programs beside relayd


@attrs.define
class Far:
    """Upstreams with random faults, in a process of their own."""

    process: trio.Process
    _printed: bytes = b""

    @classmethod
    @asynccontextmanager
    async def side(cls, accounts: int) -> AsyncIterator[Far]:
        """So many of them; they end with the context."""
        turns_max = SIZE.clients * TURNS * 10
        command = [sys.executable, "-m", "tests.faults.responses_far", SEED, accounts, turns_max]
        run = partial(
            trio.run_process,
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        async with trio.open_nursery() as nursery:
            yield cls(await nursery.start(run))
            nursery.cancel_scope.cancel()

    async def lines(self, count: int) -> list[Any]:
        """The next lines that they print."""
        assert self.process.stdout is not None
        with trio.fail_after(PROGRAM_S_MAX):
            while self._printed.count(b"\n") < count:
                data = await self.process.stdout.receive_some()
                assert data, "the upstreams have ended"
                self._printed += data
        *lines, self._printed = self._printed.split(b"\n", count)
        return list(map(json.loads, lines))

    async def accounts(self, count: int) -> list[dict[str, Any]]:
        """What each of them has done; they end."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        return await self.lines(count)


async def crowd(address: str) -> dict[str, Any]:
    """What the clients report when all of them have left."""
    command = [sys.executable, "-m", "tests.faults.responses_crowd", address, CLIENT_KEY]
    numbers = map(str, (SIZE.clients, TURNS))
    with trio.fail_after(PROGRAM_S_MAX):
        ended = await trio.run_process([*command, *numbers], capture_stdout=True, cwd=ROOT)
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


# -- what is in relayd


def watch_pools(monkeypatch: pytest.MonkeyPatch) -> list[Pool]:
    """The pool of every relayd that is started from now on."""
    started: list[Pool] = []
    run = Pool.run

    async def noted(self: Pool) -> None:
        started.append(self)
        await run(self)

    monkeypatch.setattr(Pool, "run", noted)
    return started


@attrs.define
class Departures:
    """Counts the sessions that have ended: their leases are over then."""

    count: int = 0
    _one_more: trio.Event = attrs.field(factory=trio.Event)

    def hear(self, event: BusEvent) -> None:
        """For the bus."""
        if isinstance(event, SessionEnded):
            self.count += 1
            self._one_more.set()
            self._one_more = trio.Event()

    async def reached(self, count: int) -> None:
        """Wait for so many."""
        with trio.fail_after(SOON_S):
            while self.count < count:
                await self._one_more.wait()


def sockets(pool: AccountPool) -> int:
    """How many there are, of those that are being opened too."""
    return pool.sv_active + pool.sv_idle + pool.sv_tested + pool.sv_login


async def watch(pool: Pool, most: Counter[str]) -> None:
    """Note how many sockets and waiters each account has had at most."""
    while True:
        for account in pool.statistics():
            for word, count in (("sockets", sockets(account)), ("waiting", account.cl_waiting)):
                name = f"{word} of {account.account}"
                most[name] = max(most[name], count)
        await trio.sleep(LOOK_EVERY_S)


@attrs.frozen
class Written:
    """A row of the ledger."""

    reason: str
    tokens_in: int
    tokens_out: int
    estimated: bool


def ledger(path: Path) -> dict[str, Written]:
    """The rows of responses by their ids, of which none is there twice."""
    query = (
        "SELECT upstream_id, reason, tokens_in, tokens_out, estimated FROM rows"
        " WHERE upstream_id IS NOT NULL"
    )
    with closing(open_read_only(path)) as connection:
        rows = connection.execute(query).fetchall()
    written = {row[0]: Written(row[1], row[2], row[3], bool(row[4])) for row in rows}
    assert len(written) == len(rows)
    return written


# -- what holds


def check_requests(told: Mapping[str, Any]) -> None:
    """Every turn has ended, and each request with one end."""
    assert told["violations"] == []
    requests = told["requests"]
    outcomes = {"completed", "failed", "incomplete", "error", "crossed"}
    assert {request["outcome"] for request in requests} <= outcomes
    assert told["closes"].keys() <= {"1000"}, "only where an upstream's socket has reached its age"
    assert all(
        400 <= request["status"] < 600 for request in requests if request["outcome"] == "error"
    )
    first = [request for request in requests if request["repeat"] == 0]
    assert len(first) == SIZE.clients * TURNS


def check_count(far: Sequence[Mapping[str, Any]], written: Mapping[str, Written]) -> None:
    """The ledger has what the upstreams have told, by response."""
    told = {turn["response_id"]: turn for one in far for turn in one["turns"]}
    assert written.keys() <= told.keys()
    differing = Counter[str]()
    for response_id, turn in told.items():
        if response_id is not None and (wrong := difference(turn, written.get(response_id))):
            differing[wrong] += 1
    # A socket that is cut for one lane may hold the end of the other's turn, unread.
    cut = sum(turn["scenario"] in CUTTING for one in far for turn in one["turns"])
    assert differing.pop("unheard", 0) <= cut
    assert differing == Counter()


def difference(turn: Mapping[str, Any], row: Written | None) -> str | None:
    """What the ledger has otherwise."""
    if row is None or (turn["ending"] == "completed" and row.reason.startswith("upstream_")):
        return "unheard"
    usage = turn["told"]
    if turn["ending"] in {"completed", "failed", "incomplete"} and row.reason != turn["ending"]:
        return f"{turn['ending']} is {row.reason}"
    if usage is None:
        return None
    counts = (usage["input_tokens"], usage["output_tokens"])
    if row.estimated or counts != (row.tokens_in, row.tokens_out):
        return f"{turn['scenario']}: {counts} is {row}"
    return None


def check_seen(requests: Iterable[Mapping[str, Any]], written: Mapping[str, Written]) -> None:
    """What a client has seen begin is in the ledger, with the end that the client has seen."""
    for request in requests:
        if request["response_id"] is None:
            continue
        row = written[request["response_id"]]
        if request["outcome"] != "error":
            assert row.reason == request["outcome"], request
        else:
            assert row.reason not in {"completed", "incomplete"}, request


def figures(told: Mapping[str, Any], far: Sequence[Mapping[str, Any]], relay: Relay) -> str:
    """What is worth knowing."""
    requests = told["requests"]
    seconds = sorted(request["seconds"] for request in requests)
    faults = Counter(turn["scenario"] for one in far for turn in one["turns"])
    faults.pop("normal")
    errors = Counter(
        f"{request['status']} {request['code']}"
        for request in requests
        if request["outcome"] == "error"
    )
    slots = Counter(
        f"{line['event']} {line.get('reason', '')}".strip()
        for line in relay.log.of(
            LogEvent.SLOT_OPENED, LogEvent.SLOT_BROKEN, LogEvent.SLOT_ROTATED, LogEvent.SLOT_EVICTED
        )
    )
    return "\n".join(
        (
            f"{SIZE.clients} clients, {told['connections']} connections, {len(requests)} requests"
            f" in {told['seconds']} s; p50 {seconds[len(seconds) // 2]:.3f} s,"
            f" p99 {seconds[len(seconds) * 99 // 100]:.3f} s",
            f"ends: {dict(Counter(request['outcome'] for request in requests))}",
            f"errors: {dict(errors.most_common())}",
            f"faults: {dict(faults.most_common())}",
            f"slots: {dict(slots.most_common())}",
            f"closed by relayd: {told['closes']}, late events: {told['strays']}",
        )
    )


async def test_every_turn_ends_once_every_token_is_counted_and_no_slot_leaks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pools, gone, most = watch_pools(monkeypatch), Departures(), Counter[str]()
    path = tmp_path / "load.db"
    logs.configure("json", "info", stage.log)
    small = LoadStage(stage.folder, stage.log, stage.holds)
    async with Far.side(2) as far:
        (urls,) = await far.lines(1)
        accounts = [
            AccountSettings(
                name=provider.value,
                provider=provider,
                base_url=url,
                api_key=Secret(UPSTREAM_KEY),
            )
            for provider, url in zip((Provider.OPENAI, Provider.COMPATIBLE), urls, strict=True)
        ]
        ledger_file = LedgerSettings(url=f"sqlite:{path}")
        async with small.relay(*accounts, limits=LIMITS, ledger=ledger_file) as relay:
            await trio.testing.wait_all_tasks_blocked()
            (pool,) = pools
            relay.running.bus.subscribe(gone.hear)
            relay.nursery.start_soon(watch, pool, most)
            told = await crowd(relay.running.addresses[0])
            await gone.reached(told["connections"])
            left = pool.statistics()
            held = relay.hold.bytes_held
            relay.nursery.cancel_scope.cancel()
        done = await far.accounts(2)

    print(f"\n{figures(told, done, relay)}\nat most: {dict(most)}")
    for account in left:
        print(f"{account.account}: {account.reused} of {account.leases} leases on a used socket")
        busy = (account.cl_active, account.cl_waiting, account.sv_tested, account.sv_login)
        assert busy == (0, 0, 0, 0)
        assert account.sv_idle <= SIZE.slots_max
        assert most[f"sockets of {account.account}"] <= SIZE.slots_max
    assert held == 0
    assert [one["crashes"] for one in done] == [0, 0]
    written = ledger(path)
    check_requests(told)
    check_count(done, written)
    check_seen(told["requests"], written)
    late = sum(turn["scenario"] in CUTTING for one in done for turn in one["turns"])
    assert told["strays"] <= late
