"""A Responses client's messages: each is text, and is for the session's task."""

from __future__ import annotations

from relayd.core.endings import Reason
from relayd.protocol.outcomes import Taken, Violation


class Intake:
    """A :class:`~relayd.protocol.outcomes.ClientReader` that sends nothing on."""

    def message(self, payload: bytes, now: float, *, text: bool) -> Taken | Violation:
        """See :class:`~relayd.protocol.outcomes.ClientReader`."""
        if text:
            return Taken(payload)
        return Violation(Reason.UNSUPPORTED_DATA, "binary messages mean nothing here; send JSON")

    def release(self, head: bytes) -> None:
        """Every message is held whole."""
