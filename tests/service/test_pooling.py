"""What the pool tells, and which accounts have one."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from trio.testing import MockClock

from relayd.config.accounts import UpstreamMode
from relayd.config.pools import PoolSettings
from relayd.config.providers import Provider
from relayd.config.schema import Settings
from relayd.config.snapshot import Account, Snapshot
from relayd.observe.events import LogEvent
from relayd.observe.logs import set_level
from relayd.pool.errors import DialTimeout
from relayd.pool.events import Broken, Outcome, PoolEvent, PoolEventKind, Refused, Rotated
from relayd.routing.classify import unreachable
from relayd.service import pooling
from relayd.service.pooling import Telling, pools_of, responses_accounts
from relayd.session.attempts import AttemptFailed
from relayd.transport.errors import DialError, DialErrorKind
from tests.conftest import LogLines
from tests.pool.fakes import give, staged
from tests.service.measured import pool_of

MAIN = Account(name="main", provider=Provider.OPENAI)


def happened(
    kind: PoolEventKind, reason: str = "", error: Exception | None = None, seconds: float = 0.25
) -> PoolEvent:
    return PoolEvent(kind, "main", 7, 2, reason, seconds, error)


@attrs.define
class Told:
    """Who hears of the pool beside the log."""

    heard: list[PoolEvent] = attrs.Factory(list)
    crashes: int = 0

    @property
    def telling(self) -> Telling:
        return Telling(self.heard.append, self._crashed)

    def _crashed(self) -> None:
        self.crashes += 1


SLOT = {"account": "main", "slot": 7, "generation": 2}


@pytest.mark.parametrize(
    ("event", "level", "fields"),
    [
        (happened(PoolEventKind.SLOT_OPENED), "info", SLOT | {"duration_ms": 250.0}),
        (
            happened(PoolEventKind.SLOT_BROKEN, Broken.PEER_GONE),
            "warning",
            SLOT | {"reason": "peer_gone"},
        ),
        (
            happened(PoolEventKind.SLOT_ROTATED, Rotated.AGE_MAX),
            "info",
            SLOT | {"reason": "age_max"},
        ),
        (happened(PoolEventKind.SLOT_EVICTED, Rotated.OTHER_IDENTITY), "info", SLOT),
        (happened(PoolEventKind.LEASE_WAITED), "info", SLOT | {"wait_ms": 250.0}),
        (
            happened(PoolEventKind.LEASE_REFUSED, Refused.ACQUIRE_TIMEOUT),
            "warning",
            {"account": "main", "reason": "acquire_timeout", "wait_ms": 250.0},
        ),
        (
            happened(PoolEventKind.LEASE_RELEASED, Outcome.YIELDED),
            "debug",
            SLOT | {"outcome": "yielded", "duration_ms": 250.0},
        ),
    ],
    ids=lambda value: value.kind.value if isinstance(value, PoolEvent) else "",
)
def test_what_happens_has_one_line_and_is_heard_of(
    log_lines: LogLines, event: PoolEvent, level: str, fields: dict[str, object]
) -> None:
    told = Told()

    told.telling(event)

    (line,) = log_lines.all
    assert (line.pop("event"), line.pop("level")) == (event.kind.value, level)
    del line["ts"]
    assert line == fields
    assert (told.heard, told.crashes) == ([event], 0)


def test_a_line_for_each_lease_is_made_only_where_it_is_wanted(
    log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, made = Told(), list[str]()
    monkeypatch.setattr(pooling.log, "debug", lambda name, **fields: made.append(name))
    set_level("info")

    for kind in (PoolEventKind.LEASE_RELEASED, PoolEventKind.SLOT_OPENED):
        told.telling(happened(kind, Outcome.YIELDED))

    assert made == []
    assert [line["event"] for line in log_lines.all] == [LogEvent.SLOT_OPENED]
    assert len(told.heard) == 2


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (AttemptFailed(unreachable("http_503", "busy")), "http_503", "busy"),
        (DialTimeout("it took too long"), "connect_timeout", "it took too long"),
        (
            DialError(DialErrorKind.RESOURCES_EXHAUSTED, "no descriptor"),
            "resources_exhausted",
            "no descriptor",
        ),
    ],
)
def test_why_a_socket_could_not_be_opened_ahead_of_need_is_said(
    log_lines: LogLines, error: Exception, reason: str, message: str
) -> None:
    told = Told()

    told.telling(happened(PoolEventKind.SLOT_BROKEN, Broken.DIAL_FAILED, error))

    (failed,) = log_lines.of(LogEvent.UPSTREAM_FAILED)
    assert (failed["session_id"], failed["dialect"], failed["account"]) == (
        None,
        "responses",
        "main",
    )
    assert (failed["reason"], failed["message"]) == (reason, message)
    assert told.crashes == 0


@pytest.mark.parametrize("reason", [Broken.CRASHED, Broken.DIAL_FAILED])
def test_a_bug_is_counted_and_has_its_traceback(log_lines: LogLines, reason: Broken) -> None:
    told = Told()

    told.telling(happened(PoolEventKind.SLOT_BROKEN, reason, ZeroDivisionError("a bug")))

    (crashed,) = log_lines.of(LogEvent.SESSION_CRASHED)
    assert "ZeroDivisionError" in str(crashed["traceback"])
    assert told.crashes == 1
    assert len(told.heard) == 1


# -- which pools there are


def snapshot_of(*accounts: Account, slots_max: int = 3) -> Snapshot:
    settings = Settings(pool=PoolSettings(slots_max=slots_max))
    return Snapshot(settings=settings, keys={}, accounts=accounts)


@pytest.mark.parametrize(
    ("change", "is_there"),
    [
        (lambda account: account, True),
        (lambda account: attrs.evolve(account, enabled=False), False),
        (lambda account: attrs.evolve(account, websocket=UpstreamMode.OFF), False),
        (lambda account: attrs.evolve(account, provider=Provider.WEBSOCKET), False),
    ],
)
async def test_an_account_has_a_pool_where_turns_may_go_to_it(
    change: Callable[[Account], Account], is_there: bool
) -> None:
    snapshot = snapshot_of(change(MAIN))

    async with staged(accounts=responses_accounts(snapshot)) as stage:
        pools = pools_of(stage.pool, snapshot)

    assert pools == ((pool_of(slots_max=3),) if is_there else ())


async def test_pools_are_sorted_by_name_used_or_not(autojump_clock: MockClock) -> None:
    names = ("zeta", "main", "alpha")
    snapshot = snapshot_of(*(attrs.evolve(MAIN, name=name) for name in names))
    gone = attrs.evolve(MAIN, name="gone")

    async with staged(accounts=responses_accounts(snapshot)) as stage:
        (main,) = (account for account in snapshot.accounts if account.name == "main")
        kept, held = await stage.acquire(account=main), await stage.acquire(account=main)
        leaving = await stage.acquire(account=gone)
        assert give(kept)
        pools = pools_of(stage.pool, snapshot)
        assert give(held)
        assert give(leaving)

    assert [pool.account for pool in pools] == ["alpha", "gone", "main", "zeta"]
    shown = pools[2]
    assert (shown.sv_active, shown.sv_idle, shown.leases, shown.reused) == (1, 1, 2, 0)
