"""What a device's session is asked to do: values that the state machine yields, in order.

The session carries them out one by one, without an await between those of one call, and decides
nothing: which server is dialled is routing's, how a payload is framed is the flow's, when something
is due is the machine's (:mod:`relayd.dialect.xiaozhi_state`). A :class:`Dial` stands last and takes
its time elsewhere.
"""

from __future__ import annotations

import enum

import attrs

from relayd.core.endings import Reason
from relayd.dialect.xiaozhi_frames import AudioFrame


class Loss(enum.StrEnum):
    """How a server was lost, as far as it decides whether another one is looked for."""

    CLOSED = "closed"  # it sent a Close; the code says the rest
    CONNECTION = "connection"  # reset, or ended without a Close (1006)
    TIMEOUT = "timeout"  # silent, stalled, or no pong


class Hangup(enum.StrEnum):
    """Why relayd lets go of a server before its hello: what routing is told."""

    REFUSED = "refused"  # it answered in plain text, such as a wrong token
    NO_HELLO = "no_hello"  # it has not answered within its time
    LOST = "lost"  # it went away first
    BAD_HELLO = "bad_hello"  # its hello cannot be understood


@attrs.frozen
class Dial:
    """Find a server and connect to it; then :meth:`Machine.dialled` or :meth:`Machine.undialled`.

    Attributes:
        generation: Names this server from now on, in every call about it.
        again: Whether servers that were tried count again: so behind the delay that follows a loss.
        deadline: When it must be connected, by the clock of ``now``.
    """

    generation: int
    again: bool
    deadline: float


@attrs.frozen
class ToServer:
    """Send a text message to the server."""

    payload: bytes = attrs.field(repr=False)


@attrs.frozen
class ToDevice:
    """Send a text message to the device."""

    payload: bytes = attrs.field(repr=False)


@attrs.frozen
class AudioToServer:
    """Send audio that was held while there was no server.

    Attributes:
        packets: Opus, oldest first, to be framed as the server has it.
    """

    packets: tuple[AudioFrame, ...]


@attrs.frozen
class Join:
    """The server has said hello: from here on audio passes between it and the device.

    It stands behind all that goes out before live audio, so that nothing overtakes that.
    """

    generation: int


@attrs.frozen
class Part:
    """The server is gone or given up: no audio passes, and its socket is to be closed.

    Attributes:
        code: The Close code that it is sent, where it can be sent one.
        hangup: What routing is told of a server that never said hello; ``None`` behind a hello.
        said: Of a server that refused: its words, cut, still to be redacted.
        holds: Whether the device's audio is held from now on, for the next server; else dropped.
    """

    generation: int
    code: int = 1000
    hangup: Hangup | None = None
    said: str = attrs.field(default="", repr=False)
    holds: bool = False


@attrs.frozen
class ContextLost:
    """A server was lost, and with it what it remembered: ``xiaozhi.context_lost``.

    Attributes:
        lost: How many so far in this session, this one counted.
        loss: How.
        code: Its Close code, where it sent one.
        speaking: Whether it was speaking.
        calls_failed: Calls of tools that it had open and will not hear the end of.
    """

    lost: int
    loss: Loss
    code: int | None
    speaking: bool
    calls_failed: int


@attrs.frozen
class Rejoined:
    """Another server has taken over. Stands behind :class:`Join`.

    Attributes:
        lost_s: From the loss to its hello.
        packets_dropped: Audio of the device that did not fit what is held.
    """

    lost_s: float
    packets_dropped: int


@attrs.frozen
class Dropped:
    """A message went no further; ``why`` is one of few words, for counting.

    Attributes:
        from_device: Which side it came from.
    """

    why: str
    from_device: bool


@attrs.frozen
class Called:
    """A call of relayd's own has been answered, or has failed.

    Attributes:
        call_id: As :meth:`Machine.call` gave it.
        answer: The JSON-RPC response, with ``result`` or ``error``.
    """

    call_id: int
    answer: bytes = attrs.field(repr=False)


@attrs.frozen
class End:
    """The session is over. Nothing follows.

    Attributes:
        reason: Why; its ending says what each side is told.
        code: The server's own Close code, which travels on to the device; ``None`` for 1005.
    """

    reason: Reason
    message: str = ""
    code: int | None = None


Step = (
    Dial
    | ToServer
    | ToDevice
    | AudioToServer
    | Join
    | Part
    | ContextLost
    | Rejoined
    | Dropped
    | Called
    | End
)
"""What a session does, one after the other."""
