"""What a session needs of any dialect: two readers, whether a turn runs, words for an error."""

from __future__ import annotations

from typing import Protocol

from relayd.core.endings import Reason
from relayd.dialect.meter import Refuse
from relayd.protocol.outcomes import ClientReader, CountingReader


class Timed(Protocol):
    """What a session's clock looks at.

    Attributes:
        tell_idle: Ask for a notice when the last running turn has ended.
        closed_to_turns: While set, a new turn is refused with it.
    """

    tell_idle: bool
    closed_to_turns: Refuse | None

    @property
    def busy(self) -> bool:
        """Whether a turn is asked for or running."""

    @property
    def busy_since(self) -> float | None:
        """When the oldest such turn was asked for; ``None`` too where turns have own clocks."""


class Conversation(Timed, Protocol):
    """The state of one session in its dialect."""

    @property
    def client_reader(self) -> ClientReader | None:
        """Reads the client's messages; ``None`` sends them on unread."""

    @property
    def upstream_reader(self) -> CountingReader | None:
        """Reads the upstream's messages; ``None`` sends them on unread."""

    def error_event(self, kind: str, code: str, message: str) -> bytes:
        """An error as the client's protocol tells one; empty where it has no way to."""

    def cut_short(self, reason: Reason, now: float) -> None:
        """The session is over: so is every turn that still runs."""
