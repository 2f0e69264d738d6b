"""Any interleaving of what may happen to a book leaves its invariants true."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from relayd.config.pools import PoolSettings
from relayd.pool.book import Book
from relayd.pool.claims import Claim
from relayd.pool.events import Refused
from relayd.pool.identity import Identity, SlotRef
from relayd.pool.slots import Ping, Slot, State
from tests.pool.books import ACCOUNT, CREDENTIAL, Desk, check, identity, slot_of

IDENTITIES = [
    identity("t"),
    identity("u"),
    identity("t", credential="key-2"),
    identity("t", account="b"),
]
SETTINGS = st.builds(
    PoolSettings,
    slots_max=st.integers(1, 4),
    idle_max=st.integers(0, 4),
    age_max_s=st.sampled_from([60.0, 3300.0]),
    idle_ttl_s=st.sampled_from([20.0, 600.0]),
)
LANES = st.none() | st.integers(0, 40).map(str)


class BookMachine(RuleBasedStateMachine):
    """Every acquirer, lease, verdict and configuration is a step of its own."""

    claims: Bundle[Claim[int]] = Bundle("claims")
    verdicts: Bundle[Ping[int]] = Bundle("verdicts")
    refs: Bundle[SlotRef] = Bundle("refs")

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(Book(PoolSettings(slots_max=2), {ACCOUNT: CREDENTIAL, "b": CREDENTIAL}))
        self.slots: set[Slot[int]] = set()
        self.all: list[Claim[int]] = []

    @property
    def book(self) -> Book[int]:
        return self.desk.book

    # -- acquirers

    @rule(target=claims, who=st.sampled_from(IDENTITIES), lane=LANES)
    def acquire(self, who: Identity, lane: str | None) -> Claim[int]:
        claim = self.desk.ask(who, lane=lane)
        self.all.append(claim)
        return claim

    @rule(target=claims, ref=refs, who=st.sampled_from(IDENTITIES), lane=LANES)
    def acquire_pinned(self, ref: SlotRef, who: Identity, lane: str | None) -> Claim[int]:
        alive = self.book.is_alive(ref, self.desk.now)
        claim = self.desk.ask(who, lane=lane, pinned=ref)
        assert alive or claim.refused
        assert claim.slot is None or (claim.slot.ref == ref and claim.slot.identity == who)
        self.all.append(claim)
        return claim

    @rule(claim=claims)
    def dial(self, claim: Claim[int]) -> None:
        if claim.slot is not None and claim.slot.state is State.LOGIN:
            before = claim.slot.generation
            slot = self.desk.open(claim)
            assert slot.generation == before

    @rule(claim=consumes(claims))
    def cancel(self, claim: Claim[int]) -> None:
        """Whether it waits, dials, tests or has just been given a socket."""
        shelf = self.book.shelf(claim.identity.account)
        shelf.give_back(claim, self.desk.now)
        shelf.give_back(claim, self.desk.now)
        assert claim.slot is None

    @rule(claim=claims)
    def preflight(self, claim: Claim[int]) -> None:
        if claim.slot is not None and claim.slot.state is State.ACTIVE:
            self.book.shelf(claim.identity.account).test(claim, self.desk.now)

    @rule(claim=claims, alive=st.booleans())
    def preflight_answer(self, claim: Claim[int], *, alive: bool) -> None:
        if claim.slot is None or claim.slot.state is not State.TESTED:
            return
        shelf = self.book.shelf(claim.identity.account)
        if not alive:
            shelf.lost(claim.slot, claim.slot.generation, "preflight_timeout", self.desk.now)
        shelf.tested(claim, self.desk.now)
        if not alive:
            shelf.replace(claim, "preflight_timeout", self.desk.now)
            assert claim.refused or slot_of(claim).socket is None

    # -- leases

    @rule(target=refs, claim=claims)
    def remember(self, claim: Claim[int]) -> SlotRef | MultipleResults[SlotRef]:
        slot = claim.slot
        return multiple() if slot is None or slot.socket is None else slot.ref

    @rule(claim=consumes(claims))
    def end(self, claim: Claim[int]) -> None:
        shelf = self.book.shelf(claim.identity.account)
        if claim.slot is None or claim.slot.state is not State.ACTIVE:
            shelf.give_back(claim, self.desk.now)
        elif claim.slot.lost is not None:
            shelf.broke(claim, "unclean", self.desk.now)
        else:
            shelf.yield_(claim, self.desk.now)

    @rule(claim=consumes(claims))
    def break_(self, claim: Claim[int]) -> None:
        shelf = self.book.shelf(claim.identity.account)
        if claim.slot is None or claim.slot.state is not State.ACTIVE:
            shelf.give_back(claim, self.desk.now)
        else:
            shelf.broke(claim, "client_gone", self.desk.now)

    # -- sockets

    @rule(which=st.integers(0, 20), back=st.integers(0, 1))
    def lose(self, which: int, back: int) -> None:
        """A socket, or the one that was there before it, is reported as lost."""
        slots = sorted(self.book._common.index.values(), key=lambda slot: slot.number)
        if not slots:
            return
        slot = slots[which % len(slots)]
        applies = self.book.shelf(slot.account).lost(
            slot, slot.generation - back, "peer_gone", self.desk.now
        )
        assert not (back and applies), "a stale report condemns a live socket"

    @rule(target=verdicts)
    def ping(self) -> Ping[int] | MultipleResults[Ping[int]]:
        ping = self.book.take_ping(self.desk.now)
        if ping is None:
            return multiple()
        assert ping.slot.state is State.IDLE
        return ping

    @rule(ping=verdicts, alive=st.booleans())
    def judge(self, ping: Ping[int], *, alive: bool) -> None:
        """At once or long after: the slot may have been leased, redialled, pinged again."""
        slot = ping.slot
        before = (slot.state, slot.generation, slot.socket, slot.owner)
        current = slot.ping is ping and slot.state is State.IDLE

        applied = self.book.shelf(slot.account).judge(ping, self.desk.now, alive=alive)

        assert applied == current
        if not applied or alive:
            assert (slot.state, slot.generation, slot.socket, slot.owner) == before

    @rule(alive=st.booleans())
    def verdict(self, *, alive: bool) -> None:
        ping = self.book.take_verdict(self.desk.now)
        if ping is not None:
            assert self.book.shelf(ping.slot.account).judge(ping, self.desk.now, alive=alive)

    # -- all at once

    @rule(seconds=st.sampled_from([0.5, 5.0, 30.0, 61.0, 601.0]))
    def wait(self, seconds: float) -> None:
        self.desk.now += seconds
        self.book.expire(self.desk.now)

    @rule(
        to=SETTINGS,
        a=st.sampled_from([CREDENTIAL, "key-2", None]),
        b=st.sampled_from([CREDENTIAL, None]),
    )
    def apply(self, to: PoolSettings, a: str | None, b: str | None) -> None:
        credentials = {name: key for name, key in ((ACCOUNT, a), ("b", b)) if key is not None}
        self.book.apply(to, credentials, self.desk.now)

    @rule(whether=st.integers(0, 9))
    def drain(self, whether: int) -> None:
        if whether == 0:
            self.book.drain(self.desk.now)

    # -- what holds

    @invariant()
    def holds(self) -> None:
        self.desk.swept()
        index = self.book._common.index
        self.slots.update(index.values())
        check(self.book, self.slots)
        closed = [closing.socket for closing in self.desk.closed]
        live = [slot.socket for slot in index.values() if slot.socket is not None]
        assert sorted([*closed, *live]) == sorted(self.desk.opened), "closed once, or there"
        owned = [claim.slot for claim in self.all if claim.slot is not None]
        assert len(owned) == len(set(map(id, owned))), "a slot leased twice"
        assert {slot.number for slot in owned} == {
            slot.number for slot in index.values() if slot.owner
        }
        for claim in self.all:
            if claim.slot is not None and claim.slot.state is State.ACTIVE:
                assert claim.slot.identity == claim.identity
                assert claim.lane is None or claim.lane in claim.slot.lanes
            assert claim.refused is None or claim.slot is None
            if claim.refused is Refused.POOL_CLOSED:
                assert self.book.is_closed
        self.served_in_order()

    def served_in_order(self) -> None:
        """Nobody was given a slot while somebody waits for any who came before."""
        for name, shelf in self.book._shelves.items():
            first = shelf._line.first()
            served = [
                claim.ticket
                for claim in self.all
                if claim.slot is not None and claim.identity.account == name
            ]
            assert first is None or first.ticket > max(served, default=0)

    def teardown(self) -> None:
        """Whatever has happened, giving everything back leaves nothing."""
        self.book.drain(self.desk.now)
        for claim in self.all:
            self.book.shelf(claim.identity.account).give_back(claim, self.desk.now)
        self.desk.swept()
        assert not self.book._common.index
        assert sorted(closing.socket for closing in self.desk.closed) == sorted(self.desk.opened)


BookMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestBook = BookMachine.TestCase
