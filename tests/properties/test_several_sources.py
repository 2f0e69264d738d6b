"""Several upstreams, one client, on sockets: any interleaving of what they all may do.

Whatever happens in whichever order, the client has a valid stream in which every message is whole,
those of one upstream stand in its order, and none is lost, but for those of an upstream that was
detached; and at the end nothing is held.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.protocol import event_flow as event_flow_module
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.outcomes import EndOfStream, Event, Notice
from relayd.transport.endpoint import Endpoint, clean
from relayd.transport.reactor import Reactor
from tests.properties.events import HARMLESS, NOTICE, PROOF, Judge, in_frames, marks_of
from tests.properties.streams import CLOSE, TEXT, frames_in, messages_in

WHOLE, ASIDE = 8_000, 20_000
"""The bounds on what is assembled, smaller than they are, so that the lock is taken often."""

BUDGET = 1 << 26
MESSAGE_MAX = 1 << 20
SNDBUF = 4608
ROUNDS_MAX = 20_000
UPSTREAMS = 3

SIZES = st.sampled_from([30, 200, 4000, 9_000, 15_000, 70_000])
MARKS = st.sampled_from([PROOF, HARMLESS, NOTICE])


class Script:
    """What one upstream sends; shown without its bytes."""

    def __init__(self, said: list[tuple[bytes, int]], payloads: list[bytes], wire: bytes) -> None:
        self.said, self.payloads, self.wire = said, payloads, wire

    def __repr__(self) -> str:
        return f"Script({self.said})"


@st.composite
def scripts_of(draw: st.DrawFn) -> list[Script]:
    """One for each upstream."""
    scripts = []
    for number in range(UPSTREAMS):
        said = draw(st.lists(st.tuples(MARKS, SIZES), max_size=5))
        payloads = [
            mark + b',"from":%d,"n":%d,"x":"%s"}' % (number, at, b"x" * size)
            for at, (mark, size) in enumerate(said)
        ]
        wire = b"".join(draw(in_frames(payload)) for payload in payloads)
        scripts.append(Script(said, payloads, wire))
    return scripts


SCRIPTS = scripts_of()
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["send", "read", "serve", "arm", "note", "ping", "look"]),
        st.integers(0, UPSTREAMS - 1),
        st.sampled_from([1, 7, 1000, 12_000, 200_000]),
    ),
    max_size=40,
)


@pytest.fixture(autouse=True, scope="module")
def _smaller_bounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_flow_module, "ASSEMBLE_MAX_BYTES", WHOLE)
        patch.setattr(event_flow_module, "ASIDE_MAX_BYTES", ASIDE)
        yield


@attrs.define
class Upstream:
    """One source: its script, what it has sent, what its owner was told."""

    sock: socket.socket
    endpoint: Endpoint
    payloads: list[bytes]
    wire: bytes
    sent: int = 0
    detached: bool = False
    events: list[Event] = attrs.field(factory=list)

    def send(self, count: int) -> None:
        piece = self.wire[self.sent : self.sent + count]
        try:
            self.sent += self.sock.send(piece) if piece else 0
        except BlockingIOError:
            pass  # the relay does not read at the moment

    @property
    def notices(self) -> int:
        return sum(isinstance(event, Notice) for event in self.events)


class Relay:
    """The reactor between them, served by hand."""

    def __init__(self, scripts: list[Script]) -> None:
        self.reactor = Reactor()
        self.hold = HoldBudget(BUDGET)
        self.now = trio.current_time()
        ours, self.sock = self._pair()
        self.client = Endpoint(ours, Side.CLIENT, self.hold, 0.0)
        self.client.on_event = self._never
        self.got = bytearray()
        self.notes = 0
        self.torn = False
        self.reactor.adopt(self.client)
        self.upstreams = [self._upstream(script) for script in scripts]

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF)
        return ours, theirs

    def _never(self, event: Event) -> None:
        raise AssertionError(f"the client had {event}")

    def _upstream(self, script: Script) -> Upstream:
        ours, theirs = self._pair()
        endpoint = Endpoint(ours, Side.UPSTREAM, self.hold, 0.0)
        endpoint.flow = EventFlow(
            message_max_bytes=MESSAGE_MAX, hold=self.hold, reader=Judge(oversized=Notice("long"))
        )
        upstream = Upstream(theirs, endpoint, script.payloads, script.wire)
        endpoint.on_event = upstream.events.append
        self.reactor.adopt(endpoint)
        self.reactor.attach(endpoint, self.client)
        self.reactor.arm(endpoint, self.now)
        return upstream

    def serve(self) -> None:
        for _ in range(ROUNDS_MAX):
            if not self.reactor.serve_ready():
                break
        else:
            raise AssertionError("the reactor spins")
        sources = self.client.sources
        if sources is not None and sources.holder is not None:
            armed = [one.endpoint for one in self.upstreams if one.endpoint.armed]
            attached = [endpoint for endpoint in armed if endpoint.peer is not None]
            assert all(endpoint is sources.holder for endpoint in attached)

    def move(self, what: str, number: int, count: int) -> None:
        upstream = self.upstreams[number]
        match what:
            case "send":
                upstream.send(count)
            case "read":
                self.read(count)
            case "arm":
                self.arm(upstream)
            case "note":
                if self.client.sink.note(b'{"note":%d}' % self.notes, self.now):
                    self.notes += 1
                self.reactor.update(self.client)
            case "ping":
                self.client.sink.ping(b"%d" % count, self.now)
                self.reactor.update(self.client)
            case "look":
                self.reactor.look(upstream.endpoint, self.now)
            case _:
                self.serve()

    def read(self, count: int) -> None:
        try:
            self.got += self.sock.recv(count)
        except BlockingIOError:
            pass  # nothing has come

    def arm(self, upstream: Upstream) -> None:
        """As an owner does: again behind a notice, which it has been told of by now."""
        flow = upstream.endpoint.flow
        assert flow is not None
        if isinstance(flow.event, Notice) and not upstream.endpoint.deferred:
            self.reactor.arm(upstream.endpoint, self.now)

    def detach(self, upstream: Upstream) -> None:
        if upstream.detached:
            return
        upstream.detached = True
        self.torn = self.reactor.detach(upstream.endpoint, self.now) or self.torn

    def run_out(self) -> None:
        """Let all send all, the owners arm, and the client read all."""
        quiet = 0
        for _ in range(ROUNDS_MAX):
            before = ([(one.sent, one.notices) for one in self.upstreams], len(self.got))
            for one in self.upstreams:
                self.arm(one)
                one.send(100_000)
            self.serve()
            self.read(1 << 20)
            after = ([(one.sent, one.notices) for one in self.upstreams], len(self.got))
            quiet = quiet + 1 if before == after else 0
            if quiet == 2:  # arming one may have moved another, whose bytes come a round later
                return
        raise AssertionError("the relay does not come to rest")

    def arrived(self) -> list[bytes]:
        """The client's whole messages, without relayd's own."""
        texts = [message.payload for message in messages_in(bytes(self.got))]
        notes = [text for text in texts if text.startswith(b'{"note"')]
        assert notes == [b'{"note":%d}' % number for number in range(len(notes))]
        assert self.torn or len(notes) == self.notes
        return [text for text in texts if not text.startswith(b'{"note"')]

    def check_order(self) -> None:
        """Whole, in each upstream's order; complete, where it was not detached."""
        arrived = self.arrived()
        for number, one in enumerate(self.upstreams):
            own = [text for text in arrived if b',"from":%d,' % number in text[:40]]
            complete = not one.detached and not self.torn
            expected = one.payloads if complete else one.payloads[: len(own)]
            assert marks_of(own) == marks_of(expected)
        assert self.reactor.crashes == 0

    def close(self) -> None:
        for one in self.upstreams:
            one.endpoint.on_event = None
            self.reactor.release(one.endpoint)
            one.endpoint.close()
            one.sock.close()
        self.reactor.release(self.client)
        self.client.close()
        self.sock.close()
        self.reactor.close()
        assert self.hold.bytes_held == 0


Move = tuple[str, int, int]


@settings(max_examples=150)
@given(scripts=SCRIPTS, moves=MOVES)
def test_any_interleaving_delivers_every_message_whole_and_in_order(
    scripts: list[Script], moves: list[Move]
) -> None:
    async def play() -> None:
        relay = Relay(scripts)
        try:
            for what, number, count in moves:
                relay.move(what, number, count)
            relay.run_out()

            relay.check_order()
            assert all(clean(one.endpoint) for one in relay.upstreams)
            assert all(one.endpoint.armed for one in relay.upstreams)
            assert relay.client.sink.at_rest
            for one in relay.upstreams:
                told = [p for p in one.payloads if p.startswith(NOTICE)]
                assert one.notices >= len([p for p in told if len(p) <= ASIDE])
        finally:
            relay.close()

    trio.run(play)


@settings(max_examples=150)
@given(
    scripts=SCRIPTS,
    moves=MOVES,
    gone=st.lists(st.integers(0, UPSTREAMS - 1), min_size=1, max_size=2),
    release=st.booleans(),
    more=MOVES,
)
def test_detaching_at_any_moment_leaves_the_others_going_or_says_that_the_client_is_torn(
    scripts: list[Script],
    moves: list[Move],
    gone: list[int],
    release: bool,
    more: list[Move],
) -> None:
    async def play() -> None:
        relay = Relay(scripts)
        try:
            for what, number, count in moves:
                relay.move(what, number, count)
            for number in gone:
                relay.detach(relay.upstreams[number])
                if release:
                    relay.reactor.release(relay.upstreams[number].endpoint)
            for what, number, count in more:
                if not relay.upstreams[number].detached or what != "look":
                    relay.move(what, number, count)
            relay.run_out()

            relay.check_order()
            if relay.torn:
                relay.reactor.finish(relay.client, 1011, "", relay.now)
                relay.run_out()
                frames = list(frames_in(bytes(relay.got)))
                assert frames[-1].opcode == CLOSE
                data_frames = [frame for frame in frames if frame.opcode < CLOSE]
                assert not data_frames[-1].fin
        finally:
            relay.close()

    trio.run(play)


@settings(max_examples=150)
@given(scripts=SCRIPTS, moves=MOVES)
def test_what_came_before_the_end_of_an_upstream_is_delivered_before_its_event(
    scripts: list[Script], moves: list[Move]
) -> None:
    async def play() -> None:
        relay = Relay(scripts)
        try:
            for what, number, count in moves:
                relay.move(what, number, count)
            for one in relay.upstreams:
                while one.sent < len(one.wire):
                    one.send(100_000)
                    relay.arm(one)
                    for other in relay.upstreams:  # it may be inside a message
                        other.send(100_000)
                        relay.arm(other)
                    relay.serve()
                    relay.read(1 << 20)
                one.sock.shutdown(socket.SHUT_WR)
            relay.run_out()

            relay.check_order()
            for one in relay.upstreams:
                assert one.events[-1] == EndOfStream()
                assert not any(isinstance(event, EndOfStream) for event in one.events[:-1])
        finally:
            relay.close()

    trio.run(play)


@settings(max_examples=100)
@given(scripts=SCRIPTS, moves=MOVES, more=MOVES)
def test_a_close_from_relayd_at_any_moment_cuts_no_frame(
    scripts: list[Script],
    moves: list[Move],
    more: list[Move],
) -> None:
    async def play() -> None:
        relay = Relay(scripts)
        try:
            for what, number, count in moves:
                relay.move(what, number, count)
            relay.reactor.finish(relay.client, 1012, "", relay.now)
            for what, number, count in more:
                if what not in ("note", "ping"):
                    relay.move(what, number, count)
            relay.run_out()

            frames = list(frames_in(bytes(relay.got)))
            assert sum(len(frame.wire) for frame in frames) == len(relay.got)
            assert (frames[-1].opcode, frames[-1].payload[:2]) == (CLOSE, (1012).to_bytes(2, "big"))
            assert all(one.endpoint.peer is None for one in relay.upstreams)
            assert frames[0].opcode in (TEXT, CLOSE, 9)
        finally:
            relay.close()

    trio.run(play)
