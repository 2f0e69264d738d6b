"""One connection from the 101 on: one task after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, assert_never

import attrs
import msgspec
import trio

from relayd.sim.link import Link, PeerGone
from relayd.sim.responses.steps import CloseWith, Distorted, Exit, Leave, Pause, Step, as_text
from relayd.sim.runtask.actions import Action, read_action
from relayd.sim.runtask.answers import directed
from relayd.sim.runtask.errors import JsonObject, Rejected, invalid
from relayd.sim.runtask.events import failed
from relayd.sim.runtask.faults import beginning
from relayd.sim.runtask.scenario import Scenario
from relayd.sim.runtask.tally import Book, Ending, Record
from relayd.sim.runtask.task import Task, input_of

_DONE: Final = CloseWith(1000)
_UNHEARD: Final = CloseWith(1000, "idle")
_FAILED: Final = CloseWith(1000, "task failed")


@attrs.define(eq=False)
class Connection:
    """The server's side of one connection.

    Attributes:
        link: Its WebSocket.
        scenario: What its tasks are played, unless they name another.
        idle_s: How long it may be silent between tasks, or within an input.
        book: Where tasks are counted.
    """

    link: Link
    scenario: Scenario
    idle_s: float
    book: Book
    _task: Task | None = attrs.field(default=None, init=False)
    _mistake: Rejected | None = attrs.field(default=None, init=False)
    _is_gone: bool = attrs.field(default=False, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def serve(self) -> None:
        """Run tasks until the client goes, is silent for too long, or a task ends it.

        Cancelling this counts a task that is running as cut.
        """
        leaving: Exit = _DONE
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, nursery.cancel_scope)
                try:
                    leaving = await self._run_tasks()
                except PeerGone:
                    self._is_gone = True
                nursery.cancel_scope.cancel()
        finally:
            self._dismiss()
        await self._leave(leaving)

    async def _listen(self, scope: trio.CancelScope) -> None:
        try:
            while self._mistake is None:
                self._hear(await self.link.receive())
            while True:
                await self.link.receive()
        except PeerGone:
            self._is_gone = True
            scope.cancel()

    def _hear(self, message: str | bytes) -> None:
        try:
            action = read_action(message)
            if self._task is not None:
                self._task.told(action)
            elif action.header.action != "run-task":
                raise Rejected(invalid("No task is running."), action.header.task_id)
            else:
                self._task = Task(action, self._directed(action))
        except Rejected as mistake:
            self._mistake = mistake
        self._changed.set()

    def _directed(self, action: Action) -> Scenario:
        """What a task is played.

        Raises:
            Rejected: It directs to a scenario that there is none of.
        """
        name = directed(input_of(action)).scenario
        if name is None:
            return self.scenario if self.scenario.is_of_tasks else Scenario.NORMAL
        found = next((one for one in Scenario if one.value == name and one.is_of_tasks), None)
        if found is None:
            raise Rejected(invalid(f"No task can play '{name}'."), action.header.task_id)
        return found

    async def _run_tasks(self) -> Exit:
        while True:
            await self._wait(self.idle_s)
            try:
                self._demand_order()
                if self._task is None:
                    return _UNHEARD
                leaving = await self._run(self._task)
            except Rejected as mistake:
                return await self._reject(mistake)
            if leaving is not None:
                return leaving
            self._dismiss()

    async def _run(self, task: Task) -> Exit | None:
        """Play one task. Returns what becomes of the connection, if it is not to go on.

        Raises:
            Rejected: The client has made a mistake about it.
        """
        leaving = await self._speak(task, beginning(task.task_id, task.scenario))
        while leaving is None and not task.is_complete:
            if not await self._wait(self.idle_s):
                return _UNHEARD
            self._demand_order()
        return leaving or await self._speak(task, task.steps())

    async def _speak(self, task: Task, steps: Iterator[Step]) -> Exit | None:
        for step in steps:
            match step:
                case Pause(seconds=seconds):
                    await self._wait(seconds)
                case CloseWith() | Leave():
                    return step
                case Distorted(event=event, write=write):
                    await self.link.send_raw(write(msgspec.json.encode(event)))
                    task.sent(event)
                case _:
                    await self._send(task, step)
            if task.is_failed:
                return _FAILED
            self._demand_order()
            if task.is_stopped and not task.is_ended:
                await self._send(task, task.stopped())
            if task.is_ended:
                return None
        return None

    async def _send(self, task: Task, said: JsonObject) -> None:
        await self.link.send_raw(as_text(msgspec.json.encode(said)))
        task.sent(said)

    async def _wait(self, seconds: float) -> bool:
        """Wait until the client says something. Returns whether it did, within ``seconds``."""
        with trio.move_on_after(seconds) as patience:
            await self._changed.wait()
            self._changed = trio.Event()
        return not patience.cancelled_caught

    def _demand_order(self) -> None:
        if self._mistake is not None:
            raise self._mistake

    async def _reject(self, mistake: Rejected) -> Exit:
        """Fail the task that a mistake was made about, running or not."""
        said = failed(mistake.task_id, mistake.error)
        await self.link.send_raw(as_text(msgspec.json.encode(said)))
        if self._task is not None:
            self._task.sent(said)
        else:
            code = mistake.error.code
            self.book.add(Record(task_id=mistake.task_id, ending=Ending.FAILED, code=code))
        return _FAILED

    def _dismiss(self) -> None:
        if self._task is not None:
            self.book.add(self._task.record(is_client_gone=self._is_gone))
            self._task = None

    async def _leave(self, leaving: Exit) -> None:
        match leaving:
            case CloseWith(code=code, reason=reason):
                await self.link.close(code, reason)
            case Leave.FINISH:
                await self.link.finish()
            case Leave.RESET:
                await self.link.reset()
            case Leave.FREEZE:
                await trio.sleep(self.idle_s)
            case _:
                assert_never(leaving)
