"""The policy on a socket that nobody uses: it may say how much of a quota is left, nothing else."""

from __future__ import annotations

from typing import Final

from relayd.core.endings import Reason
from relayd.dialect.exact import DuplicateType, NotAnEvent, decode_type
from relayd.pool.events import Broken
from relayd.protocol.outcomes import Crash, EndOfStream, Event, PeerClosed, Violation

HARMLESS: Final = frozenset({"codex.rate_limits"})
"""Events that come between turns and leave nothing behind (ChatGPT's backend sends them)."""

STRAY: Final = Violation(Reason.PROTOCOL_ERROR_UPSTREAM, "an event that nobody has asked for")


class IdleReader:
    """Reads what an unused upstream says. Has no state: one serves all sockets.

    Anything that it does not know to be harmless ends the socket: it may belong to a turn of
    somebody else, and the next one must not see it.
    """

    proof: bytes = b"\x00"

    def message(self, payload: bytes | bytearray, now: float) -> Violation | None:
        """Nothing where the message is harmless; it is thrown away."""
        try:
            kind = decode_type(bytes(payload))
        except (NotAnEvent, DuplicateType):
            return STRAY
        return None if kind in HARMLESS else STRAY

    def harmless(self, head: bytes | bytearray) -> bool:
        """No message is so without having been read."""
        return False

    def oversize(self, head: bytes | bytearray, now: float) -> Violation | None:
        """No harmless event is this long."""
        return STRAY


IDLE: Final = IdleReader()


def why_broken(event: Event) -> str:
    """The word for what ended an unused socket."""
    match event:
        case PeerClosed():
            return Broken.PEER_CLOSED
        case EndOfStream():
            return Broken.PEER_GONE
        case Crash():
            return Broken.CRASHED
        case Violation() if event is not STRAY:
            return event.reason
        case _:
            return Broken.STRAY_EVENT
