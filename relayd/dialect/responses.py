"""The Responses API in WebSocket mode: its name, its path, and relayd's own signs of life."""

from __future__ import annotations

from typing import Final

import msgspec

NAME: Final = "responses"

MESSAGE_MAX_BYTES: Final = 64 << 20
"""Of either side. What goes upstream is bounded below that by the upstream itself."""

KEEPALIVE: Final = "codex.keepalive"
"""An event that clients do not know and therefore skip; it counts as a sign of life."""


def upstream_target(base_path: str) -> str:
    """The path of the upstream's handshake.

    Args:
        base_path: Path of the account's ``base_url``, without a slash at its end.
    """
    return f"{base_path}/responses"


def keepalive_event(stream_id: str | None, response_id: str | None) -> bytes:
    """What a client is sent while its turn is silent, so that it does not give up.

    Before the response has an id an event of a type that no client knows; afterwards a
    ``response.in_progress`` that says nothing but that. Neither has a ``sequence_number``, since
    the upstream numbers its events and none of these may be missed.

    Args:
        stream_id: The lane; ``None`` for the default one.
        response_id: The response that runs, once it is known.
    """
    event: dict[str, object] = {"type": KEEPALIVE}
    if response_id is not None:
        event["type"] = "response.in_progress"
        event["response"] = {
            "id": response_id,
            "object": "response",
            "status": "in_progress",
            "output": [],
        }
    if stream_id is not None:
        event["stream_id"] = stream_id
    return msgspec.json.encode(event)
