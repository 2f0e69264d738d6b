"""How a WebSocket of the hub ends: close codes that tell a client whether to come back.

The ranges are those of the Centrifuge protocol, whose clients act on them: after a code of
4500–4999 they stay away, after any other they connect again. Its JavaScript client reads a code
only where a text stands beside it, and takes a text that is JSON for an order; so every ending has
a text, and none is JSON. What breaks RFC 6455 itself keeps the codes of RFC 6455; of these,
1009 keeps the JavaScript client away too, since it would send the same again.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from relayd.core.endings import Reason

_TERMINAL: Final = range(4500, 5000)


class HubClose(enum.IntEnum):
    """Close codes of the hub."""

    SHUTDOWN = 4001
    """relayd stops, drains, or has served this client long enough: come back, not at once."""
    TOKEN_EXPIRED = 4005
    """The token or key has expired: come back with another."""
    SLOW = 4008
    """The client took its events too slowly: come back, and resume where it was."""
    NO_PONG = 4009
    """Nothing was heard from the client."""
    RESYNC = 4010
    """The client's place in a topic is lost: come back and load the state anew."""
    BAD_TOKEN = 4500
    """The token is not one that relayd takes."""
    BAD_REQUEST = 4501
    """The client does not speak this protocol, or speaks too much."""
    KICKED = 4503
    """An operator ended it, or took its key away."""
    TOO_MANY_CONNECTIONS = 4504
    TOO_MANY_TOPICS = 4505


@attrs.frozen
class Close:
    """A Close frame.

    Attributes:
        code: Its code; ``None`` where the client's own travels back, or nothing can be sent.
        text: Its reason: ASCII, never empty.
    """

    code: int | None
    text: str

    @property
    def comes_back(self) -> bool:
        """Whether a client connects again after it."""
        return self.code is None or self.code not in _TERMINAL


_INTERNAL: Final = Close(1011, "internal error")

CLOSES: Final[dict[Reason, Close]] = {
    Reason.CLIENT_CLOSED: Close(None, "closed by the client"),
    Reason.CLIENT_GONE: Close(None, "the client is gone"),
    Reason.CLIENT_STALLED: Close(HubClose.SLOW, "slow"),
    Reason.CLIENT_SLOW: Close(HubClose.SLOW, "slow"),
    Reason.CLIENT_SILENT: Close(HubClose.NO_PONG, "no pong"),
    Reason.FIRST_MESSAGE_TIMEOUT: Close(HubClose.NO_PONG, "no connect command in time"),
    Reason.PROTOCOL_ERROR_CLIENT: Close(1002, "protocol error"),
    Reason.BAD_UTF8: Close(1007, "text that is not UTF-8"),
    Reason.TOO_BIG: Close(1009, "message too big"),
    Reason.CONTROL_FLOOD: Close(HubClose.BAD_REQUEST, "too many messages"),
    Reason.POLICY: Close(HubClose.BAD_REQUEST, "bad request"),
    Reason.DUPLICATE_TYPE: Close(HubClose.BAD_REQUEST, "a message with two types"),
    Reason.UNSUPPORTED_DATA: Close(HubClose.BAD_REQUEST, "binary messages are not read"),
    Reason.BUDGET_EXHAUSTED: Close(HubClose.KICKED, "budget exhausted"),
    Reason.KEY_EXPIRED: Close(HubClose.TOKEN_EXPIRED, "expired"),
    Reason.KEY_REMOVED: Close(HubClose.KICKED, "key removed"),
    Reason.TOKEN_REFUSED: Close(HubClose.BAD_TOKEN, "bad token"),
    Reason.SESSIONS_EXCEEDED: Close(HubClose.TOO_MANY_CONNECTIONS, "too many connections"),
    Reason.TOPICS_EXCEEDED: Close(HubClose.TOO_MANY_TOPICS, "too many topics"),
    Reason.SESSION_MAX_AGE: Close(HubClose.SHUTDOWN, "connected long enough"),
    Reason.DRAIN: Close(HubClose.SHUTDOWN, "shutdown"),
    Reason.ACCOUNT_REMOVED: Close(HubClose.SHUTDOWN, "shutdown"),
    Reason.KILLED: Close(HubClose.KICKED, "killed"),
    Reason.OVERLOAD: Close(1013, "overload"),
    Reason.INTERNAL_ERROR: _INTERNAL,
    # A client of the hub has no upstream. These end no session of it.
    Reason.UPSTREAM_CLOSED: _INTERNAL,
    Reason.UPSTREAM_LOST: _INTERNAL,
    Reason.UPSTREAM_LOST_MID_FRAME: _INTERNAL,
    Reason.UPSTREAM_REFUSED: _INTERNAL,
    Reason.FIRST_FRAME_TIMEOUT: _INTERNAL,
    Reason.UPSTREAM_SILENT: _INTERNAL,
    Reason.TURN_TIMEOUT: _INTERNAL,
    Reason.UPSTREAM_STALLED: _INTERNAL,
    Reason.UPSTREAM_KEEPALIVE_TIMEOUT: _INTERNAL,
    Reason.PROTOCOL_ERROR_UPSTREAM: _INTERNAL,
    Reason.DEVICE_REPLACED: _INTERNAL,
    Reason.RECONNECTS_EXHAUSTED: _INTERNAL,
}
"""How each ending is told to a client of the hub."""
