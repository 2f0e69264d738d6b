"""Why a session is ending. The first reason wins; the others are its consequences."""

from __future__ import annotations

import attrs
import trio

from relayd.core.endings import Ending, Reason, Side, ending_of


@attrs.define
class Verdict:
    """The one ending of one session.

    Attributes:
        scope: Cancelled, with the reason's word, when the verdict falls.
        reason: ``None`` while the session goes on.
        sender: Whose bytes caused it, where the ending depends on that.
        code: The close code that a peer sent, where one did; ``None`` for an empty Close.
        text: The close reason that a peer sent.
        message: What relayd has to say about it, for the other side and the log.
    """

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    reason: Reason | None = None
    sender: Side | None = None
    code: int | None = None
    text: str = ""
    message: str = ""

    def end(
        self,
        reason: Reason,
        *,
        sender: Side | None = None,
        code: int | None = None,
        text: str = "",
        message: str = "",
    ) -> None:
        """Decide, unless it is decided already, and cancel what runs in the scope."""
        if self.reason is not None:
            return
        self.reason = reason
        self.sender, self.code, self.text, self.message = sender, code, text, message
        self.scope.cancel(reason=reason.value)

    @property
    def ending(self) -> Ending:
        """What the reason means for both sides."""
        assert self.reason is not None, "the session has not ended"
        return ending_of(self.reason, self.sender)
