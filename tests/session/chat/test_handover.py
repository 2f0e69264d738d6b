"""What a client is handed, piece by piece or as a whole."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from relayd.dialect import chat_reply
from relayd.dialect.behind import Fault, Faulted, Finished, FinishReason, Reasoning, Text, Used
from relayd.dialect.chat_reply import Reply
from relayd.dialect.meter import Usage
from relayd.session.chat.handover import BATCHES_MAX, Denied, Handover, Opened, Whole

FAULT = Fault(status=502, type="t", code="lost", message="Lost.")
OPENED = Opened("sid", ("seed",))
STOP = Finished(FinishReason.STOP)
USAGE = Usage(source="response", input_total=1, output_total=2)
LATE_S = 10.0


def text_of(whole: Opened | Whole | Denied) -> str:
    assert isinstance(whole, Whole)
    reply = Reply(model="m", id="i", created=0)
    return whole.collected.whole(reply, whole.reason, whole.usage).decode()


async def test_a_stream_is_open_with_its_first_word() -> None:
    with Handover(streams=True) as handover:
        assert not handover.is_open
        await handover.begin(OPENED)
        assert handover.is_open
        assert await handover.pass_on((Text("a"), Text("b"))) is None
        assert await handover.pass_on(()) is None
        assert await handover.pass_on((Text("c"), Faulted(FAULT))) is None
        await handover.end(FAULT, ())

    assert await handover.opened() == OPENED
    assert await handover.said() == (Text("a"), Text("b"))
    assert await handover.said() == (Text("c"),), "the fault is for its turn to tell"
    assert await handover.said() == (Faulted(FAULT),)
    assert await handover.said() is None


@pytest.mark.parametrize("streams", [True, False])
async def test_where_nothing_was_said_the_fault_is_all(streams: bool) -> None:
    with Handover(streams) as handover:
        await handover.end(FAULT, ("seed",))

    assert await handover.opened() == Denied(FAULT, ("seed",))


async def test_a_document_is_told_when_it_is_whole() -> None:
    with Handover(streams=False) as handover:
        await handover.begin(OPENED)
        await handover.pass_on((Reasoning("hm"), Text("a")))
        assert not handover.is_open
        await handover.pass_on((Text("b"), Used(USAGE), STOP))
        assert handover.is_open

    first = await handover.opened()
    assert isinstance(first, Whole)
    assert (first.opened, first.reason, first.usage) == (OPENED, FinishReason.STOP, USAGE)
    assert '"content":"ab"' in text_of(first)


async def test_what_an_upstream_that_failed_has_said_is_in_no_document() -> None:
    with Handover(streams=False) as handover:
        await handover.begin(Opened("first", ()))
        await handover.pass_on((Text("lost"), Used(USAGE)))
        assert await handover.pass_on((Faulted(FAULT),)) is None
        await handover.begin(OPENED)
        await handover.pass_on((Text("kept"), STOP))

    first = await handover.opened()
    assert isinstance(first, Whole)
    assert (first.opened, first.usage) == (OPENED, None)
    assert '"content":"kept"' in text_of(first)


async def test_a_document_that_cannot_be_held_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_reply, "ANSWER_MAX_BYTES", 2)
    with Handover(streams=False) as handover:
        await handover.begin(OPENED)
        assert await handover.pass_on((Text("ab"),)) is None
        fault = await handover.pass_on((Text("c"), STOP))
        assert fault is not None
        assert fault.code == "upstream_too_big"
        await handover.end(fault, ())

    assert await handover.opened() == Denied(fault)


async def test_an_answer_waits_for_its_client(
    autojump_clock: MockClock,
) -> None:
    handover = Handover(streams=True)
    told: list[object] = []

    async def read() -> None:
        await trio.sleep(2 * LATE_S)
        await handover.opened()
        while (said := await handover.said()) is not None:
            told.extend(said)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with handover:
            await handover.begin(OPENED)
            for _ in range(BATCHES_MAX - 1):
                await handover.pass_on((Text("a"),))
            assert await handover.pass_on((Text("b"), STOP)) is None

    assert told == [Text("a")] * (BATCHES_MAX - 1) + [Text("b"), STOP]
