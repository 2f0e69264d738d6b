"""The Realtime dialect, GA: its address upstream, and what relayd reads of a conversation.

Upstream messages are all sent on as they are. Those that begin or end a response, report a
transcription's usage, an error or a limit are decoded; the others are told apart by their first
bytes. Client messages are decided on one by one: their type is known exactly before they go.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlencode

from relayd.core.endings import Reason
from relayd.dialect.meter import Listener, Meter
from relayd.dialect.realtime_client import ModelRule, RealtimeClientReader
from relayd.dialect.realtime_events import error_event
from relayd.dialect.realtime_turns import Turns
from relayd.dialect.realtime_upstream import RealtimeUpstreamReader

NAME: Final = "realtime"
MESSAGE_MAX_BYTES: Final = 32 << 20
"""An append may carry 15 MiB of audio, which is 20 MiB of base64 and an envelope."""


def upstream_target(
    base_path: str, *, model: str | None, call_id: str | None, intent: str | None
) -> str:
    """Path and query of the upstream's handshake: exactly what the client asked for, encoded."""
    fields = {"model": model, "call_id": call_id, "intent": intent}
    query = urlencode({k: v for k, v in fields.items() if v is not None}, quote_via=quote)
    return f"{base_path}/realtime?{query}"


class RealtimeConversation(Turns):
    """One session: its turns, and the readers of its two directions.

    The readers refer back to it. Who takes them keeps them: it lets go of them when it is cut
    short, since a circle would stay in memory until the garbage collector runs.
    """

    def __init__(self, meter: Meter, listener: Listener, rule: ModelRule) -> None:
        super().__init__(meter, listener)
        self.client_reader = RealtimeClientReader(self, rule)
        self.upstream_reader = RealtimeUpstreamReader(self)

    def cut_short(self, reason: Reason, now: float) -> None:
        """See :meth:`Turns.cut_short`; afterwards there are no readers to be had."""
        super().cut_short(reason, now)
        for reader in ("client_reader", "upstream_reader"):
            vars(self).pop(reader, None)

    def error_event(self, kind: str, code: str, message: str) -> bytes:
        """An error event in this dialect's shape."""
        return error_event(kind, code, message)
