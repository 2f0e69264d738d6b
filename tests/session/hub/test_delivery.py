"""One task that sends for all, and what becomes of those who do not take it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.core.endings import Reason
from relayd.dialect.hub_topics import Scope
from relayd.hub.bounds import Bounds
from relayd.hub.hub import Hub
from relayd.hub.outbox import Outbox
from relayd.hub.shared import Wire
from relayd.session.hub.delivery import (
    CLIENTS_MAX,
    LOOK_EVERY,
    ROOM_BYTES,
    WRITE_MAX_BYTES,
    Delivery,
    Outlet,
)
from relayd.session.verdict import Verdict
from relayd.transport.reactor import Reactor
from tests.session.ends import End, adopted, both_ends

SCOPE = Scope(tenant="acme")


@attrs.define(eq=False)
class Rig:
    """One client's outlet, and the far end of its socket."""

    outlet: Outlet
    end: End
    reactor: Reactor
    crashes: list[Exception]

    @property
    def outbox(self) -> Outbox:
        return self.outlet.outbox

    def say(self, *messages: bytes) -> None:
        for message in messages:
            self.outbox.say(message, trio.current_time())

    async def heard(self, count: int) -> bytes:
        """So many bytes; the reactor is served meanwhile."""
        got = b""
        with trio.fail_after(5):
            while len(got) < count:
                self.reactor.serve_ready()
                got += self.end.heard()
                await trio.lowlevel.checkpoint()
        return got


@contextmanager
def rigged(delivery: Delivery, bounds: Bounds | None = None) -> Iterator[Rig]:
    with both_ends() as ends, adopted(ends) as reactor:
        crashes: list[Exception] = []
        outlet = Outlet(
            delivery=delivery,
            endpoint=ends.client.endpoint,
            reactor=reactor,
            verdict=Verdict(),
            crashed=crashes.append,
        )
        hub = Hub("0" * 16, bounds or Bounds())
        outlet.outbox = hub.subscriber(SCOPE, Wire.COUNCIL, outlet.wake).outbox
        yield Rig(outlet, ends.client, reactor, crashes)


async def test_nothing_is_sent_before_the_101(nursery: trio.Nursery) -> None:
    delivery = Delivery()
    nursery.start_soon(delivery.run)
    with rigged(delivery) as rig:
        rig.say(b"one", b"two")
        await wait_all_tasks_blocked()
        assert rig.end.heard() == b""
        rig.outlet.begin()
        assert await rig.heard(6) == b"onetwo"
        assert (rig.outlet.messages, rig.outlet.bytes) == (2, 6)


async def test_what_waits_goes_in_one_write_up_to_its_bound(nursery: trio.Nursery) -> None:
    delivery = Delivery()
    with rigged(delivery) as rig:
        rig.outlet.begin()
        rig.say(*[bytes(1000)] * 100)
        rig.outlet.send(trio.current_time())
        assert rig.outlet.messages == WRITE_MAX_BYTES // 1000
        nursery.start_soon(delivery.run)
        assert len(await rig.heard(100_000)) == 100_000


async def test_a_full_socket_is_left_alone_until_it_has_taken_everything(
    nursery: trio.Nursery,
) -> None:
    delivery = Delivery()
    nursery.start_soon(delivery.run)
    with rigged(delivery) as rig:
        blocked: list[object] = []
        rig.end.endpoint.on_blocked = blocked.append
        rig.outlet.begin()
        rig.say(*[bytes(60_000)] * 4)
        await wait_all_tasks_blocked()
        assert rig.end.endpoint.sink.blocked
        assert (len(blocked), len(rig.outbox)) == (1, 3)
        rig.say(b"x")
        await wait_all_tasks_blocked()
        assert len(rig.outbox) == 4
        assert len(await rig.heard(240_001)) == 240_001
        assert not rig.outbox


async def test_who_asks_for_much_waits_for_room(nursery: trio.Nursery) -> None:
    delivery = Delivery()
    nursery.start_soon(delivery.run)
    with rigged(delivery) as rig:
        rig.outlet.begin()
        await rig.outlet.room()  # nothing waits
        rig.say(*[bytes(60_000)] * 6)
        done: list[int] = []

        async def wait() -> None:
            await rig.outlet.room()
            done.append(rig.outbox.size)

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert done == []
        await rig.heard(360_000)
        await wait_all_tasks_blocked()
        assert done[0] <= ROOM_BYTES


async def test_an_outbox_that_overflows_ends_its_client(nursery: trio.Nursery) -> None:
    delivery = Delivery()
    nursery.start_soon(delivery.run)
    with rigged(delivery, Bounds(outbox_messages_max=4)) as rig:
        rig.outlet.begin()
        rig.end.block(trio.current_time())
        rig.say(*[b"x"] * 9)
        await wait_all_tasks_blocked()
        assert rig.outlet.verdict.reason is Reason.CLIENT_SLOW


async def test_what_cannot_be_kept_ends_its_client(nursery: trio.Nursery) -> None:
    delivery = Delivery()
    nursery.start_soon(delivery.run)
    with rigged(delivery) as rig:
        rig.outlet.begin()
        sink = rig.end.endpoint.sink
        rig.end.endpoint._hold.bytes_max = 10
        rig.say(bytes(60_000))
        await wait_all_tasks_blocked()
        assert sink.over_budget
        assert rig.outlet.verdict.reason is Reason.OVERLOAD


async def test_after_the_verdict_the_goodbye_has_the_socket(nursery: trio.Nursery) -> None:
    delivery = Delivery()
    nursery.start_soon(delivery.run)
    with rigged(delivery) as rig:
        rig.outlet.begin()
        rig.outlet.verdict.end(Reason.DRAIN)
        rig.say(b"last words")
        await wait_all_tasks_blocked()
        assert rig.end.heard() == b""
        rig.outlet.finish(trio.current_time())
        assert await rig.heard(10) == b"last words"


async def test_who_ended_while_it_was_due_is_no_bug() -> None:
    delivery = Delivery()
    with rigged(delivery) as rig:
        rig.outlet.begin()
        rig.say(b"never sent")
        rig.outlet.verdict.end(Reason.CLIENT_GONE)
        del rig.outlet.outbox  # as its session does at its end
        delivery._round()
        assert (rig.crashes, delivery.crashes) == ([], 0)


async def test_the_last_write_is_known(nursery: trio.Nursery) -> None:
    delivery = Delivery()
    nursery.start_soon(delivery.run)
    with rigged(delivery) as rig:
        rig.outlet.begin()
        rig.say(bytes(1000))
        assert len(await rig.heard(1000)) == 1000
        rig.say(bytes(30), bytes(20))
        assert len(await rig.heard(50)) == 50
        assert (rig.outlet.last_bytes, rig.outlet.bytes) == (50, 1050)


async def test_a_bug_at_one_client_is_its_own(nursery: trio.Nursery) -> None:
    delivery = Delivery()
    nursery.start_soon(delivery.run)
    with rigged(delivery) as broken, rigged(delivery) as whole:
        del broken.outlet.outbox
        broken.outlet._begun = True
        broken.outlet.wake()
        whole.outlet.begin()
        whole.say(b"here")
        assert await whole.heard(4) == b"here"
        assert [type(error) for error in broken.crashes] == [AttributeError]
        assert delivery.crashes == 1


@attrs.define(eq=False)
class Counted:
    """Stands for an outlet."""

    order: list[int]
    number: int
    is_due: bool = False
    crashed: object = None

    def send(self, now: float) -> None:
        self.order.append(self.number)


async def test_a_round_is_for_so_many_and_the_next_goes_on() -> None:
    delivery, order = Delivery(), list[int]()
    for number in range(CLIENTS_MAX * 2 + 1):
        delivery.add(Counted(order, number))  # type: ignore[arg-type]  # as far as is needed
    sizes = []
    for _ in range(3):
        delivery._round()
        sizes.append(len(order))
    assert sizes == [CLIENTS_MAX, CLIENTS_MAX * 2, CLIENTS_MAX * 2 + 1]
    assert order == list(range(CLIENTS_MAX * 2 + 1))


async def test_other_tasks_run_between_rounds(nursery: trio.Nursery) -> None:
    delivery, order = Delivery(), list[int]()
    for number in range(CLIENTS_MAX * 8):
        delivery.add(Counted(order, number))  # type: ignore[arg-type]  # as above
    nursery.start_soon(delivery.run)
    seen: set[int] = set()
    while len(order) < CLIENTS_MAX * 8:
        await trio.lowlevel.checkpoint()
        seen.add(len(order))
    assert len(seen) >= 4


async def test_a_round_ends_when_it_has_taken_long(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery, order, times = Delivery(), list[int](), iter(range(100))
    for number in range(LOOK_EVERY * 2):
        delivery.add(Counted(order, number))  # type: ignore[arg-type]  # as above
    monkeypatch.setattr(trio, "current_time", lambda: float(next(times)))
    delivery._round()
    assert order == list(range(LOOK_EVERY))
