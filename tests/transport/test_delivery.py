"""Several upstreams and one client on real sockets: turns, backpressure, ends, detaching."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing

from relayd.core.endings import Reason
from relayd.protocol import event_flow as event_flow_module
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.flow import Standing
from relayd.protocol.frames import Opcode, encode_frame
from relayd.protocol.outcomes import Crash, EndOfStream, Event, Notice, PeerClosed, Taken, Violation
from relayd.transport import reactor as reactor_module
from relayd.transport.endpoint import clean
from relayd.transport.records import More, receive_records
from tests.properties.events import NOTICE, PROOF, Judge
from tests.properties.streams import frames_in
from tests.transport.peers import Contexts, Peer
from tests.transport.pooled import FILL, Pooled, event, piece

WHOLE, ASIDE = 20_000, 60_000
"""The bounds on what is assembled, smaller than they are."""

OPEN = PROOF + b',"x":"' + b"x" * WHOLE
"""Enough of a message for it to be sent on in fragments."""

NOTED = NOTICE + b"}"

Build = Callable[..., Pooled]


@pytest.fixture(autouse=True)
def _smaller_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_flow_module, "ASSEMBLE_MAX_BYTES", WHOLE)
    monkeypatch.setattr(event_flow_module, "ASIDE_MAX_BYTES", ASIDE)


@pytest.fixture
def build(contexts: Contexts) -> Iterator[Build]:
    rigs: list[Pooled] = []

    def build_one(*kinds: str, hold_bytes: int = 1 << 26) -> Pooled:
        chosen = list(kinds) or ["unix", "unix", "unix"]
        rigs.append(Pooled.of(chosen, contexts, hold_bytes=hold_bytes))
        return rigs[-1]

    yield build_one
    for rig in rigs:
        rig.close()


def named(name: str) -> bytes:
    return b'{"type":"delta","name":"%s"}' % name.encode()


def lock(rig: Pooled, peer: Peer) -> None:
    """``peer`` begins a long message, so that the client's sink is locked for it."""
    peer.send(event(OPEN, fin=False))
    rig.serve()
    while rig.client.endpoint.sink.blocked:
        rig.client.read()
        rig.serve()
    rig.client.read()
    assert rig.client.endpoint.sources is not None
    assert rig.client.endpoint.sources.holder is peer.endpoint


KINDS = [("unix", "unix", "unix"), ("tcp", "tcp", "tls"), ("tls", "tls", "tls")]


# -- turns


@pytest.mark.parametrize("kinds", KINDS)
async def test_messages_of_several_upstreams_arrive_whole(
    build: Build, kinds: tuple[str, ...]
) -> None:
    rig = build(*kinds)
    one, two = rig.upstreams
    one.send(event(named("1a"))[:7])
    two.send(event(named("2a")[:9], fin=False))
    rig.serve()
    one.send(event(named("1a"))[7:])
    two.send(piece(named("2a")[9:], fin=True) + event(named("2b")))

    assert sorted(await rig.arrives(3)) == [named("1a"), named("2a"), named("2b")]


@pytest.mark.parametrize("kinds", KINDS)
async def test_while_one_is_inside_a_message_the_others_wait_and_lose_nothing(
    build: Build, kinds: tuple[str, ...]
) -> None:
    rig = build(*kinds, kinds[-1])
    one, two, three = rig.upstreams
    await rig.until(lambda: locked_by(rig, one))
    assert not two.endpoint.armed
    two.send(event(named("2a")) + event(named("2b")))
    three.send(event(named("3")))
    rig.serve()
    assert rig.payloads == []

    one.send(piece(b"more") + piece(b'"}', fin=True) + event(named("1b")))

    arrived = await rig.arrives(5)
    assert arrived[0] == OPEN + b'more"}'
    assert sorted(arrived[1:]) == [named("1b"), named("2a"), named("2b"), named("3")]
    assert arrived.index(named("2a")) < arrived.index(named("2b"))
    assert all(peer.endpoint.armed for peer in rig.upstreams)


def locked_by(rig: Pooled, peer: Peer) -> bool:
    """Has ``peer`` begin a long message; whether its beginning has been sent on."""
    sources = rig.client.endpoint.sources
    assert sources is not None
    if not peer.got:
        peer.got += b"begun"
        peer.send(event(OPEN, fin=False))
    rig.client.read()
    return sources.holder is peer.endpoint and not rig.client.endpoint.sink.blocked


async def test_those_that_wait_go_on_first_come_first_served(build: Build) -> None:
    rig = build("unix", "unix", "unix", "unix", "unix")
    one, two, three, four = rig.upstreams
    for peer in (two, three, four):
        peer.send(event(NOTED) + event(named("behind")))
    rig.serve()
    assert [peer.events for peer in (two, three, four)] == [[Notice("heard")]] * 3
    lock(rig, one)

    for peer in (four, two, three):
        rig.arm(peer)
        assert not peer.endpoint.armed
    order: list[Peer] = []
    for peer in (two, three, four):
        assert isinstance(peer.endpoint.flow, EventFlow)
        peer.endpoint.flow.reader = Ordering(peer, order)
    one.send(piece(b'"}', fin=True))
    rig.serve()

    assert order == [four, two, three]
    assert len(await rig.arrives(7)) == 7


class Ordering(Judge):
    """Notes whose message was read."""

    def __init__(self, peer: Peer, order: list[Peer]) -> None:
        super().__init__(proof=b"\0")
        self._peer, self._order = peer, order

    def verdict(self, payload: bytes) -> None:
        self._order.append(self._peer)


async def test_arming_a_waiting_source_takes_its_notice_off_and_serves_nothing(
    build: Build,
) -> None:
    rig = build()
    one, two = rig.upstreams
    two.send(event(NOTED) + event(named("behind")))
    rig.serve()
    lock(rig, one)

    rig.arm(two)
    rig.serve()

    assert two.endpoint.flow is not None
    assert two.endpoint.flow.event is None
    assert two.endpoint.tail == event(named("behind"))
    one.send(piece(b'"}', fin=True))
    assert (await rig.arrives(3))[1:] == [OPEN + b'"}', named("behind")]


async def test_a_source_that_its_owner_disarms_while_it_waits_is_not_started(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    lock(rig, one)

    rig.reactor.disarm(two.endpoint)
    two.send(event(named("2")))
    one.send(piece(b'"}', fin=True))

    assert await rig.arrives(1) == [OPEN + b'"}']
    assert not two.endpoint.armed
    rig.arm(two)
    assert (await rig.arrives(2))[1] == named("2")


async def test_one_that_is_attached_while_another_is_inside_a_message_waits(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    assert not rig.detach(two)
    lock(rig, one)
    assert two.endpoint.armed

    rig.reactor.attach(two.endpoint, rig.client.endpoint)
    assert not two.endpoint.armed
    two.send(event(named("2")))
    one.send(piece(b'"}', fin=True))

    assert await rig.arrives(2) == [OPEN + b'"}', named("2")]


async def test_pings_are_answered_while_another_is_inside_a_message_or_soon_after(
    build: Build,
) -> None:
    rig = build()
    one, two = rig.upstreams
    lock(rig, one)
    ping = encode_frame(Opcode.PING, b"p", masked=True)
    rig.client.send(ping)
    two.send(encode_frame(Opcode.PING, b"q", masked=False))
    rig.serve()
    rig.client.read()

    assert [f.payload for f in frames_in(bytes(rig.client.got)) if f.opcode == Opcode.PONG] == [
        b"p"
    ]
    assert two.read() == b""
    one.send(piece(b'"}', fin=True))
    rig.serve()
    assert [f.payload for f in frames_in(two.read())] == [b"q"]


async def test_relayds_own_message_waits_until_the_one_inside_is_whole(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    lock(rig, one)
    rig.client.endpoint.sink.note(b'{"own":1}', trio.current_time())
    two.send(event(named("2")))
    one.send(piece(b'"}', fin=True))

    assert await rig.arrives(3) == [OPEN + b'"}', b'{"own":1}', named("2")]


# -- a client that does not read


@pytest.mark.parametrize("kinds", KINDS)
async def test_a_full_client_stops_all_that_wrote_and_loses_nothing(
    build: Build, kinds: tuple[str, ...]
) -> None:
    rig = build(*kinds)
    one, two = rig.upstreams
    texts = [named("x" * 1000), named("y" * 1000)]
    sent = [0, 0]
    for number, peer in enumerate((one, two)):
        sent[number] = peer.send_most(event(texts[number]) * 100)
    await rig.until(lambda: not one.endpoint.armed and not two.endpoint.armed)
    assert rig.client.endpoint.sink.blocked
    for number, peer in enumerate((one, two)):
        peer.send((event(texts[number]) * 100)[sent[number] :])

    arrived = await rig.arrives(200)

    assert [arrived.count(text) for text in texts] == [100, 100]
    assert one.endpoint.armed
    assert two.endpoint.armed


async def test_one_that_has_not_written_is_not_stopped_by_a_full_client(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    rig.block()

    assert not one.endpoint.armed
    assert two.endpoint.armed
    two.send(encode_frame(Opcode.PING, b"q", masked=False))
    rig.serve()
    assert [f.payload for f in frames_in(two.read())] == [b"q"]


async def test_an_event_waits_for_the_flush_also_behind_another_ones_bytes(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    rig.block()
    two.send(event(NOTED) + event(named("behind")))
    rig.serve()
    assert two.endpoint.deferred
    assert two.events == []

    assert (await rig.arrives(FILL + 1))[FILL] == NOTED
    rig.serve()

    assert two.events == [Notice("heard")]
    assert one.endpoint.armed
    assert not two.endpoint.armed
    rig.arm(two)
    assert (await rig.arrives(FILL + 2))[FILL + 1] == named("behind")


async def test_a_holder_that_is_stopped_by_the_client_keeps_the_lock(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    one.send(event(OPEN, fin=False) + piece(b"y" * 50_000))
    two.send(event(named("2")))
    rig.serve()
    assert rig.client.endpoint.sink.blocked
    one.send(piece(b'"}', fin=True))

    arrived = await rig.arrives(2)

    assert sorted(map(len, arrived)) == [len(named("2")), len(OPEN) + 50_002]


async def test_what_exceeds_the_budget_ends_the_source_that_sent_it(build: Build) -> None:
    rig = build(hold_bytes=30_000)

    rig.block()

    assert rig.upstreams[0].events == [Violation.overload()]


async def test_a_client_that_is_lost_stops_nobody_for_ever(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    rig.block()
    rig.client.sock.close()
    two.send(event(named("2")) * 10)
    rig.serve()

    assert rig.client.endpoint.sink.broken
    assert [type(event) for event in rig.client.events] == [EndOfStream]
    assert one.endpoint.armed
    assert two.endpoint.armed


# -- ends


@pytest.mark.parametrize("kinds", KINDS)
async def test_what_came_before_an_end_goes_out_before_its_event_although_it_waits(
    build: Build, kinds: tuple[str, ...]
) -> None:
    rig = build(*kinds)
    one, two = rig.upstreams
    await rig.until(lambda: locked_by(rig, one))
    two.send(event(named("2a")) + event(named("2b")))
    two.sock.close()
    rig.serve()
    passes = rig.reactor.passes
    rig.serve()
    assert rig.reactor.passes == passes  # it does not spin
    assert two.events == []

    one.send(piece(b'"}', fin=True))

    assert await rig.arrives(3) == [OPEN + b'"}', named("2a"), named("2b")]
    await rig.until(lambda: two.events)
    assert two.events == [EndOfStream()]


async def test_a_reset_while_it_waits_loses_nothing_that_was_received_before_the_turn(
    build: Build,
) -> None:
    rig = build("unix", "unix", "tcp")
    one, two = rig.upstreams
    two.send(event(NOTED) + event(named("2")))
    await rig.until(lambda: two.events)
    lock(rig, one)
    rig.arm(two)
    two.reset()
    rig.serve()
    assert two.events == [Notice("heard")]

    one.send(piece(b'"}', fin=True))

    assert (await rig.arrives(3))[1:] == [OPEN + b'"}', named("2")]
    await rig.until(lambda: len(two.events) == 2)
    assert isinstance(two.events[1], EndOfStream)


async def test_a_reset_while_the_client_does_not_read_is_told_behind_what_was_sent(
    build: Build,
) -> None:
    rig = build("unix", "tcp", "tcp")
    one, two = rig.upstreams
    text = rig_block_over(rig, one)
    one.reset()
    two.send(event(named("2")))
    rig.serve()
    assert one.events == []

    arrived = await rig.arrives(2)

    assert arrived[:2] == [text, text]
    await rig.until(lambda: one.events)
    assert isinstance(one.events[0], EndOfStream)


def rig_block_over(rig: Pooled, peer: Peer) -> bytes:
    text = b'{"type":"delta","fill":"%s"}' % (b"x" * 10_000)
    peer.send(event(text) * 4)
    while not rig.client.endpoint.sink.blocked:
        rig.serve()
    return text


async def test_a_close_behind_messages_is_told_when_they_are_flushed(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    rig.block()
    two.send(event(named("2")) + encode_frame(Opcode.CLOSE, b"\x03\xf4", masked=False))
    rig.serve()
    assert two.events == []

    assert (await rig.arrives(FILL + 1))[FILL] == named("2")

    assert two.events == [PeerClosed(1012, "")]
    assert one.endpoint.armed


async def test_one_that_ends_or_errs_leaves_the_others_going(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    one.send(encode_frame(Opcode.BINARY, b"x", masked=False))
    two.send(event(named("2a")))

    assert await rig.arrives(1) == [named("2a")]
    assert isinstance(one.events[0], Violation)
    assert one.events[0].reason is Reason.PROTOCOL_ERROR_UPSTREAM
    assert not rig.detach(one)
    two.send(event(named("2b")))
    assert await rig.arrives(2) == [named("2a"), named("2b")]


async def test_a_crash_at_one_leaves_the_others_going(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams

    class Broken(Judge):
        def verdict(self, payload: bytes) -> None:
            raise ZeroDivisionError

    assert isinstance(one.endpoint.flow, EventFlow)
    one.endpoint.flow.reader = Broken()
    one.send(event(b'{"x":1}'))
    two.send(event(named("2")))

    assert await rig.arrives(1) == [named("2")]
    assert isinstance(one.events[0], Crash)
    assert not rig.detach(one)


# -- detaching


async def test_one_that_is_detached_between_messages_leaves_nothing_torn(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    one.send(event(named("1")) + event(OPEN[:1000], fin=False))
    rig.serve()

    assert not rig.detach(one)
    assert not rig.detach(one)
    one.send(piece(b'"}', fin=True))
    two.send(event(named("2")))

    assert await rig.arrives(2) == [named("1"), named("2")]


async def test_one_that_is_detached_inside_a_message_leaves_the_client_torn(build: Build) -> None:
    rig = build("unix", "unix", "unix", "unix")
    one, two, three = rig.upstreams
    lock(rig, one)
    rig.reactor.disarm(three.endpoint)

    assert rig.detach(one)

    two.send(event(named("2")))
    three.send(event(named("3")))
    rig.arm(three)
    rig.serve()
    rig.client.read()
    assert rig.payloads == []
    assert not two.endpoint.armed
    assert not three.endpoint.armed
    rig.reactor.finish(rig.client.endpoint, 1011, "", trio.current_time())
    rig.client.read()
    frames = list(frames_in(bytes(rig.client.got)))
    assert (frames[-1].opcode, frames[-1].payload[:2]) == (Opcode.CLOSE, b"\x03\xf3")
    assert not any(frame.fin for frame in frames[:-1])


async def test_an_event_that_waits_for_the_flush_is_given_by_detaching(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    rig.block()
    two.send(event(NOTED))
    rig.serve()
    assert two.events == []

    assert not rig.detach(two)

    assert two.events == [Notice("heard")]
    assert (await rig.arrives(FILL + 1))[FILL] == NOTED
    assert two.events == [Notice("heard")]
    assert one.endpoint.armed


async def test_one_that_is_detached_by_its_event_s_callback_is_left_alone(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    detached: list[bool] = []

    def detach(event: Event) -> None:
        detached.append(rig.detach(one))

    one.endpoint.on_event = detach
    one.send(event(NOTED) + event(named("1")))
    two.send(event(named("2")))

    assert sorted(await rig.arrives(2)) == sorted([NOTED, named("2")])
    assert detached == [False]
    rig.arm(one)
    rig.serve()
    assert one.endpoint.tail is None  # read, and discarded
    assert len(rig.payloads) == 2


async def test_a_waiting_one_that_is_detached_is_not_started(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    lock(rig, one)
    assert not two.endpoint.armed

    assert not rig.detach(two)
    one.send(piece(b'"}', fin=True))

    assert await rig.arrives(1) == [OPEN + b'"}']
    assert not two.endpoint.armed


async def test_releasing_a_source_detaches_it_and_frees_the_others(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    rig.block()
    two.send(event(named("2")))
    rig.serve()

    rig.reactor.release(one.endpoint)
    one.endpoint.close()

    assert (await rig.arrives(FILL + 1))[FILL] == named("2")
    assert two.endpoint.armed


async def test_releasing_the_holder_leaves_the_client_torn(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    lock(rig, one)

    rig.reactor.release(one.endpoint)

    sources = rig.client.endpoint.sources
    assert sources is not None
    assert sources.torn
    assert not two.endpoint.armed


async def test_finishing_the_client_detaches_all_and_gives_their_events(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    rig.block()
    two.send(event(NOTED))
    rig.serve()

    rig.reactor.finish(rig.client.endpoint, 1000, "", trio.current_time())

    assert two.events == [Notice("heard")]
    assert rig.client.endpoint.sources is None
    assert one.endpoint.peer is two.endpoint.peer is None
    rig.arm(one)
    one.send(event(named("late")))
    await rig.until(lambda: rig.client.read() == b"" and not rig.client.endpoint.sink.blocked)
    assert rig.payloads[-1] == NOTED
    assert len(rig.payloads) == FILL + 1


async def test_closing_the_client_lets_its_sources_go(build: Build) -> None:
    rig = build()
    one, _ = rig.upstreams
    lock(rig, one)

    rig.reactor.release(rig.client.endpoint)
    rig.client.endpoint.close()
    one.send(piece(b'"}', fin=True) + event(NOTED))
    rig.serve()

    assert one.endpoint.peer is None
    assert one.events == [Notice("heard")]


async def test_finishing_a_source_detaches_it(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams

    rig.reactor.finish(one.endpoint, 1000, "", trio.current_time())
    one.send(event(named("1")))
    two.send(event(named("2")))

    assert await rig.arrives(1) == [named("2")]
    assert [frame.opcode for frame in frames_in(one.read())] == [Opcode.CLOSE]


async def test_one_that_is_detached_by_its_violation_inside_a_message_holds_no_lock(
    build: Build,
) -> None:
    rig = build()
    one, _ = rig.upstreams
    detached: list[bool] = []
    one.endpoint.on_event = lambda event: detached.append(rig.detach(one))
    lock(rig, one)
    one.send(piece(b"\xff"))
    rig.serve()

    sources = rig.client.endpoint.sources
    assert detached == [True]
    assert sources is not None
    assert sources.holder is None
    assert not sources.goes_on_later(one.endpoint)


async def test_a_client_that_is_lost_inside_a_message_is_not_torn(build: Build) -> None:
    rig = build()
    one, two = rig.upstreams
    lock(rig, one)
    rig.client.sock.close()
    one.send(piece(b"more"))
    rig.serve()
    assert rig.client.endpoint.sink.broken

    assert not rig.detach(one)
    assert two.endpoint.armed


@pytest.mark.parametrize("finish", [False, True])
async def test_one_that_its_owner_ends_has_no_event_any_more(build: Build, finish: bool) -> None:
    rig = build()
    _, two = rig.upstreams
    rig.block()
    two.send(event(NOTED))
    rig.serve()
    assert two.endpoint.deferred

    if finish:
        rig.reactor.finish(two.endpoint, 1000, "", trio.current_time())
    else:
        rig.reactor.release(two.endpoint)

    assert (await rig.arrives(FILL + 1))[FILL] == NOTED
    assert two.events == []


# -- an upstream without a client


async def test_what_the_reader_lets_pass_is_discarded_without_a_client(build: Build) -> None:
    rig = build()
    one, _ = rig.upstreams
    rig.detach(one)
    one.send(event(named("1")) + event(OPEN, fin=False) + piece(b'"}', fin=True) + event(NOTED))
    rig.serve()

    assert one.events == [Notice("heard")]
    assert isinstance(one.endpoint.flow, EventFlow)
    assert one.endpoint.flow.out == []
    rig.client.read()
    assert rig.client.got == b""


async def test_a_reader_is_swapped_for_what_is_behind_a_notice(build: Build) -> None:
    rig = build()
    one, _ = rig.upstreams
    one.send(event(NOTED) + event(b'{"x":2}'))
    rig.serve()
    rig.detach(one)
    idle = Judge(proof=b"\0", name="idle")
    assert isinstance(one.endpoint.flow, EventFlow)

    one.endpoint.flow.reader = idle
    rig.arm(one)

    assert idle.seen == [b'{"x":2}']
    assert await rig.arrives(1) == [NOTED]


# -- the client's direction


async def test_a_client_s_message_is_given_to_its_task_and_the_next_waits(build: Build) -> None:
    rig = build()
    first, second = (encode_frame(Opcode.TEXT, text, masked=True) for text in (b"one", b"two"))
    rig.client.send(first + second)
    rig.serve()
    assert rig.client.events == [Taken(b"one")]
    assert rig.hold.bytes_held == 3 + len(second)

    rig.arm(rig.client)

    assert rig.client.events == [Taken(b"one"), Taken(b"two")]
    assert rig.hold.bytes_held == 6
    rig.hold.give(6)


async def test_a_client_s_message_whose_tail_has_no_room_is_given_back(build: Build) -> None:
    rig = build(hold_bytes=10)
    rig.client.send(encode_frame(Opcode.TEXT, b"one", masked=True) + b"\x81\xff" + bytes(20))
    rig.serve()

    assert rig.client.events == [Violation.overload()]
    rig.reactor.release(rig.client.endpoint)
    rig.client.endpoint.close()
    assert rig.hold.bytes_held == 0


async def test_what_is_pending_to_an_upstream_does_not_start_the_client(build: Build) -> None:
    rig = build()
    one, _ = rig.upstreams
    rig.reactor.disarm(rig.client.endpoint)
    sink = one.endpoint.sink
    assert sink.send_message(b"x" * 100_000, trio.current_time())
    rig.reactor.update(one.endpoint)
    assert sink.blocked

    def sent() -> bool:
        one.read()
        return not sink.blocked

    await rig.until(sent)

    assert not rig.client.endpoint.armed
    assert sink.standing is Standing.BOUNDARY


async def test_the_reactor_serves_several_sources_while_it_runs(build: Build) -> None:
    rig = build("tcp", "tcp", "tls")
    one, two = rig.upstreams
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.reactor.run)
        one.send(event(named("1")))
        two.send(event(named("2")))
        with trio.fail_after(5):
            while len(rig.payloads) < 2:
                await trio.lowlevel.wait_readable(rig.client.sock)
                rig.client.read()
        nursery.cancel_scope.cancel()

    assert sorted(rig.payloads) == [named("1"), named("2")]


# -- looking


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_looking_reads_what_has_come_before_the_pass_does(build: Build, kind: str) -> None:
    rig = build("unix", kind)
    (one,) = rig.upstreams
    await rig.until(lambda: not rig.reactor.look(one.endpoint, 7.0))  # behind the handshake
    one.send(event(named("1")))

    with trio.fail_after(5):
        while not rig.reactor.look(one.endpoint, 7.0):
            await trio.lowlevel.checkpoint()

    rig.client.read()
    assert rig.payloads == [named("1")]
    assert one.endpoint.last_received == 7.0
    assert not rig.reactor.look(one.endpoint, 8.0)
    assert clean(one.endpoint)


@pytest.mark.parametrize("kind", ["unix", "tls"])
async def test_looking_finds_an_end_and_a_stray_event(build: Build, kind: str) -> None:
    rig = build("unix", kind, kind)
    one, two = rig.upstreams
    one.sock.close()
    two.send(event(NOTED))
    with trio.fail_after(5):
        while not (one.events and two.events):
            rig.reactor.look(one.endpoint, 1.0)
            rig.reactor.look(two.endpoint, 1.0)
            await trio.lowlevel.checkpoint()

    assert one.events == [EndOfStream()]
    assert two.events == [Notice("heard")]
    assert not clean(one.endpoint)
    assert not clean(two.endpoint)
    assert rig.reactor.look(one.endpoint, 1.0)
    assert rig.reactor.look(two.endpoint, 1.0)


async def test_a_crash_while_looking_is_that_endpoint_s_own(build: Build) -> None:
    rig = build()
    one, _ = rig.upstreams

    class Broken(Judge):
        def verdict(self, payload: bytes) -> None:
            raise ZeroDivisionError

    assert isinstance(one.endpoint.flow, EventFlow)
    one.endpoint.flow.reader = Broken()
    one.send(event(b'{"x":1}'))

    assert rig.reactor.look(one.endpoint, 1.0)

    assert isinstance(one.events[0], Crash)
    assert rig.reactor.crashes == 1


async def test_what_looking_leaves_inside_openssl_is_served_by_the_reactor(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = build("tcp", "tls")
    (one,) = rig.upstreams
    await rig.until(lambda: not rig.reactor.look(one.endpoint, 1.0))
    calls = 0

    def receive(sock: ssl.SSLSocket, view: memoryview) -> tuple[int, More]:
        nonlocal calls
        calls += 1
        return receive_records(sock, view[:30] if calls == 1 else view)

    one.send(event(named("1")) + event(named("2")))
    await trio.lowlevel.wait_readable(one.endpoint.sock)
    monkeypatch.setattr(reactor_module, "receive_records", receive)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            assert rig.reactor.look(one.endpoint, 1.0)
            nursery.start_soon(rig.reactor.run)
            while len(rig.payloads) < 2:
                await trio.lowlevel.wait_readable(rig.client.sock)
                rig.client.read()
            nursery.cancel_scope.cancel()

    assert rig.payloads == [named("1"), named("2")]


async def test_an_end_of_tls_that_came_with_an_event_is_found_when_armed_again(
    build: Build,
) -> None:
    rig = build("unix", "tls")
    (one,) = rig.upstreams
    await rig.until(lambda: not rig.reactor.look(one.endpoint, 1.0))
    one.send(event(NOTED))
    assert isinstance(one.sock, ssl.SSLSocket)
    with pytest.raises((ssl.SSLWantReadError, ssl.SSLError)):
        one.sock.unwrap()  # close_notify, and no FIN behind it
    await rig.until(lambda: one.events)
    rig.serve()
    assert one.events == [Notice("heard")]

    rig.arm(one)

    await rig.until(lambda: len(one.events) > 1)
    assert one.events[1] == EndOfStream()
