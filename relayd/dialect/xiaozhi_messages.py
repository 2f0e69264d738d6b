"""The text messages: what relayd reads of them, the little it changes, and those it makes.

A message is one JSON object with a ``type``. It goes on as it came; where a member has to be
another, that one is cut out and put in by position (:mod:`relayd.dialect.responses_members`), and
every other byte stays. So an object with a doubled key is refused: it has no positions, and of two
types one parser takes the first and another the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

from relayd.dialect.responses_members import (
    DoubledMember,
    Members,
    NotAnObject,
    edited,
    read_members,
)
from relayd.protocol.frames import is_utf8

TRANSPORT: Final = "websocket"
WORD_MAX_CHARS: Final = 64
"""Of a type or a state; a longer one is none that relayd knows."""

SESSION_ID_MAX_CHARS: Final = 256
"""Of a session id that is mapped; a longer one is left alone."""

MEMBERS_MAX: Final = 256
"""Top-level members of a message."""

_decode_text: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.encode
_SPACE: Final = b" \t\r\n"


class Unreadable(ValueError):
    """Not a message of this protocol; the text says why, in few words, for counting.

    Attributes:
        plain: It is no JSON object at all. A server that begins so has refused the device.
    """

    def __init__(self, why: str, *, plain: bool = False) -> None:
        super().__init__(why)
        self.plain = plain


@attrs.frozen
class TextMessage:
    """One text message, as far as relayd looks at it.

    Attributes:
        payload: As it came.
        kind: Its ``type``.
        state: ``None`` where there is none that is a short string.
        session_id: Likewise.
    """

    payload: bytes = attrs.field(repr=False)
    kind: str
    state: str | None
    session_id: str | None = attrs.field(repr=False)
    _members: Members = attrs.field(repr=False)

    def raw(self, name: str) -> bytes | None:
        """A member's value as it is spelled."""
        value = self._members.values.get(name)
        return None if value is None else bytes(value)

    def word(self, name: str, max_chars: int = WORD_MAX_CHARS) -> str | None:
        """A member that is a string of at most ``max_chars`` characters."""
        return word_in(self._members, name, max_chars)

    def with_members(self, changes: Mapping[str, bytes | None]) -> bytes:
        """The message with some members' JSON changed, put in or (``None``) taken out."""
        return edited(self.payload, self._members.spans, changes)

    def with_session_id(self, old: str, new: str, *, payload: bytes | None = None) -> bytes:
        """The message, its session id ``new`` where it is ``old``; an empty one is left alone.

        Args:
            payload: The JSON of its ``payload`` too, where that has changed.
        """
        changes: dict[str, bytes | None] = {} if payload is None else {"payload": payload}
        if old != new and self.session_id and self.session_id == old:
            changes["session_id"] = _encode(new)
        return self.with_members(changes) if changes else self.payload


def word_in(members: Members, name: str, max_chars: int = WORD_MAX_CHARS) -> str | None:
    """A member that is a string of at most ``max_chars`` characters."""
    raw = members.values.get(name)
    if raw is None or len(memoryview(raw)) > 12 * max_chars + 2:
        return None  # longer than that many characters can be spelled
    try:
        text = _decode_text(raw)
    except msgspec.DecodeError:
        return None
    return text if len(text) <= max_chars else None


def read_text(payload: bytes) -> TextMessage:
    """Read one whole message.

    Raises:
        Unreadable: It is no JSON object, is nested too deeply, has too many members or one twice,
            or no type.
    """
    members = read_object(payload)
    kind = word_in(members, "type")
    if kind is None:
        raise Unreadable("no type")
    return TextMessage(
        payload,
        kind,
        word_in(members, "state"),
        word_in(members, "session_id", SESSION_ID_MAX_CHARS),
        members,
    )


def read_object(payload: bytes) -> Members:
    """The members of one JSON object.

    Raises:
        Unreadable: See :func:`read_text`.
    """
    if not payload.isascii() and not is_utf8(payload):
        raise Unreadable("not UTF-8", plain=True)
    if not payload.lstrip(_SPACE).startswith(b"{"):
        raise Unreadable("no JSON object", plain=True)
    try:
        members = read_members(payload)
    except DoubledMember:
        raise Unreadable("a member twice") from None
    except NotAnObject:
        raise Unreadable("no JSON object") from None
    if len(members.values) > MEMBERS_MAX:
        raise Unreadable("too many members")
    return members


# -- hello


@attrs.frozen(kw_only=True)
class Hello:
    """What a hello says, of either side. ``None`` where it says nothing that can be.

    Attributes:
        version: Of the binary framing, as far as it is one.
        session_id: Of a server's; "" where it has none.
        frame_duration_ms: How long a packet lasts.
        sample_rate: In Hz.
        mcp: Whether a device has tools.
    """

    version: int | None
    session_id: str
    frame_duration_ms: float | None
    sample_rate: int | None
    mcp: bool


class _AudioParams(msgspec.Struct):
    frame_duration: float | None = None
    sample_rate: int | None = None


class _Features(msgspec.Struct):
    mcp: bool | None = None


_decode_audio: Final = msgspec.json.Decoder(_AudioParams, strict=False).decode
_decode_features: Final = msgspec.json.Decoder(_Features).decode
_decode_int: Final = msgspec.json.Decoder(int).decode


def read_hello(message: TextMessage) -> Hello:
    """What ``message``, of type ``hello``, says."""
    audio = _AudioParams()
    features = _Features()
    version = None
    try:
        audio = _decode_audio(message.raw("audio_params") or b"{}")
    except (msgspec.DecodeError, RecursionError):
        pass  # a hello without them is one too
    try:
        features = _decode_features(message.raw("features") or b"{}")
    except (msgspec.DecodeError, RecursionError):
        pass  # likewise
    try:
        version = _decode_int(message.raw("version") or b"")
    except msgspec.DecodeError:
        pass  # likewise
    return Hello(
        version=version if version in (1, 2, 3) else None,
        session_id=message.session_id or "",
        frame_duration_ms=audio.frame_duration,
        sample_rate=audio.sample_rate,
        mcp=features.mcp is True,
    )


def hello_for(message: TextMessage, version: int) -> bytes:
    """A hello as its receiver must have it.

    ``transport`` is always present: a device's firmware reads it without looking whether it is
    there. Where a ``version`` is named it is the receiver's own framing.
    """
    changes: dict[str, bytes | None] = {}
    if message.word("transport") != TRANSPORT:
        changes["transport"] = _encode(TRANSPORT)
    named = message.raw("version")
    if named is not None and named != b"%d" % version:
        changes["version"] = b"%d" % version
    return message.with_members(changes) if changes else message.payload


# -- messages of relayd's own


def _message(fields: Mapping[str, object], session_id: str) -> bytes:
    return _encode({**fields, "session_id": session_id} if session_id else fields)


def tts_stop(session_id: str) -> bytes:
    """To a device whose server was lost while it spoke."""
    return _message({"type": "tts", "state": "stop"}, session_id)


def mcp(payload: bytes, session_id: str) -> bytes:
    """The envelope of one JSON-RPC message."""
    return _message({"type": "mcp", "payload": msgspec.Raw(payload)}, session_id)


def alert(status: str, message: str, emotion: str, session_id: str = "") -> bytes:
    """Shown, and sounded, by a device."""
    fields = {"type": "alert", "status": status, "message": message, "emotion": emotion}
    return _message(fields, session_id)


def reboot(session_id: str = "") -> bytes:
    """Lets a device start anew."""
    return _message({"type": "system", "command": "reboot"}, session_id)


def goodbye(session_id: str) -> bytes:
    """The end of a session, for devices that close only on the right session id."""
    return _message({"type": "goodbye"}, session_id)
