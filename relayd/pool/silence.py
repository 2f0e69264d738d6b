"""The policy on a socket that has not been used yet: it says nothing before it is asked."""

from __future__ import annotations

from typing import Final

from relayd.core.endings import Reason
from relayd.protocol.outcomes import Violation

SPOKE: Final = Violation(Reason.PROTOCOL_ERROR_UPSTREAM, "a message before it was asked anything")


class Silence:
    """An :class:`~relayd.protocol.outcomes.EventReader`: any message ends the socket.

    Has no state: one serves all sockets.
    """

    proof: bytes = b"\x00"

    def message(self, payload: bytes | bytearray, now: float) -> Violation:
        """See :class:`~relayd.protocol.outcomes.EventReader`."""
        return SPOKE

    def harmless(self, head: bytes | bytearray) -> bool:
        """No message is."""
        return False

    def oversize(self, head: bytes | bytearray, now: float) -> Violation:
        """See :class:`~relayd.protocol.outcomes.EventReader`."""
        return SPOKE


SILENCE: Final = Silence()
