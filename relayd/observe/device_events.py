"""What happens to devices, beside what happens in every session; handed round by the bus."""

from __future__ import annotations

import enum

import attrs

from relayd.observe.facts import SessionFacts


@attrs.frozen(kw_only=True)
class DeviceGreeted:
    """A server has answered a device's hello. ``hello_ms`` is how long that took."""

    session: SessionFacts
    hello_ms: float


@attrs.frozen(kw_only=True)
class DeviceContextLost:
    """A device's server was lost, and with it what it remembered; the device stays.

    Attributes:
        session: With the account that was lost.
        lost: How many the session has lost, this one counted.
        cause: How, in a word of relayd's own.
        close_code: Of the server's Close, where it sent one with a code.
        speaking: Whether it was speaking.
        calls_failed: Calls of tools whose end it does not hear.
    """

    session: SessionFacts
    lost: int
    cause: str
    close_code: int | None
    speaking: bool
    calls_failed: int


@attrs.frozen(kw_only=True)
class DeviceRejoined:
    """Another server has taken over: the account of ``session``.

    Attributes:
        lost_ms: From the loss to its hello.
        packets_dropped: Of the audio held meanwhile, what there was no room for.
    """

    session: SessionFacts
    lost_ms: float
    packets_dropped: int


@attrs.frozen(kw_only=True)
class DeviceTurnEnded:
    """An utterance and its answer are over: what :class:`TurnEnded` has no place for.

    Attributes:
        stt_ms: From where the device had said what it had to say to where it was understood.
        first_audio_ms: From there to the first audio of the answer.
        speaking_ms: How long the server spoke.
        gaps: How often its audio came late.
        calls: Calls of the device's tools.
        calls_ms: How long each of them took that was answered.
    """

    session: SessionFacts
    reason: str
    audio_in_s: float
    audio_out_s: float
    stt_ms: float | None
    first_audio_ms: float | None
    speaking_ms: float | None
    gaps: int
    calls: int
    calls_ms: tuple[float, ...] = ()


@attrs.frozen(kw_only=True)
class DeviceEnded:
    """A device's session is over: what :class:`SessionEnded` has no place for.

    Attributes:
        losses: Servers that the device has outlived.
        dropped_in: Packets of audio from the device whose size was wrong; likewise the other one.
        gaps_in: How often its audio came late; likewise.
    """

    session: SessionFacts
    hello_ms: float | None
    losses: int
    turns: int
    aborts: int
    calls: int
    audio_in_s: float
    audio_out_s: float
    packets_in: int
    packets_out: int
    dropped_in: int
    dropped_out: int
    gaps_in: int
    gaps_out: int


class DeviceCommand(enum.StrEnum):
    """What an operator has a device do."""

    KICK = "kick"
    REBOOT = "reboot"
    ALERT = "alert"


@attrs.frozen(kw_only=True)
class DeviceCommanded:
    """An operator's word has been sent to a device."""

    session: SessionFacts
    device_id: str
    command: DeviceCommand


@attrs.frozen(kw_only=True)
class DeviceToolCalled:
    """An operator called a tool of a device; with what, and what it answered, is not told.

    Attributes:
        outcome: As in the log: ``answered``, ``failed``, ``timed_out``, ``refused``,
            ``abandoned``.
    """

    session: SessionFacts
    device_id: str
    tool: str
    outcome: str
    duration_ms: float


DeviceEvent = (
    DeviceGreeted
    | DeviceContextLost
    | DeviceRejoined
    | DeviceTurnEnded
    | DeviceEnded
    | DeviceCommanded
    | DeviceToolCalled
)
