"""A bug of relayd's own ends one connection, and its traceback gives no key away."""

from __future__ import annotations

import json

import pytest

from relayd.observe.events import LogEvent
from relayd.service import door
from relayd.session.clock import Clock
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor
from tests.faults.harness import CANARIES, Stage, account
from tests.faults.wire import TEXT, frame


class Bug(Exception):
    """What is not supposed to happen."""


async def test_a_bug_in_a_session_ends_it_with_1011_and_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.log.crashes_expected = 1
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        good, good_far = await relay.session(upstream)
        with monkeypatch.context() as patched:
            patched.setattr(Clock, "run", broken)
            client, far = await relay.session(upstream)
            assert await client.goodbye() == 1011
            assert await far.goodbye() == 1011
            line = await relay.log.session_ended()
        await good.send(frame(TEXT, b"fine"))
        assert (await good_far.frame()).payload == b"fine"

    (crash,) = stage.log.of(LogEvent.SESSION_CRASHED)
    assert (line["reason"], line["fault"]) == ("internal_error", "relay")
    assert crash["session_id"] == line["session_id"]
    assert "Bug" in crash["traceback"]


async def test_a_bug_in_the_pass_ends_the_session_it_was_serving(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.log.crashes_expected = 1
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        good, good_far = await relay.session(upstream)
        client, far = await relay.session(upstream)
        with monkeypatch.context() as patched:
            patched.setattr(Reactor, "_receive", broken_now)
            await client.send(frame(TEXT, b"x"))
            await relay.log.wait(LogEvent.SESSION_CRASHED)
        assert await far.goodbye() == 1011
        assert await client.goodbye() == 1011
        line = await relay.log.session_ended()
        await good.send(frame(TEXT, b"fine"))
        assert (await good_far.frame()).payload == b"fine"

    assert line["reason"] == "internal_error"


async def test_a_bug_before_the_101_is_500(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.log.crashes_expected = 1
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        with monkeypatch.context() as patched:
            patched.setattr(door, "find_route", broken_now)
            response = await relay.refusal(await relay.asking())
        await relay.session(upstream)

    line = stage.log.of(LogEvent.CONNECTION_REFUSED)[0]
    assert (response.status, line["status"], line["reason"]) == (500, 500, "internal_error")
    assert json.loads(response.body)["error"]["code"] == "internal_error"


async def broken(clock: Clock) -> None:
    held = CANARIES
    raise Bug(f"with {len(held)} keys at hand")


def broken_now(*_: Reactor | Endpoint | float) -> None:
    held = CANARIES
    raise Bug(f"with {len(held)} keys at hand")
