"""What waits for one client."""

from __future__ import annotations

from relayd.hub.bounds import Bounds
from relayd.hub.outbox import Outbox, Tally
from relayd.hub.shared import Wire
from tests.hub.making import shared, token, told

BOUNDS = Bounds(outbox_messages_max=8, outbox_bytes_max=1 << 20, outbox_grace_s=0.1)
MUCH = 1 << 20


def outbox(bounds: Bounds = BOUNDS, tally: Tally | None = None) -> tuple[Outbox, list[str]]:
    """One, and how often it told that something waits."""
    dirty: list[str] = []
    return Outbox(Wire.COUNCIL, bounds, lambda: dirty.append("dirty"), tally), dirty


def seqs(frames: list[bytes]) -> list[int]:
    return [told(frame)["seq"] for frame in frames]


def test_the_first_message_tells_and_the_others_do_not() -> None:
    box, dirty = outbox()
    box.offer(shared(1))
    box.offer(shared(2))
    assert dirty == ["dirty"]

    assert seqs(box.take(MUCH, 0.0)) == [1, 2]
    assert box.take(MUCH, 0.0) == []
    box.say(b"pong", 0.0)
    assert dirty == ["dirty", "dirty"]


def test_what_is_left_is_not_told_again() -> None:
    box, dirty = outbox()
    for seq in (1, 2, 3):
        box.offer(shared(seq))

    assert seqs(box.take(2 * shared(1).size, 0.0)) == [1, 2]
    assert seqs(box.take(1, 0.0)) == [3]  # one in any case
    assert (len(box), box.size, dirty) == (0, 0, ["dirty"])


def test_one_that_waits_alone_is_counted_as_several_are() -> None:
    tally = Tally()
    box, dirty = outbox(tally=tally)
    box.offer(shared(1, at=1.0))
    assert box.is_dirty
    assert seqs(box.take(1, 3.0)) == [1]
    box.say(b"pong", 3.0)
    assert box.take(1, 5.0) == [b"pong"]

    assert (box.delivered, tally.delivered, len(box), box.size) == (2, 2, 0, 0)
    assert tally.waits.so_far().total_s == 2.0  # a session's own messages do not wait
    assert (box.is_dirty, dirty) == (False, ["dirty", "dirty"])


def test_own_messages_keep_their_place() -> None:
    box, _ = outbox()
    box.offer(shared(1))
    box.say(b"pong", 0.0)
    box.offer(shared(2))

    first, second, third = box.take(MUCH, 0.0)
    assert (second, seqs([first, third])) == (b"pong", [1, 2])


def test_a_replay_stands_behind_what_waits_and_before_what_comes() -> None:
    box, dirty = outbox()
    box.offer(shared(1))
    box.replay([b"subscribed", *(shared(seq) for seq in range(2, 30))], 0.0)
    box.offer(shared(30))

    first, answer, *rest = box.take(MUCH, 0.0)
    assert (answer, seqs([first, *rest])) == (b"subscribed", list(range(1, 31)))
    assert (box.overflowed, dirty) == (False, ["dirty"])


def test_a_replay_counts_against_bounds_of_its_own() -> None:
    box, _ = outbox(Bounds(replay_messages_max=4, outbox_messages_max=8))
    box.offer(shared(1))
    assert box.replay_room[0] == 3

    box.replay([shared(seq) for seq in range(2, 10)], 0.0)
    assert box.overflowed


def test_a_stopped_client_overflows_at_once() -> None:
    tally = Tally()
    box, dirty = outbox(tally=tally)
    box.offer(shared(1, at=0.0))
    box.take(MUCH, 0.0)
    for seq in range(2, 11):
        box.offer(shared(seq, at=1.0 + seq))

    assert box.overflowed
    assert (len(box), box.size, tally.overflowed) == (0, 0, 1)
    assert dirty == ["dirty"] * 3  # twice that something waits, and this

    box.offer(shared(99))
    box.say(b"pong", 0.0)
    assert box.take(MUCH, 0.0) == []


def test_a_client_that_still_reads_has_a_moment() -> None:
    box, _ = outbox()
    for seq in range(1, 10):
        box.offer(shared(seq, at=1.0))
    assert not box.overflowed

    box.take(2 * shared(1).size, 1.05)
    for seq in range(10, 13):
        box.offer(shared(seq, at=1.1))
    assert not box.overflowed  # it was at its bound between, and takes its bytes

    for seq in range(13, 16):
        box.offer(shared(seq, at=1.3))
    assert box.overflowed


def test_nobody_goes_beyond_twice_the_bounds() -> None:
    box, _ = outbox()
    for seq in range(1, 17):
        box.offer(shared(seq, at=1.0))
    assert (len(box), box.overflowed) == (16, False)

    box.offer(shared(17, at=1.0))
    assert box.overflowed


def test_a_stream_is_joined_before_anybody_overflows() -> None:
    tally = Tally()
    box, _ = outbox(tally=tally)
    for seq in range(1, 101):
        box.offer(token(seq, f"<{seq}>"))

    assert not box.overflowed
    text = "".join(told(frame)["data"]["chunk"] for frame in box.take(MUCH, 0.0))
    assert text == "".join(f"<{seq}>" for seq in range(1, 101))
    assert tally.coalesced == box.coalesced == 100 - box.delivered


def test_what_may_be_dropped_is() -> None:
    box, _ = outbox()
    for seq in range(1, 20):
        box.offer(shared(seq, at=float(seq), droppable=seq > 4))

    left = seqs(box.take(MUCH, 20.0))
    assert left[:4] == [1, 2, 3, 4]
    assert left[-1] == 19
    assert (len(left), box.dropped) == (8, 11)


def test_bytes_are_bounded_as_messages_are() -> None:
    one = shared(1).size
    box, _ = outbox(Bounds(outbox_bytes_max=3 * one))
    box.offer(shared(1, at=0.0))
    for seq in range(2, 5):
        box.offer(shared(seq, at=1.0))

    assert box.overflowed


def test_room_is_made_once_for_every_eighth_of_a_bound() -> None:
    box, _ = outbox(Bounds(outbox_messages_max=80))
    for seq in range(1, 80):
        box.offer(shared(seq, node_id="n2"))
    counts = []
    for seq in range(80, 180):
        box.offer(token(seq, "x", at=1.0))
        counts.append(box.coalesced)

    assert len(set(counts)) <= 1 + 100 // 10 + 1
    assert not box.overflowed


def test_what_comes_does_not_overtake_what_was_missed() -> None:
    box, _ = outbox()
    first, second = shared(1), shared(2)
    box.replay([first, second], 0.0)
    box.say(b"pong", 0.0)

    assert seqs(box.take(first.size + 4, 0.0)) == [1]  # there is room for the short one behind
    assert seqs(box.take(second.size, 0.0)) == [2]
    assert box.take(MUCH, 0.0) == [b"pong"]
