"""Any interleaving of acquirers, leases, failures, verdicts and time leaves a pool sound."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.pools import PoolSettings
from relayd.pool.errors import LeaseRefused
from relayd.pool.events import PoolEvent, PoolEventKind
from relayd.pool.identity import SlotRef
from relayd.pool.lease import Lease
from tests.pool.books import check
from tests.pool.fakes import MAIN, Line, Stage, give, staged

LEAST = 25
"""Steps: Hypothesis would else try short scripts, in which little happens."""

SETTINGS = (
    PoolSettings(slots_max=2, idle_max=2),
    PoolSettings(slots_max=1, idle_max=1, ping_after_s=30, ping_timeout_s=9),
    PoolSettings(slots_max=3, idle_max=1, preflight_idle_s=3),
    PoolSettings(slots_max=2, idle_max=0, age_max_s=40),
)
SLOTS_MAX = max(each.slots_max for each in SETTINGS)
OTHER = attrs.evolve(MAIN, headers={"x": "2"})

STEPS = st.tuples(
    st.sampled_from(
        [
            *("acquire",) * 4,
            *("pinned", "yield", "yield", "yield", "break", "leave", "cancel", "cancel"),
            *("dial", "dial", "refuse", "end", "dirty", "mute", "speak", "sleep", "sleep"),
            *("apply", "change", "lane"),
        ]
    ),
    st.integers(0, 7),  # which of those there are
    st.booleans(),  # whether all that can go on does before the next step
)


@attrs.define(eq=False)
class Play:
    """A pool, and everybody who uses it."""

    stage: Stage
    nursery: trio.Nursery
    leases: list[Lease] = attrs.Factory(list)
    refs: list[SlotRef] = attrs.Factory(list)
    acquiring: list[trio.CancelScope] = attrs.Factory(list)
    suspects: set[Line] = attrs.Factory(set)  # that have failed to answer, or ended
    by_ref: dict[tuple[int, int], Line] = attrs.Factory(dict)
    looked: int = 0

    def acquire(self, tenant: str, **more: object) -> None:
        async def run() -> None:
            with trio.CancelScope() as scope:
                self.acquiring.append(scope)
                try:
                    lease = await self.stage.acquire(tenant, **more)  # type: ignore[arg-type]  # passed on
                except (LeaseRefused, OSError):
                    pass
                else:
                    assert self.stage.line(lease).is_open
                    self.leases.append(lease)
                    self.refs.append(lease.ref())
                finally:
                    self.acquiring.remove(scope)

        self.nursery.start_soon(run)

    def step(self, verb: str, which: int) -> None:
        """Do one thing, if there is something to do it with."""
        match verb:
            case "acquire":
                self.acquire("tu"[which % 2], lane=str(which) if which > 5 else None)
            case "pinned" if self.refs:
                self.acquire("t", pinned=self.refs[-1 - which % len(self.refs)])
            case "cancel" if self.acquiring:
                self.acquiring[which % len(self.acquiring)].cancel()
            case "dial" if self.stage.dials:
                self.stage.dials[which % len(self.stage.dials)].succeed()
            case "refuse" if self.stage.dials:
                self.stage.dials[which % len(self.stage.dials)].fail()
            case "yield" | "break" | "leave" | "lane" if self.leases:
                self.use(verb, which, self.leases[which % len(self.leases)])
            case "end" | "dirty" | "mute" | "speak" if self.stage.wire.open:
                lines = self.stage.wire.open
                self.disturb(verb, lines[which % len(lines)])
            case "apply" | "change":
                account = OTHER if verb == "change" else MAIN
                self.stage.pool.apply(SETTINGS[which % len(SETTINGS)], [account])

    def use(self, verb: str, which: int, lease: Lease) -> None:
        """Do something with a lease, which most often ends it."""
        if verb == "lane":
            lease.use_lane(str(which))
            return
        self.leases.remove(lease)
        match verb:
            case "yield":
                give(lease)
            case "break":
                lease.break_("client_gone")
            case "leave":
                with lease:
                    pass

    def disturb(self, verb: str, line: Line) -> None:
        """Something happens to a socket, leased or not."""
        if verb == "speak":
            line.hear()
            return
        self.suspects.add(line)
        match verb:
            case "end":
                line.end()
            case "dirty":
                line.dirty = True
            case "mute":
                line.alive = False

    async def check(self) -> None:
        """What holds when everything that could go on has."""
        await wait_all_tasks_blocked()
        book = self.stage.pool._book
        index = book._common.index
        check(book, set(index.values()))
        sockets = [slot.socket for slot in index.values() if slot.socket is not None]
        assert sorted(map(id, sockets)) == sorted(map(id, self.stage.wire.open)), "none is lost"
        assert len(self.leases) == len({lease.slot for lease in self.leases})
        leased = {index[lease.slot].socket for lease in self.leases}
        assert leased == {lease.endpoint for lease in self.leases}
        for slot in index.values():
            if isinstance(slot.socket, Line):
                self.by_ref[slot.number, slot.generation] = slot.socket
        self.no_live_socket_was_condemned(self.stage.told[self.looked :])
        self.looked = len(self.stage.told)

    def no_live_socket_was_condemned(self, told: list[PoolEvent]) -> None:
        for event in told:
            if event.kind is PoolEventKind.SLOT_BROKEN and event.slot and event.generation:
                line = self.by_ref.get((event.slot, event.generation))
                own = event.reason in {"client_gone", "abandoned"}
                assert own or line is None or line in self.suspects, event

    async def end(self, how: Callable[[], None]) -> None:
        """Let everybody go."""
        how()
        for scope in tuple(self.acquiring):
            scope.cancel()
        await wait_all_tasks_blocked()
        for lease in self.leases:
            give(lease)
        self.leases.clear()
        await self.check()


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=LEAST, max_size=80), st.sampled_from(SETTINGS))
def test_whatever_happens_every_socket_is_closed_once_and_nobody_starves(
    steps: list[tuple[str, int, bool]], first: PoolSettings
) -> None:
    async def play() -> None:
        async with staged(first) as stage, trio.open_nursery() as nursery:
            stage.by_hand = True
            play = Play(stage, nursery)
            for verb, which, settled in steps:
                play.step(verb, which)
                if verb == "sleep":
                    await trio.sleep((0.5, 2, 5, 9, 20, 31, 45, 700)[which])
                if settled:
                    await play.check()
                assert len(stage.wire.open) <= SLOTS_MAX
            await play.end(stage.pool.drain)
            assert not stage.wire.open
            await trio.sleep(2)
        assert all(line.cuts == 1 for line in stage.wire.lines)
        assert all(line.partings <= 1 for line in stage.wire.lines)

    trio.run(play, clock=MockClock(autojump_threshold=0))


@settings(max_examples=50)
@given(st.lists(STEPS, min_size=LEAST, max_size=50))
def test_a_pool_that_ends_amid_everything_leaves_nothing_open(
    steps: list[tuple[str, int, bool]],
) -> None:
    async def play() -> None:
        async with trio.open_nursery() as nursery:
            async with staged(SETTINGS[0]) as stage:
                stage.by_hand = True
                play = Play(stage, nursery)
                for verb, which, settled in steps:
                    play.step(verb, which)
                    if settled:
                        await play.check()
            await play.end(lambda: None)
        assert all(line.cuts == 1 for line in stage.wire.lines)

    trio.run(play, clock=MockClock(autojump_threshold=0))
