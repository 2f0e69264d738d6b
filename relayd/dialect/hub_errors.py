"""What is wrong with what a client of the hub sent, as it is told.

Shape: the ``error`` object that relayd's HTTP answers have, ``{"message", "type", "param",
"code"}``. Nothing that the client sent is repeated in it but the names of members.
"""

from __future__ import annotations

import re
from typing import Final

import attrs
import msgspec

INVALID_REQUEST: Final = "invalid_request_error"
PERMISSION: Final = "permission_error"

MESSAGE_MAX_CHARS: Final = 300

_AT: Final = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`\Z", re.DOTALL)


@attrs.frozen(kw_only=True)
class Mistake:
    """What is wrong.

    Attributes:
        param: Which member of the message it is about, such as ``events[3].topic``.
        type: The class of it, as ``error.type``.
        status: HTTP's word for it.
        fatal: Whether its sender does not speak this protocol at all: its WebSocket is closed.
        id: The ``id`` of the message, as JSON, where it could be read.
    """

    code: str
    message: str
    param: str | None = None
    type: str = INVALID_REQUEST
    status: int = 400
    fatal: bool = False
    id: bytes | None = None

    def error(self) -> dict[str, str | None]:
        """The ``error`` object."""
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }


def mistake_in(error: msgspec.DecodeError, *, at: str = "") -> Mistake:
    """What msgspec says of a message.

    Args:
        at: Where in the message the decoded part stands, such as ``events[3]``.
    """
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return malformed(f"not JSON: {text[:MESSAGE_MAX_CHARS]}")
    found = _AT.search(text)
    place = found[1] if found else ""
    if found:
        text = text[: found.start()]
    param = ".".join(part for part in (at, place) if part).replace(".[", "[")
    return Mistake(
        code="invalid_parameter",
        message=text[:MESSAGE_MAX_CHARS],
        param=param[:MESSAGE_MAX_CHARS] or None,
    )


def malformed(message: str) -> Mistake:
    """A message that cannot be read at all."""
    return Mistake(code="malformed_request", message=message, fatal=True)


def wrong(param: str, message: str, *, code: str = "invalid_parameter") -> Mistake:
    """One member is wrong."""
    return Mistake(code=code, message=message, param=param)
