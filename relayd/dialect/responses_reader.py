"""Reading a pooled Responses upstream's events while a lease holds its socket.

All go on to the client as they are, but for the few that are kept from it. Those of a response's
life are decoded: its beginning, its end, errors, and items that hold tool calls. As soon as every
running turn has had output, the others are told by their first bytes and no longer read.

What comes must belong to a turn of this lease. A response that nobody asked for, a second end, or
output in front of its ``response.created`` may be left over from whoever held the socket before:
none of it is sent on, and the socket is not to be used again.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from relayd.core.endings import Reason
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_events import (
    ERRORS,
    HEAD,
    STATUS_BY_TERMINAL,
    ServerEvent,
    decode_server_event,
    id_of,
    item_of,
    reason_of,
    response_of,
    steer_id_of,
    text_of,
)
from relayd.dialect.responses_faults import (
    RateLimits,
    TurnError,
    read_error,
    read_failure,
    read_rate_limits,
    with_status,
)
from relayd.dialect.responses_turns import LeaseTurns, Running, Terminal
from relayd.dialect.responses_usage import read_usage
from relayd.protocol.outcomes import Instead, Notice, Violation

TURN_ENDED: Final = Notice("turn")
"""A turn is in ``ended``, or a lane in ``lapsed``."""

TURN_BEGAN: Final = Notice("began")
"""A successor is in ``began``."""

_CREATED: Final = "response.created"
_LIMITS: Final = "codex.rate_limits"
_ITEMS: Final = frozenset({"response.output_item.added", "response.output_item.done"})
_STEERS: Final = frozenset(
    {"response.steer.accepted", "response.steer.pending", "response.steer.failed"}
)
_MATTERS: Final = frozenset({_CREATED, _LIMITS, *STATUS_BY_TERMINAL, *ERRORS, *_ITEMS, *_STEERS})
_OUTPUT: Final = re.compile(
    r"response\.(?:output_|content_part\.|reasoning|refusal\.|audio\.|function_call|custom_tool"
    r"|shell_call|mcp_|web_search|file_search|code_interpreter|image_gen|.*\.delta$)"
)
_FIRST_OUTPUT: Final = re.compile(r"response\.output_text|.*\.delta$")


def _output_of(kind: str) -> tuple[bool, bool]:
    """Whether events of this type are output, and whether they are what a client waits for."""
    return _OUTPUT.match(kind) is not None, _FIRST_OUTPUT.match(kind) is not None


_USUAL: Final = {
    kind: _output_of(kind)
    for kind in (
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
    )
}
"""Known beforehand of the types that stand in front of a first output."""

_LANE: Final = re.compile(rb'"stream_id"\s*:\s*"([A-Za-z0-9_.-]{1,256})"')
_LANE_BEHIND: Final = re.compile(
    rb'\s*,\s*(?:"sequence_number"\s*:\s*\d{1,20}\s*,\s*)?' + _LANE.pattern
)


class LeaseReader(LeaseTurns):
    """See :class:`~relayd.protocol.outcomes.EventReader`.

    Attributes:
        limits: What the upstream has said last of the account's limits.
        spoiled: Whether the upstream has reported an error: its socket is not to be used again.
    """

    __slots__ = ("limits", "spoiled")

    def __init__(self, *, lanes: bool = True) -> None:
        super().__init__(lanes=lanes)
        self.limits: RateLimits | None = None
        self.spoiled = False

    def message(
        self, payload: bytes | bytearray, now: float
    ) -> Notice | Violation | Instead | None:
        """See :class:`~relayd.protocol.outcomes.EventReader`."""
        head = HEAD.match(payload)
        kind = None if head is None else head[1].decode()
        if head is not None and self.settled and kind not in _MATTERS:
            self.proof = bytes(payload[: head.end()])
            return None
        try:
            event = decode_server_event(payload)
        except (msgspec.DecodeError, RecursionError):
            return _broken("a message that is no event")
        if kind is not None and kind != event.type:
            return _broken("an event with two types")
        return self._read(event, payload, now)

    def harmless(self, head: bytes | bytearray) -> bool:
        """See :class:`~relayd.protocol.outcomes.EventReader`."""
        found = HEAD.match(head)
        return found is not None and self.settled and found[1].decode() not in _MATTERS

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | Violation | None:
        """An event too long to be decoded: of a turn's end its usage is lost, and it has no error.

        Which turn it is about must be plain: there is one alone, or it names its lane in front.
        """
        found = HEAD.match(head)
        if found is None:
            return _broken("a huge message without a type in front")
        kind = found[1].decode()
        if kind == _CREATED or kind in ERRORS or kind in _STEERS:
            return _broken("a huge event of a kind that is short")
        turn = self._turn_in(head, found)
        if kind not in STATUS_BY_TERMINAL:
            if turn is not None:
                return self._passed(turn.lane, kind, now)
            self._seen_by_all()
            return None
        if turn is None or not turn.created_seen:
            return _broken("a huge end of a response that cannot be told")
        self.end(Terminal(running=turn, kind=kind, status=STATUS_BY_TERMINAL[kind], at=now))
        return TURN_ENDED

    # -- what is read

    def _read(
        self, event: ServerEvent, payload: bytes | bytearray, now: float
    ) -> Notice | Violation | Instead | None:
        kind = event.type
        lane = text_of(event.stream_id) if self.lanes else self.only
        if kind not in _MATTERS:
            return self._passed(lane, kind, now)
        if kind in ERRORS:
            return self._error(event, bytes(payload), now)
        if kind == _CREATED:
            return self._created(event, lane, now)
        if kind in STATUS_BY_TERMINAL:
            return self._terminal(event, lane, payload, now)
        if kind == _LIMITS:
            self.limits = read_rate_limits(payload) or self.limits
            return None  # of the account, and of no turn
        if kind in _STEERS:
            return self._steer(event, lane, now)
        if kind in _ITEMS and (item := item_of(event)) is not None and lane in self.running:
            self.running[lane].item(*item)
        return self._passed(lane, kind, now)

    def _created(
        self, event: ServerEvent, lane: str | None, now: float
    ) -> Notice | Violation | None:
        notice = None
        if lane in self.awaiting:
            self.succeed(lane)
            notice = TURN_BEGAN
        turn = self.running.get(lane)
        if turn is None:
            return _broken("a response that nobody asked for")
        if turn.created_seen:
            return _broken("a second response on a lane whose first has not ended")
        turn.response_id = id_of(response_of(event))
        turn.created_seen = turn.seen = True
        turn.created_at = now
        if turn.witness is not None:
            turn.witness.began(turn, now)
        return notice

    def _terminal(
        self, event: ServerEvent, lane: str | None, payload: bytes | bytearray, now: float
    ) -> Notice | Violation | Instead | None:
        kind, response = event.type, response_of(event)
        status = STATUS_BY_TERMINAL[kind]
        if kind == "response.done":
            status = _status_word(text_of(response.status))
        if lane in self.awaiting and status == "failed":
            self.succeed(lane)
        turn = self.running.get(lane)
        if turn is None:
            return _broken("the end of a response that does not run")
        response_id = id_of(response)
        if not turn.created_seen and status != "failed":
            return _broken("the end of a response that has not begun")
        if response_id is not None:
            if turn.response_id not in {None, response_id}:
                return _broken("the end of another response")
            turn.response_id = response_id
        reason = reason_of(response)
        error = read_failure(response) if status == "failed" else None
        withheld = error is not None and self._is_withheld([turn], error)
        successor = status == "incomplete" and reason == "steered"
        successor = successor or (bool(turn.steers) and status in {"completed", "incomplete"})
        end = Terminal(
            running=turn,
            kind=kind,
            status=status,
            reason=reason,
            at=now,
            usage=read_usage(response.usage, turn.response_id),
            error=error,
            told=not withheld,
            payload=self._spliced(bytes(payload), lane) if withheld else None,
            successor_expected=successor,
        )
        self.end(end)
        return Instead(None, TURN_ENDED) if withheld else TURN_ENDED

    def _error(self, event: ServerEvent, payload: bytes, now: float) -> Notice | Instead | None:
        """An error ends the turn that it names; without a name, as little as it can be about."""
        self.spoiled = True
        error = read_error(payload)
        named = text_of(event.stream_id) if self.lanes else None
        lanes = self.lanes_meant(named)
        for lane in lanes:
            if lane in self.awaiting:
                self.succeed(lane)
        turns = [self.running[lane] for lane in lanes]
        withheld = self._is_withheld(turns, error)
        shown = with_status(payload, error, named)
        if not self.lanes and lanes:
            shown = self._spliced(shown, lanes[0])
        for turn in turns:
            end = Terminal(
                running=turn,
                kind=event.type,
                status="failed",
                at=now,
                error=error,
                told=not withheld and (not self.lanes or turn.lane == named),
                payload=shown if withheld else None,
            )
            self.end(end)
        notice = TURN_ENDED if turns else None
        if withheld:
            return Instead(None, notice)
        return notice if shown is payload else Instead(shown, notice)

    def _steer(self, event: ServerEvent, lane: str | None, now: float) -> Notice | Violation | None:
        steer_id = steer_id_of(event)
        if event.type == "response.steer.accepted":
            if steer_id is not None and lane in self.running:
                self.running[lane].steer_accepted(steer_id)
            return self._passed(lane, event.type, now)
        if steer_id is not None:
            for turn in (*self.running.values(), *self.awaiting.values()):
                turn.steers.discard(steer_id)
        lapsed = lane in self.awaiting and not self.awaiting[lane].steers
        if not lapsed:
            return self._passed(lane, event.type, now)
        self.lapse(lane)
        return TURN_ENDED

    def _passed(self, lane: str | None, kind: str, now: float) -> Violation | None:
        """An event is sent on that neither begins nor ends a response."""
        turn = self.running.get(lane)
        is_output, is_first_output = _USUAL.get(kind) or _output_of(kind)
        if turn is None:
            if is_output:
                return _broken("output of a response that does not run")
            if lane is None:  # it does not say whose it is
                self._seen_by_all()
            return None
        if is_output and not turn.created_seen:
            return _broken("output of a response that has not begun")
        turn.seen = True
        if is_first_output and turn.first_output_at is None:
            turn.first_output_at = now
            self.settle()
            if turn.witness is not None:
                turn.witness.first_output(turn, now)
        return None

    def _seen_by_all(self) -> None:
        for turn in self.running.values():
            turn.seen = True

    def _is_withheld(self, turns: list[Running], error: TurnError) -> bool:
        """Whether the client is not sent an error: it concerns relayd's own account alone, or the
        turn may be tried again without its knowing."""
        if error.abort is Abort.UPSTREAM_AUTH:
            return True
        return bool(turns) and all(turn.retryable and not turn.seen for turn in turns)

    # -- lanes

    def _turn_in(self, head: bytes | bytearray, found: re.Match[bytes]) -> Running | None:
        """Whose an event is that cannot be decoded, if it is plain.

        There is only one turn, or the event names its lane in front of its type or right behind.
        """
        named = _LANE.search(head, 0, found.end()) or _LANE_BEHIND.match(head, found.end())
        if self.lanes and named is not None:
            return self.running.get(named[1].decode())
        only = len(self.running) == 1 and not self.awaiting
        return next(iter(self.running.values())) if only else None

    def _spliced(self, payload: bytes, lane: str | None) -> bytes:
        """As the flow does it for what is sent on."""
        if self.lanes or lane is None:
            return payload
        name = msgspec.json.encode({"stream_id": lane})[1:-1]
        return payload.replace(b"{", b"{" + name + b",", 1)


def _status_word(status: str | None) -> str:
    """Of ``response.done``, which tells it apart inside."""
    if status == "canceled":
        return "cancelled"
    return status if status in {"failed", "incomplete", "cancelled"} else "completed"


def _broken(message: str) -> Violation:
    return Violation(Reason.PROTOCOL_ERROR_UPSTREAM, f"the upstream sent {message}")
