"""One socket from the 101 on."""

from __future__ import annotations

from collections.abc import Iterator

import trio
import trio.testing
from trio.testing import MockClock
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from relayd.sim.link import Link
from relayd.sim.responses.steps import CloseWith, Leave, Pause, Step
from relayd.sim.spark.answers import answer
from relayd.sim.spark.errors import CLOSE_REASON
from relayd.sim.spark.faults import Speech, play
from relayd.sim.spark.scenario import Scenario
from relayd.sim.spark.socket import Socket
from relayd.sim.spark.tally import Running
from tests.sim.peer import Peer
from tests.sim.spark.stage import codes, frames, question, said


async def opened(nursery: trio.Nursery, *, is_closing: bool = True) -> tuple[Socket, Peer]:
    """A socket behind its 101, and the client at its other end."""
    near, far = trio.testing.memory_stream_pair()
    link = Link(far, choose_subprotocol=lambda _: None)
    peer = Peer(near, ClientProtocol(parse_uri("ws://sim/")))

    async def accept() -> None:
        await link.accept(await link.request())

    nursery.start_soon(accept)
    await peer.upgrade({})
    return Socket(link, Running("cht1", is_closing=is_closing), 60.0), peer


def steps(scenario: Scenario) -> Iterator[Step]:
    return play(Speech("cht1", answer(question())), scenario)


async def test_an_answer_is_said_and_the_socket_closed(nursery: trio.Nursery) -> None:
    socket, peer = await opened(nursery)

    leaving = await socket.speak(steps(Scenario.NORMAL))
    nursery.start_soon(socket.leave, leaving)
    told = await frames(peer)

    assert said(told) == "Answer 1. You said: hello there"
    assert leaving == CloseWith(1000)
    assert socket.running.is_ended
    assert not socket.is_gone


async def test_an_error_has_a_reason_of_its_own(nursery: trio.Nursery) -> None:
    socket, _ = await opened(nursery)

    assert await socket.speak(steps(Scenario.ERROR_10012)) == CloseWith(1000, CLOSE_REASON)
    assert socket.running.is_refused


async def test_an_exit_is_handed_on(nursery: trio.Nursery) -> None:
    socket, _ = await opened(nursery)

    assert await socket.speak(steps(Scenario.RESET_MID_STREAM)) is Leave.RESET
    assert not socket.running.is_ended


async def test_a_client_that_goes_ends_a_pause(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    socket, peer = await opened(nursery)
    nursery.start_soon(peer.stream.aclose)

    assert await socket.speak(iter([Pause(1000.0)])) is None
    assert socket.is_gone
    assert trio.current_time() < 1


async def test_a_second_message_ends_a_pause_with_an_error(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    socket, peer = await opened(nursery)
    await peer.send("another")

    leaving = await socket.speak(steps(Scenario.SILENT))
    nursery.start_soon(socket.leave, leaving)

    assert codes(await frames(peer)) == [10007]
    assert trio.current_time() < 1


async def test_where_the_client_closes_it_is_waited_for(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    socket, peer = await opened(nursery, is_closing=False)
    nursery.start_soon(socket.speak, steps(Scenario.NORMAL))
    while (await peer.event())["header"]["status"] != 2:
        pass
    await trio.sleep(10)
    await peer.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()

    assert socket.is_gone
    assert socket.running.is_ended
