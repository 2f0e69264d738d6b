"""A device's session as others see it: its turns, what was sent, what an operator reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from relayd.dialect.meter import Refuse
from relayd.dialect.xiaozhi_state import Machine
from relayd.dialect.xiaozhi_usage import UsageMeter
from relayd.observe.bus import SessionFacts
from relayd.session.xiaozhi.admission import XiaozhiGrant


@attrs.define(eq=False)
class DeviceTurns:
    """A :class:`~relayd.dialect.base.Timed` over what the dialect counts.

    Turns have no clock here: a device waits, or breaks in, as its user likes.
    """

    _usage: UsageMeter
    _time: Callable[[], float] = trio.current_time
    tell_idle: bool = False
    closed_to_turns: Refuse | None = None

    @property
    def busy(self) -> bool:
        """Whether the device is being heard or answered."""
        return self._usage.turn_runs or self._time() < self.heard_until

    @property
    def heard_until(self) -> float:
        """Until when it counts as being heard, by the session's clock."""
        return self._usage.heard_until

    @property
    def busy_since(self) -> float | None:
        """See :class:`~relayd.dialect.base.Timed`."""
        return None


class Passing(Protocol):
    """A server, as far as what went past the session is concerned."""

    @property
    def passed(self) -> tuple[int, int]:
        """Messages, and their payload bytes."""


@attrs.define(eq=False)
class Downstream:
    """What the device was sent: texts, and audio of all servers, of which one is there now."""

    said: list[int]
    carrier: Passing | None = None
    _messages: int = 0
    _bytes: int = 0

    @property
    def flow(self) -> Downstream:
        """Itself: it counts as the flow of one upstream would."""
        return self

    def gone(self) -> None:
        """The present server is gone; what it sent stays counted."""
        if self.carrier is not None:
            messages, size = self.carrier.passed
            self._messages += messages
            self._bytes += size
            self.carrier = None

    @property
    def messages(self) -> int:
        """Whole messages."""
        passed = 0 if self.carrier is None else self.carrier.passed[0]
        return self.said[0] + self._messages + passed

    @property
    def bytes(self) -> int:
        """Their payload bytes."""
        passed = 0 if self.carrier is None else self.carrier.passed[1]
        return self.said[1] + self._bytes + passed


@attrs.frozen(kw_only=True)
class Presence:
    """One device that is here, at one moment.

    Attributes:
        device_id: What it calls itself; likewise ``client_id``.
        tenant: Whose it is; ``key`` is the key that it counts to.
        account: Its server; "" while it has none.
        phase: How far its session is.
        talk: Whose turn it is to speak.
        version: The framing of its audio.
        from_gateway: Whether an MQTT gateway speaks for it.
        since_s: How long it has been here, in seconds.
        hello_ms: From its hello to the answer; ``None`` before.
        losses: Servers that it has outlived.
        audio_in_s: Seconds of audio from it; likewise ``audio_out_s`` to it.
        dropped: Messages that went no further, by why.
    """

    device_id: str
    client_id: str
    session_id: str
    tenant: str
    key: str
    account: str
    client_address: str
    phase: str
    talk: str
    version: int
    from_gateway: bool
    has_tools: bool
    since_s: float
    hello_ms: float | None
    losses: int
    turns: int
    audio_in_s: float
    audio_out_s: float
    dropped: dict[str, int]


@attrs.define(eq=False)
class Drops:
    """Messages that went no further, by why: the dialect has few words for that."""

    counts: Counter[str] = attrs.field(factory=Counter)

    def note(self, why: str) -> None:
        """One more."""
        self.counts[why] += 1


def presence_of(
    granted: XiaozhiGrant,
    machine: Machine,
    facts: SessionFacts,
    *,
    client_address: str,
    has_server: bool,
    since_s: float,
    drops: Drops,
) -> Presence:
    """One session's device as it is now."""
    talk, identity, hello_s = machine.conversation, granted.identity, machine.hello_s
    totals = talk.usage.totals()
    return Presence(
        device_id=identity.device_id,
        client_id=identity.client_id,
        session_id=facts.session_id,
        tenant=facts.tenant,
        key=facts.key,
        account=facts.account if has_server else "",
        client_address=client_address,
        phase=machine.phase.value,
        talk=talk.talk.value,
        version=granted.version,
        from_gateway=granted.from_gateway,
        has_tools=machine.has_mcp,
        since_s=since_s,
        hello_ms=None if hello_s is None else hello_s * 1000,
        losses=machine.losses,
        turns=totals.turns,
        audio_in_s=totals.audio_in_s,
        audio_out_s=totals.audio_out_s,
        dropped=dict(drops.counts),
    )
