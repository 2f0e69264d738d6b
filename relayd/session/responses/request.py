"""A turn for an HTTP request: the same as in a WebSocket's lane, its events handed on one by one.

It has no session. What it costs stands in the ledger under the request's own name, and its client,
when it leaves, leaves its upstream's socket closed.
"""

from __future__ import annotations

import contextlib
from typing import Final

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason
from relayd.dialect.responses_aborts import Abort, abort_event
from relayd.dialect.responses_client import Create
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.session.admission import Grant
from relayd.session.responses.accounting import Purse
from relayd.session.responses.collecting import Collected
from relayd.session.responses.desk import Desk
from relayd.session.responses.holders import Collector, Holders
from relayd.session.responses.shared import Shared
from relayd.session.responses.turn import Asked

log = get_logger()

LAST_WORDS_S: Final = 1.0
"""How long a turn whose client has left may take to write down what it has come to."""


@attrs.define(eq=False, kw_only=True)
class RequestedTurn:
    """See the module's text.

    Attributes:
        request_id: Names it in the log and in the ledger.
    """

    shared: Shared
    grant: Grant
    snapshot: Snapshot
    purse: Purse
    request_id: str
    create: Create
    _send: trio.MemorySendChannel[bytes] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes](0)

    async def run(self) -> None:
        """Answer the request; then there are no more events. Raises nothing.

        Cancelling it closes its upstream's socket.
        """
        asked_at = trio.current_time()
        collected = Collected(self._send.send, self.shared.hold)
        with self._send, contextlib.closing(collected):
            try:
                await self._answer(collected, asked_at)
            except Exception as error:  # noqa: BLE001 - the boundary of an HTTP turn: a bug in it ends one request
                self._crashed(error)
                event = abort_event(Abort.INTERNAL_LANE)
                assert event is not None, "a client is told of a bug"
                collected.say(event)
            await collected.deliver()

    async def next_event(self) -> bytes | None:
        """The next event, as JSON; ``None`` behind the last. Cancelling this loses none."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            return None

    async def ended(self) -> None:
        """Wait until the turn is over, and written down; what still comes is thrown away."""
        while await self.next_event() is not None:
            pass

    async def _answer(self, collected: Collected, asked_at: float) -> None:
        asked: Asked | None = None
        try:
            async with trio.open_nursery() as nursery:
                asked = Asked(
                    desk=self._desk(collected, nursery), create=self.create, asked_at=asked_at
                )
                await asked.answer()
                nursery.cancel_scope.cancel(reason="the turn has ended")
        finally:
            if asked is not None:
                with trio.move_on_after(LAST_WORDS_S, shield=True):
                    await asked.wind_up(Reason.CLIENT_GONE.value)

    def _desk(self, collected: Collected, nursery: trio.Nursery) -> Desk:
        return Desk(
            shared=self.shared,
            grant=self.grant,
            session_id=self.request_id,
            snapshot=self.snapshot,
            purse=self.purse,
            holders=Holders(
                shared=self.shared,
                nursery=nursery,
                crashed=self._crashed,
                collector=Collector(policy=collected.policy, deliver=collected.deliver),
            ),
            say=collected.say,
        )

    def _crashed(self, error: Exception) -> None:
        log.error(LogEvent.REQUEST_CRASHED, request_id=self.request_id, route=None, traceback=error)
