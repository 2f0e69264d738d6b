"""What every kind of session has: a client, a key, a clock, one ending, and ways to be ended."""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Key, Snapshot
from relayd.core.endings import Reason, Side
from relayd.core.hold import HoldBudget
from relayd.dialect.base import Timed
from relayd.dialect.meter import Refuse
from relayd.protocol.outcomes import Crash, EndOfStream, Event, PeerClosed, Violation
from relayd.session.clock import LAST_RESPONSE_S, Clock
from relayd.session.reporter import Reporter
from relayd.session.terms import Deadlines
from relayd.session.verdict import Verdict
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor


@attrs.define(eq=False, kw_only=True)
class Living:
    """A session from its 101 to its line.

    Attributes:
        client: The accepted connection, adopted by the reactor; closed when :meth:`run` returns.
        message_max_bytes: Of either side.
        key: Whose session it is.
        client_address: Where its client is.
        deadlines: What its clock goes by.
    """

    client: Endpoint
    reactor: Reactor
    hold: HoldBudget
    reporter: Reporter
    deadlines: Deadlines
    message_max_bytes: int
    key: Key
    client_address: str = ""
    verdict: Verdict = attrs.field(factory=Verdict, init=False)
    _clock: Clock = attrs.field(init=False)
    _last_words_of: dict[Reason, Refuse | None] = attrs.field(factory=dict, init=False)

    @property
    def timed(self) -> Timed:
        """Whether turns run, and what stands against new ones."""
        raise AssertionError("each kind of session knows its turns")

    def review(self, snapshot: Snapshot) -> None:
        """End, after what runs, if ``snapshot`` lacks what the session stands on."""
        raise AssertionError("each kind of session stands on something else")

    async def run(self) -> None:
        """Relay until the end, then say goodbye, close the connections and write the line.

        Nothing a peer does raises from here. Cancelling it from outside ends the session as
        ``drain``, within :data:`~relayd.session.closing.CLOSE_GRACE_S`.
        """
        self.reporter.opened()
        try:
            await self._relay()
        except Exception as error:  # noqa: BLE001 - a session task's one boundary: a bug here ends one session
            self._crashed(error)
        finally:
            # Only where nothing else has ended it: it was cancelled from outside.
            self.verdict.end(Reason.DRAIN)
            await self._end()

    def leave(self, reason: Reason, *, at: float, refuse: Refuse) -> None:
        """End with ``reason``: at once, or when the running response has ended.

        Args:
            reason: Such as ``drain``.
            at: The latest moment.
            refuse: What a client hears that asks for another response meanwhile.
        """
        if not self.timed.busy:
            self.verdict.end(reason)
            return
        self.timed.closed_to_turns = refuse
        self.timed.tell_idle = True
        self._clock.leave(reason, at)

    def run_out(self, reason: Reason, refuse: Refuse, *, told: bool = False) -> None:
        """What the session lives on is used up: end it after the running response.

        Args:
            reason: Such as ``budget_exhausted``.
            refuse: What the client is told about it.
            told: Whether it has been told already.
        """
        self._last_words_of[reason] = None if told else refuse
        self.leave(reason, at=trio.current_time() + LAST_RESPONSE_S, refuse=refuse)

    @property
    def leaving(self) -> Reason | None:
        """Why it is ending, or ends as soon as no response runs."""
        return self.verdict.reason or self._clock.leaving

    def kill(self, reason: Reason = Reason.KILLED) -> None:
        """End at once."""
        self.verdict.end(reason)

    async def _relay(self) -> None:
        """Relay until the verdict has fallen."""
        raise AssertionError("each kind of session relays in its own way")

    async def _end(self) -> None:
        """The verdict has fallen: say goodbye and write the line."""
        raise AssertionError("each kind of session has its own goodbye")

    def _client_ended(self, event: Event) -> None:
        """The client's bytes have come to an end."""
        match event:
            case PeerClosed(code, text):
                self.verdict.end(Reason.CLIENT_CLOSED, code=code, text=text)
            case EndOfStream():
                self.verdict.end(Reason.CLIENT_GONE)
            case Violation(reason, message):
                self.verdict.end(reason, sender=Side.CLIENT, message=message)
            case Crash(error):
                self._crashed(error)

    def _crashed(self, error: BaseException) -> None:
        self.reporter.crashed(error)
        self.verdict.end(Reason.INTERNAL_ERROR)
