"""What is taken for used where an upstream does not say: tokens from the bytes that passed.

Bytes are counted by plain addition while they pass and become tokens only when somebody asks.
The rates are OpenAI's: 10 tokens for a second of what a user says, 20 for one of what a model
says; a token of text is taken for four bytes. Of a conversation's history, which a model reads
again for every response, nothing is known here: an estimate covers what was new.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Final

import attrs
import msgspec

from relayd.dialect.meter import Usage

USER_AUDIO_TOKENS_PER_S: Final = 10
MODEL_AUDIO_TOKENS_PER_S: Final = 20
TEXT_BYTES_PER_TOKEN: Final = 4

G711_BYTES_PER_S: Final = 8_000
PCM_RATE: Final = 24_000
"""Samples a second of 16-bit PCM where a session says nothing else, or nothing that can be."""

PCM_RATES: Final = range(8_000, 48_001)
"""Rates that are believed: another one would make any number of tokens of a second."""

PARTS_MAX: Final = 1024
"""Objects in an item that are looked at one by one; each costs a hundred times its bytes."""


@attrs.frozen
class Formats:
    """Bytes that a second of audio takes, by direction."""

    input_bytes_per_s: int = 2 * PCM_RATE
    output_bytes_per_s: int = 2 * PCM_RATE


def bytes_per_second(kind: str | None, rate: int | None) -> int:
    """Of an audio format, as a session names one; what is not known counts as PCM.

    Args:
        kind: ``audio/pcm``, ``audio/pcmu`` or ``audio/pcma``.
        rate: Samples a second, for PCM.
    """
    if kind in {"audio/pcmu", "audio/pcma"}:
        return G711_BYTES_PER_S
    return 2 * (rate if rate is not None and rate in PCM_RATES else PCM_RATE)


@attrs.define
class Amount:
    """What passed.

    Attributes:
        audio: Characters of base64.
        text: Bytes of UTF-8, or of JSON that spells it.
    """

    audio: int = 0
    text: int = 0

    def __bool__(self) -> bool:
        return self.audio > 0 or self.text > 0


@attrs.define
class Heard:
    """What a client has sent for the model to read.

    Attributes:
        appended: Characters of base64 appended to the input audio buffer, in the whole session.
    """

    appended: int = 0
    _begun: int = attrs.field(default=0, init=False)  # of them, due to earlier responses
    _committed: int = attrs.field(default=0, init=False)  # of them, no longer in the buffer
    _items: Amount = attrs.field(factory=Amount, init=False)

    def add_item(self, item: Amount) -> None:
        """An item was put into the conversation."""
        self._items.audio += item.audio
        self._items.text += item.text

    def due(self) -> Amount:
        """What has come since the last response began."""
        return Amount(self.appended - self._begun + self._items.audio, self._items.text)

    def take(self) -> Amount:
        """As :meth:`due`, for a response that begins now."""
        due = self.due()
        self._begun, self._items = self.appended, Amount()
        return due

    def commit(self) -> int:
        """The buffer has become an item; how many characters of audio it held."""
        size, self._committed = self.appended - self._committed, self.appended
        return size

    def clear(self) -> None:
        """The buffer was emptied: no response will read what it held."""
        self._begun += self.appended - max(self._begun, self._committed)
        self._committed = self.appended


def estimate(
    source: str, upstream_id: str | None, came: Amount, went: Amount, formats: Formats
) -> Usage:
    """The tokens of what ``came`` from a client and ``went`` to it, rounded up, as estimated."""
    input_text, output_text = _text_tokens(came.text), _text_tokens(went.text)
    input_audio = _audio_tokens(came.audio, formats.input_bytes_per_s, USER_AUDIO_TOKENS_PER_S)
    output_audio = _audio_tokens(went.audio, formats.output_bytes_per_s, MODEL_AUDIO_TOKENS_PER_S)
    return Usage(
        source=source,
        upstream_id=upstream_id,
        input_text=input_text,
        input_audio=input_audio,
        output_text=output_text,
        output_audio=output_audio,
        input_total=input_text + input_audio,
        output_total=output_text + output_audio,
        estimated=True,
    )


def audio_seconds(chars: int, formats: Formats) -> float:
    """How long the audio is that a client spelled in so many characters of base64."""
    return chars * 3 / (4 * formats.input_bytes_per_s)


def _text_tokens(size: int) -> int:
    return -(-size // TEXT_BYTES_PER_TOKEN)


def _audio_tokens(chars: int, bytes_per_s: int, tokens_per_s: int) -> int:
    return -(-chars * 3 * tokens_per_s // (4 * bytes_per_s))


def share(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` in whole parts that are proportional to ``weights`` and add up to it.

    Args:
        total: Not negative.
        weights: Not negative, and not all zero.
    """
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    lost = [total * weight % whole for weight in weights]
    nearest = sorted(range(len(parts)), key=lambda place: -lost[place])
    for place in nearest[: total - sum(parts)]:
        parts[place] += 1
    return parts


# -- a client's items

_NOTHING: Final = msgspec.Raw(b"null")


class _Content(msgspec.Struct):
    text: msgspec.Raw = _NOTHING
    audio: msgspec.Raw = _NOTHING


class _Item(msgspec.Struct):
    content: list[_Content] | None = None
    output: msgspec.Raw = _NOTHING
    arguments: msgspec.Raw = _NOTHING


class _ItemCreate(msgspec.Struct):
    item: _Item | None = None


class _Brought(msgspec.Struct):
    input: list[_Item] | None = None
    instructions: msgspec.Raw = _NOTHING


class _Create(msgspec.Struct):
    response: _Brought | None = None


_decode_item: Final = msgspec.json.Decoder(_ItemCreate).decode
_decode_create: Final = msgspec.json.Decoder(_Create).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


def amount_of_item(payload: bytes) -> Amount:
    """Text and audio of a ``conversation.item.create``; one that cannot be read is all text."""
    if payload.count(b"{") > PARTS_MAX:
        return Amount(text=len(payload))
    try:
        return _amount_of(_decode_item(payload).item or _Item())
    except (msgspec.DecodeError, RecursionError):
        return Amount(text=len(payload))


def amount_of_create(payload: bytes) -> Amount:
    """What a ``response.create`` itself brings: its input and its instructions.

    One that cannot be read is all text.
    """
    if payload.count(b"{") > PARTS_MAX:
        return Amount(text=len(payload))
    try:
        brought = _decode_create(payload).response or _Brought()
        items = [_amount_of(item) for item in brought.input or []]
        text = text_size(brought.instructions) + sum(item.text for item in items)
    except (msgspec.DecodeError, RecursionError):
        return Amount(text=len(payload))
    return Amount(audio=sum(item.audio for item in items), text=text)


def _amount_of(item: _Item) -> Amount:
    content = item.content or []
    text = sum(text_size(part.text) for part in content)
    return Amount(
        audio=sum(text_size(part.audio) for part in content),
        text=text + text_size(item.output) + text_size(item.arguments),
    )


def text_size(value: msgspec.Raw) -> int:
    """Bytes of a string; of anything else those that spell it."""
    raw = memoryview(value)
    if value == _NOTHING:
        return 0
    if raw[0] != ord('"'):
        return len(raw)
    return len(_decode_text(raw).encode()) if b"\\" in bytes(raw) else len(raw) - 2


# -- an upstream's deltas

_DELTA: Final = re.compile(rb'"delta"[ \t\r\n]*:[ \t\r\n]*"')
_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BACKSLASH: Final = ord("\\")


class Medium(enum.Enum):
    """What a delta of a response holds."""

    AUDIO = enum.auto()
    TEXT = enum.auto()  # also transcripts and arguments, which are billed as text


def medium_of(kind: str) -> Medium | None:
    """Of the event type of a server event; ``None`` for what is no output of a response."""
    if not (kind.startswith("response.") and kind.endswith(".delta")):
        return None
    return Medium.AUDIO if kind.endswith("audio.delta") else Medium.TEXT


def delta_size(payload: bytes | bytearray, pos: int = 0) -> int:
    """Bytes of the string that a ``delta`` behind ``pos`` has for its value; 0 without one."""
    found = _DELTA.search(payload, pos)
    if found is None:
        return 0
    start = found.end()
    end = payload.find(b'"', start)
    if end > start and payload[end - 1] == _BACKSLASH:
        whole = _STRING.match(payload, start)
        end = start if whole is None else whole.end()
    return max(0, end - start)


def delta_envelope(head: bytes | bytearray, pos: int = 0) -> int:
    """Bytes around the ``delta`` of a message whose beginning is ``head``; its end is ``"}``."""
    found = _DELTA.search(head, pos)
    return 0 if found is None else found.end() + 2
