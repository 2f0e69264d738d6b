"""What of a Responses client's headers its upstream gets.

A socket's handshake cannot be changed afterwards, so these are part of the identity of the sockets
that the client may use. Codex's turn metadata, which changes with every turn, is left out for
that; it stands in the requests as well.
"""

from __future__ import annotations

from typing import Final

from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.fields import is_field_value
from relayd.protocol.head import Head

SESSION_HEADERS: Final = ("session-id", "session_id", "conversation_id", "thread-id")
"""By which of its headers a client names its session, the best first."""

TRAVELLING: Final = (
    "openai-beta",
    "openai-organization",
    "openai-project",
    "openai-safety-identifier",
    "originator",
    "x-codex-beta-features",
    "x-codex-window-id",
    *SESSION_HEADERS,
)
"""What of a client's headers its upstream gets."""

VALUE_MAX_CHARS: Final = 1024

_OF_THE_ACCOUNT: Final = frozenset({"openai-organization", "openai-project"})


def names_organization(headers: tuple[tuple[str, str], ...]) -> bool:
    """Whether a client chose what its upstream counts as the account's own.

    A refusal may then be about that choice: it must not stand against the account.
    """
    return any(name.lower() in _OF_THE_ACCOUNT for name, _ in headers)


def travelling_headers(head: Head) -> tuple[tuple[str, str], ...] | Refusal:
    """The headers of a request that travel on, or why it is refused for them."""
    found = tuple((name, value) for name in TRAVELLING if (value := head.get(name)))
    for name, value in found:
        if len(value) > VALUE_MAX_CHARS or not is_field_value(value):
            message = f"The header {name} is printable ASCII, {VALUE_MAX_CHARS} characters at most."
            return Refusal(RefusalCode.MALFORMED_REQUEST, message, name)
    return found
