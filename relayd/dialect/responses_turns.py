"""The turns of a lease as their upstream tells them: which run, what of them is seen, their end.

One create may have several responses: an upstream that is steered ends the one that runs and goes
on with a successor by itself. It may do so behind a response that was completed too, as long as it
owes the input of an accepted steering to someone.
"""

from __future__ import annotations

from typing import Final, Protocol

import attrs

from relayd.dialect.responses_faults import TurnError
from relayd.dialect.responses_usage import ToldUsage

TOOL_CALLS_MAX: Final = 256
"""Tool calls of one response that are known by id."""

STEERS_MAX: Final = 64
"""Steerings of one response that are accepted and not yet applied, as far as they are known."""

NO_PROOF: Final = b"\x00"
"""No message begins so."""

_CALL: Final = "_call"
_OUTPUT: Final = "_output"


class Witness(Protocol):
    """Hears of a response while it runs. Called inside the pass: nothing may wait or raise."""

    def began(self, running: Running, now: float) -> None:
        """It has begun; its id is known, where its upstream tells it."""

    def first_output(self, running: Running, now: float) -> None:
        """Its first output was sent on."""

    def tool_called(self, running: Running, name: str | None, call_id: str) -> None:
        """It calls a tool."""


@attrs.define(eq=False, kw_only=True)
class Running:
    """A response that is asked for or runs.

    Attributes:
        lane: Set when it begins.
        retryable: Set by the caller: as long as the client has been sent nothing of it, an error
            that ends it is kept from the client.
        witness: Hears of it, and of what follows by itself.
        is_successor: Whether it follows by itself.
        response_id: The upstream's, once it has said it.
        created_seen: Whether ``response.created`` has been sent on.
        created_at: When it was.
        first_output_at: When its first output was sent on.
        seen: Whether the client has been sent anything of it.
        tool_calls: ``call_id`` of its calls that the client is to answer, in their order.
        steers: Ids of steerings that were accepted and not yet applied.
        end: How it ended, once it has.
    """

    lane: str | None = None
    retryable: bool = False
    witness: Witness | None = attrs.field(default=None, repr=False)
    is_successor: bool = False
    response_id: str | None = None
    created_seen: bool = False
    created_at: float | None = None
    first_output_at: float | None = None
    seen: bool = False
    tool_calls: list[str] = attrs.field(factory=list)
    steers: set[str] = attrs.field(factory=set)
    end: Terminal | None = attrs.field(default=None, repr=False)

    def item(self, kind: str, call_id: str, name: str | None = None) -> None:
        """An output item that names a tool call: the call, or what an upstream's own tool gave."""
        if kind.endswith(_OUTPUT) and call_id in self.tool_calls:
            self.tool_calls.remove(call_id)
        elif (
            kind.endswith(_CALL)
            and call_id not in self.tool_calls
            and len(self.tool_calls) < TOOL_CALLS_MAX
        ):
            self.tool_calls.append(call_id)
            if self.witness is not None:
                self.witness.tool_called(self, name, call_id)

    def steer_accepted(self, steer_id: str) -> None:
        """The upstream owes the input of a steering to a successor."""
        if len(self.steers) < STEERS_MAX:
            self.steers.add(steer_id)


@attrs.frozen(kw_only=True, eq=False)
class Terminal:
    """How a turn ended.

    Attributes:
        running: The turn.
        kind: The type of the event that ended it.
        status: ``completed``, ``incomplete``, ``failed`` or ``cancelled``.
        reason: Why it is incomplete.
        at: When.
        usage: What it used, where the upstream says so.
        error: What went wrong, of a failed one.
        told: Whether the client has been sent its end, on its lane. If not, it is still to be told,
            or the turn is tried again.
        payload: The event that has been kept from the client, as it would have been sent to it.
        successor_expected: The upstream will go on with another response on this lane, by itself.
    """

    running: Running
    kind: str
    status: str
    reason: str | None = None
    at: float
    usage: ToldUsage | None = None
    error: TurnError | None = None
    told: bool = True
    payload: bytes | None = attrs.field(default=None, repr=False)
    successor_expected: bool = False


class LeaseTurns:
    """Turns by lane, at one upstream socket.

    Args:
        lanes: Whether the upstream tells lanes apart. One that does not has a single turn at a
            time.

    Attributes:
        only: The lane of the only turn; ``None`` too where there is none, or several.
        proof: How messages begin that need not be read, until something changes.
        running: Turns by lane.
        awaiting: Turns by lane that have ended with a successor to come.
        ended: Turns that have ended, for the lease's task to take; those in ``began`` first.
        began: Successors that the upstream has begun, likewise.
        lapsed: Lanes on which a successor was expected that will not come, likewise.
        settled: Whether something runs, and all of it has had output.
    """

    __slots__ = (
        "awaiting",
        "began",
        "ended",
        "lanes",
        "lapsed",
        "only",
        "proof",
        "running",
        "settled",
    )

    def __init__(self, *, lanes: bool = True) -> None:
        self.lanes = lanes
        self.only: str | None = None
        self.proof = NO_PROOF
        self.running: dict[str | None, Running] = {}
        self.awaiting: dict[str | None, Running] = {}
        self.ended: list[Terminal] = []
        self.began: list[Running] = []
        self.lapsed: list[str | None] = []
        self.settled = False

    @property
    def busy(self) -> bool:
        """Whether a turn runs, or one is to come by itself."""
        return bool(self.running or self.awaiting)

    def begin(self, lane: str | None, running: Running) -> None:
        """A turn's create is about to be sent.

        Raises:
            ValueError: The lane is busy, or another one is at an upstream without lanes.
        """
        if lane in self.running or lane in self.awaiting or (self.busy and not self.lanes):
            raise ValueError("a turn runs there already")
        running.lane = lane
        self.running[lane] = running
        self.settle()

    def succeed(self, lane: str | None) -> None:
        """The successor that a lane waits for is there."""
        turn = Running(witness=self.awaiting.pop(lane).witness, is_successor=True)
        self.begin(lane, turn)
        self.began.append(turn)

    def end(self, end: Terminal) -> None:
        """A running turn has ended."""
        turn = self.running.pop(end.running.lane)
        turn.end = end
        if end.successor_expected:
            self.awaiting[turn.lane] = turn
        self.ended.append(end)
        self.settle()

    def lapse(self, lane: str | None) -> None:
        """The successor that a lane waits for will not come."""
        del self.awaiting[lane]
        self.lapsed.append(lane)
        self.settle()

    def settle(self) -> None:
        """Something has changed in what runs, or in what has to be read."""
        running, awaiting = self.running, self.awaiting
        alone = len(running) + len(awaiting) == 1
        self.only = next(iter(running or awaiting)) if alone else None
        self.settled = bool(running)
        for turn in running.values():
            if turn.first_output_at is None:
                self.settled = False
        if not self.settled:
            self.proof = NO_PROOF

    def lanes_meant(self, named: str | None) -> list[str | None]:
        """The busy lanes that an error concerns: the one it names.

        Without a name it is the default lane if that is busy, else every busy one.
        """
        busy = [*self.running, *self.awaiting]
        if named is not None or None in busy:
            return [lane for lane in busy if lane == named]
        return busy
