"""The reactor on real sockets: relaying, backpressure, ends, crashes, fairness."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator

import attrs
import pytest
import trio

from relayd.core.endings import Reason, Side
from relayd.core.hold import HoldBudget
from relayd.protocol.directions import ClientFlow, UpstreamFlow
from relayd.protocol.flow import Standing
from relayd.protocol.frames import Opcode, encode_frame
from relayd.protocol.outcomes import (
    Action,
    Crash,
    Drop,
    EndOfStream,
    Event,
    Notice,
    PeerClosed,
    Replace,
    Violation,
    Waiting,
    Watch,
)
from relayd.transport import pace as pace_module
from relayd.transport import reactor as reactor_module
from relayd.transport.endpoint import Endpoint
from relayd.transport.pace import EVENTS_MAX
from relayd.transport.reactor import RECEIVE_MAX_BYTES, Reactor
from relayd.transport.records import More, receive_records
from relayd.transport.table import BATCH_MAX
from tests.transport.peers import LARGE, Contexts, Peer, make_peer

SOON = 5.0
BUDGET = 1 << 26
MESSAGE_MAX = 1 << 24


class Reader:
    """Reads both directions; what it wants of a message is in its first letter."""

    proof = b"{"

    def message(
        self, payload: bytes | bytearray, now: float, *, text: bool = True
    ) -> Action | None:
        match payload[:1]:
            case b"w":
                return Waiting(Never())
            case b"d":
                return Drop(b"dropped")
            case b"!":
                raise ZeroDivisionError
            case _:
                return None

    def release(self, head: bytes) -> Watch | None:
        return None


class Never:
    async def wait(self) -> Action | None:
        await trio.sleep_forever()
        raise AssertionError


class Noticing:
    """Asks to hear of messages that start with an ``n``."""

    proof = b"{"

    def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
        return Notice("n") if payload[:1] == b"n" else None

    def harmless(self, head: bytes | bytearray) -> bool:
        return False

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | None:
        return None


@attrs.define
class Rig:
    """A reactor that relays between two peers, driven by hand."""

    reactor: Reactor
    hold: HoldBudget
    client: Peer
    upstream: Peer

    def start(self, *, client_reader: Reader | None = None, notices: bool = False) -> None:
        client, upstream = self.client.endpoint, self.upstream.endpoint
        size, hold = MESSAGE_MAX, self.hold
        client.flow = ClientFlow(message_max_bytes=size, hold=hold, reader=client_reader)
        reader = Noticing() if notices else None
        upstream.flow = UpstreamFlow(message_max_bytes=size, hold=hold, reader=reader)
        client.peer, upstream.peer = upstream, client
        now = trio.current_time()
        self.reactor.arm(upstream, now)
        self.reactor.arm(client, now)

    def serve(self) -> None:
        """Serve until nothing is ready."""
        for _ in range(1000):
            if not self.reactor.serve_ready():
                return
        raise AssertionError("the reactor spins")

    async def until(self, true: Callable[[], object]) -> None:
        with trio.fail_after(SOON):
            while not true():
                self.serve()
                await trio.lowlevel.checkpoint()

    def fill(self) -> bytes:
        """Have the upstream send more than its client's sockets hold; returns what it sent."""
        data = message(bytes(1000)) * 200
        self.upstream.send(data)
        self.serve()
        assert self.client.endpoint.sink.blocked
        return data

    def block(self, peer: Peer) -> None:
        """Fill ``peer``'s sockets until it is not writable any more."""
        while not peer.endpoint.sink.blocked:
            peer.endpoint.sink.write([bytes(1000)], Standing.FRAME, 0.0)
        self.reactor.update(peer.endpoint)

    async def drain(self, total: int) -> None:
        def done() -> bool:
            self.client.read()
            return len(self.client.got) >= total

        await self.until(done)

    def close(self) -> None:
        for peer in (self.client, self.upstream):
            self.reactor.release(peer.endpoint)
            peer.endpoint.close()
            peer.sock.close()
        self.reactor.close()
        assert self.hold.bytes_held == 0


def receive_until_end(sock: socket.socket) -> None:
    """Read the bare connection, also below TLS, up to its FIN."""
    while socket.socket.recv(sock, 65536):
        pass


Build = Callable[..., Rig]


@pytest.fixture
def build(contexts: Contexts) -> Iterator[Build]:
    rigs: list[Rig] = []

    def peer(kind: str, side: Side, hold: HoldBudget) -> Peer:
        return make_peer(kind, side, hold, contexts)

    def build_one(client: str = "unix", upstream: str = "unix", hold_bytes: int = BUDGET) -> Rig:
        hold = HoldBudget(hold_bytes)
        rig = Rig(
            Reactor(), hold, peer(client, Side.CLIENT, hold), peer(upstream, Side.UPSTREAM, hold)
        )
        for one in (rig.client, rig.upstream):
            rig.reactor.adopt(one.endpoint)
            one.endpoint.on_event = one.events.append
        rigs.append(rig)
        return rig

    yield build_one
    for rig in rigs:
        rig.close()


def message(payload: bytes, *, masked: bool = False, opcode: Opcode = Opcode.TEXT) -> bytes:
    return encode_frame(opcode, payload, masked=masked)


def ask(payload: bytes) -> bytes:
    return message(payload, masked=True)


KINDS = pytest.mark.parametrize("kind", ["unix", "tcp", "tls"])


# -- relaying


@KINDS
async def test_both_directions_arrive_byte_for_byte(build: Build, kind: str) -> None:
    rig = build(kind, kind)
    rig.start()
    up, down = ask(b"question") * 3, message(b"answer") * 3

    rig.client.send(up)
    rig.upstream.send(down)
    await rig.until(lambda: (rig.client.read(), rig.client.got == down)[1])
    await rig.until(lambda: (rig.upstream.read(), rig.upstream.got == up)[1])

    assert not rig.client.events
    assert not rig.upstream.events


async def test_what_came_behind_the_handshake_is_relayed_when_armed(build: Build) -> None:
    rig = build()
    rig.upstream.endpoint.keep_tail(message(b"first") + b"\x81")

    rig.start()
    rig.upstream.send(b"\x01x")
    rig.serve()

    assert rig.client.read() == message(b"first") + message(b"x")


async def test_a_small_frame_is_sent_on_whole_or_not_at_all(build: Build) -> None:
    rig = build()
    rig.start()
    data = message(bytes(60_000))

    for at in range(0, len(data) - 1, 7000):
        rig.upstream.send(data[at : min(at + 7000, len(data) - 1)])
        rig.serve()
        assert rig.client.read() == b""
    rig.upstream.send(data[-1:])
    await rig.drain(len(data))

    assert rig.client.got == data


async def test_a_ping_is_answered_and_goes_no_further(build: Build) -> None:
    rig = build()
    rig.start()

    rig.upstream.send(message(b"a") + message(b"p", opcode=Opcode.PING) + message(b"b"))
    rig.client.send(encode_frame(Opcode.PING, b"q", masked=True))
    rig.serve()

    assert rig.client.read() == message(b"a") + message(b"b") + message(b"q", opcode=Opcode.PONG)
    head = rig.upstream.read()
    assert head[:2] == b"\x8a\x81"


async def test_a_refused_message_is_answered_to_its_sender(build: Build) -> None:
    rig = build()
    rig.start(client_reader=Reader())

    rig.client.send(ask(b"d") + ask(b"kept"))
    rig.serve()

    assert rig.client.read() == message(b"dropped")
    assert len(rig.upstream.read()) == len(ask(b"kept"))


async def test_receive_times_are_set_by_the_pass(build: Build) -> None:
    rig = build()
    rig.start()

    rig.upstream.send(message(b"x"))
    rig.serve()

    assert rig.upstream.endpoint.last_received > 0.0
    assert rig.client.endpoint.last_received == 0.0
    assert rig.client.endpoint.sink.last_sent > 0.0


# -- backpressure


@KINDS
async def test_a_full_sink_stops_its_source_and_loses_nothing(build: Build, kind: str) -> None:
    rig = build(kind)
    rig.start()

    sent = rig.fill()
    assert not rig.upstream.endpoint.armed
    assert rig.hold.bytes_held <= 2 * RECEIVE_MAX_BYTES
    await rig.drain(len(sent))

    assert rig.client.got == sent
    assert rig.upstream.endpoint.armed


async def test_a_stopped_source_that_has_sent_fin_does_not_spin_and_is_drained(
    build: Build,
) -> None:
    rig = build("unix", "tcp")
    rig.start()
    sent = rig.fill()
    rig.upstream.send(message(b"last") + message(b"\x03\xe8bye", opcode=Opcode.CLOSE))
    rig.upstream.sock.close()
    rig.serve()
    passes = rig.reactor.passes

    for _ in range(100):
        rig.reactor.serve_ready()
    assert rig.reactor.passes == passes
    assert not rig.upstream.events
    await rig.drain(len(sent + message(b"last")))
    await rig.until(lambda: rig.upstream.events)

    assert rig.client.got == sent + message(b"last")
    assert rig.upstream.events == [PeerClosed(1000, "bye")]


async def test_a_unix_peer_that_closed_is_drained_although_its_socket_hung_up(
    build: Build,
) -> None:
    rig = build()
    rig.start()
    sent = rig.fill()
    rig.upstream.send(message(b"last"))
    rig.upstream.sock.close()

    rig.serve()
    await rig.drain(len(sent + message(b"last")))
    await rig.until(lambda: rig.upstream.events)

    assert rig.client.got == sent + message(b"last")
    assert rig.upstream.events == [EndOfStream()]


async def test_a_reset_ends_a_stopped_source_at_once_and_does_not_spin(build: Build) -> None:
    rig = build("unix", "tcp")
    rig.start()
    rig.fill()

    rig.upstream.reset()
    await rig.until(lambda: rig.upstream.events)
    passes = rig.reactor.passes
    for _ in range(100):
        rig.reactor.serve_ready()

    assert rig.reactor.passes == passes
    assert rig.upstream.endpoint.ended
    assert isinstance(rig.upstream.events[0], EndOfStream)
    assert len(rig.upstream.events) == 1


async def test_an_event_behind_unflushed_bytes_comes_after_the_flush(build: Build) -> None:
    rig = build()
    rig.start()
    data = message(bytes(1000)) * 60

    rig.upstream.send(data + message(b"\x03\xe8", opcode=Opcode.CLOSE))
    rig.serve()
    assert rig.client.endpoint.sink.blocked
    assert not rig.upstream.events
    await rig.drain(len(data))
    await rig.until(lambda: rig.upstream.events)

    assert rig.upstream.events == [PeerClosed(1000, "")]


async def test_a_reset_behind_a_close_that_waits_for_the_flush_changes_nothing(
    build: Build,
) -> None:
    rig = build("unix", "tcp")
    rig.start()
    data = message(bytes(1000)) * 60
    rig.upstream.send(data + message(b"\x03\xe8", opcode=Opcode.CLOSE))
    await rig.until(lambda: rig.upstream.endpoint.deferred)

    rig.upstream.reset()
    rig.serve()
    await rig.drain(len(data))
    await rig.until(lambda: rig.upstream.events)

    assert rig.client.got == data
    assert rig.upstream.events == [PeerClosed(1000, "")]


async def test_two_directions_that_block_at_once_both_go_on_when_their_peers_read(
    build: Build,
) -> None:
    rig = build()
    rig.start()
    down, up = message(bytes(1000)) * 400, ask(bytes(1000)) * 400
    sent_down = sent_up = 0

    def blocked() -> bool:
        return rig.client.endpoint.sink.blocked and rig.upstream.endpoint.sink.blocked

    while not blocked():
        sent_down += rig.upstream.send_most(down[sent_down : sent_down + 20_000])
        sent_up += rig.client.send_most(up[sent_up : sent_up + 20_000])
        rig.serve()

    def all_there() -> bool:
        nonlocal sent_down, sent_up
        sent_down += rig.upstream.send_most(down[sent_down:])
        sent_up += rig.client.send_most(up[sent_up:])
        rig.client.read()
        rig.upstream.read()
        return len(rig.client.got) == len(down) and len(rig.upstream.got) == len(up)

    await rig.until(all_there)

    assert rig.client.got == down
    assert rig.upstream.got == up


async def test_a_ping_flood_of_a_peer_that_does_not_read_holds_no_more_than_one_pong(
    build: Build,
) -> None:
    rig = build()
    rig.start()
    rig.fill()
    held = rig.hold.bytes_held

    for at in range(50):
        rig.client.send(encode_frame(Opcode.PING, b"%d" % at, masked=True))
        rig.serve()

    assert rig.hold.bytes_held == held
    assert rig.client.endpoint.armed


async def test_blocking_is_reported_to_the_owner(build: Build) -> None:
    rig = build()
    blocked: list[Endpoint] = []
    rig.client.endpoint.on_blocked = blocked.append
    rig.start()

    rig.fill()

    assert set(blocked) == {rig.client.endpoint}


async def test_that_a_blocked_sink_has_sent_everything_is_reported(build: Build) -> None:
    rig = build()
    drained: list[Endpoint] = []
    rig.client.endpoint.on_drained = drained.append
    rig.start()
    rig.fill()
    assert drained == []

    await rig.until(lambda: bool(rig.client.read()) and bool(drained))

    assert set(drained) == {rig.client.endpoint}


async def test_what_exceeds_the_budget_ends_the_session_without_waiting_for_the_flush(
    build: Build,
) -> None:
    rig = build(hold_bytes=10_000)
    rig.start()

    rig.fill()

    assert rig.upstream.events == [Violation.overload()]


async def test_a_tail_over_the_budget_is_never_dropped_behind_a_notice(build: Build) -> None:
    rig = build(hold_bytes=100)
    rig.start(notices=True)

    rig.upstream.send(message(b"n") + message(bytes(200)))
    rig.serve()

    assert rig.upstream.events == [Violation.overload()]


# -- events and the tasks they wake


async def test_after_an_event_the_direction_waits_to_be_armed(build: Build) -> None:
    rig = build()
    rig.start(notices=True)

    rig.upstream.send(message(b"n") + message(b"behind"))
    rig.serve()
    assert rig.client.read() == message(b"n")
    rig.upstream.send(message(b"later"))
    rig.serve()
    assert rig.client.read() == b""
    rig.reactor.arm(rig.upstream.endpoint, trio.current_time())
    rig.serve()

    assert rig.upstream.events == [Notice("n")]
    assert rig.client.read() == message(b"behind") + message(b"later")


async def test_what_comes_while_a_direction_waits_to_be_armed_is_looked_at_once(
    build: Build,
) -> None:
    rig = build()
    rig.start(notices=True)
    rig.upstream.send(message(b"n"))
    rig.serve()

    rig.upstream.send(message(b"more"))
    rig.serve()
    passes = rig.reactor.passes
    rig.upstream.send(message(b"and more"))
    rig.serve()

    assert rig.reactor.passes <= passes + 1  # edge-triggered: each arrival is told once at most
    passes = rig.reactor.passes
    rig.serve()
    assert rig.reactor.passes == passes


@pytest.mark.parametrize("blocked", ["before", "after"])
async def test_an_end_does_not_spin_and_what_is_pending_still_goes(
    build: Build, blocked: str
) -> None:
    rig = build()
    rig.start()
    data = rig.fill() if blocked == "before" else b""

    rig.client.sock.shutdown(socket.SHUT_WR)
    await rig.until(lambda: rig.client.endpoint.ended)
    data = data or rig.fill()
    passes = rig.reactor.passes
    rig.serve()
    assert rig.reactor.passes == passes

    await rig.drain(len(data))
    assert rig.client.got == data
    assert [type(event) for event in rig.client.events] == [EndOfStream]


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_an_end_behind_a_notice_is_found_when_armed_again(build: Build, kind: str) -> None:
    rig = build("unix", kind)
    rig.upstream.endpoint.on_event = None
    rig.start(notices=True)
    rig.upstream.send(message(b"n") + message(b"behind"))
    await rig.until(rig.client.read)
    rig.upstream.reset()
    rig.serve()

    assert await rig.upstream.endpoint.next_event() == Notice("n")
    rig.reactor.arm(rig.upstream.endpoint, trio.current_time())
    await rig.until(lambda: rig.upstream.endpoint.ended)

    assert rig.client.read() == message(b"behind")
    assert isinstance(await rig.upstream.endpoint.next_event(), EndOfStream)


@pytest.mark.parametrize(
    ("action", "expected"),
    [(None, b"wait"), (Replace(b"other"), b"other"), (Drop(b"no"), b"")],
    ids=["forward", "replace", "drop"],
)
async def test_a_message_that_waited_goes_as_decided_and_order_holds(
    build: Build, action: Action | None, expected: bytes
) -> None:
    rig = build()
    rig.start(client_reader=Reader())
    rig.client.send(ask(b"before") + ask(b"wait") + ask(b"behind"))
    rig.serve()
    assert isinstance(rig.client.events[0], Waiting)

    rig.reactor.resume(rig.client.endpoint, action, trio.current_time())
    rig.serve()

    seen = Unmasked(rig.upstream.read())
    assert seen.payloads == [p for p in (b"before", expected, b"behind") if p]
    assert rig.client.read() == (message(b"no") if isinstance(action, Drop) else b"")


class Unmasked:
    """The payloads of short masked frames."""

    def __init__(self, wire: bytes) -> None:
        self.payloads = []
        while wire:
            length = wire[1] & 0x7F
            mask, data = wire[2:6], wire[6 : 6 + length]
            self.payloads.append(bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
            wire = wire[6 + length :]


async def test_a_sink_that_drains_does_not_repeat_an_event_its_task_is_dealing_with(
    build: Build,
) -> None:
    rig = build()
    rig.start(client_reader=Reader())
    rig.client.send(ask(b"wait"))
    rig.serve()
    sink = rig.upstream.endpoint.sink
    while not sink.blocked:
        sink.ping(bytes(125), 0.0)
    rig.reactor.update(rig.upstream.endpoint)

    await rig.until(lambda: (rig.upstream.read(), not sink.blocked)[1])

    assert len(rig.client.events) == 1


@pytest.mark.parametrize("wake_first", [True, False])
async def test_a_wake_and_a_cancel_in_one_step_lose_no_event(
    build: Build, wake_first: bool
) -> None:
    rig = build()
    endpoint = rig.client.endpoint
    endpoint.on_event = None
    got: list[Event] = []
    scope = trio.CancelScope()

    async def wait() -> None:
        with scope:
            got.append(await endpoint.next_event())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        steps: list[Callable[[], object]] = [lambda: endpoint.wake(Notice("x")), scope.cancel]
        for step in steps if wake_first else reversed(steps):
            step()
        endpoint.wake(Notice("again"))
    if not got:
        got.append(await endpoint.next_event())

    assert got == [Notice("x")]


# -- ends


@KINDS
@pytest.mark.parametrize(
    ("data", "mid_frame"),
    [(message(b"xyz"), False), (message(b"xyz")[:-1], True), (b"\x81\x7f" + bytes(5), True)],
    ids=["between frames", "inside a frame", "inside a header"],
)
async def test_an_end_says_whether_it_came_inside_a_frame(
    build: Build, kind: str, data: bytes, mid_frame: bool
) -> None:
    rig = build("unix", kind)
    rig.start()
    rig.upstream.send(data)
    rig.upstream.sock.close()

    await rig.until(lambda: rig.upstream.events)

    [event] = rig.upstream.events
    assert isinstance(event, EndOfStream)
    assert event.mid_frame is mid_frame


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_close_that_waits_unread_is_found_although_writing_failed(
    build: Build, kind: str
) -> None:
    rig = build(kind)
    rig.start()
    rig.upstream.send(message(b"never read by the client"))
    rig.serve()
    # Closing with unread bytes resets the connection; the Close is in relayd's buffer by then.
    rig.client.send(encode_frame(Opcode.CLOSE, b"\x03\xe8", masked=True))
    rig.client.sock.close()

    sink = rig.client.endpoint.sink
    await rig.until(lambda: (sink.write([message(b"x")], Standing.BOUNDARY, 0.0), sink.broken)[1])
    await rig.until(lambda: rig.client.events)

    assert rig.client.events == [PeerClosed(1000, "")]


@KINDS
async def test_finishing_says_close_then_half_closes_then_waits_for_the_peer(
    build: Build, kind: str
) -> None:
    rig = build(kind)
    rig.start()
    sent = rig.fill()
    endpoint = rig.client.endpoint
    endpoint.on_event = None
    rig.reactor.finish(endpoint, 1012, "", trio.current_time())
    rig.client.send(ask(b"too late") * 100)

    def closed() -> bool:
        rig.client.read()
        return rig.client.got.endswith(message(b"\x03\xf4", opcode=Opcode.CLOSE))

    await rig.until(closed)
    assert sent.startswith(rig.client.got[:-4])
    assert rig.client.sock.recv(1) == b""
    assert endpoint.armed
    rig.client.sock.close()
    await rig.until(lambda: endpoint.ended)

    assert isinstance(await endpoint.next_event(), EndOfStream)
    assert rig.upstream.read() == b""
    assert endpoint.discarded > 0


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_aborting_resets_the_connection(build: Build, kind: str) -> None:
    rig = build(kind)
    rig.start()

    rig.reactor.release(rig.client.endpoint)
    rig.client.endpoint.close(abort=True)

    # Of TLS there may be session tickets first; no notify and no FIN comes behind them.
    with pytest.raises(ConnectionResetError):
        receive_until_end(rig.client.sock)


async def test_bytes_before_the_101_are_reported_once(build: Build) -> None:
    rig = build()
    rig.reactor.arm(rig.client.endpoint, trio.current_time())

    for _ in range(3):
        rig.client.send(b"early")
        rig.serve()

    [event] = rig.client.events
    assert isinstance(event, Violation)
    assert event.reason is Reason.PROTOCOL_ERROR_CLIENT


async def test_releasing_again_leaves_a_new_owner_of_the_number_alone(build: Build) -> None:
    rig = build()
    old = rig.client.endpoint
    left, right = socket.socketpair()
    left.setblocking(False)
    rig.reactor.release(old)
    number = old.fd
    old.close()
    os.dup2(left.fileno(), number)
    with left, right:
        new = Endpoint(socket.socket(fileno=number), Side.CLIENT, rig.hold, 0.0)
        rig.reactor.adopt(new)

        rig.reactor.release(old)
        old.armed = True
        rig.reactor.update(old)

        assert len(rig.reactor) == 2
        events: list[Event] = []
        new.on_event = events.append
        rig.reactor.arm(new, trio.current_time())
        right.send(b"x")
        rig.serve()
        assert len(events) == 1
        rig.reactor.release(new)
        new.close()


# -- TLS


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_bytes_inside_openssl_are_served_without_readiness(build: Build, side: str) -> None:
    rig = build(*(("tls", "tcp") if side == "client" else ("tcp", "tls")))
    rig.start(notices=True)
    one, other = (rig.client, rig.upstream) if side == "client" else (rig.upstream, rig.client)
    data = message(bytes(1500), masked=side == "client") * 100

    sent = 0

    def all_there() -> bool:
        nonlocal sent
        sent += one.send_most(data[sent:])
        return len(other.got) + len(other.read()) >= len(data) and len(other.got) == len(data)

    await rig.until(all_there)

    assert other.got == data


async def test_bytes_inside_openssl_are_served_after_arming_outside_the_pass(
    build: Build,
) -> None:
    rig = build("unix", "tls")
    wire = message(b"first") + message(b"second")
    rig.upstream.send(wire)
    endpoint = rig.upstream.endpoint
    await trio.lowlevel.wait_readable(endpoint.sock)
    assert isinstance(endpoint.sock, ssl.SSLSocket)
    endpoint.keep_tail(endpoint.sock.read(3))
    assert endpoint.sock.pending()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.reactor.run)
        await trio.testing.wait_all_tasks_blocked()
        rig.start()
        with trio.fail_after(SOON):
            await trio.lowlevel.wait_readable(rig.client.sock)
        nursery.cancel_scope.cancel()

    assert rig.client.read() == wire


async def test_bytes_inside_openssl_are_served_although_the_same_socket_is_writable(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = build("tls over unix")
    rig.start()
    rig.block(rig.client)
    calls = 0

    def receive(sock: ssl.SSLSocket, view: memoryview) -> tuple[int, More]:
        nonlocal calls
        calls += 1
        count, more = receive_records(sock, view)
        if calls == 1:
            rig.client.read()  # so that the socket is writable in the next batch
            more = More.INSIDE
        return count, more

    monkeypatch.setattr(reactor_module, "receive_records", receive)
    rig.client.send(ask(b"x"))
    await rig.until(lambda: calls)
    rig.serve()

    assert calls == 2


async def test_a_receive_that_must_send_first_waits_for_that_and_does_not_spin(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = build("tls over unix")
    rig.start()
    rig.block(rig.client)
    calls: list[ssl.SSLSocket] = []

    def receive(sock: ssl.SSLSocket, view: memoryview) -> tuple[int, More]:
        calls.append(sock)
        return (-1, More.AFTER_SEND) if len(calls) == 1 else receive_records(sock, view)

    monkeypatch.setattr(reactor_module, "receive_records", receive)
    rig.client.send(ask(b"x"))
    await rig.until(lambda: calls)
    for _ in range(100):
        rig.reactor.serve_ready()
    assert len(calls) == 1

    await rig.until(lambda: (rig.client.read(), rig.upstream.read())[1])
    assert len(rig.upstream.got) == len(ask(b"x"))


# -- the pass's boundary and its bounds


async def test_a_crash_at_one_endpoint_ends_its_session_and_no_other(build: Build) -> None:
    rig, other = build(), build()
    rig.start(client_reader=Reader())
    rig.client.send(ask(b"!"))
    rig.upstream.send(message(b"still"))

    rig.serve()

    [event] = rig.client.events
    assert isinstance(event, Crash)
    assert isinstance(event.error, ZeroDivisionError)
    assert rig.reactor.crashes == 1
    assert rig.client.read() == message(b"still")
    other.start()
    assert not other.client.events


async def test_a_crashed_direction_is_not_started_again_by_its_draining_sink(
    build: Build,
) -> None:
    rig = build()
    rig.start(client_reader=Reader())
    rig.client.send(ask(b"!"))
    rig.serve()
    sink = rig.upstream.endpoint.sink
    while not sink.blocked:
        sink.ping(bytes(125), 0.0)
    rig.reactor.update(rig.upstream.endpoint)

    await rig.until(lambda: (rig.upstream.read(), not sink.blocked)[1])

    assert not rig.client.endpoint.armed
    assert len(rig.client.events) == 1


async def test_a_crash_over_bytes_served_by_hand_is_caught_too(build: Build) -> None:
    rig = build()
    rig.client.endpoint.keep_tail(ask(b"!"))

    rig.start(client_reader=Reader())

    assert isinstance(rig.client.events[0], Crash)


async def test_a_descriptor_is_received_from_once_a_batch(build: Build) -> None:
    rig = build()
    rig.start()
    rig.client.endpoint.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGE)
    data = message(bytes(1000)) * 200
    rig.upstream.send(data)
    before = rig.reactor.passes

    rig.serve()

    assert rig.client.read() == data
    assert rig.reactor.passes - before >= len(data) / RECEIVE_MAX_BYTES


async def test_a_pass_is_bounded_and_the_other_tasks_run_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace_module, "PASS_MAX_S", 3600.0)
    reactor, hold = Reactor(), HoldBudget(BUDGET)
    ours, theirs = socket.socketpair()
    count = 0

    class Endless(Endpoint):
        __slots__ = ()

    endpoint = Endless(ours, Side.CLIENT, hold, 0.0)
    ours.setblocking(False)

    def receive(view: memoryview, size: int) -> int:
        nonlocal count
        count += 1
        return 1

    monkeypatch.setattr(reactor_module, "below_tls", lambda sock: receive)
    reactor.adopt(endpoint)
    reactor.arm(endpoint, trio.current_time())
    theirs.send(b"x")

    assert reactor.serve_ready()
    assert EVENTS_MAX <= count <= EVENTS_MAX + BATCH_MAX
    monkeypatch.setattr(pace_module, "PASS_MAX_S", 0.0)
    assert reactor.serve_ready()
    assert count <= EVENTS_MAX + 2 * BATCH_MAX

    reactor.release(endpoint)
    endpoint.close()
    theirs.close()
    reactor.close()


async def test_the_reactor_serves_while_it_runs(build: Build) -> None:
    rig = build()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.reactor.run)
        rig.start()
        rig.upstream.send(message(b"x"))
        with trio.fail_after(SOON):
            await trio.lowlevel.wait_readable(rig.client.sock)
        nursery.cancel_scope.cancel()

    assert rig.client.read() == message(b"x")


def test_no_descriptor_is_left_by_a_closed_reactor() -> None:
    before = len(os.listdir("/proc/self/fd"))

    Reactor().close()

    assert len(os.listdir("/proc/self/fd")) == before
