"""Upstreams behind proxies that are played by hand on the loopback."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import pytest
import trio
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.proxy import parse_proxy
from relayd.config.snapshot import Account
from relayd.config.url import parse_base_url
from relayd.core.endings import Fault
from relayd.transport import dial, egress, raw, tls
from relayd.transport.egress import (
    ANSWER_MAX_BYTES,
    INTERIM_MAX,
    ConnectReader,
    ProxyError,
    connect_request,
)
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.outgoing import AddressRefused
from relayd.transport.resolve import Address, Resolver
from tests.faults.wire import Ended, Wire, prefixes

USER, WORD = "canary-user", "canary:word"
USERINFO = "canary-user:canary%3Aword@"
UPSTREAM = "https://api.example/v1"
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"

GREETING = b"\x05\x01\x00"
GREETING_WITH_PASSWORD = b"\x05\x02\x00\x02"
PASSWORD = b"\x01\x0bcanary-user\x0bcanary:word"
BY_NAME = b"\x05\x01\x00\x03\x0bapi.example\x01\xbb"
DONE = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"

Play = Callable[[Wire], Awaitable[None]]


async def exactly(wire: Wire, expected: bytes) -> None:
    """Receive ``expected``, and nothing behind it yet."""
    while len(wire.buffer) < len(expected):
        wire.buffer += await wire.receive()
    assert bytes(wire.buffer) == expected
    wire.buffer.clear()


def says(*conversation: bytes) -> Play:
    """Receives and sends in turn, beginning with receiving."""

    async def play(wire: Wire) -> None:
        for at in range(0, len(conversation), 2):
            await exactly(wire, conversation[at])
            for answer in conversation[at + 1 : at + 2]:
                await wire.send(answer)

    return play


def answers(data: bytes, *, drip: bool = False, leaves: bool = False) -> Play:
    """An HTTP proxy that answers with ``data``."""

    async def play(wire: Wire) -> None:
        await wire.head()
        await (wire.drip(data) if drip else wire.send(data))
        if leaves:
            wire.close()

    return play


async def ignores(wire: Wire) -> None:
    """Accepted, and never answered."""


@attrs.define(eq=False)
class Stage:
    """Proxies, what was connected to them, and what names were asked for."""

    nursery: trio.Nursery
    wires: list[Wire] = attrs.field(factory=list)
    names: dict[str, list[str]] = attrs.field(factory=dict)
    _listeners: list[trio.socket.SocketType] = attrs.field(factory=list)

    async def account(
        self,
        scheme: str,
        *plays: Play,
        userinfo: str = "",
        host: str = "127.0.0.1",
        named: str | None = None,
        allow_private: bool = False,
    ) -> Account:
        """An account behind a proxy whose connections do ``plays`` in turn."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = trio.socket.socket(family)
        await listener.bind((host, 0))
        listener.listen()
        self._listeners.append(listener)
        self.nursery.start_soon(self._serve, listener, plays)
        where = named or (f"[{host}]" if ":" in host else host)
        proxy = parse_proxy(f"{scheme}://{userinfo}{where}:{listener.getsockname()[1]}")
        return Account(name="a", provider="compatible", proxy=proxy, allow_private=allow_private)

    async def _serve(self, listener: trio.socket.SocketType, plays: tuple[Play, ...]) -> None:
        for play in plays:
            sock, _ = await listener.accept()
            wire = Wire(sock, is_client=False)
            self.wires.append(wire)
            with contextlib.suppress(Ended):
                await play(wire)

    async def _look_up(self, host: str, port: int) -> list[Address]:
        if host not in self.names:
            raise OSError(socket.EAI_NONAME, "Name or service not known")
        return [
            Address(socket.AF_INET6 if ":" in each else socket.AF_INET, (each, port))
            for each in self.names[host]
        ]

    async def connect(
        self,
        account: Account,
        url: str = UPSTREAM,
        *,
        deadline: float | None = None,
        is_learned: bool = False,
    ) -> socket.socket:
        return await egress.connect(
            parse_base_url(url),
            account,
            resolver=Resolver(self.nursery, lookup=self._look_up),
            deadline=trio.current_time() + 30.0 if deadline is None else deadline,
            is_learned=is_learned,
        )

    async def failure(
        self,
        account: Account,
        url: str = UPSTREAM,
        *,
        deadline: float | None = None,
        is_learned: bool = False,
    ) -> DialError:
        """Why there is no tunnel. It tells no secret, and nothing of relayd's stays open."""
        with pytest.raises(DialError) as caught:
            await self.connect(account, url, deadline=deadline, is_learned=is_learned)
        for shown in (str(caught.value), repr(caught.value), repr(account)):
            assert "canary" not in shown
            assert base64.b64encode(b"canary-user:")[:12].decode() not in shown
        for wire in self.wires:
            if wire.sock.fileno() >= 0:
                await wire.end()
        return caught.value

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        for wire in self.wires:
            wire.close()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        made = Stage(nursery)
        yield made
        nursery.cancel_scope.cancel()
    made.close()


async def works(sock: socket.socket, wire: Wire) -> None:
    """What is sent into either end of the tunnel arrives at the other."""
    with sock:
        assert sock.getblocking() is False
        assert type(sock) is socket.socket
        await raw.send_all(sock, b"ping")
        await exactly(wire, b"ping")
        await wire.send(b"pong")
        assert await raw.receive(sock, 100) == b"pong"


def loopbacks() -> list[str]:
    return ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]


# -- without a proxy


async def test_without_a_proxy_the_upstream_is_dialled_by_the_same_rules(stage: Stage) -> None:
    stage.names = {"api.example": ["127.0.0.1"]}
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://api.example:{server.getsockname()[1]}"
        private = Account(name="a", provider="compatible", allow_private=True)

        assert isinstance(
            await stage.failure(attrs.evolve(private, allow_private=False), url), AddressRefused
        )
        with await stage.connect(private, url) as sock:
            assert sock.getpeername() == server.getsockname()


# -- HTTP


@pytest.mark.parametrize("host", loopbacks())
async def test_connect_makes_a_tunnel_and_leaves_the_name_to_the_proxy(
    stage: Stage, host: str
) -> None:
    account = await stage.account("http", answers(OK), host=host)

    sock = await stage.connect(account)

    (wire,) = stage.wires
    assert wire.seen == b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n"
    await works(sock, wire)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://api.example", b"api.example:80"),
        ("https://[2001:db8::1]:8443", b"[2001:db8::1]:8443"),
        ("http://127.0.0.1:9", b"127.0.0.1:9"),
    ],
)
async def test_the_authority_always_has_a_port(stage: Stage, url: str, authority: bytes) -> None:
    account = await stage.account("http", answers(OK))

    (await stage.connect(account, url)).close()

    assert stage.wires[0].seen.startswith(b"CONNECT " + authority + b" HTTP/1.1\r\n")


async def test_user_name_and_password_are_sent_as_basic(stage: Stage) -> None:
    account = await stage.account("http", answers(OK), userinfo=USERINFO)

    (await stage.connect(account)).close()

    token = base64.b64encode(f"{USER}:{WORD}".encode())
    assert b"\r\nProxy-Authorization: Basic " + token + b"\r\n" in stage.wires[0].seen


def test_a_password_may_be_any_text() -> None:
    proxy = parse_proxy("http://%C3%BC:%E2%82%AC%20@a:1")

    assert base64.b64encode("ü:€ ".encode()) in connect_request("b", 1, proxy)


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.0 200 OK\r\nServer: squid\r\n\r\n",
        b"HTTP/1.1 204 \r\n\r\n",
        b"HTTP/1.1 299\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * INTERIM_MAX + OK,
    ],
)
@pytest.mark.parametrize("drip", [False, True])
async def test_every_2xx_is_a_tunnel_however_it_is_cut(
    stage: Stage, answer: bytes, drip: bool
) -> None:
    account = await stage.account("http", answers(answer, drip=drip))

    await works(await stage.connect(account), stage.wires[0])


async def test_tls_to_the_upstream_runs_inside_the_tunnel(stage: Stage) -> None:
    authority = trustme.CA()
    showing = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("api.example").configure_cert(showing)
    trusting = tls.client_context(None)
    authority.configure_trust(trusting)

    async def upstream_behind(wire: Wire) -> None:
        await answers(OK)(wire)
        await wire.start_tls(showing)

    account = await stage.account("http", upstream_behind)
    sock = await stage.connect(account)
    secured = await tls.start_client(sock, trusting, "api.example", deadline=1e9)

    with secured:
        await raw.send_all(secured, b"ping")
        assert await stage.wires[0].receive() == b"ping"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        ("403 Forbidden", DialErrorKind.CONNECTION_REFUSED, "status 403"),
        ("502 Bad Gateway", DialErrorKind.CONNECTION_REFUSED, "status 502"),
        ("504 Gateway Timeout", DialErrorKind.CONNECT_TIMEOUT, "status 504"),
        ("302 Found\r\nLocation: http://127.0.0.1/", DialErrorKind.CONNECTION_REFUSED, "302"),
        ("101 Switching Protocols", DialErrorKind.CONNECTION_REFUSED, "status 101"),
        ("407 canary", DialErrorKind.CONNECTION_REFUSED, "wants a user name and password"),
    ],
)
async def test_any_other_answer_is_told_with_its_remedy(
    stage: Stage, status: str, kind: DialErrorKind, words: str
) -> None:
    account = await stage.account("http", answers(f"HTTP/1.1 {status}\r\n\r\n".encode()))

    error = await stage.failure(account)

    assert isinstance(error, ProxyError)
    assert error.kind is kind
    assert error.fault is Fault.UPSTREAM
    assert error.message.startswith("the account's proxy: ")
    assert words in error.message


async def test_credentials_that_the_proxy_does_not_take_are_told(stage: Stage) -> None:
    declining = answers(b"HTTP/1.1 407 no\r\nProxy-Authenticate: Basic\r\n\r\n" + b"x" * 100)
    account = await stage.account("http", declining, userinfo=USERINFO)

    assert "does not take the user name" in (await stage.failure(account)).message


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-canary\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"200 OK\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 \x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: canary\r\n" * 5000,
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * ANSWER_MAX_BYTES,
        b"HTTP/1.1 100 Continue\r\n\r\n" * (INTERIM_MAX + 1) + OK,
        OK + b"\x16\x03\x01",
        OK + b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"\x05\x00",
    ],
)
@pytest.mark.parametrize("leaves", [False, True])
async def test_garbage_and_early_bytes_are_no_tunnel(
    stage: Stage, answer: bytes, leaves: bool
) -> None:
    account = await stage.account("http", answers(answer, leaves=leaves))

    assert (await stage.failure(account)).kind is DialErrorKind.CONNECTION_LOST


@pytest.mark.parametrize("beginning", [b"", OK[:1], OK[:-1]])
async def test_a_proxy_that_hangs_up_is_told(stage: Stage, beginning: bytes) -> None:
    account = await stage.account("http", answers(beginning, leaves=True))

    error = await stage.failure(account)

    assert error.message == "the account's proxy: it hung up instead of making a tunnel"


CHUNKS = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK", b"HTTP/1.1 100 ", b"HTTP/1.1 407", b"HTTP/1.0 99", b"\r\n", b"\n"),
        *(b"\r\n\r\n", b"A: b", b" folded", b"\0", b"\xff", OK, b"\x16\x03\x01"),
    ]
)


@given(
    st.one_of(st.binary(max_size=100), st.lists(CHUNKS, max_size=10).map(b"".join)),
    st.integers(1, 30),
)
def test_any_bytes_come_to_the_same_however_they_are_cut(data: bytes, chunk_bytes: int) -> None:
    def outcome(size: int) -> tuple[int, bytes] | str | None:
        reader = ConnectReader()
        for start in range(0, len(data), size):
            try:
                status = reader.feed(data[start : start + size])
            except ProxyError as error:
                return type(error).__name__
            if status is not None:
                return status, reader.leftover + data[start + size :]
        return None

    assert outcome(chunk_bytes) == outcome(max(1, len(data)))


# -- SOCKS5


@pytest.mark.parametrize("host", loopbacks())
async def test_socks5h_leaves_the_name_to_the_proxy(stage: Stage, host: str) -> None:
    play = says(GREETING, b"\x05\x00", BY_NAME, DONE)
    account = await stage.account("socks5h", play, host=host)

    await works(await stage.connect(account), stage.wires[0])


@pytest.mark.parametrize(
    ("host", "request_bytes"),
    [
        ("127.0.0.1", b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb"),
        ("[2001:db8::1]", b"\x05\x01\x00\x04 \x01\r\xb8" + bytes(11) + b"\x01\x01\xbb"),
    ],
)
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_an_address_is_sent_as_one(
    stage: Stage, scheme: str, host: str, request_bytes: bytes
) -> None:
    account = await stage.account(scheme, says(GREETING, b"\x05\x00", request_bytes, DONE))

    await works(await stage.connect(account, f"https://{host}"), stage.wires[0])


async def test_socks5_sends_an_address_that_was_resolved_and_checked(stage: Stage) -> None:
    stage.names = {"api.example": ["10.0.0.1", "8.8.8.8"]}
    by_address = b"\x05\x01\x00\x01\x08\x08\x08\x08\x01\xbb"
    account = await stage.account("socks5", says(GREETING, b"\x05\x00", by_address, DONE))

    await works(await stage.connect(account), stage.wires[0])


async def test_socks5_asks_for_no_private_address(stage: Stage) -> None:
    stage.names = {"api.example": ["10.0.0.1"]}
    account = await stage.account("socks5", ignores)

    assert isinstance(await stage.failure(account), AddressRefused)
    assert stage.wires == []

    by_address = b"\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb"
    allowing = await stage.account(
        "socks5", says(GREETING, b"\x05\x00", by_address, DONE), allow_private=True
    )
    await works(await stage.connect(allowing), stage.wires[0])


@pytest.mark.parametrize("chosen", [b"\x05\x02", b"\x05\x00"])
async def test_the_proxy_says_whether_it_wants_the_password(stage: Stage, chosen: bytes) -> None:
    asked = (PASSWORD, b"\x01\x00") if chosen == b"\x05\x02" else ()
    play = says(GREETING_WITH_PASSWORD, chosen, *asked, BY_NAME, DONE)
    account = await stage.account("socks5h", play, userinfo=USERINFO)

    await works(await stage.connect(account), stage.wires[0])


@pytest.mark.parametrize(
    "bound", [b"\x01" + bytes(4), b"\x04" + bytes(16), b"\x03\x00", b"\x03\xff" + b"b" * 255]
)
@pytest.mark.parametrize("drip", [False, True])
async def test_what_follows_the_reply_is_the_upstream_s(
    stage: Stage, bound: bytes, drip: bool
) -> None:
    async def play(wire: Wire) -> None:
        send = wire.drip if drip else wire.send
        await exactly(wire, GREETING)
        await send(b"\x05\x00")
        await exactly(wire, BY_NAME)
        await send(b"\x05\x00\x00" + bound + b"\x00\x00" + b"hello")

    sock = await stage.connect(await stage.account("socks5h", play))

    with sock:
        received = b""
        while len(received) < 5:
            received += await raw.receive(sock, 100)
        assert received == b"hello"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (1, DialErrorKind.NETWORK_UNREACHABLE),
        (2, DialErrorKind.CONNECTION_REFUSED),
        (3, DialErrorKind.NETWORK_UNREACHABLE),
        (4, DialErrorKind.NETWORK_UNREACHABLE),
        (5, DialErrorKind.CONNECTION_REFUSED),
        (6, DialErrorKind.CONNECT_TIMEOUT),
        (7, DialErrorKind.CONNECTION_REFUSED),
        (8, DialErrorKind.NETWORK_UNREACHABLE),
        (255, DialErrorKind.CONNECTION_REFUSED),
    ],
)
async def test_a_reply_that_says_no_is_told(stage: Stage, reply: int, kind: DialErrorKind) -> None:
    refusing = says(GREETING, b"\x05\x00", BY_NAME, bytes([5, reply, 0, 1]))
    account = await stage.account("socks5h", refusing)

    error = await stage.failure(account)

    assert error.kind is kind
    assert f"SOCKS reply {reply}" in error.message


@pytest.mark.parametrize(
    ("conversation", "words"),
    [
        ([b"\x05\xff"], "does not take the user name"),
        ([b"\x05\x02", PASSWORD, b"\x01\x01"], "does not take the user name"),
        ([b"\x05\x02", PASSWORD, b"\x05\x00"], "no RFC 1929"),
        ([b"\x05\x01"], "was not offered"),
        ([b"\x04\x00"], "no SOCKS5"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "no SOCKS5"),
        ([b"\x05\x00", BY_NAME, b"\x04" + DONE[1:]], "no SOCKS5"),
        ([b"\x05\x00", BY_NAME, b"\x05\x00\x01" + DONE[3:]], "no SOCKS5"),
        ([b"\x05\x00", BY_NAME, b"\x05\x00\x00\x02" + bytes(6)], "unknown kind of address"),
    ],
)
async def test_what_is_no_socks_is_told(
    stage: Stage, conversation: list[bytes], words: str
) -> None:
    play = says(GREETING_WITH_PASSWORD, *conversation)
    account = await stage.account("socks5h", play, userinfo=USERINFO)

    assert words in (await stage.failure(account)).message


@pytest.mark.parametrize("chosen", [b"\x05\xff", b"\x05\x02"])
async def test_a_proxy_that_wants_a_password_and_has_none_is_told(
    stage: Stage, chosen: bytes
) -> None:
    account = await stage.account("socks5h", says(GREETING, chosen))

    error = await stage.failure(account)

    expected = "write them into accounts.proxy" if chosen == b"\x05\xff" else "was not offered"
    assert expected in error.message


async def test_a_proxy_may_hang_up_at_any_byte(stage: Stage) -> None:
    steps = [GREETING_WITH_PASSWORD, b"\x05\x02", PASSWORD, b"\x01\x00", BY_NAME, DONE]
    cut_off = [
        [*steps[: at - 1], steps[at - 1], beginning]
        for at in range(1, len(steps), 2)
        for beginning in prefixes(steps[at])
    ]
    for conversation in cut_off:

        async def play(wire: Wire, conversation: list[bytes] = conversation) -> None:
            await says(*conversation)(wire)
            wire.close()

        account = await stage.account("socks5h", play, userinfo=USERINFO)
        assert (await stage.failure(account)).kind is DialErrorKind.CONNECTION_LOST


@settings(max_examples=60)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.tuples(
            st.sampled_from([b"\x05\x00", b"\x05\x02\x01\x00"]),
            st.sampled_from([b"", b"\x05\x00\x00", b"\x05\x00\x00\x03", DONE]),
            st.binary(max_size=12),
        ).map(b"".join),
    )
)
def test_any_bytes_of_a_proxy_are_a_tunnel_or_a_dial_error(data: bytes) -> None:
    ours, theirs = socket.socketpair()

    async def connected(*args: object, **options: object) -> socket.socket:
        await trio.lowlevel.checkpoint()
        return ours

    async def run() -> None:
        proxy = parse_proxy(f"socks5h://{USERINFO}127.0.0.1:1")
        account = Account(name="a", provider="compatible", proxy=proxy)
        async with trio.open_nursery() as nursery:
            with contextlib.suppress(DialError):
                await egress.connect(
                    parse_base_url(UPSTREAM),
                    account,
                    resolver=Resolver(nursery),
                    deadline=trio.current_time() + 5.0,
                )

    with ours, theirs, pytest.MonkeyPatch.context() as patch:
        ours.setblocking(False)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        patch.setattr(dial, "connect", connected)
        trio.run(run)


# -- several addresses


def by_address(address: str) -> bytes:
    return b"\x05\x01\x00\x01" + socket.inet_aton(address) + b"\x01\xbb"


async def test_an_address_that_the_proxy_cannot_reach_is_passed_over(stage: Stage) -> None:
    stage.names = {"api.example": ["2606:4700::1111", "8.8.8.8"]}
    by_v6 = b"\x05\x01\x00\x04" + socket.inet_pton(socket.AF_INET6, "2606:4700::1111") + b"\x01\xbb"
    account = await stage.account(
        "socks5",
        says(GREETING, b"\x05\x00", by_v6, b"\x05\x08\x00\x01" + bytes(6)),
        says(GREETING, b"\x05\x00", by_address("8.8.8.8"), DONE),
    )

    sock = await stage.connect(account)

    first, second = stage.wires
    await first.end()
    await works(sock, second)


async def test_when_no_address_can_be_reached_the_last_reason_is_told(stage: Stage) -> None:
    stage.names = {"api.example": ["8.8.4.4", "8.8.8.8"]}
    account = await stage.account(
        "socks5",
        says(GREETING, b"\x05\x00", by_address("8.8.4.4"), b"\x05\x03\x00\x01" + bytes(6)),
        says(GREETING, b"\x05\x00", by_address("8.8.8.8"), b"\x05\x05\x00\x01" + bytes(6)),
    )

    assert "SOCKS reply 5" in (await stage.failure(account)).message


async def test_a_proxy_that_takes_nobody_is_asked_once(stage: Stage) -> None:
    stage.names = {"api.example": ["8.8.4.4", "8.8.8.8"]}
    account = await stage.account("socks5", says(GREETING, b"\x05\xff"), ignores)

    await stage.failure(account)

    assert len(stage.wires) == 1


# -- the proxy's own address


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_s_name_may_be_private(stage: Stage, scheme: str) -> None:
    stage.names = {"proxy.test": ["127.0.0.1"]}
    play = answers(OK) if scheme == "http" else says(GREETING, b"\x05\x00", BY_NAME, DONE)
    account = await stage.account(scheme, play, named="proxy.test")

    await works(await stage.connect(account), stage.wires[0])


async def test_a_proxy_that_cannot_be_reached_is_told_as_the_proxy(stage: Stage) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        proxy = parse_proxy(f"http://{USERINFO}127.0.0.1:{port}")
        account = Account(name="a", provider="compatible", proxy=proxy)

        error = await stage.failure(account)

    assert isinstance(error, ProxyError)
    assert error.kind is DialErrorKind.CONNECTION_REFUSED
    assert error.message == (
        f"the account's proxy: connecting to 127.0.0.1:{port} failed: connection refused"
    )


async def test_a_proxy_whose_name_is_not_known_is_told(stage: Stage) -> None:
    proxy = parse_proxy("http://proxy.test:1")

    error = await stage.failure(Account(name="a", provider="compatible", proxy=proxy))

    assert error.kind is DialErrorKind.NAME_NOT_RESOLVED
    assert error.message.startswith("the account's proxy: the name proxy.test could not")


async def test_a_lack_of_descriptors_is_relayd_s_own(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def exhausted(*args: object, **options: object) -> socket.socket:
        await trio.lowlevel.checkpoint()
        raise DialError(DialErrorKind.RESOURCES_EXHAUSTED, "too many open files")

    account = await stage.account("http", ignores)
    monkeypatch.setattr(dial, "connect", exhausted)

    assert (await stage.failure(account)).fault is Fault.RELAY


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("url", ["http://127.0.0.1", "http://[::1]", "http://localhost"])
async def test_what_a_peer_handed_out_is_checked_before_the_proxy_hears_of_it(
    stage: Stage, scheme: str, url: str
) -> None:
    account = await stage.account(scheme, ignores)

    with pytest.raises(AddressRefused):
        await stage.connect(account, url, is_learned=True)

    assert stage.wires == []


BY_ADDRESS = b"\x05\x01\x00\x01\x08\x08\x08\x08\x01\xbb"
ASKED_BY_ADDRESS: list[tuple[str, Play]] = [
    ("http", says(b"CONNECT 8.8.8.8:443 HTTP/1.1\r\nHost: 8.8.8.8:443\r\n\r\n", OK)),
    ("socks5", says(GREETING, b"\x05\x00", BY_ADDRESS, DONE)),
    ("socks5h", says(GREETING, b"\x05\x00", BY_ADDRESS, DONE)),
]
ASKED_BY_NAME: list[tuple[str, Play]] = [
    ("http", says(b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n", OK)),
    ("socks5h", says(GREETING, b"\x05\x00", BY_NAME, DONE)),
]


@pytest.mark.parametrize(("scheme", "play"), ASKED_BY_ADDRESS)
async def test_of_a_name_that_a_peer_handed_out_the_proxy_hears_a_checked_address(
    stage: Stage, scheme: str, play: Play
) -> None:
    """Else the name might lead it to another one: its resolver differs, and so does the moment."""
    stage.names = {"api.example": ["10.0.0.1", "8.8.8.8"]}
    account = await stage.account(scheme, play)

    await works(await stage.connect(account, is_learned=True), stage.wires[0])


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("addresses", [["10.0.0.1", "fd00::1"], ["::ffff:169.254.169.254"]])
async def test_a_name_that_a_peer_handed_out_leads_nowhere_private_through_a_proxy(
    stage: Stage, scheme: str, addresses: list[str]
) -> None:
    stage.names = {"api.example": addresses}
    account = await stage.account(scheme, ignores)

    error = await stage.failure(account, is_learned=True)

    assert error.kind is DialErrorKind.ADDRESS_REFUSED
    assert stage.wires == []


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
async def test_a_name_that_a_peer_handed_out_and_nobody_knows_here_does_not_reach_a_proxy(
    stage: Stage, scheme: str
) -> None:
    account = await stage.account(scheme, ignores)

    error = await stage.failure(account, is_learned=True)

    assert error.kind is DialErrorKind.NAME_NOT_RESOLVED
    assert stage.wires == []


@pytest.mark.parametrize("is_learned", [False, True])
@pytest.mark.parametrize(("scheme", "play"), ASKED_BY_NAME)
async def test_where_private_addresses_are_allowed_every_name_is_the_proxy_s_to_resolve(
    stage: Stage, scheme: str, play: Play, is_learned: bool
) -> None:
    account = await stage.account(scheme, play, allow_private=True)

    await works(await stage.connect(account, is_learned=is_learned), stage.wires[0])


async def test_an_http_proxy_is_asked_for_the_next_address_where_one_does_not_answer_it(
    stage: Stage,
) -> None:
    stage.names = {"api.example": ["1.1.1.1", "8.8.8.8"]}
    refused = answers(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
    account = await stage.account("http", refused, answers(OK))

    await works(await stage.connect(account, is_learned=True), stage.wires[1])

    assert [bytes(wire.seen).split()[1] for wire in stage.wires] == [b"1.1.1.1:443", b"8.8.8.8:443"]


async def test_an_http_proxy_that_forbids_an_address_is_asked_for_no_other(stage: Stage) -> None:
    stage.names = {"api.example": ["1.1.1.1", "8.8.8.8"]}
    account = await stage.account("http", answers(b"HTTP/1.1 403 Forbidden\r\n\r\n"), ignores)

    assert "status 403" in (await stage.failure(account, is_learned=True)).message

    assert len(stage.wires) == 1


# -- time


SLOW: list[tuple[str, Play]] = [
    ("http", ignores),
    ("http", answers(OK[:-1])),
    ("socks5h", ignores),
    ("socks5h", says(GREETING, b"\x05\x00")),
    ("socks5h", says(GREETING, b"\x05\x00", BY_NAME, DONE[:-1])),
]


@pytest.mark.parametrize(("scheme", "play"), SLOW)
async def test_a_slow_proxy_is_given_up_at_the_deadline(
    stage: Stage, autojump_clock: MockClock, scheme: str, play: Play
) -> None:
    account = await stage.account(scheme, play)

    error = await stage.failure(account, deadline=3.0)

    assert error.kind is DialErrorKind.CONNECT_TIMEOUT
    assert trio.current_time() == 3.0


@pytest.mark.parametrize(("scheme", "play"), SLOW)
async def test_cancelling_closes_the_connection_to_the_proxy(
    stage: Stage, scheme: str, play: Play
) -> None:
    account = await stage.account(scheme, play)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.connect, account)
        await wait_all_tasks_blocked()
        before = len(os.listdir("/proc/self/fd"))
        nursery.cancel_scope.cancel()

    assert len(os.listdir("/proc/self/fd")) == before - 1
    await stage.wires[0].end()
