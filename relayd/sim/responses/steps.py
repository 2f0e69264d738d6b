"""What a turn may do next, and how its events get onto the wire: as they should, and otherwise."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable
from typing import Final

import attrs
import msgspec
from websockets.frames import Opcode

from relayd.sim.link import frame
from relayd.sim.responses.errors import JsonObject

_FRAGMENT_SIZES: Final = (1, 2, 3, 13, 97)


@attrs.frozen
class Pause:
    """The turn goes on after so many seconds; others do meanwhile."""

    seconds: float


@attrs.frozen
class Distorted:
    """An event that is written in a way of its own.

    Attributes:
        event: Which.
        write: The event's JSON to the bytes for the wire.
    """

    event: JsonObject
    write: Callable[[bytes], bytes]


@attrs.frozen
class CloseWith:
    """Send a Close."""

    code: int
    reason: str = ""


class Leave(enum.Enum):
    """End without a Close, or stay without a word."""

    FINISH = "send FIN"
    RESET = "reset TCP"
    FREEZE = "neither send nor read"


Exit = CloseWith | Leave
"""What becomes of the connection, with all its turns."""

Step = JsonObject | Distorted | Pause | Exit


def as_text(payload: bytes) -> bytes:
    """One text frame, as it should be."""
    return frame(Opcode.TEXT, payload)


def as_binary(payload: bytes) -> bytes:
    """One binary frame, which the protocol has no use for."""
    return frame(Opcode.BINARY, payload)


def reordered(payload: bytes) -> bytes:
    """The members the other way round, the type last: JSON gives their order no meaning."""
    members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    return as_text(msgspec.json.encode(dict(reversed(members.items()))))


def halved(payload: bytes) -> bytes:
    """The first half of a frame."""
    whole = as_text(payload)
    return whole[: len(whole) // 2]


def broken_utf8(payload: bytes) -> bytes:
    """RFC 6455 section 8.1: text that is not UTF-8 fails the connection."""
    return as_text(payload[:-1] + b',"broken":"\xe2\x28\xa1"}')


def in_fragments(payload: bytes, *, has_ping: bool) -> bytes:
    """Fragments that cut words and characters, with a ping inside where one is wanted."""
    pieces: list[bytes] = []
    sizes = itertools.cycle(_FRAGMENT_SIZES)
    start, opcode = 0, Opcode.TEXT
    while start < len(payload):
        end = min(start + next(sizes), len(payload))
        pieces.append(frame(opcode, payload[start:end], fin=end == len(payload)))
        if has_ping and start == 0:
            pieces.append(frame(Opcode.PING, b"between"))
        start, opcode = end, Opcode.CONT
    return b"".join(pieces)
