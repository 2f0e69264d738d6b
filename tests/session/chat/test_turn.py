"""Bugs in a turn, and how it is given up; the rest is played end to end in tests/faults."""

from __future__ import annotations

import pytest

from relayd.dialect import chat_reply
from relayd.observe.events import LogEvent
from relayd.session.chat import turn
from relayd.session.chat.reckoning import Reckoning
from relayd.session.chat.talk import SocketTalk
from tests.faults import chat
from tests.faults.chat import DONE, Client, said, spark, take, wired
from tests.faults.conftest import stage
from tests.faults.harness import Stage

__all__ = ["stage"]


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
