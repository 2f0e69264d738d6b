"""Transcriptions of what a Realtime client says: paid for beside the responses, each once."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs
import msgspec

from relayd.dialect.meter import Meter, Usage
from relayd.dialect.realtime_estimates import Amount, Heard, audio_seconds, estimate
from relayd.dialect.realtime_settings import Settings
from relayd.dialect.realtime_usage import complete, decode_usage

COMMITS_MAX: Final = 64
"""Items of audio that are remembered until their transcription comes; most have none."""

DONE_MAX: Final = 64
"""Transcriptions that are remembered to be over, so that none is counted twice."""


class Transcriptions:
    """Those of one session.

    Args:
        meter: Told of each.
        heard: What the client has said.
        settings: In which format.
    """

    def __init__(self, meter: Meter, heard: Heard, settings: Settings) -> None:
        self._meter = meter
        self._heard = heard
        self._settings = settings
        self._commits: dict[str, int] = {}  # characters of base64, by item
        self._done: deque[str] = deque(maxlen=DONE_MAX)

    def committed(self, item_id: str | None) -> None:
        """``input_audio_buffer.committed`` passed: the buffer has become an item."""
        size = self._heard.commit()
        if item_id is None:
            return
        size += self._commits.pop(item_id, 0)
        if len(self._commits) >= COMMITS_MAX:
            del self._commits[next(iter(self._commits))]
        self._commits[item_id] = size

    def completed(
        self,
        item_id: str | None,
        content_index: int,
        usage: msgspec.Raw,
        now: float,
        *,
        text_bytes: int = 0,
    ) -> None:
        """A transcription of so many ``text_bytes`` is done; without usage it is estimated."""
        upstream_id = None if item_id is None else f"{item_id}:{content_index}"
        if upstream_id in self._done:
            return
        size = None if item_id is None else self._commits.pop(item_id, None)
        if upstream_id is not None:
            self._done.append(upstream_id)
        came, went = Amount(audio=size or 0), Amount(text=text_bytes)
        self._meter.transcribed(self._used(upstream_id, came, went, usage), now)

    def _used(
        self, upstream_id: str | None, came: Amount, went: Amount, usage: msgspec.Raw
    ) -> Usage:
        """An estimate has both tokens and seconds: the model may be billed by either."""
        formats = self._settings.formats
        expected = estimate("transcription", upstream_id, came, went, formats)
        wire = decode_usage(usage)
        if wire is not None:
            return complete(wire, expected)
        return attrs.evolve(expected, seconds=audio_seconds(came.audio, formats))
