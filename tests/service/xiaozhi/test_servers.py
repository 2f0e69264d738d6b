"""Which server is asked, and which one next."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.providers import Dialect
from relayd.config.snapshot import Account
from relayd.dialect.xiaozhi_build import Build
from relayd.dialect.xiaozhi_identity import Identity
from relayd.observe.bus import AccountFailed
from relayd.observe.events import LogEvent
from relayd.routing.classify import Failure, FailureKind
from relayd.routing.scheduler import Demand, choose
from relayd.transport import egress
from relayd.transport.errors import DialError, DialErrorKind
from tests.conftest import LogLines
from tests.service.xiaozhi.stage import (
    CLIENT,
    DEVICE,
    HANDED_OUT,
    IDS,
    Heard,
    Script,
    Stage,
    answered,
    says,
    server,
)


async def hangs_up(heard: Heard) -> None:
    await trio.lowlevel.checkpoint()


async def is_silent(heard: Heard) -> None:
    await trio.sleep_forever()


async def rambles(heard: Heard) -> bytes:
    await trio.lowlevel.checkpoint()
    return answered({"padding": "x" * 65_536})


async def speaks_no_http(heard: Heard) -> bytes:
    await trio.lowlevel.checkpoint()
    return b"SSH-2.0-canary\r\n\r\n"


async def stops(heard: Heard) -> bytes:
    await trio.lowlevel.checkpoint()
    return answered(HANDED_OUT)[:-9]


BAD: dict[str, Script | None] = {
    "nobody": None,
    "gone": hangs_up,
    "silent": is_silent,
    "long": rambles,
    "other": speaks_no_http,
    "cut": stops,
    "error": says({"message": "canary"}, 500),
    "refused": says({"message": "canary"}, 403),
    "elsewhere": says({}, 302),
    "accepted": says(HANDED_OUT, 202),
    "text": says(b"<html>canary</html>"),
    "list": says([HANDED_OUT]),
    "twice": says(b'{"websocket":{"url":"ws://a/"},"websocket":{"url":"ws://b/"}}'),
}


def play(stage: Stage, bad: str) -> None:
    stage.scripts.pop("kitchen.test")
    script = BAD[bad]
    if script is not None:
        stage.scripts["kitchen.test"] = script


@pytest.mark.parametrize("bad", BAD)
async def test_without_an_answer_of_use_a_device_asks_again_later(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines, bad: str
) -> None:
    play(stage, bad)
    began = trio.current_time()

    reply = await stage.ask()

    assert (reply.status, json.loads(reply.body)["success"]) == (502, False)
    assert reply.headers["retry-after"] == "5"
    assert stage.facts.reason == "upstream_refused"
    assert trio.current_time() - began <= 8.0
    (line,) = log_lines.of(LogEvent.UPSTREAM_FAILED)
    assert (line["account"], line["dialect"]) == ("kitchen", "xiaozhi")
    (event,) = stage.bus
    assert isinstance(event, AccountFailed)
    assert event.reason == line["reason"]
    assert b"canary" not in reply.body
    assert "canary" not in json.dumps(log_lines.all)


@pytest.mark.parametrize("bad", BAD)
async def test_another_server_is_asked_instead_and_sessions_are_not_kept_from_it(
    autojump_clock: MockClock, stage: Stage, bad: str
) -> None:
    stage.accounts = (server("kitchen"), attrs.evolve(server("attic"), priority=1))
    stage.scripts["attic.test"] = says(HANDED_OUT)
    play(stage, bad)

    reply = await stage.ask()

    assert reply.status == 200
    statistics = {each.name: each for each in stage.api.connector.roster.statistics()}
    assert [each.in_flight for each in statistics.values()] == [0, 0]
    assert statistics["kitchen"].error_average == 0


FAILURES = (
    Failure(FailureKind.FATAL, "token_refused", "refused"),
    Failure(FailureKind.RATE_LIMITED, "http_429", "too many", 60.0),
    *[Failure(FailureKind.UNREACHABLE, "reset", "reset")] * 50,
)


async def test_a_server_that_takes_no_sessions_is_asked_all_the_same(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.accounts = (attrs.evolve(server("kitchen"), sessions_max=1),)
    seat = choose(
        stage.api.connector.roster,
        Demand(Dialect.XIAOZHI, account="kitchen"),
        now=trio.current_time(),
        random_unit=0.0,
    )
    assert seat is not None
    for failure in FAILURES:
        seat.fail(failure, trio.current_time())

    reply = await stage.ask()

    (statistics,) = stage.api.connector.roster.statistics()
    assert statistics.disabled_by == "token_refused"
    assert statistics.in_flight == statistics.sessions_max
    assert reply.status == 200
    assert await stage.tokens.find("kitchen", Identity(DEVICE, CLIENT)) == "canary-1"


async def test_a_device_goes_to_the_same_server_each_time(stage: Stage) -> None:
    stage.accounts = tuple(server(f"s{number}") for number in range(4))
    for number in range(4):
        stage.scripts[f"s{number}.test"] = says(HANDED_OUT)

    for device in range(8):
        for _ in range(2):
            await stage.ask("/xiaozhi/ota/", f"Device-Id: d{device}", IDS[1])

    hosts = [heard.host for heard in stage.heard]
    assert hosts[::2] == hosts[1::2]
    assert len(set(hosts)) > 1


@pytest.mark.parametrize(
    "account",
    [
        server("kitchen", ota_url=None),
        server("kitchen", devices=("25:*",)),
        attrs.evolve(server("kitchen"), enabled=False),
    ],
)
async def test_a_device_that_no_server_serves_is_told_so(stage: Stage, account: Account) -> None:
    stage.accounts = (account,)

    reply = await stage.ask()

    assert (reply.status, json.loads(reply.body)["success"]) == (503, False)
    assert (stage.facts.reason, stage.heard) == ("no_account", [])


async def test_what_relayd_lacks_is_no_server_s_fault(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(*args: object, **given: object) -> None:
        await trio.lowlevel.checkpoint()
        raise DialError(DialErrorKind.RESOURCES_EXHAUSTED, "no descriptor is left")

    monkeypatch.setattr(egress, "connect", connect)

    reply = await stage.ask()

    assert (reply.status, stage.facts.reason) == (503, "overload")


async def test_the_server_of_a_devices_board_is_asked_also_when_it_says_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.play(monkeypatch)
    boxes = attrs.evolve(server("boxes", boards=("esp-box",)), priority=-1)
    others = attrs.evolve(server("others", tenants=("nobody",)), priority=-2)
    stage.accounts = (server("kitchen"), boxes, others)
    stage.scripts = {f"{each.name}.test": says(HANDED_OUT) for each in stage.accounts}
    body = json.dumps({"board": {"type": "esp-box"}, "application": {"version": "2.0"}}).encode()

    for question in (b"{}", body, b"{}"):
        assert (await stage.ask(body=question)).status == 200

    assert [heard.host for heard in stage.heard] == ["kitchen.test", "boxes.test", "boxes.test"]
    build = await stage.tokens.find_build(Identity(DEVICE, CLIENT))
    assert build == Build(("esp-box",), "2.0")
