"""What a device's session comes to: seconds of audio each way, turns, and how long they took.

There are no tokens in this protocol. A second of audio is what its packets say that they last,
nothing is decoded. A turn is one utterance and its answer: it begins where the server says what it
has heard, ``stt``, and ends with its ``tts stop``; a server that speaks unasked makes one too.
"""

from __future__ import annotations

import enum
import math
from typing import Final

import attrs

from relayd.dialect.xiaozhi_frames import opus_duration_us

FRAME_DURATIONS_US: Final = frozenset(
    {2_500, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000}
)
"""What a packet may last (RFC 6716 section 2.1.4)."""

_PACKET_MS_LIMIT: Final = 1000
"""Far above, and far below what cannot be rounded."""

UNTOLD_US: Final = 60_000
"""What a packet counts for whose duration nobody says: the usual one, so that none is free."""

GAP_FACTOR: Final = 3
"""Audio that comes later than this many packets after the last one leaves a gap."""

UTTERANCE_S: Final = 20.0
"""How long what a device says is waited for to be understood: from its ``listen start`` or first
audio, and again from its ``listen stop``. Some devices listen for ever."""

TIMED_MAX: Final = 64
"""Calls of one turn whose times are kept."""

_US: Final = 1e-6


def frame_duration_us(frame_duration_ms: float | None) -> int | None:
    """``audio_params.frame_duration`` of a hello; ``None`` for one that no packet can have."""
    if frame_duration_ms is None or not 0 < frame_duration_ms < _PACKET_MS_LIMIT:
        return None
    duration_us = round(frame_duration_ms * 1000)
    return duration_us if duration_us in FRAME_DURATIONS_US else None


@attrs.define(kw_only=True)
class AudioTally:
    """Audio in one direction, counted in the pass. ``now`` is the clock of the pass.

    Attributes:
        declared_us: How long a packet lasts, as the hello said; ``None``: it said nothing usable.
        packets: That went on, or were held to go on.
        payload_bytes: Of these, without framing.
        microseconds: Of these.
        dropped: Packets whose size is not what they say, or that the other framing cannot carry.
        gaps: How often one came late while the direction was under way.
        first_at: When the first one came since :meth:`restart`.
        last_at: When the last one came since.
    """

    declared_us: int | None = None
    packets: int = 0
    payload_bytes: int = 0
    microseconds: int = 0
    dropped: int = 0
    gaps: int = 0
    first_at: float | None = None
    last_at: float | None = None

    def duration_us(self, packet: bytes | bytearray | memoryview) -> int:
        """How long one packet lasts: as its own first bytes say, whatever the hello did.

        Servers repeat a device's hello and go on with packets of their own length, and a device
        could make its seconds shorter there. What is declared counts for a packet that says nothing
        of itself.

        Args:
            packet: Without framing; the first two bytes will do.
        """
        return opus_duration_us(packet) or self.declared_us or UNTOLD_US

    def count(self, size: int, duration_us: int, now: float) -> None:
        """One packet of ``size`` bytes."""
        if self.last_at is None:
            self.first_at = now
        elif (now - self.last_at) > GAP_FACTOR * duration_us * _US:
            self.gaps += 1
        self.packets += 1
        self.payload_bytes += size
        self.microseconds += duration_us
        self.last_at = now

    def restart(self) -> None:
        """What comes next is the first of its utterance, and silence before it is no gap."""
        self.first_at = self.last_at = None

    @property
    def seconds(self) -> float:
        """Seconds of audio."""
        return self.microseconds * _US


class TurnEnd(enum.StrEnum):
    """How a turn ended."""

    DONE = "done"  # the server's tts stop
    ABORTED = "aborted"  # the device broke in, or began to talk anew
    LOST = "lost"  # with its server
    CUT = "cut"  # with the session


@attrs.frozen(kw_only=True)
class TurnReport:
    """One turn, over. Seconds are ``None`` where an end of the span was not seen.

    Attributes:
        number: Counted from 1 within the session.
        ended_by: How.
        started_at: By the clock of ``now``: the device's ``listen stop`` if it sent one, else
            ``stt``, else ``tts start``.
        ended_at: Likewise.
        audio_in_s: Seconds of audio from the device since the turn before.
        audio_out_s: Seconds of audio to the device, likewise.
        stt_s: From the device's ``listen stop`` to the server's ``stt``.
        first_audio_s: From ``started_at`` to the first audio of the answer.
        speaking_s: From ``tts start`` to the end.
        gaps_out: How often the answer's audio came late.
        calls: Calls of tools by the server since the turn before.
        calls_s: How long each took that was answered since then; the first :data:`TIMED_MAX`.
    """

    number: int
    ended_by: TurnEnd
    started_at: float
    ended_at: float
    audio_in_s: float
    audio_out_s: float
    stt_s: float | None
    first_audio_s: float | None
    speaking_s: float | None
    gaps_out: int
    calls: int
    calls_s: tuple[float, ...] = ()


@attrs.frozen(kw_only=True)
class Totals:
    """A session so far. What no turn has reported is in the ``unreported`` seconds."""

    turns: int
    aborts: int
    calls: int
    audio_in_s: float
    audio_out_s: float
    unreported_in_s: float
    unreported_out_s: float
    packets_in: int
    packets_out: int
    dropped_in: int
    dropped_out: int
    gaps_in: int
    gaps_out: int


class UsageMeter:
    """Counts turns; told of messages by the state machine, of audio by the readers' tallies.

    Attributes:
        audio_in: From the device.
        audio_out: To the device.
        reports: Turns that are over, oldest first: whoever takes them clears the list. At most
            one is added by each message.
        aborts: How often the device broke in.
        calls: Calls of tools by servers.
    """

    def __init__(self) -> None:
        self.audio_in = AudioTally()
        self.audio_out = AudioTally()
        self.reports: list[TurnReport] = []
        self.aborts = 0
        self.calls = 0
        self._turns = 0
        self._calls_s: tuple[float, ...] = ()
        self._stopped_at: float | None = None  # of what has not been understood yet
        self._listened_at: float | None = None  # start or stop, of what is not understood yet
        self._begun_at: float | None = None  # of the turn that runs
        self._stt_s: float | None = None
        self._spoke_at: float | None = None
        self._in_us = self._out_us = self._gaps_out = self._calls = 0  # reported so far

    @property
    def turn_runs(self) -> bool:
        """Whether a turn has begun and not ended."""
        return self._begun_at is not None

    @property
    def heard_until(self) -> float:
        """Until when the device counts as being heard, unless it is understood before."""
        times = [at for at in (self._listened_at, self.audio_in.first_at) if at is not None]
        return max(times, default=-math.inf) + UTTERANCE_S

    def listening(self, now: float) -> None:
        """``listen start``. What was said before it, and not understood, was no utterance."""
        self._stopped_at = None
        self._listened_at = now
        self.audio_in.restart()

    def stopped(self, now: float) -> None:
        """``listen stop``: the device has said what it had to say."""
        self._stopped_at = self._listened_at = now

    def heard(self, now: float) -> None:
        """``stt``: the server has understood. A turn that still runs will not be answered."""
        self._end(TurnEnd.ABORTED, now)
        stopped = self._stopped_at
        self._begun_at = now if stopped is None else stopped
        self._stt_s = None if stopped is None else now - stopped
        self._understood()
        self.audio_out.restart()

    def speaking(self, now: float) -> None:
        """``tts start``; where nothing was heard before it, the server speaks by itself."""
        if self._begun_at is None:
            self._begun_at = now
            self.audio_out.restart()
        if self._spoke_at is None:
            self._spoke_at = now

    def spoken(self, now: float) -> None:
        """``tts stop``: the turn is over. One without a beginning, a second one, ends nothing."""
        if self._begun_at is not None:  # else it is late, and something new is being said
            self._understood()
        self._end(TurnEnd.DONE, now)

    def aborted(self, now: float) -> None:
        """The device's ``abort``."""
        self.aborts += 1
        self._understood()
        self._end(TurnEnd.ABORTED, now)

    def lost(self, now: float) -> None:
        """The server is gone: an utterance that it was to answer is over.

        What the device still says, the next one hears.
        """
        if self._stopped_at is not None:
            self._understood()
        self._end(TurnEnd.LOST, now)

    def cut(self, now: float) -> None:
        """The session is over."""
        self._understood()
        self._end(TurnEnd.CUT, now)

    def called(self) -> None:
        """A server has called a tool."""
        self.calls += 1

    def answered(self, took_s: float) -> None:
        """The device has answered such a call, so long after it came."""
        if len(self._calls_s) < TIMED_MAX:
            self._calls_s += (took_s,)

    def totals(self) -> Totals:
        """The session so far."""
        incoming, outgoing = self.audio_in, self.audio_out
        return Totals(
            turns=self._turns,
            aborts=self.aborts,
            calls=self.calls,
            audio_in_s=incoming.seconds,
            audio_out_s=outgoing.seconds,
            unreported_in_s=(incoming.microseconds - self._in_us) * _US,
            unreported_out_s=(outgoing.microseconds - self._out_us) * _US,
            packets_in=incoming.packets,
            packets_out=outgoing.packets,
            dropped_in=incoming.dropped,
            dropped_out=outgoing.dropped,
            gaps_in=incoming.gaps,
            gaps_out=outgoing.gaps,
        )

    def _understood(self) -> None:
        """What the device has said is waited for no more."""
        self._stopped_at = self._listened_at = None
        self.audio_in.restart()

    def _end(self, ended_by: TurnEnd, now: float) -> None:
        since, spoke, first = self._begun_at, self._spoke_at, self.audio_out.first_at
        if since is None:
            return
        incoming, outgoing = self.audio_in.microseconds, self.audio_out.microseconds
        self._turns += 1
        self.reports.append(
            TurnReport(
                number=self._turns,
                ended_by=ended_by,
                started_at=since,
                ended_at=now,
                audio_in_s=(incoming - self._in_us) * _US,
                audio_out_s=(outgoing - self._out_us) * _US,
                stt_s=self._stt_s,
                first_audio_s=None if first is None else first - since,
                speaking_s=None if spoke is None else now - spoke,
                gaps_out=self.audio_out.gaps - self._gaps_out,
                calls=self.calls - self._calls,
                calls_s=self._calls_s,
            )
        )
        self._calls_s = ()
        self._in_us, self._out_us = incoming, outgoing
        self._gaps_out, self._calls = self.audio_out.gaps, self.calls
        self._begun_at = self._stt_s = self._spoke_at = None
