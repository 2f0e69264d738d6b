"""What stands between a session and its present server, whatever carries it there.

A session finds servers through a :class:`Finder` and speaks with one at a time through its
:class:`Carrier`. Texts go through the session, which decides about each; audio goes past it once
the carrier has been joined to the device. Another transport is another pair of these.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from relayd.config.snapshot import Account
from relayd.dialect.xiaozhi_actions import Hangup, Loss
from relayd.dialect.xiaozhi_frames import AudioFrame
from relayd.protocol.outcomes import Crash, Violation

if TYPE_CHECKING:
    from relayd.session.xiaozhi.device import DeviceSide


@attrs.frozen
class Said:
    """The server has sent a text."""

    text: bytes = attrs.field(repr=False)


@attrs.frozen
class Gone:
    """The server has gone. ``code`` is of its Close, where it sent one with a code."""

    loss: Loss
    code: int | None = None


Heard: TypeAlias = Said | Gone | Violation | Crash
"""What a server does that a session has to know."""


class Carrier(Protocol):
    """One server, connected. It belongs to one session, which parts with it exactly once."""

    @property
    def account(self) -> Account:
        """Whose server it is."""

    @property
    def version(self) -> int:
        """The framing of audio that it speaks."""

    @property
    def connect_ms(self) -> float:
        """How long it took to be connected."""

    async def hear(self) -> Heard:
        """What the server does next. Behind all but :class:`Said` nothing follows.

        Cancelling it loses nothing.
        """

    def say(self, text: bytes, now: float) -> bool:
        """Send a text; ``False``, and nothing was sent, where the process has no room for it."""

    def say_audio(self, packets: Collection[AudioFrame], now: float) -> None:
        """Send Opus packets that were held, oldest first, framed as the server has it."""

    def join(self, device: DeviceSide) -> None:
        """Let audio pass, both ways, from now on."""

    def greeted(self, hello_s: float, now: float) -> None:
        """The server has said hello, so long after it was connected: the account is in order."""

    def look(self, now: float) -> float | None:
        """Do what is due by time; when to be called again, ``None`` where the server is lost."""

    def part(self, code: int, now: float) -> None:
        """Let go of the server: it is told ``code`` where it can be, and nothing is awaited."""

    def blame(self, hangup: Hangup, said: str, now: float) -> None:
        """Tell routing why it is let go of before its hello, then :meth:`part`."""

    @property
    def passed(self) -> tuple[int, int]:
        """Messages that went past the session to the device, and their payload bytes."""


class Finder(Protocol):
    """Finds servers for one device."""

    @property
    def full(self) -> bool:
        """Whether the last search tried nobody, since those that there are have no room."""

    async def find(self, deadline: float) -> Carrier | None:
        """The next server of the device's order that can be connected, by ``deadline``.

        One that it has tried before is not tried again until :meth:`start_over`. ``None`` where
        there is none. Cancelling it opens nothing.
        """

    def settled(self) -> None:
        """The server that was found has said hello: what was tried before it is forgotten."""

    def start_over(self, last: str) -> None:
        """All servers count again; ``last`` and those that were tried stand behind the others."""
