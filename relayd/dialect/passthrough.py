"""The passthrough dialect: any WebSocket, authenticated, limited and counted, never read."""

from __future__ import annotations

from typing import Final

from relayd.core.endings import Reason
from relayd.dialect.meter import Refuse

NAME: Final = "passthrough"


def upstream_target(base_path: str, tail: str, query: str) -> str:
    """Path and query of the upstream's handshake: tail and query appended as they came.

    Args:
        base_path: Path of the account's ``base_url``, without a slash at its end.
        tail: What followed ``/relay/{account}`` in the client's path: empty, or from its slash on.
        query: The client's raw query, without its question mark.
    """
    path = base_path + tail or "/"
    return f"{path}?{query}" if query else path


class Bytes:
    """A session that has no turns and whose messages nobody reads."""

    def __init__(self) -> None:
        self.tell_idle = False
        self.closed_to_turns: Refuse | None = None

    client_reader = None
    upstream_reader = None
    busy = False
    busy_since = None

    def error_event(self, kind: str, code: str, message: str) -> bytes:
        """There is no shape in which an unknown protocol could be told."""
        return b""

    def cut_short(self, reason: Reason, now: float) -> None:
        """Nothing runs that could be cut short."""
