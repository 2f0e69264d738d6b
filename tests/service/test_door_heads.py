"""Heads that take long, at the front door: whom they count against, first ones and later ones."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.kinds import UNIX_PEER, TrustedProxy
from relayd.config.schema import LimitSettings, ServerSettings, Settings
from relayd.config.snapshot import Snapshot
from relayd.core.refusals import RefusalCode
from relayd.protocol.head import HeadError
from relayd.service.acceptor import ORDER, SLOW_AFTER_S, SlowHeads
from relayd.service.entrance import read_head
from relayd.service.visit import Refused, Visit

HERE, PROXY = "192.0.2.7", "198.51.100.1"
PROXIES = ipaddress.ip_network("198.51.100.0/24")
HANDSHAKE_S = 10.0
HEAD = b"GET /v1/models HTTP/1.1\r\nHost: r\r\n\r\n"


def v1(client: str) -> bytes:
    return f"PROXY TCP4 {client} 203.0.113.1 4711 443\r\n".encode()


@attrs.define(eq=False)
class House:
    """A door that lets at most one slow head of an address in."""

    nursery: trio.Nursery
    snapshot: Snapshot
    tls: ssl.SSLContext | None = None
    slow_heads: SlowHeads = attrs.field(factory=lambda: SlowHeads(1))
    visits: list[Visit] = attrs.field(factory=list)
    ends: dict[int, float] = attrs.field(factory=dict)
    _clients: list[socket.socket] = attrs.field(factory=list)

    def enter(self, address: str, said: bytes) -> socket.socket:
        """A connection on which no more is said for now."""
        near, far = socket.socketpair()
        near.setblocking(False)
        self._clients += [near, far]
        far.send(said)
        visit = Visit(near, address, next(ORDER), trio.current_time(), "sess_1")
        self.visits.append(visit)
        self.nursery.start_soon(self._read, len(self.visits) - 1, visit)
        return far

    async def _read(self, index: int, visit: Visit) -> None:
        try:
            await read_head(visit, self)
        except Refused as refused:
            if refused.refusal.code is RefusalCode.HEAD_TIMEOUT:
                self.ends[index] = trio.current_time()

    def close(self) -> None:
        for sock in self._clients:
            sock.close()


@pytest.fixture
async def house(nursery: trio.Nursery) -> AsyncIterator[House]:
    made = House(nursery, settings())
    nursery.start_soon(made.slow_heads.watch)
    yield made
    made.close()


def settings(trusted: tuple[TrustedProxy, ...] = (), *, proxy_protocol: bool = False) -> Snapshot:
    server = ServerSettings(trusted_proxies=trusted, proxy_protocol=proxy_protocol)
    return Snapshot.of(Settings(server=server, limits=LimitSettings(handshake_s=HANDSHAKE_S)))


@pytest.mark.parametrize(
    ("address", "trusted", "counts"),
    [
        (HERE, (), True),
        (HERE, (PROXIES,), True),
        (PROXY, (), True),
        (PROXY, (PROXIES,), False),
        (f"::ffff:{PROXY}", (PROXIES,), False),
        (UNIX_PEER, (PROXIES,), True),
        (UNIX_PEER, (UNIX_PEER,), False),
        (HERE, (UNIX_PEER,), True),
    ],
)
async def test_slow_heads_count_by_socket_address_but_not_those_of_trusted_proxies(
    autojump_clock: MockClock,
    house: House,
    address: str,
    trusted: tuple[TrustedProxy, ...],
    counts: bool,
) -> None:
    house.snapshot = settings(trusted)
    for _ in range(2):
        house.enter(address, HEAD[:5])
        await trio.sleep(0.25)

    await trio.sleep(HANDSHAKE_S + 1)

    first_s = 0.25 + SLOW_AFTER_S if counts else HANDSHAKE_S
    assert house.ends == {0: first_s, 1: 0.25 + HANDSHAKE_S}


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ([v1(HERE), v1(HERE)], True),
        ([v1(HERE) + HEAD[:5], v1(HERE) + HEAD[:5]], True),
        ([v1(HERE), v1("192.0.2.8")], False),
        ([v1("198.51.100.2"), v1("198.51.100.2")], False),  # a proxy in front of the proxy
        ([b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN\r\n"], False),
        ([v1(HERE)[:9], v1(HERE)[:9]], False),  # nobody can say yet whose they are
        ([b"", b""], False),
    ],
)
async def test_behind_a_proxy_they_count_by_the_address_that_it_names(
    autojump_clock: MockClock, house: House, said: list[bytes], counts: bool
) -> None:
    house.snapshot = settings((PROXIES,), proxy_protocol=True)
    for each in said:
        house.enter(PROXY, each)
        await trio.sleep(0.25)

    await trio.sleep(HANDSHAKE_S + 1)

    first_s = 0.25 + SLOW_AFTER_S if counts else HANDSHAKE_S
    assert house.ends == {0: first_s, 1: 0.25 + HANDSHAKE_S}


async def test_the_proxy_header_and_the_head_share_one_deadline(
    autojump_clock: MockClock, house: House
) -> None:
    house.snapshot = settings((PROXIES,), proxy_protocol=True)
    client = house.enter(PROXY, b"")
    await trio.sleep(HANDSHAKE_S - 1)
    client.send(v1(HERE))

    await trio.sleep(2)

    assert house.ends == {0: HANDSHAKE_S}


async def test_a_drain_during_the_proxy_header_holds_for_the_head_too(
    autojump_clock: MockClock, house: House
) -> None:
    house.snapshot = settings((PROXIES,), proxy_protocol=True)
    client = house.enter(PROXY, b"")
    await trio.sleep(1)
    house.slow_heads.hasten(3.0)
    client.send(v1(HERE))

    await trio.sleep(5)

    assert house.ends == {0: 3.0}


@pytest.mark.parametrize(
    ("address", "said", "counts"),
    [
        (HERE, HEAD, True),
        (HERE, HEAD[:5], True),
        (PROXY, HEAD, False),
    ],
)
async def test_later_heads_count_against_the_same_address_as_the_first(
    autojump_clock: MockClock, house: House, address: str, said: bytes, counts: bool
) -> None:
    house.snapshot = settings((PROXIES,))
    client = house.enter(address, said)
    await trio.sleep(0.25)
    client.send(HEAD[len(said) :])
    await trio.sleep(100)  # it was idle
    reading = house.visits[0].reading
    house.enter(address, HEAD[:5])

    begun_at = trio.current_time() + 0.5
    await trio.sleep(0.5)
    with pytest.raises(HeadError, match="within 5 s"), reading(5.0):
        await trio.sleep_forever()

    assert trio.current_time() == begun_at + 5
    # The head of the other connection began before this one, and is the older of the two.
    assert house.ends == ({1: begun_at + SLOW_AFTER_S} if counts else {})


async def test_a_head_that_has_come_is_not_counted_at_all(
    autojump_clock: MockClock, house: House
) -> None:
    for _ in range(3):
        house.enter(HERE, HEAD)
    await trio.testing.wait_all_tasks_blocked()

    assert len(house.slow_heads) == 0
    assert house.ends == {}
    assert {visit.client_address for visit in house.visits} == {HERE}
