"""What a flow tells the outside: events for the task of its direction, actions from its reader.

A flow never raises for something a peer did. It stops, keeps what it has not consumed, and
leaves one event; the task that owns the direction is woken with it.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from relayd.core.endings import Reason


@attrs.frozen
class PeerClosed:
    """The peer sent a Close frame. ``code`` is ``None`` for an empty one (1005)."""

    code: int | None
    reason: str


@attrs.frozen
class EndOfStream:
    """The peer's bytes ended without a Close frame, or the connection broke (1006).

    Attributes:
        mid_frame: Whether the end came inside a frame.
        error: The operating system's word for it, where there is one.
    """

    mid_frame: bool = False
    error: str | None = None


@attrs.frozen
class Violation:
    """The peer broke a rule: ``reason`` says which, ``message`` what was seen."""

    reason: Reason
    message: str

    @classmethod
    def overload(cls) -> Violation:
        """The process holds as many bytes as it may."""
        return cls(Reason.OVERLOAD, "limits.hold_max_bytes is reached in this process")


@attrs.frozen
class Crash:
    """A bug: serving this endpoint raised ``error``."""

    error: Exception


class Decision(Protocol):
    """A question that takes time; asked by the task, never in the pass."""

    async def wait(self) -> Action | None:
        """The action once it is known; ``None`` forwards the message."""


@attrs.frozen
class Waiting:
    """A message is held until ``decision`` is made; then the flow is resumed with the result."""

    decision: Decision


@attrs.frozen
class Notice:
    """A message that the session asked to hear of has just been forwarded."""

    name: str


@attrs.frozen
class Taken:
    """A client's message for its task: the reader's action, and the event the task is woken with.

    The flow keeps ``payload`` counted in the hold budget until the task is given the event. From
    then on it is the task's: whoever is done with it gives ``len(payload)`` back.

    Attributes:
        payload: Unmasked; nothing of it is sent on.
    """

    payload: bytes


Event = PeerClosed | EndOfStream | Violation | Crash | Waiting | Notice | Taken


@attrs.frozen
class Drop:
    """The message goes no further; ``reply``, a text payload, answers its sender."""

    reply: bytes | None = None


@attrs.frozen
class Replace:
    """Another payload is sent in the message's place."""

    payload: bytes


Action = Drop | Replace | Waiting | Violation | Taken
"""What a reader may want other than forwarding, which is ``None``."""


@attrs.frozen
class Instead:
    """What an :class:`EventReader` may want for a message: another one, or none, in its place.

    Attributes:
        payload: Sent as it is, also where the flow splices; ``None``: nothing is sent.
        event: The flow stops with it, behind that.
    """

    payload: bytes | None
    event: Notice | Violation | None = None


class Watch(Protocol):
    """Looks at the rest of a message that is already on its way."""

    def feed(self, piece: bytes) -> Violation | None:
        """The next unmasked bytes of the message; a violation ends the session."""


class ClientReader(Protocol):
    """Reads every client message exactly, before it is sent on."""

    def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
        """Decide about one whole message."""

    def release(self, head: bytes) -> Watch | None:
        """A watch, if ``head`` proves that the unfinished message may be sent on; else ``None``.

        Asked once of a text message, when it has grown past 64 KiB.
        """


class UpstreamReader(Protocol):
    """Reads the upstream messages that matter; all of them are sent on as they are."""

    proof: bytes
    """A message that starts with these bytes does not matter. Never empty."""

    def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
        """Look at one whole text message that ``proof`` did not settle."""

    def harmless(self, head: bytes | bytearray) -> bool:
        """Whether ``head`` proves that the unfinished message does not matter."""

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | None:
        """A message that may matter grew past what is copied aside; ``head`` is its beginning.

        The notice is given when the message has been sent on whole.
        """


class EventReader(Protocol):
    """Reads a pooled upstream's messages; all of them are text."""

    proof: bytes
    """A message that starts with these bytes is sent on unseen. Never empty; a NUL fits none."""

    def message(
        self, payload: bytes | bytearray, now: float
    ) -> Notice | Violation | Instead | None:
        """Decide about one whole message that ``proof`` did not settle, before it is sent on.

        Returns:
            ``None`` and a :class:`Notice` send it on, the flow stops behind it with the latter. A
            :class:`Violation` sends nothing of it, and :class:`Instead` says what goes instead.
        """

    def harmless(self, head: bytes | bytearray) -> bool:
        """Whether ``head`` proves that the unfinished message, over 1 MiB, need not be read.

        Asked once, with 512 bytes.
        """

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | Violation | None:
        """A message that is not harmless grew past 4 MiB; ``head`` is what came of it, unsent.

        A violation sends nothing of it. Otherwise it is sent on unread, and the notice is given
        when that has been done whole.
        """


class Counts(Protocol):
    """What a flow has sent on; a :class:`~relayd.protocol.flow.Flow` is one."""

    @property
    def messages(self) -> int:
        """Whole messages, without the one that is being read."""

    @property
    def bytes(self) -> int:
        """Their payload bytes."""


class CountingReader(UpstreamReader, Protocol):
    """Knows also of the messages that its proof kept from it, how many they were and how long.

    Attributes:
        counts: Of the flow that it reads, set by whoever makes that; exact whenever the reader
            is called. While it is ``None`` nothing is known of what was not read.
    """

    counts: Counts | None
