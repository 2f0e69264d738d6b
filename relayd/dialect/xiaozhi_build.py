"""What a device is: its board and its firmware, as it says in its question for its settings.

The body of that question is what the firmware knows of itself (``Board::GetSystemInfoJson``):
``board.type`` is the family, ``board.name`` the very board, ``application.version`` the firmware.
Nothing vouches for it, so it only says which of the servers that may have the device does.
"""

from __future__ import annotations

from typing import Final

import attrs
import msgspec

TEXT_MAX_CHARS: Final = 64
"""Of each of them; what is longer, or cannot be shown, counts as not said."""


@attrs.frozen
class Build:
    """What one device is made of; "" stands for what it has not said.

    Attributes:
        boards: Its family and its name, those that it has said.
        firmware: The version of its firmware.
    """

    boards: tuple[str, ...] = ()
    firmware: str = ""

    def written(self) -> bytes:
        """For the store."""
        return msgspec.json.encode([self.boards, self.firmware])

    @classmethod
    def read(cls, raw: bytes) -> Build:
        """What :meth:`written` wrote."""
        return cls(*msgspec.json.decode(raw, type=tuple[tuple[str, ...], str]))


UNKNOWN: Final = Build()
"""Of a device that has said nothing."""


class _Question(msgspec.Struct):
    board: msgspec.Raw = msgspec.Raw(b"{}")
    application: msgspec.Raw = msgspec.Raw(b"{}")


class _Board(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw(b'""')
    name: msgspec.Raw = msgspec.Raw(b'""')


class _Application(msgspec.Struct):
    version: msgspec.Raw = msgspec.Raw(b'""')


def read_build(body: bytes) -> Build:
    """What a device says of itself in the body of its question, which may be anything at all."""
    try:
        question = msgspec.json.decode(body, type=_Question)
    except (msgspec.DecodeError, RecursionError):
        return UNKNOWN
    return Build(_boards(question.board), _firmware(question.application))


def _boards(raw: msgspec.Raw) -> tuple[str, ...]:
    try:
        board = msgspec.json.decode(raw, type=_Board)
    except (msgspec.DecodeError, RecursionError):
        return ()
    said = (_text(board.type), _text(board.name))
    return tuple(dict.fromkeys(filter(None, said)))


def _firmware(raw: msgspec.Raw) -> str:
    try:
        return _text(msgspec.json.decode(raw, type=_Application).version)
    except (msgspec.DecodeError, RecursionError):
        return ""


def _text(raw: msgspec.Raw) -> str:
    try:
        text = msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        return ""
    return text if len(text) <= TEXT_MAX_CHARS and text.isprintable() else ""
