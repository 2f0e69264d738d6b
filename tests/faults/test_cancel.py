"""relayd is ended at every step of a scripted session, and leaves nothing behind.

The script is counted in the steps of relayd's own tasks: the n-th run cancels, stops or drains
relayd before its n-th step. Whatever stood then, no descriptor is left, no byte is held, and a
connection that was accepted has exactly one line.
"""

from __future__ import annotations

import attrs
import pytest
import trio

from relayd.config.accounts import AccountSettings
from relayd.config.snapshot import Snapshot
from relayd.observe.events import LogEvent
from relayd.service import app
from tests.faults.harness import (
    BEARER,
    CREATE,
    CREATED,
    REALTIME,
    Stage,
    Upstream,
    account,
    descriptors,
)
from tests.faults.wire import (
    CLOSE,
    SOON_S,
    TEXT,
    Ended,
    Ending,
    Frame,
    Wire,
    accepting,
    close,
    upgrade,
)
from tests.faults.wire import frame as encoded

STARTED = b'{"type":"response.created","response":{"id":"r1"}}'
DONE = b'{"type":"response.done","response":{"id":"r1","status":"completed"}}'
ENDS = (LogEvent.SESSION_ENDED, LogEvent.CONNECTION_REFUSED)


@attrs.define(eq=False)
class Countdown(trio.abc.Instrument):
    """Ends relayd before the n-th step of its tasks.

    Attributes:
        how: By cancelling ``scope``, in which it runs, or as the first or second signal would.
        root: The task in which the scope stands.
        accepted: Connections that relayd has accepted.
    """

    steps_left: int
    how: str
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    root: trio.lowlevel.Task | None = None
    running: app.Running | None = None
    accepted: int = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.accepted += task.name.endswith("Door.serve")

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._is_inside(task):
            return
        if self.steps_left == 0:
            self._end()
        self.steps_left -= 1

    def _end(self) -> None:
        match self.how, self.running:
            case "cancel", _:
                self.scope.cancel(reason="the countdown")
            case "stop", app.Running() as running:
                running.stop()
            case "drain", app.Running() as running:
                running.drain()

    def _is_inside(self, task: trio.lowlevel.Task) -> bool:
        while task is not self.root:
            if task.parent_nursery is None:
                return False
            task = task.parent_nursery.parent_task
        return True


@pytest.mark.parametrize("how", ["cancel", "stop", "drain"])
async def test_relayd_can_be_ended_at_every_step_of_a_session(stage: Stage, how: str) -> None:
    upstream = await stage.upstream()
    accounts = [account(upstream, provider="compatible")]
    steps = 0
    while await play(stage, [upstream], accounts, Countdown(steps, how)):
        steps += 1

    assert steps > 20
    reasons = {line["reason"] for line in stage.log.of(*ENDS)}
    assert reasons == {"draining", "drain", "client_closed"}


@pytest.mark.parametrize("how", ["cancel", "stop", "drain"])
async def test_relayd_can_be_ended_at_every_step_of_a_failover(stage: Stage, how: str) -> None:
    upstreams = [await stage.upstream(), await stage.upstream()]
    accounts = [
        account(upstream, f"account-{priority}", provider="compatible", priority=priority)
        for priority, upstream in enumerate(upstreams)
    ]
    steps = 0
    while await play(stage, upstreams, accounts, Countdown(steps, how)):
        steps += 1

    assert steps > 20
    assert len(stage.log.of(LogEvent.UPSTREAM_FAILED)) > 1


async def play(
    stage: Stage,
    upstreams: list[Upstream],
    accounts: list[AccountSettings],
    countdown: Countdown,
) -> bool:
    """Play the script until relayd is ended; whether the countdown came to its end."""
    lines_before, before = len(stage.log.lines), descriptors()
    trio.lowlevel.add_instrument(countdown)
    wires: list[Wire] = []
    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery:
            for refusing in upstreams[:-1]:
                nursery.start_soon(refusing_upstream_s_part, refusing)
            nursery.start_soon(upstream_s_part, upstreams[-1])
            address = await nursery.start(serve, stage.snapshot(*accounts), countdown)
            if address is not None:
                await client_s_part(address, wires)
            countdown.scope.cancel(reason="the script is over")
            nursery.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(countdown)

    events = [line["event"] for line in stage.log.lines[lines_before:]]
    assert sum(events.count(event) for event in ENDS) == countdown.accepted
    if any(b" 101 " in wire.seen for wire in wires):
        assert events.count(LogEvent.SESSION_ENDED) == 1
    assert descriptors() == before
    assert all(hold.bytes_held == 0 for hold in stage.holds)
    return countdown.steps_left < 0


async def serve(
    snapshot: Snapshot, countdown: Countdown, *, task_status: trio.TaskStatus[str | None]
) -> None:
    """relayd inside the countdown's scope; tells its address, or that it did not get so far."""
    countdown.root = trio.lowlevel.current_task()
    with countdown.scope:
        async with trio.open_nursery() as nursery:
            countdown.running = await nursery.start(serve_app, snapshot)
            task_status.started(countdown.running.addresses[0])
    if countdown.running is None:
        task_status.started(None)


async def serve_app(snapshot: Snapshot, *, task_status: trio.TaskStatus[app.Running]) -> None:
    await app.serve(snapshot, environ={}, task_status=task_status)


async def client_s_part(address: str, wires: list[Wire]) -> None:
    """One whole conversation, as far as relayd lives to see it."""
    try:
        wire = await Wire.to(address)
    except OSError:
        return
    wires.append(wire)
    try:
        await wire.send(upgrade(REALTIME, BEARER))
        if b" 101 " not in await wire.head():
            return
        await next_message(wire)
        await wire.send(encoded(TEXT, CREATE))
        while (await next_message(wire)).payload != DONE:
            pass
        await wire.send(close(1000))
        await wire.goodbye()
    except Ended:
        return
    finally:
        wire.close()


async def upstream_s_part(upstream: Upstream) -> None:
    """The other end of it."""
    wire = await upstream.accept()
    try:
        await wire.send(accepting(await wire.head()))
        await wire.send(encoded(TEXT, CREATED, masked=False))
        await next_message(wire)
        for text in (STARTED, DONE):
            await wire.send(encoded(TEXT, text, masked=False))
        await wire.goodbye()
    except Ended:
        return
    finally:
        wire.close()


async def refusing_upstream_s_part(upstream: Upstream) -> None:
    """An upstream that declines."""
    wire = await upstream.accept()
    try:
        await wire.head()
        await wire.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
        await wire.end()
    except Ended:
        return
    finally:
        wire.close()


async def next_message(wire: Wire) -> Frame:
    """The next frame; a Close ends the script's part."""
    got = await wire.frame()
    if got.opcode == CLOSE:
        raise Ended(Ending.FIN)
    return got
