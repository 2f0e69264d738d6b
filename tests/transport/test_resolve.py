"""Names to addresses: how often they are asked for, and what is kept."""

from __future__ import annotations

import errno
import socket
from socket import AF_INET, AF_INET6
from socket import SOCK_STREAM as STREAM

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.core.endings import Fault
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.resolve import ADDRESSES_MAX, NAMES_MAX, Address, Resolver, interleave

V4 = Address(AF_INET, ("192.0.2.1", 443))
V6 = Address(AF_INET6, ("2001:db8::1", 443, 0, 0))


@attrs.define
class FakeDns:
    """Answers after ``delay_s``, and remembers what it was asked."""

    answer: list[Address] | Exception = attrs.field(factory=lambda: [V4])
    delay_s: float = 0.0
    asked: list[tuple[str, int]] = attrs.field(factory=list)

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append((host, port))
        await trio.sleep(self.delay_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def failure_of(resolver: Resolver) -> DialError:
    with pytest.raises(DialError) as caught:
        await resolver.resolve("a.test", 443)
    return caught.value


async def test_an_answer_is_used_for_thirty_seconds(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    dns = FakeDns()
    resolver = Resolver(nursery, lookup=dns)

    for at in (0.0, 29.9):
        await trio.sleep_until(at)
        assert await resolver.resolve("a.test", 443) == (V4,)
    assert len(dns.asked) == 1

    await trio.sleep_until(30.0)
    await resolver.resolve("a.test", 443)
    assert len(dns.asked) == 2


async def test_a_failure_is_used_for_one_second(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    dns = FakeDns(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    resolver = Resolver(nursery, lookup=dns)

    first, second = await failure_of(resolver), await failure_of(resolver)
    assert len(dns.asked) == 1
    assert first.kind is second.kind is DialErrorKind.NAME_NOT_RESOLVED
    assert str(first) == "the name a.test could not be resolved: Name or service not known"

    await trio.sleep(1.0)
    dns.answer = [V4]
    assert await resolver.resolve("a.test", 443) == (V4,)


async def test_a_hundred_callers_share_one_lookup(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    dns = FakeDns(delay_s=1.0)
    resolver = Resolver(nursery, lookup=dns)
    answers = []

    async def ask() -> None:
        answers.append(await resolver.resolve("a.test", 443))

    async with trio.open_nursery() as callers:
        for _ in range(100):
            callers.start_soon(ask)

    assert answers == [(V4,)] * 100
    assert dns.asked == [("a.test", 443)]


async def test_a_caller_that_is_cancelled_leaves_the_lookup_to_the_others(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    dns = FakeDns(delay_s=2.0)
    resolver = Resolver(nursery, lookup=dns)

    with trio.move_on_after(1.0) as scope:
        await resolver.resolve("a.test", 443)
    assert scope.cancelled_caught

    assert await resolver.resolve("a.test", 443) == (V4,)
    assert trio.current_time() == 2.0
    assert len(dns.asked) == 1


async def test_a_name_server_that_does_not_answer_is_given_up(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    resolver = Resolver(nursery, lookup=FakeDns(delay_s=1e6))

    error = await failure_of(resolver)

    assert error.message.endswith("no answer in 20 s")
    assert trio.current_time() == 20.0


async def test_a_shutdown_in_the_middle_of_a_lookup_leaves_nobody_waiting(
    autojump_clock: MockClock,
) -> None:
    errors = []

    async def ask(resolver: Resolver) -> None:
        errors.append(await failure_of(resolver))

    async with trio.open_nursery() as callers, trio.open_nursery() as lookups:
        callers.start_soon(ask, Resolver(lookups, lookup=FakeDns(delay_s=5.0)))
        await wait_all_tasks_blocked()
        lookups.cancel_scope.cancel()

    assert errors[0].message.endswith("the lookup was given up")


@pytest.mark.parametrize(
    ("raised", "words", "fault"),
    [
        (ValueError("embedded null"), "not a valid host name", Fault.UPSTREAM),
        (UnicodeError("label too long"), "not a valid host name", Fault.UPSTREAM),
        (RuntimeError("can't start new thread"), "no thread could be started", Fault.RELAY),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files", Fault.RELAY),
        (OSError(errno.ECONNREFUSED, "Connection refused"), "Connection refused", Fault.UPSTREAM),
    ],
)
async def test_whatever_a_lookup_raises_becomes_an_error_with_somebody_to_blame(
    raised: Exception,
    words: str,
    fault: Fault,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    error = await failure_of(Resolver(nursery, lookup=FakeDns(raised)))

    assert words in error.message
    assert error.fault is fault


async def test_a_name_without_an_address_is_not_resolved(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    error = await failure_of(Resolver(nursery, lookup=FakeDns([])))

    assert error.message.endswith("it has no address")


async def test_no_more_than_so_many_names_are_remembered(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    dns = FakeDns()
    resolver = Resolver(nursery, lookup=dns)
    for number in range(NAMES_MAX + 1):
        await resolver.resolve(f"{number}.test", 443)
    dns.asked.clear()

    await resolver.resolve(f"{NAMES_MAX}.test", 443)
    await resolver.resolve("1.test", 443)
    assert dns.asked == []

    await resolver.resolve("0.test", 443)
    assert dns.asked == [("0.test", 443)]


async def test_no_more_than_so_many_addresses_are_kept(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    many = [Address(AF_INET, (f"192.0.2.{last}", 443)) for last in range(100)]
    resolver = Resolver(nursery, lookup=FakeDns(many))

    assert await resolver.resolve("a.test", 443) == tuple(many[:ADDRESSES_MAX])


async def test_the_system_is_asked_for_the_addresses_of_both_families(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(host: str, port: int, **hints: int) -> list[tuple[object, ...]]:
        await trio.lowlevel.checkpoint()
        assert (host, port, hints) == ("a.test", 443, {"type": STREAM})
        return [
            (AF_INET6, STREAM, 6, "", V6.sockaddr),
            (AF_INET6, STREAM, 6, "", (10, b"as a Python without IPv6 has it")),
            (AF_INET, STREAM, 6, "", V4.sockaddr),
        ]

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)

    assert await Resolver(nursery).resolve("a.test", 443) == (V6, V4)


def v4(last: int) -> Address:
    return Address(AF_INET, (f"192.0.2.{last}", 443))


def v6(last: int) -> Address:
    return Address(AF_INET6, (f"2001:db8::{last:x}", 443, 0, 0))


def test_families_alternate_starting_with_the_first_ones() -> None:
    assert interleave([v6(1), v6(2), v6(3), v4(1)]) == (v6(1), v4(1), v6(2), v6(3))
    assert interleave([v4(1), v6(1), v6(2), v4(2)]) == (v4(1), v6(1), v4(2), v6(2))


@given(
    st.lists(
        st.builds(lambda six, last: (v6 if six else v4)(last), st.booleans(), st.integers(0, 9))
    )
)
def test_interleaving_loses_no_address_and_keeps_the_order_of_each_family(
    addresses: list[Address],
) -> None:
    ordered = interleave(addresses)

    for family in (AF_INET, AF_INET6):
        expected = dict.fromkeys(a for a in addresses if a.family == family)
        assert [a for a in ordered if a.family == family] == list(expected)
