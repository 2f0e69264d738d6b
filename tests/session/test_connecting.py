"""Choosing, dialling, upgrading and hearing upstreams that are played by hand on the loopback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.accounts import Timeouts
from relayd.config.secret import Secret
from relayd.config.snapshot import Account
from relayd.config.url import parse_base_url
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.behind import Handshake
from relayd.observe.bus import (
    AccountChanged,
    AccountFailed,
    AccountStanding,
    Bus,
    BusEvent,
    SessionFacts,
    SessionFailedOver,
)
from relayd.observe.events import LogEvent
from relayd.protocol.first import FIRST_MESSAGE_MAX_BYTES
from relayd.protocol.upstream_upgrade import UpstreamDeclined
from relayd.routing.roster import AccountStatistics, Roster
from relayd.routing.scheduler import Demand
from relayd.session import connecting
from relayd.session.attempts import AttemptFailed
from relayd.session.connecting import ATTEMPT_SHARE, Connected, Connector, Wish
from relayd.transport import tls
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.resolve import Resolver
from tests.conftest import LogLines
from tests.faults.wire import CLOSE, PING, TEXT, Ended, Wire, accepting, close, frame

UPSTREAM_KEY = "canary-of-upstream"
CREATED = frame(TEXT, b'{"type":"session.created"}', masked=False)
ADMISSION_S = 8.0

Play = Callable[[Wire], Awaitable[None]]


def error_event(code: str | None, kind: str = "invalid_request_error") -> bytes:
    error = {"type": "error", "error": {"type": kind, "code": code, "message": "No."}}
    return frame(TEXT, json.dumps(error).encode(), masked=False)


# -- what an upstream may do


async def welcome(wire: Wire) -> None:
    """A good upstream: 101 and a first message."""
    await wire.send(accepting(await wire.head()) + CREATED)


def opens_with(first: bytes) -> Play:
    """A 101 with ``first`` behind it; then nothing."""

    async def play(wire: Wire) -> None:
        await wire.send(accepting(await wire.head()) + first)

    return play


def declines(status: str, body: bytes = b"", header: str = "X-Nothing: 0") -> Play:
    """An answer in HTTP that is no 101."""

    async def play(wire: Wire) -> None:
        await wire.head()
        head = f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {len(body)}\r\n\r\n"
        await wire.send(head.encode() + body)

    return play


async def hangs_up(wire: Wire) -> None:
    """Nothing but the end."""
    await wire.head()
    wire.close()


async def hangs_up_behind_the_101(wire: Wire) -> None:
    """A 101 and the end."""
    await wire.send(accepting(await wire.head()))
    wire.close()


async def resets(wire: Wire) -> None:
    """Nothing but a reset."""
    await wire.head()
    wire.reset()


async def babbles(wire: Wire) -> None:
    """Bytes that are no HTTP."""
    await wire.head()
    await wire.send(b"220 mail.example ESMTP\r\n\r\n")


async def ignores(wire: Wire) -> None:
    """Accepted, and never answered."""
    await wire.head()


async def stays_silent(wire: Wire) -> None:
    """A 101, and nothing behind it."""
    await wire.send(accepting(await wire.head()))


@attrs.define(eq=False)
class Stage:
    """Accounts with a played upstream each, in the order of their priority."""

    nursery: trio.Nursery
    accounts: list[Account] = attrs.field(factory=list)
    wires: dict[str, list[Wire]] = attrs.field(factory=dict)
    events: list[BusEvent] = attrs.field(factory=list)
    hold: HoldBudget = attrs.field(factory=lambda: HoldBudget(64 << 20))
    contexts: dict[str | None, ssl.SSLContext] = attrs.field(factory=dict)
    _roster: Roster | None = None
    _listeners: list[trio.socket.SocketType] = attrs.field(factory=list)

    async def account(self, name: str, play: Play | None, **more: object) -> None:
        """An account whose upstream does ``play``; ``None``: nobody listens at its port."""
        listener = trio.socket.socket()
        await listener.bind(("127.0.0.1", 0))
        self._listeners.append(listener)
        if play is not None:
            listener.listen()
            self.nursery.start_soon(self._accept, name, listener, play)
        given: dict[str, Any] = {
            "provider": "compatible",
            "api_key": Secret(UPSTREAM_KEY),
            "timeouts": Timeouts(connect_s=60.0, first_frame_s=60.0),
            "priority": len(self.accounts),
            **more,
        }
        port = listener.getsockname()[1]
        base_url = parse_base_url(f"http://127.0.0.1:{port}/v1")
        self.accounts.append(Account(name=name, base_url=base_url, **given))

    async def _accept(self, name: str, listener: trio.socket.SocketType, play: Play) -> None:
        while True:
            sock, _ = await listener.accept()
            wire = Wire(sock, is_client=False)
            self.wires.setdefault(name, []).append(wire)
            with contextlib.suppress(Ended):
                await play(wire)

    def requests(self, name: str) -> list[str]:
        """What came on each connection to the upstream of ``name``."""
        return [wire.seen.decode() for wire in self.wires.get(name, [])]

    @property
    def dialled(self) -> int:
        """How many connections this process has open to these upstreams."""
        ports = {listener.getsockname()[1] for listener in self._listeners}
        return sum(_peer_port(int(name)) in ports for name in os.listdir("/proc/self/fd"))

    @property
    def roster(self) -> Roster:
        self._roster = self._roster or Roster.of(self.accounts)
        return self._roster

    async def connect(
        self, wish: Wish | None = None, *, admission_s: float = ADMISSION_S
    ) -> Connected | Refusal:
        bus = Bus()
        bus.subscribe(self.events.append)
        connector = Connector(
            roster=self.roster,
            resolver=Resolver(self.nursery),
            contexts=self.contexts,
            hold=self.hold,
            bus=bus,
        )
        deadline = trio.current_time() + admission_s
        return await connector.connect(wish or REALTIME, facts=FACTS, deadline=deadline)

    async def connected(self, wish: Wish | None = None) -> Connected:
        connected = await self.connect(wish)
        assert isinstance(connected, Connected)
        return connected

    async def refusal(self, wish: Wish | None = None) -> Refusal:
        refusal = await self.connect(wish)
        assert isinstance(refusal, Refusal)
        return refusal

    def of(self, name: str) -> AccountStatistics:
        return next(each for each in self.roster.statistics() if each.name == name)

    @property
    def in_flight(self) -> int:
        return sum(each.in_flight for each in self.roster.statistics())

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        for wires in self.wires.values():
            for wire in wires:
                wire.close()


FACTS = SessionFacts(
    session_id="sess_1", dialect="realtime", key="dev", tenant="t", account="", model="m"
)
REALTIME = Wish(
    demand=Demand("realtime", model="gpt-realtime"),
    target=lambda account: "/v1/realtime?model=gpt-realtime",
    hears_first=True,
)
PASSTHROUGH = Wish(
    demand=Demand("passthrough", account="echo"),
    target=lambda account: "/v1/stream?a=1",
    subprotocols=("chat", "other"),
    hears_first=False,
)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        made = Stage(nursery)
        yield made
        nursery.cancel_scope.cancel()
    made.close()


def close_connected(connected: Connected) -> None:
    connected.seat.release()
    connected.endpoint.close()


def _peer_port(descriptor: int) -> int | None:
    """The port that a descriptor of this process is connected to, if it is to any."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            peer = sock.getpeername()
    except OSError:
        return None  # not connected, or closed meanwhile
    return peer[1] if isinstance(peer, tuple) else None


# -- an account that answers


async def test_an_upstream_that_says_its_first_message_is_ready(
    stage: Stage, log_lines: LogLines
) -> None:
    await stage.account("one", welcome)

    connected = await stage.connected()

    assert connected.seat.account.name == "one"
    assert connected.endpoint.tail == CREATED, "the client gets every byte, the first message too"
    assert connected.first_frame_ms is not None
    assert stage.of("one").in_flight == 1
    assert stage.of("one").first_frame_ms == connected.first_frame_ms
    assert log_lines.all == []
    assert stage.events == [], "the session tells of it, once it has opened"
    assert connected.wait_ms >= connected.connect_ms
    close_connected(connected)
    assert stage.in_flight == 0
    assert stage.hold.bytes_held == 0


async def test_what_comes_around_the_first_message_is_kept_in_order(stage: Stage) -> None:
    around = frame(PING, b"p", masked=False) + CREATED + frame(TEXT, b"{}", masked=False)
    await stage.account("one", opens_with(around))

    connected = await stage.connected()

    assert connected.endpoint.tail == around
    assert stage.hold.bytes_held == len(around)
    close_connected(connected)
    assert stage.hold.bytes_held == 0


async def test_a_first_message_may_come_in_any_pieces(stage: Stage) -> None:
    async def drips(wire: Wire) -> None:
        await wire.drip(accepting(await wire.head()) + CREATED)

    await stage.account("one", drips)

    connected = await stage.connected()

    assert connected.endpoint.tail == CREATED
    close_connected(connected)


async def test_the_request_carries_the_account_s_key_and_everybody_s_headers(
    stage: Stage, log_lines: LogLines
) -> None:
    await stage.account("one", welcome, headers={"X-Extra": "yes"})
    wish = attrs.evolve(REALTIME, headers=(("OpenAI-Project", "p"),))

    connected = await stage.connected(wish)

    (head,) = stage.requests("one")
    assert head.startswith("GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\n")
    assert f"Authorization: Bearer {UPSTREAM_KEY}\r\n" in head
    assert "X-Extra: yes\r\n" in head
    assert "OpenAI-Project: p\r\n" in head
    assert "Sec-WebSocket-Protocol" not in head
    close_connected(connected)


async def test_a_passthrough_account_without_a_key_gets_no_authorization(stage: Stage) -> None:
    await stage.account("echo", stays_silent, provider="websocket", api_key=None)

    connected = await stage.connected(PASSTHROUGH)

    assert connected.first_frame_ms is None, "passthrough waits for no message"
    assert connected.endpoint.tail is None
    (head,) = stage.requests("echo")
    assert head.startswith("GET /v1/stream?a=1 HTTP/1.1\r\n")
    assert "Sec-WebSocket-Protocol: chat, other\r\n" in head
    assert "Authorization" not in head
    close_connected(connected)


async def test_the_upstream_s_choice_of_a_subprotocol_is_told(stage: Stage) -> None:
    async def chooses(wire: Wire) -> None:
        answer = accepting(await wire.head())
        await wire.send(answer[:-2] + b"Sec-WebSocket-Protocol: other\r\n\r\n" + CREATED)

    await stage.account("echo", chooses, provider="websocket")

    connected = await stage.connected(PASSTHROUGH)

    assert connected.subprotocol == "other"
    assert connected.endpoint.tail == CREATED
    close_connected(connected)


# -- TLS


async def test_an_account_is_trusted_by_its_own_authority_and_no_other(
    stage: Stage, nursery: trio.Nursery, log_lines: LogLines
) -> None:
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    trusting = tls.client_context(None)
    authority.configure_trust(trusting)
    stage.contexts |= {None: tls.client_context(None), "ca.pem": trusting}
    (tcp,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = tcp.socket.getsockname()[1]

    async def play(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(accepting(bytes(await stream.receive_some())) + CREATED)

    nursery.start_soon(trio.serve_listeners, play, [trio.SSLListener(tcp, theirs)])
    await stage.account("strange", None)
    await stage.account("known", None, tls_ca="ca.pem")
    url = parse_base_url(f"https://127.0.0.1:{port}/v1")
    stage.accounts = [attrs.evolve(account, base_url=url) for account in stage.accounts]

    connected = await stage.connected()

    assert connected.seat.account.name == "known"
    assert isinstance(connected.endpoint.sock, ssl.SSLSocket)
    assert connected.endpoint.tail == CREATED
    (line,) = log_lines.of(LogEvent.UPSTREAM_FAILED)
    assert (line["account"], line["reason"]) == ("strange", "certificate_refused")
    close_connected(connected)


# -- failing over

FAILURES = {
    "nobody listens": (None, "connection_refused", RefusalCode.UPSTREAM_UNREACHABLE),
    "hangs up": (hangs_up, "malformed_response", RefusalCode.UPSTREAM_UNREACHABLE),
    "resets": (resets, "connection_lost", RefusalCode.UPSTREAM_UNREACHABLE),
    "no http": (babbles, "malformed_response", RefusalCode.UPSTREAM_UNREACHABLE),
    "500": (declines("500 Oh"), "http_500", RefusalCode.UPSTREAM_UNREACHABLE),
    "401": (declines("401 No"), "http_401", RefusalCode.UPSTREAM_REFUSED),
    "404": (declines("404 No"), "http_404", RefusalCode.UPSTREAM_REFUSED),
    "302": (declines("302 There"), "http_302", RefusalCode.UPSTREAM_REFUSED),
    "429": (declines("429 Slow"), "http_429", RefusalCode.NO_ACCOUNT),
    "never answers": (ignores, "connect_timeout", RefusalCode.UPSTREAM_UNREACHABLE),
    "silent": (stays_silent, "first_frame_timeout", RefusalCode.FIRST_FRAME_TIMEOUT),
    "ends": (hangs_up_behind_the_101, "closed_early", RefusalCode.UPSTREAM_UNREACHABLE),
    "closes": (
        opens_with(close(1011, "going", masked=False)),
        "closed_1011",
        RefusalCode.UPSTREAM_UNREACHABLE,
    ),
    "closes politely": (
        opens_with(frame(CLOSE, masked=False)),
        "closed_early",
        RefusalCode.UPSTREAM_UNREACHABLE,
    ),
    "wrong key": (
        opens_with(error_event("invalid_api_key")),
        "invalid_api_key",
        RefusalCode.UPSTREAM_REFUSED,
    ),
    "wrong model": (
        opens_with(error_event("model_not_found")),
        "model_not_found",
        RefusalCode.UPSTREAM_REFUSED,
    ),
    "limited": (
        opens_with(error_event("rate_limit_exceeded", "rate_limit_error")),
        "rate_limit_exceeded",
        RefusalCode.NO_ACCOUNT,
    ),
    "server error": (
        opens_with(error_event(None, "server_error")),
        "server_error",
        RefusalCode.UPSTREAM_UNREACHABLE,
    ),
    "masked": (
        opens_with(frame(TEXT, b"{}", masked=True)),
        "protocol_error_upstream",
        RefusalCode.UPSTREAM_UNREACHABLE,
    ),
    "bad utf-8": (
        opens_with(frame(TEXT, b"\xff", masked=False)),
        "bad_utf8",
        RefusalCode.UPSTREAM_UNREACHABLE,
    ),
    "too big": (
        opens_with(frame(TEXT, bytes(FIRST_MESSAGE_MAX_BYTES + 1), masked=False)[:20]),
        "too_big",
        RefusalCode.UPSTREAM_UNREACHABLE,
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_failing_over_is_invisible_and_leaves_nothing_behind(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines, failure: str
) -> None:
    play, reason, _ = FAILURES[failure]
    await stage.account("first", play)
    await stage.account("second", welcome)

    connected = await stage.connected()

    assert connected.seat.account.name == "second"
    assert stage.of("first").in_flight == 0
    (line,) = log_lines.of(LogEvent.UPSTREAM_FAILED)
    assert (line["session_id"], line["account"], line["reason"]) == ("sess_1", "first", reason)
    told = [event for event in stage.events if not isinstance(event, AccountChanged)]
    there = attrs.evolve(FACTS, account="second")
    failed = AccountFailed(account="first", dialect="realtime", reason=reason)
    assert told == [
        failed,
        SessionFailedOver(session=there, account_from="first", reason=reason),
    ]
    assert UPSTREAM_KEY.encode() not in log_lines.stream.getvalue()
    close_connected(connected)
    assert stage.dialled == 0
    assert stage.hold.bytes_held == 0


@pytest.mark.parametrize("failure", FAILURES)
async def test_where_no_account_is_left_the_client_hears_of_the_last_failure(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines, failure: str
) -> None:
    play, reason, code = FAILURES[failure]
    await stage.account("only", play)

    refusal = await stage.refusal()

    assert refusal.code is code
    assert reason in refusal.message
    assert stage.in_flight == 0
    assert stage.dialled == 0


async def test_accounts_are_tried_by_priority_each_once(stage: Stage, log_lines: LogLines) -> None:
    for name in ("a", "b", "c"):
        await stage.account(name, declines("503 Busy"))

    refusal = await stage.refusal()

    assert refusal.code is RefusalCode.UPSTREAM_UNREACHABLE
    assert [line["account"] for line in log_lines.of(LogEvent.UPSTREAM_FAILED)] == ["a", "b", "c"]


async def test_what_is_the_client_s_fault_is_final(stage: Stage, log_lines: LogLines) -> None:
    await stage.account("first", opens_with(error_event("invalid_parameter")))
    await stage.account("second", welcome)

    refusal = await stage.refusal()

    assert (refusal.code, refusal.status) == (RefusalCode.INVALID_PARAMETER, 400)
    assert stage.requests("second") == []
    assert stage.of("first").error_average == 0.0
    assert stage.in_flight == 0


async def test_a_fatal_answer_disables_the_account(stage: Stage, log_lines: LogLines) -> None:
    await stage.account("first", opens_with(error_event("invalid_api_key")))

    await stage.refusal()

    (line,) = log_lines.of(LogEvent.ACCOUNT_DISABLED)
    assert (line["account"], line["reason"]) == ("first", "invalid_api_key")
    again = await stage.refusal()
    assert again.code is RefusalCode.NO_ACCOUNT
    assert len(stage.requests("first")) == 1, "a disabled account is not dialled"


@pytest.mark.parametrize("status", ["401 No", "403 No", "429 Slow", "500 Oh"])
async def test_a_status_on_a_path_of_the_client_s_says_nothing_of_the_account(
    stage: Stage, log_lines: LogLines, status: str
) -> None:
    await stage.account("first", declines(status))
    wish = attrs.evolve(REALTIME, path_is_clients=True)

    for _ in range(8):
        refusal = await stage.refusal(wish)
        assert refusal.code is RefusalCode.UPSTREAM_REFUSED

    assert len(stage.requests("first")) == 8
    assert {line["event"] for line in log_lines.all} == {LogEvent.UPSTREAM_FAILED}


async def test_a_rate_limit_cools_the_account_for_as_long_as_it_asks(
    stage: Stage, log_lines: LogLines
) -> None:
    await stage.account("first", declines("429 Slow", header="Retry-After: 17"))

    refusal = await stage.refusal()

    assert (refusal.code, refusal.retry_after_s) == (RefusalCode.NO_ACCOUNT, 17.0)
    (line,) = log_lines.of(LogEvent.ACCOUNT_COOLED)
    assert (line["account"], line["until_s"]) == ("first", 17.0)
    changed = stage.events[-1]
    assert isinstance(changed, AccountChanged)
    assert (changed.account, changed.state) == ("first", AccountStanding.OPEN)
    assert changed.reason is not None
    assert changed.retry_in_s is not None
    assert 16.0 < changed.retry_in_s <= 17.0


async def test_a_lack_of_descriptors_blames_no_account_and_tries_no_other(
    stage: Stage, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def exhausted(*args: object, **more: object) -> socket.socket:
        await trio.lowlevel.checkpoint()
        raise DialError(DialErrorKind.RESOURCES_EXHAUSTED, "too many open files")

    monkeypatch.setattr(connecting, "connect", exhausted)
    await stage.account("first", welcome)
    await stage.account("second", welcome)

    refusals = [await stage.refusal() for _ in range(20)]

    assert {refusal.code for refusal in refusals} == {RefusalCode.OVERLOAD}
    assert stage.of("first").error_average == 0.0
    assert {each.account for each in stage.events if isinstance(each, AccountFailed)} == {"first"}
    assert stage.in_flight == 0


async def test_without_an_account_that_serves_it_nothing_is_dialled(stage: Stage) -> None:
    await stage.account("other", welcome, models=("something-else",))

    refusal = await stage.refusal()

    assert refusal.code is RefusalCode.NO_ACCOUNT
    assert stage.wires == {}


# -- time


async def test_an_attempt_gets_its_share_of_the_time_that_is_left(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    for name in ("a", "b", "c"):
        await stage.account(name, ignores)
    begin = trio.current_time()

    refusal = await stage.refusal()

    left_s = ADMISSION_S * (1 - ATTEMPT_SHARE) ** 3
    assert trio.current_time() - begin == pytest.approx(ADMISSION_S - left_s)
    assert refusal.code is RefusalCode.UPSTREAM_UNREACHABLE


@pytest.mark.parametrize(
    ("play", "timeouts", "lasts_s"),
    [
        (ignores, Timeouts(connect_s=1.5), 1.5),
        (stays_silent, Timeouts(first_frame_s=2.5), 2.5),
        (stays_silent, Timeouts(first_frame_s=60.0), ADMISSION_S * ATTEMPT_SHARE),
    ],
)
async def test_an_account_s_own_timeouts_are_kept(
    autojump_clock: MockClock,
    stage: Stage,
    log_lines: LogLines,
    play: Play,
    timeouts: Timeouts,
    lasts_s: float,
) -> None:
    await stage.account("one", play, timeouts=timeouts)
    begin = trio.current_time()

    await stage.refusal()

    assert trio.current_time() - begin == pytest.approx(lasts_s)


async def test_a_message_that_never_ends_is_no_first_message(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    async def goes_on(wire: Wire) -> None:
        await wire.send(accepting(await wire.head()))
        while True:
            await wire.send(frame(PING, b"still here", masked=False))
            await trio.sleep(0.5)

    await stage.account("one", goes_on)
    begin = trio.current_time()

    refusal = await stage.refusal()

    assert refusal.code is RefusalCode.FIRST_FRAME_TIMEOUT
    assert trio.current_time() - begin == ADMISSION_S * ATTEMPT_SHARE


async def test_no_attempt_begins_when_the_time_is_up(stage: Stage) -> None:
    await stage.account("one", welcome)

    refusal = await stage.connect(admission_s=0.0)

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.retry_after_s) == (RefusalCode.ADMISSION_TIMEOUT, 1.0)
    assert stage.wires == {}


# -- cancelling


@pytest.mark.parametrize("play", [ignores, stays_silent])
async def test_cancelling_closes_what_was_opened_and_gives_the_seat_back(
    stage: Stage, log_lines: LogLines, play: Play
) -> None:
    await stage.account("one", play)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.connect)
        while not any("\r\n\r\n" in request for request in stage.requests("one")):
            await wait_all_tasks_blocked()
        assert (stage.in_flight, stage.dialled) == (1, 1)
        nursery.cancel_scope.cancel()

    assert stage.in_flight == 0
    assert stage.hold.bytes_held == 0
    assert stage.dialled == 0
    assert log_lines.all == [], "nobody failed"


async def test_cancelling_before_the_dial_gives_the_seat_back(stage: Stage) -> None:
    await stage.account("one", welcome)

    with trio.CancelScope() as scope:
        scope.cancel()
        await stage.connect()

    assert scope.cancelled_caught
    assert stage.in_flight == 0
    assert stage.dialled == 0


async def test_an_upstream_cannot_speak_relayd_s_own_words(
    stage: Stage, log_lines: LogLines
) -> None:
    await stage.account("first", opens_with(error_event("resources_exhausted", "server_error")))
    await stage.account("second", welcome)

    connected = await stage.connected()

    assert connected.seat.account.name == "second"
    assert stage.of("first").error_average > 0
    close_connected(connected)


# -- handshakes of a provider's own


async def test_a_handshake_of_a_providers_own_goes_as_it_is(stage: Stage) -> None:
    await stage.account("echo", welcome, provider="websocket", headers={"X-Set": "operator"})
    headers = (("X-Own", "1"), ("X-Set", "provider"))
    handshake = Handshake("/chat?authorization=x", headers, "a.example")
    wish = attrs.evolve(PASSTHROUGH, target=lambda _: handshake, headers=(("X-Client", "3"),))

    close_connected(await stage.connected(wish))

    (request,) = stage.requests("echo")
    assert request.startswith("GET /chat?authorization=x HTTP/1.1\r\nHost: a.example\r\n")
    assert "X-Client: 3\r\n" in request
    assert "X-Own: 1\r\n" in request
    assert "X-Set: operator\r\n" in request
    assert "provider" not in request
    assert "Authorization" not in request


async def test_its_host_is_the_accounts_where_it_names_none(stage: Stage) -> None:
    await stage.account("echo", welcome, provider="websocket")
    wish = attrs.evolve(PASSTHROUGH, target=lambda _: Handshake("/chat"))

    close_connected(await stage.connected(wish))

    (request,) = stage.requests("echo")
    assert "Host: 127.0.0.1:" in request


async def test_a_decline_is_told_as_it_came(stage: Stage) -> None:
    date = "Fri, 20 Nov 2026 08:00:00 GMT"
    await stage.account("echo", declines("403 Forbidden", b"no", f"Date: {date}"))
    connector = Connector(
        roster=stage.roster,
        resolver=Resolver(stage.nursery),
        contexts={},
        hold=stage.hold,
        bus=Bus(),
    )

    with pytest.raises(AttemptFailed) as caught:
        await connector.open(stage.accounts[0], PASSTHROUGH, trio.current_time() + ADMISSION_S)

    assert caught.value.declined == UpstreamDeclined(403, None, "no", date)
