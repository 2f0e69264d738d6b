"""Bugs in a turn, and how it is given up; the rest is played end to end in tests/faults."""

from __future__ import annotations

from typing import cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.accounts import Timeouts
from relayd.config.providers import Dialect
from relayd.config.schema import Settings
from relayd.config.snapshot import Key, Snapshot
from relayd.dialect import chat_reply
from relayd.dialect.behind import Faulted, Piece, Text
from relayd.observe.events import LogEvent
from relayd.routing.roster import Roster, Seat
from relayd.session.admission import Grant
from relayd.session.chat import turn, verdicts
from relayd.session.chat.providers import Patience
from relayd.session.chat.reckoning import Reckoning
from relayd.session.chat.shared import ChatShared
from relayd.session.chat.talk import SocketTalk, Talk
from relayd.session.chat.turn import ChatTurn
from relayd.session.responses.accounting import Purse
from tests.conftest import LogLines
from tests.dialect.chat import request
from tests.faults import chat
from tests.faults.chat import DONE, Client, said, spark, take, wired
from tests.faults.conftest import stage
from tests.faults.harness import Stage
from tests.session.chat import accounts

__all__ = ["stage"]

GRANT = Grant(
    key=Key(name="dev", tenant="t", digest=bytes(32)),
    dialect=Dialect.CHAT,
    client_address="192.0.2.1",
    granted_at=0.0,
    wall_granted_at=0.0,
)


async def test_a_bug_before_the_first_word_is_a_500(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(turn, "patience_with", crash)
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        far, _ = await take(upstream)
        body = await client.json()
        assert (await far.until_close()).close_code == 1000

    assert client.status == 500
    assert body["error"]["code"] == "internal_error"
    (line,) = stage.log.of(LogEvent.REQUEST_CRASHED)
    assert "ZeroDivisionError" in line["traceback"]
    assert stage.log.of(LogEvent.TURN_ENDED)[0]["reason"] == "internal_error"


async def test_a_bug_behind_it_ends_the_stream(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        far, _ = await take(upstream)
        await far.send(wired(said("Hi", 0)))
        await client.head()

        async def crash(self: SocketTalk) -> None:
            raise ZeroDivisionError("bug")

        monkeypatch.setattr(SocketTalk, "pieces", crash)
        await far.send(wired(said("more", 1)))
        # What is under way is waited for; the next question for pieces meets the bug.
        events = await client.events()
        assert (await far.until_close()).close_code == 1000

    assert events[-2]["error"]["code"] == "internal_error"
    assert events[-1] == DONE
    assert chat.finishes_of(events) == []


async def test_a_bug_in_the_reckoning_ends_one_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        with monkeypatch.context() as patched:
            patched.setattr(Reckoning, "attempted", None)
            client = await Client.asking(relay)
            await take(upstream)
            await client.json()
        assert client.status == 500
        client = await Client.asking(relay)
        far, _ = await take(upstream)
        await far.send(wired(*chat.answer("ok")))
        await client.json()
        assert client.status == 200


class Talkative:
    """An upstream that always has more to say, and is never waited for."""

    upstream_id, ignored, was_ready = "sid", (), False

    async def pieces(self) -> tuple[Piece, ...]:
        return (Text("more"),)


TALK = cast("Talk", Talkative())


def started() -> ChatTurn:
    """A turn of a request for a stream."""
    return ChatTurn(
        shared=cast("ChatShared", None),
        grant=GRANT,
        snapshot=Snapshot(settings=Settings(), keys={}, accounts=()),
        purse=cast("Purse", None),
        request_id="r",
        request=request(stream=True),
    )


@pytest.mark.parametrize(("since_s", "is_over"), [(299.0, False), (300.0, True)])
async def test_an_upstream_that_is_never_waited_for_has_its_end_too(
    since_s: float, is_over: bool
) -> None:
    now, patience = trio.current_time(), Patience(20.0, 30.0, 300.0)

    (piece,) = await started()._next(TALK, patience, now - since_s, now)

    if is_over:
        assert piece == Faulted(attrs.evolve(verdicts.ENDLESS, upstream_id="sid"))
    else:
        assert piece == Text("more")


async def test_a_client_that_is_slow_for_too_long_is_no_fault_of_its_account(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    answer, account = started(), accounts.spark(timeouts=Timeouts(idle_s=1.0, total_s=100.0))
    (standing,) = Roster.of([account]).standings()
    now = trio.current_time()

    with Seat(standing, now) as seat:
        fault = await answer._follow(TALK, seat)
        assert fault is verdicts.CLIENT_SLOW
        assert trio.current_time() == now + 100.0
        answer._judge(seat, fault)

    assert log_lines.of(LogEvent.UPSTREAM_FAILED) == []
    assert standing.health.error_average == 0.0


async def test_an_answer_that_is_given_up_stops_the_upstream(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_reply, "ANSWER_MAX_BYTES", 10)
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        far, _ = await take(upstream)
        await far.send(wired(said("x" * 11, 0)))
        body = await client.json()
        assert (await far.until_close()).close_code == 1000
        line = await stage.log.wait(LogEvent.TURN_ENDED)

    assert client.status == 502
    assert body["error"]["code"] == line["reason"] == "upstream_too_big"
    assert line["tokens_out"] == 3
