"""Audio as far as a simulator needs it: how long it is, whether somebody speaks, and a tone.

Speech is any window of 20 ms that is not silent; there is no model. That makes every turn a
matter of arithmetic: so many milliseconds of tone, so many of silence.
"""

from __future__ import annotations

import array
import base64
import binascii
import functools
import sys
from collections.abc import Iterator
from typing import Final

import attrs

from relayd.sim.realtime.client_events import Rejected

BYTES_PER_MS: Final = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}
"""PCM is 16 bit at 24 kHz, little-endian, mono; both G.711 formats are 8 bit at 8 kHz."""

WINDOW_MS: Final = 20
APPEND_MAX_BYTES: Final = 15 * 1024 * 1024
"""The API's limit for one ``input_audio_buffer.append``, after base64."""
BUFFER_MAX_BYTES: Final = 32 * 1024 * 1024
COMMIT_MIN_MS: Final = 100
"""The API refuses to commit less."""

_QUIET_PEAK: Final = 500  # of 32,767: a microphone's noise
_SILENT_CODES: Final = {"audio/pcmu": b"\xff\x7f\xfe\x7e", "audio/pcma": b"\xd5\x55\xd4\x54"}


def decoded(audio: str) -> bytes:
    """The bytes of a base64 ``audio`` field. Raises :class:`Rejected` where it is none."""
    try:
        data = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("invalid_value", "Invalid base64 in 'audio'.", "audio") from None
    if len(data) > APPEND_MAX_BYTES:
        raise Rejected("invalid_value", "At most 15 MiB of audio can be appended.", "audio")
    return data


def duration_ms(data: bytes | bytearray, audio_format: str) -> int:
    """How long ``data`` sounds."""
    return len(data) // BYTES_PER_MS[audio_format]


@functools.cache
def tone(audio_format: str, length_ms: int) -> bytes:
    """``length_ms`` of a tone that counts as speech, the same bytes every time."""
    if audio_format != "audio/pcm":
        return bytes([0x20, 0xA0]) * (length_ms * BYTES_PER_MS[audio_format] // 2)
    period = [*range(-8_000, 8_000, 320), *range(8_000, -8_000, -320)]
    samples = array.array("h", (period * (length_ms * 24 // len(period) + 1))[: length_ms * 24])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def silence(audio_format: str, length_ms: int) -> bytes:
    """``length_ms`` of silence."""
    code = {"audio/pcm": b"\x00", "audio/pcmu": b"\xff", "audio/pcma": b"\xd5"}[audio_format]
    return code * (length_ms * BYTES_PER_MS[audio_format])


def is_speech(window: bytes, audio_format: str) -> bool:
    """Whether ``window``, of whole samples, is louder than a microphone's noise."""
    if audio_format != "audio/pcm":
        return bool(window.translate(None, _SILENT_CODES[audio_format]))
    samples = array.array("h", window)
    if sys.byteorder == "big":
        samples.byteswap()
    return max(samples) > _QUIET_PEAK or min(samples) < -_QUIET_PEAK


@attrs.frozen
class SpeechStarted:
    """The user began to speak, ``at_ms`` into the session's audio."""

    at_ms: int


@attrs.frozen
class SpeechStopped:
    """The user finished; ``audio`` is what was said, with the silence around it."""

    at_ms: int
    audio: bytes


Edge = SpeechStarted | SpeechStopped


@attrs.define
class InputBuffer:
    """The input audio buffer of one session, and the ear that listens to it.

    Attributes:
        audio_format: The format of all bytes in it.
    """

    audio_format: str = "audio/pcm"
    _data: bytearray = attrs.field(factory=bytearray, init=False)
    _start_ms: int = attrs.field(default=0, init=False)
    _heard_bytes: int = attrs.field(default=0, init=False)
    _is_speaking: bool = attrs.field(default=False, init=False)
    _silent_ms: int = attrs.field(default=0, init=False)

    def append(self, data: bytes) -> None:
        """Add ``data``. Raises :class:`Rejected` where it would not fit."""
        if len(self._data) + len(data) > BUFFER_MAX_BYTES:
            raise Rejected("input_audio_buffer_full", "The input audio buffer is full.", "audio")
        self._data += data

    def listen(self, *, prefix_padding_ms: int, silence_duration_ms: int) -> Iterator[Edge]:
        """Where, in what was appended since the last call, speech began and ended.

        Silence before speech is forgotten up to ``prefix_padding_ms``; ``silence_duration_ms``
        of it end the speech, which leaves the buffer with the edge.
        """
        step = BYTES_PER_MS[self.audio_format] * WINDOW_MS
        while len(self._data) - self._heard_bytes >= step:
            window = bytes(self._data[self._heard_bytes : self._heard_bytes + step])
            self._heard_bytes += step
            voiced = is_speech(window, self.audio_format)
            self._silent_ms = 0 if voiced else self._silent_ms + WINDOW_MS
            if voiced and not self._is_speaking:
                self._is_speaking = True
                self._forget_before(self._heard_bytes - step, prefix_padding_ms)
                yield SpeechStarted(max(self._heard_ms() - WINDOW_MS, 0))
            elif self._is_speaking and self._silent_ms >= silence_duration_ms:
                yield SpeechStopped(self._heard_ms(), self._take(self._heard_bytes))
        if not self._is_speaking:
            self._forget_before(self._heard_bytes, prefix_padding_ms)

    def commit(self) -> bytes:
        """Take everything out. Raises :class:`Rejected` under ``COMMIT_MIN_MS``."""
        held_ms = duration_ms(self._data, self.audio_format)
        if held_ms < COMMIT_MIN_MS:
            message = (
                f"Error committing input audio buffer: buffer too small. Expected at least "
                f"{COMMIT_MIN_MS}ms of audio, but buffer only has {held_ms}.00ms of audio."
            )
            raise Rejected("input_audio_buffer_commit_empty", message)
        return self._take(len(self._data))

    def clear(self) -> None:
        """Forget everything in it."""
        self._take(len(self._data))

    def _heard_ms(self) -> int:
        return self._start_ms + self._heard_bytes // BYTES_PER_MS[self.audio_format]

    def _forget_before(self, at_bytes: int, padding_ms: int) -> None:
        keep = max(padding_ms, 0) * BYTES_PER_MS[self.audio_format]
        self._drop(max(at_bytes - keep, 0))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._data[:count])
        self._drop(count)
        self._is_speaking = False
        self._silent_ms = 0
        return taken

    def _drop(self, count: int) -> None:
        del self._data[:count]
        self._start_ms += count // BYTES_PER_MS[self.audio_format]
        self._heard_bytes = max(self._heard_bytes - count, 0)
