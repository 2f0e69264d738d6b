"""What an operator asks of a device, and who waits for which answer."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from relayd.dialect.xiaozhi_actions import Called, Step
from relayd.dialect.xiaozhi_messages import alert, reboot
from relayd.dialect.xiaozhi_state import Machine
from relayd.session.verdict import Verdict
from relayd.session.xiaozhi.device import DeviceSide


class DeviceBusy(Exception):
    """The device does not read what it is sent, or is leaving."""


@attrs.define(eq=False)
class Answer:
    """The answer to one call, which comes in any case: the dialect fails calls in time."""

    _calls: dict[int, Answer]
    _call_id: int
    _come: trio.Event = attrs.field(factory=trio.Event)
    _answer: bytes = b""

    def give(self, answer: bytes) -> None:
        """It has come."""
        self._answer = answer
        self._come.set()

    async def wait(self) -> bytes:
        """The JSON-RPC response. Cancelling this forgets the call; its answer is swallowed."""
        try:
            await self._come.wait()
        finally:
            self._calls.pop(self._call_id, None)
        return self._answer


@attrs.define(eq=False, kw_only=True)
class Asking:
    """One per session.

    Attributes:
        machine: Knows which answer is whose; how many there may be is its to say.
        device: The device's side.
        verdict: Of the session.
        do: Carries out what the machine says.
    """

    machine: Machine
    device: DeviceSide
    verdict: Verdict
    do: Callable[[list[Step], float], None]
    _waiting: dict[int, Answer] = attrs.field(factory=dict, init=False)

    async def ask(self, method: str, params: bytes) -> bytes:
        """Ask the device something over MCP; the JSON-RPC response, an error with −32001 if late.

        Args:
            method: Such as ``tools/call``.
            params: One JSON object.

        Raises:
            NotConnected: It has not been greeted yet, or is gone.
            TooManyCalls: It has enough to answer.
            DeviceBusy: It does not read what it is sent.

        Cancelling this forgets the call; its answer is swallowed.
        """
        self._check_reads()
        now = trio.current_time()
        call_id, steps = self.machine.call(method, params, now)
        answer = self._waiting[call_id] = Answer(self._waiting, call_id)
        self.do(steps, now)
        return await answer.wait()

    def answered(self, called: Called) -> None:
        """The answer has come, or will not. That of a call which nobody waits for is dropped."""
        answer = self._waiting.get(called.call_id)
        if answer is not None:
            answer.give(called.answer)

    def alert(self, status: str, message: str, emotion: str) -> None:
        """Show, and sound, something on the device. Raises :class:`DeviceBusy`."""
        self._say(alert(status, message, emotion, self.machine.conversation.device_id))

    def reboot(self) -> None:
        """Let the device start anew. Raises :class:`DeviceBusy`."""
        self._say(reboot(self.machine.conversation.device_id))

    def _say(self, text: bytes) -> None:
        self._check_reads()
        if not self.device.say(text, trio.current_time()):
            raise DeviceBusy("relayd holds as many bytes as it may")

    def _check_reads(self) -> None:
        if self.verdict.reason is not None or not self.device.takes_more:
            raise DeviceBusy("the device does not read what it is sent")
