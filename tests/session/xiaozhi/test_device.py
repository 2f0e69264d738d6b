"""The device's side: how its audio goes, and when it is heard again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from relayd.dialect.xiaozhi_flow import Route
from relayd.dialect.xiaozhi_talk import Conversation
from relayd.protocol.outcomes import Taken
from relayd.session.xiaozhi.device import DeviceSide, hear_more
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor
from tests.session.ends import Ends, adopted, both_ends

TEXT = b'{"type":"listen"}'


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    with both_ends() as made:
        yield made


def side(ends: Ends, reactor: Reactor, blocked: list[Endpoint]) -> DeviceSide:
    made = DeviceSide.of(
        ends.client.endpoint,
        reactor,
        Conversation(ends.hold),
        version=1,
        message_max_bytes=1000,
        hold=ends.hold,
        on_blocked=blocked.append,
    )
    ends.client.endpoint.flow = made.flow
    return made


async def test_texts_are_counted_and_a_device_that_does_not_read_is_told_of(
    autojump_clock: MockClock, ends: Ends
) -> None:
    blocked: list[Endpoint] = []
    with adopted(ends) as reactor:
        device = side(ends, reactor, blocked)

        assert device.say(TEXT, 0.0)
        assert device.takes_more
        ends.client.block(0.0)
        assert device.say(TEXT, 0.0)

    assert device.said == [2, 2 * len(TEXT)]
    assert blocked == [ends.client.endpoint]
    assert not device.takes_more


async def test_without_room_a_text_is_not_sent(autojump_clock: MockClock, ends: Ends) -> None:
    with adopted(ends) as reactor:
        device = side(ends, reactor, [])
        ends.hold.bytes_held += 64 << 20

        assert not device.say(TEXT, 0.0)

        ends.hold.bytes_held -= 64 << 20
    assert device.said == [0, 0]


async def test_a_text_that_waited_for_a_server_is_heard_when_that_is_gone(
    autojump_clock: MockClock, ends: Ends
) -> None:
    with adopted(ends) as reactor:
        device = side(ends, reactor, [])
        endpoint = ends.client.endpoint
        device.link(ends.upstream.endpoint, 1)
        taken = device.flow.event = Taken(b"")
        endpoint.deferred = True

        device.unlink(0.0, holds=True)

        with trio.fail_after(1.0):
            assert await endpoint.next_event() is taken
    assert device.lane.route is Route.HOLD
    assert endpoint.peer is None


async def test_a_device_that_waited_for_a_server_is_heard_again(
    autojump_clock: MockClock, ends: Ends
) -> None:
    with adopted(ends) as reactor:
        device = side(ends, reactor, [])
        device.link(ends.upstream.endpoint, 1)

        device.unlink(0.0, holds=False)

        assert ends.client.endpoint.armed
    assert device.lane.route is Route.DROP


async def test_a_source_waits_for_who_hears_it(autojump_clock: MockClock, ends: Ends) -> None:
    with adopted(ends) as reactor:
        device = side(ends, reactor, [])
        source, server = ends.client.endpoint, ends.upstream.endpoint
        device.link(server, 1)
        ends.upstream.block(0.0)
        device.flow.event = Taken(b"")

        hear_more(reactor, source, 1.0)

        assert not source.armed
        assert device.flow.event is None
        server.sink.discard()
        hear_more(reactor, source, 1.0)
        assert source.armed
