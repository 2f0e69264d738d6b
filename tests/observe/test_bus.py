"""Handing events round: in order, to all, whatever one of them does."""

from __future__ import annotations

import pytest

from relayd.observe.bus import AccountFailed, Bus, BusEvent

FIRST = AccountFailed(account="a", dialect="realtime", reason="first")
SECOND = AccountFailed(account="a", dialect="realtime", reason="second")


def test_every_subscriber_hears_every_event_in_the_order_of_subscription() -> None:
    bus, heard = Bus(), list[tuple[str, BusEvent]]()
    bus.subscribe(lambda event: heard.append(("one", event)))
    bus.subscribe(lambda event: heard.append(("two", event)))

    bus.publish(FIRST)
    bus.publish(SECOND)

    assert heard == [("one", FIRST), ("two", FIRST), ("one", SECOND), ("two", SECOND)]


def test_whoever_unsubscribes_hears_no_more() -> None:
    bus, heard = Bus(), list[BusEvent]()
    unsubscribe = bus.subscribe(heard.append)

    bus.publish(FIRST)
    unsubscribe()
    unsubscribe()
    bus.publish(SECOND)

    assert heard == [FIRST]


def test_a_subscriber_that_raises_is_dropped_and_counted_and_costs_nobody_else_anything() -> None:
    bus, heard, raised = Bus(), list[BusEvent](), list[BusEvent]()

    def broken(event: BusEvent) -> None:
        raised.append(event)
        raise ValueError("a bug")

    bus.subscribe(broken)
    bus.subscribe(heard.append)

    bus.publish(FIRST)
    bus.publish(SECOND)

    assert heard == [FIRST, SECOND]
    assert raised == [FIRST]
    assert bus.failures == 1


def test_an_interrupt_is_not_a_subscriber_s_bug() -> None:
    bus = Bus()

    def interrupted(event: BusEvent) -> None:
        raise KeyboardInterrupt

    bus.subscribe(interrupted)

    with pytest.raises(KeyboardInterrupt):
        bus.publish(FIRST)
    assert bus.failures == 0


def test_a_subscriber_may_leave_while_it_is_told() -> None:
    bus, heard = Bus(), list[BusEvent]()

    def once(event: BusEvent) -> None:
        heard.append(event)
        unsubscribe()

    unsubscribe = bus.subscribe(once)
    bus.subscribe(heard.append)

    bus.publish(FIRST)
    bus.publish(SECOND)

    assert heard == [FIRST, FIRST, SECOND]
