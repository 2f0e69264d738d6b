"""Who waits for what among the sources of one client."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.transport.endpoint import Endpoint
from relayd.transport.sources import Sources


@pytest.fixture
def three() -> Iterator[list[Endpoint]]:
    """Armed, as far as they know."""
    pairs = [socket.socketpair() for _ in range(3)]
    endpoints = [Endpoint(ours, Side.UPSTREAM, HoldBudget(0), 0.0) for ours, _ in pairs]
    for endpoint in endpoints:
        endpoint.armed = True
    yield endpoints
    for endpoint in endpoints:
        endpoint.close()
    for _, theirs in pairs:
        theirs.close()


@pytest.fixture
def sources(three: list[Endpoint]) -> Sources:
    made = Sources()
    for endpoint in three:
        made.add(endpoint)
    return made


def test_locking_stops_the_others_that_are_armed(sources: Sources, three: list[Endpoint]) -> None:
    one, two, other = three
    other.armed = False

    assert sources.lock(one) == [two]

    assert [endpoint.armed for endpoint in three] == [True, False, False]
    assert sources.lock(one) == []
    assert sources.goes_on_later(two)
    assert not sources.goes_on_later(other)


def test_a_second_message_inside_an_unfinished_one_is_a_bug(
    sources: Sources, three: list[Endpoint]
) -> None:
    sources.lock(three[0])

    with pytest.raises(AssertionError, match="a second message"):
        sources.lock(three[1])


def test_nobody_has_a_turn_while_the_lock_is_held(sources: Sources, three: list[Endpoint]) -> None:
    one, two, other = three
    other.armed = False
    sources.lock(one)
    assert sources.keeps_waiting(other)
    assert not sources.keeps_waiting(one)
    assert sources.next_in_turn() is None

    sources.holder = None

    assert [sources.next_in_turn() for _ in range(3)] == [two, other, None]
    assert not sources.keeps_waiting(two)


def test_nobody_has_a_turn_any_more_in_a_torn_message(
    sources: Sources, three: list[Endpoint]
) -> None:
    one, two, _ = three
    sources.lock(one)

    sources.remove(one)
    sources.torn = True

    assert sources.holder is None
    assert sources.next_in_turn() is None
    assert sources.keeps_waiting(two)


def test_one_that_is_removed_waits_for_nothing(sources: Sources, three: list[Endpoint]) -> None:
    one, two, other = three
    sources.lock(one)
    sources.block(two)

    sources.remove(two)
    sources.remove(two)
    sources.holder = None

    assert not sources.goes_on_later(two)
    assert sources.next_in_turn() is other
    assert sources.take_blocked() == []


def test_the_blocked_are_taken_once_in_their_order(sources: Sources, three: list[Endpoint]) -> None:
    one, two, _ = three
    for endpoint in (two, one, two):
        sources.block(endpoint)
    assert sources.goes_on_later(two)

    assert sources.take_blocked() == [two, one]
    assert sources.take_blocked() == []


def test_one_that_its_owner_withdraws_is_not_started_but_keeps_its_event(
    sources: Sources, three: list[Endpoint]
) -> None:
    one, two, other = three
    sources.block(one)
    sources.block(two)
    two.deferred = True
    sources.lock(one)
    assert sources.goes_on_later(other)

    for endpoint in three:
        sources.withdraw(endpoint)

    assert sources.take_blocked() == [two]
    sources.holder = None
    assert sources.next_in_turn() is None


def test_all_are_let_go_with_their_client(sources: Sources, three: list[Endpoint]) -> None:
    client, *others = three
    sources.remove(client)
    for endpoint in others:
        endpoint.peer = client

    assert sources.dismiss() == others

    assert [endpoint.peer for endpoint in others] == [None, None]
    assert sources.dismiss() == []
