"""Dialling real sockets on the loopback: what is returned, what is raised, what is closed."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.url import Url, parse_base_url
from relayd.core.endings import Fault
from relayd.transport import dial
from relayd.transport.dial import STAGGER_S
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.outgoing import AddressRefused
from relayd.transport.resolve import Address, Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator


SOON = 5.0


async def connect(url: Url, *, resolver: Resolver, deadline: float) -> socket.socket:
    """Dial, with names that may lead to this host: to the sockets of these tests."""
    return await dial.connect(url, resolver=resolver, deadline=deadline, allow_private=True)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def lowest_free_descriptor() -> int:
    number = os.dup(0)
    os.close(number)
    return number


@contextlib.contextmanager
def listening(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=64) as server:
        server.setblocking(False)
        yield server


@contextlib.contextmanager
def silent(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue is full, so the kernel drops each SYN."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(0)
        address = server.getsockname()
        while True:
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
            if filler.connect_ex(address) == errno.EALREADY:
                break
        yield address[1]


@contextlib.contextmanager
def refusing(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that is taken and not listened on."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
        yield holder.getsockname()[1]


def url_of(host: str, port: int) -> Url:
    return parse_base_url(f"http://{f'[{host}]' if ':' in host else host}:{port}")


def resolver_to(nursery: trio.Nursery, *hosts: str) -> Resolver:
    async def lookup(host: str, port: int) -> list[Address]:
        return [Address(socket.AF_INET, (address, port)) for address in hosts]

    return Resolver(nursery, lookup=lookup)


def no_names(nursery: trio.Nursery) -> Resolver:
    async def lookup(host: str, port: int) -> list[Address]:
        raise AssertionError("a literal address was looked up")

    return Resolver(nursery, lookup=lookup)


async def failure_of(url: Url, resolver: Resolver, deadline: float) -> DialError:
    before = descriptors()
    with pytest.raises(DialError) as caught:
        await connect(url, resolver=resolver, deadline=deadline)
    assert descriptors() == before
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_literal_address_is_connected_to_without_a_lookup(
    host: str, nursery: trio.Nursery
) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("this host has no IPv6")
    with listening(host) as server:
        port = server.getsockname()[1]
        deadline = trio.current_time() + SOON

        with await connect(url_of(host, port), resolver=no_names(nursery), deadline=deadline) as s:
            accepted, address = server.accept()
            accepted.close()

            assert type(s) is socket.socket
            assert address == s.getsockname()


async def test_the_socket_is_ready_for_the_reactor(nursery: trio.Nursery) -> None:
    with listening() as server:
        url = url_of(*server.getsockname())
        deadline = trio.current_time() + SOON

        with await connect(url, resolver=no_names(nursery), deadline=deadline) as sock:
            assert sock.getblocking() is False
            assert sock.get_inheritable() is False
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_a_name_with_one_address_is_connected_to(nursery: trio.Nursery) -> None:
    with listening() as server:
        url = url_of("a.test", server.getsockname()[1])
        resolver = resolver_to(nursery, "127.0.0.1")

        with await connect(url, resolver=resolver, deadline=trio.current_time() + SOON) as sock:
            assert sock.getpeername() == server.getsockname()


async def test_a_refusal_is_told_with_the_address(nursery: trio.Nursery) -> None:
    with refusing() as port:
        url = url_of("127.0.0.1", port)

        error = await failure_of(url, no_names(nursery), trio.current_time() + SOON)

    assert error.kind is DialErrorKind.CONNECTION_REFUSED
    assert str(error) == f"connecting to 127.0.0.1:{port} failed: connection refused"
    assert error.fault is Fault.UPSTREAM


async def test_a_name_that_is_not_known_is_told(nursery: trio.Nursery) -> None:
    url = url_of("a.test", 443)

    error = await failure_of(url, resolver_to(nursery), trio.current_time() + SOON)

    assert error.kind is DialErrorKind.NAME_NOT_RESOLVED


async def test_an_address_that_does_not_answer_times_out_at_the_deadline(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    with silent() as port:
        error = await failure_of(url_of("127.0.0.1", port), no_names(nursery), 3.0)

    assert error.kind is DialErrorKind.CONNECT_TIMEOUT
    assert trio.current_time() == 3.0


async def test_a_slow_name_server_counts_against_the_deadline(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def lookup(host: str, port: int) -> list[Address]:
        await trio.sleep(10.0)
        return []

    error = await failure_of(url_of("a.test", 443), Resolver(nursery, lookup=lookup), 2.0)

    assert error.kind is DialErrorKind.CONNECT_TIMEOUT
    assert trio.current_time() == 2.0


@pytest.mark.slow  # The kernel repeats a dropped SYN after a second.
async def test_a_connection_that_comes_late_is_waited_for(nursery: trio.Nursery) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(2)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)

        async def make_room() -> None:
            await wait_all_tasks_blocked()
            server.accept()[0].close()

        nursery.start_soon(make_room)
        deadline = trio.current_time() + 30
        sock = await connect(url_of(*address), resolver=no_names(nursery), deadline=deadline)
        assert sock.getpeername() == address
        for used in (sock, *fillers):
            used.close()


async def test_a_second_address_is_tried_after_a_quarter_of_a_second(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    with silent("127.0.0.2") as port, listening("127.0.0.3", port) as server:
        before = descriptors()
        resolver = resolver_to(nursery, "127.0.0.2", "127.0.0.3")

        sock = await connect(url_of("a.test", port), resolver=resolver, deadline=SOON)

        assert trio.current_time() == STAGGER_S
        assert sock.getpeername() == server.getsockname()
        assert descriptors() == before + 1
        sock.close()


async def test_a_second_address_is_tried_at_once_when_the_first_refuses(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    with refusing("127.0.0.2") as port, listening("127.0.0.3", port) as server:
        resolver = resolver_to(nursery, "127.0.0.2", "127.0.0.3")

        with await connect(url_of("a.test", port), resolver=resolver, deadline=SOON) as sock:
            assert trio.current_time() == 0.0
            assert sock.getpeername() == server.getsockname()


async def test_when_every_address_fails_one_error_tells_of_all(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    with refusing("127.0.0.2") as port, refusing("127.0.0.3", port):
        resolver = resolver_to(nursery, "127.0.0.2", "127.0.0.3")

        error = await failure_of(url_of("a.test", port), resolver, SOON)

    assert error.kind is DialErrorKind.CONNECTION_REFUSED
    assert str(error) == f"no address of a.test:{port} could be reached: connection refused"


async def test_when_no_address_answers_the_race_ends_at_the_deadline(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    with silent("127.0.0.2") as port, silent("127.0.0.3", port):
        resolver = resolver_to(nursery, "127.0.0.2", "127.0.0.3")

        error = await failure_of(url_of("a.test", port), resolver, SOON)

    assert error.kind is DialErrorKind.CONNECT_TIMEOUT
    assert trio.current_time() == SOON


@pytest.mark.parametrize("hosts", [["127.0.0.2"], ["127.0.0.2", "127.0.0.3"]])
@pytest.mark.parametrize("cancel_at_s", [0.0, 0.1, 1.0])
async def test_cancelling_leaves_no_descriptor_open(
    hosts: list[str], cancel_at_s: float, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    with silent("127.0.0.2") as port, silent("127.0.0.3", port):
        before = descriptors()
        with trio.move_on_at(cancel_at_s) as scope:
            await connect(url_of("a.test", port), resolver=resolver_to(nursery, *hosts), deadline=9)

        assert scope.cancelled_caught
        assert descriptors() == before


async def test_a_winner_that_nobody_waits_for_any_more_is_closed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The cancel comes in the very step in which the second address answers."""
    with silent("127.0.0.2") as port, listening("127.0.0.3", port):
        before = descriptors()
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                await trio.sleep(STAGGER_S)
                scope.cancel()

            nursery.start_soon(cancel)
            resolver = resolver_to(nursery, "127.0.0.2", "127.0.0.3")
            sock = await connect(url_of("a.test", port), resolver=resolver, deadline=SOON)
            sock.close()

        assert descriptors() == before


async def test_a_winner_is_closed_when_the_cancel_comes_before_it_is_handed_over(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.CancelScope() as scope, socket.socket() as winner:

        async def answer(address: Address) -> socket.socket:
            await trio.lowlevel.checkpoint()
            scope.cancel()
            return winner

        monkeypatch.setattr(dial, "_connect_one", answer)
        resolver = resolver_to(nursery, "127.0.0.2", "127.0.0.3")
        await connect(url_of("a.test", 443), resolver=resolver, deadline=math.inf)

    assert scope.cancelled_caught
    assert winner.fileno() == -1


async def test_of_two_that_answer_in_one_step_the_second_is_closed(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    opened: list[socket.socket] = []
    both = trio.Event()

    async def answer(address: Address) -> socket.socket:
        sock = socket.socket()
        opened.append(sock)
        await both.wait()
        return sock

    async def let_both_answer() -> None:
        await trio.sleep(2 * STAGGER_S)
        both.set()

    nursery.start_soon(let_both_answer)
    monkeypatch.setattr(dial, "_connect_one", answer)
    resolver = resolver_to(nursery, "127.0.0.2", "127.0.0.3")

    with await connect(url_of("a.test", 443), resolver=resolver, deadline=SOON) as winner:
        assert winner in opened
        assert sorted(sock.fileno() for sock in opened) == [-1, winner.fileno()]


async def test_an_address_on_an_interface_that_does_not_exist_is_told(
    nursery: trio.Nursery,
) -> None:
    url = Url(tls=False, host="fe80::1%none0", port=443, path="", is_literal=True)

    error = await failure_of(url, no_names(nursery), trio.current_time() + SOON)

    assert error.kind is DialErrorKind.NETWORK_UNREACHABLE
    assert error.message.startswith("connecting to [fe80::1%none0]:443 failed: ")


async def test_a_lack_of_descriptors_is_not_the_upstreams_fault(nursery: trio.Nursery) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with listening() as server:
        url = url_of(*server.getsockname())
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free_descriptor(), hard))
        try:
            with pytest.raises(DialError) as caught:
                await connect(url, resolver=no_names(nursery), deadline=trio.current_time() + SOON)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert caught.value.kind is DialErrorKind.RESOURCES_EXHAUSTED
    assert caught.value.fault is Fault.RELAY


# -- where it may lead


class Names:
    """A name server that says something else each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = iter(answers)

    async def __call__(self, host: str, port: int) -> list[Address]:
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [Address(families[":" in each], (each, port)) for each in next(self._answers)]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that would have been connected to; none of them answers."""
    hosts: list[str] = []

    async def refuse(address: Address, deadline: float = math.inf) -> socket.socket:
        await trio.lowlevel.checkpoint()
        hosts.append(address.sockaddr[0])
        raise DialError(DialErrorKind.CONNECTION_REFUSED, "refused")

    monkeypatch.setattr(dial, "_connect_one", refuse)
    return hosts


async def tried(
    host: str, resolver: Resolver, *, allow_private: bool = False, is_learned: bool = False
) -> DialError:
    with pytest.raises(DialError) as caught:
        await dial.connect(
            url_of(host, 443),
            resolver=resolver,
            deadline=math.inf,
            allow_private=allow_private,
            is_learned=is_learned,
        )
    return caught.value


async def test_a_name_that_leads_into_the_own_network_is_not_dialled(
    nursery: trio.Nursery, dialled: list[str]
) -> None:
    error = await tried("a.test", Resolver(nursery, lookup=Names(["10.0.0.1", "::1"])))

    assert isinstance(error, AddressRefused)
    assert dialled == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (["10.0.0.1", "8.8.8.8"], ["8.8.8.8"]),
        (["::ffff:127.0.0.1", "8.8.8.8", "169.254.169.254", "8.8.4.4"], ["8.8.8.8", "8.8.4.4"]),
    ],
)
async def test_of_a_name_s_addresses_only_public_ones_are_dialled(
    answer: list[str], expected: list[str], nursery: trio.Nursery, dialled: list[str]
) -> None:
    error = await tried("a.test", Resolver(nursery, lookup=Names(answer)))

    assert error.kind is DialErrorKind.CONNECTION_REFUSED
    assert dialled == expected


async def test_what_was_checked_is_what_is_dialled_though_the_name_changes(
    nursery: trio.Nursery, dialled: list[str], autojump_clock: MockClock
) -> None:
    """DNS rebinding: public when it is checked, private a moment later."""
    resolver = Resolver(nursery, lookup=Names(["8.8.8.8"], ["127.0.0.1"]))

    await tried("a.test", resolver)
    assert dialled == ["8.8.8.8"]
    await trio.sleep(60)  # the answer is forgotten
    assert isinstance(await tried("a.test", resolver), AddressRefused)
    assert dialled == ["8.8.8.8"]


async def test_a_private_network_is_dialled_where_that_is_allowed(
    nursery: trio.Nursery, dialled: list[str]
) -> None:
    await tried("a.test", Resolver(nursery, lookup=Names(["10.0.0.1"])), allow_private=True)

    assert dialled == ["10.0.0.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "::1", "localhost"])
async def test_the_operator_s_own_address_is_dialled_and_a_peer_s_is_not(
    host: str, nursery: trio.Nursery, dialled: list[str]
) -> None:
    resolver = Resolver(nursery, lookup=Names(["127.0.0.1"]))

    assert isinstance(await tried(host, resolver, is_learned=True), AddressRefused)
    assert dialled == []
    await tried(host, resolver)
    assert dialled == ["127.0.0.1" if host == "localhost" else host]
    await tried(host, resolver, is_learned=True, allow_private=True)
    assert len(dialled) == 2


async def test_a_name_that_a_peer_handed_out_is_judged_by_where_it_leads(
    nursery: trio.Nursery, dialled: list[str]
) -> None:
    resolver = Resolver(nursery, lookup=Names(["10.0.0.1", "8.8.8.8"]))

    await tried("a.test", resolver, is_learned=True)

    assert dialled == ["8.8.8.8"]
