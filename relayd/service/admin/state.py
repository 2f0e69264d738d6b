"""What the admin API looks at and acts on, as values and callables that relayd is wired to."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import attrs
import msgspec

from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason
from relayd.dialect.base import Timed
from relayd.observe.metrics_text import TextFormat
from relayd.pool.statistics import AccountPool
from relayd.protocol.outcomes import Counts
from relayd.service.admin.usage import Spent
from relayd.service.difference import ReloadOutcome
from relayd.session.connecting import Connector
from relayd.session.limits import Limits
from relayd.session.reporter import Reporter
from relayd.session.xiaozhi.views import Presence


class LiveEndpoint(Protocol):
    """One side of a session."""

    @property
    def flow(self) -> Counts | None:
        """Counts what this side sends; ``None`` while it is not relayed."""


class LiveSession(Protocol):
    """A session that runs, as far as it is shown; see :class:`relayd.session.session.Session`."""

    @property
    def reporter(self) -> Reporter:
        """Who and where, and what it has used."""

    @property
    def conversation(self) -> Timed:
        """Whether a turn runs."""

    @property
    def client_address(self) -> str:
        """Where its client is."""

    @property
    def client(self) -> LiveEndpoint:
        """Its flow counts what goes to the upstream."""

    @property
    def upstream(self) -> LiveEndpoint:
        """Its flow counts what goes to the client."""

    @property
    def leaving(self) -> Reason | None:
        """Why it ends as soon as no turn runs, or is ending now."""

    def kill(self) -> None:
        """End it at once, as ``killed``."""


class LiveDevice(Protocol):
    """A device that is here; see :class:`relayd.session.xiaozhi.session.XiaozhiSession`."""

    @property
    def reporter(self) -> Reporter:
        """Whose session it is."""

    def kill(self) -> None:
        """End it at once, as ``killed``."""

    def reboot(self) -> None:
        """Let the device start anew. Raises ``DeviceBusy``."""

    def alert(self, status: str, message: str, emotion: str) -> None:
        """Show something on the device. Raises ``DeviceBusy``."""


class Devices(Protocol):
    """All of them; see :class:`relayd.session.xiaozhi.desk.DeviceDesk`, for what is raised, too."""

    def devices(self) -> Sequence[Presence]:
        """Each at this moment, in the order in which they came."""

    def find(self, device_id: str, tenant: str | None = None) -> LiveDevice:
        """One of them."""

    def alert_all(
        self, *, status: str, message: str, emotion: str, tenant: str | None = None
    ) -> tuple[int, int]:
        """Show something on all; how many were told, and how many do not read."""

    async def tools(self, device_id: str, tenant: str | None = None) -> list[msgspec.Raw]:
        """A device's tools, as it spells them."""

    def check_tool(self, name: str) -> None:
        """Raise ``ToolNotAllowed`` unless a tool may be called from here."""

    async def call(
        self, device_id: str, name: str, arguments: msgspec.Raw, tenant: str | None = None
    ) -> bytes:
        """Call a tool; the JSON-RPC response."""


@attrs.frozen(kw_only=True)
class Operations:
    """Everything beyond the probes.

    Attributes:
        snapshot: The configuration in force.
        path: The file it was read from; ``None`` where there is none.
        loaded_at: When, in seconds since the epoch.
        sessions: The running ones by id, in the order in which they began.
        connector: Knows the accounts, and dials them.
        pools: Each account's sockets, by the account's name.
        limits: What keys may use, and do.
        spent: What of a key's budget is spent and set aside.
        metrics: The Prometheus exposition, in pieces.
        draining: Whether relayd accepts nothing new.
        drain: Stop accepting, and end when the sessions have. Calling again changes nothing.
        reload: Read the configuration again; a second call waits for the first.
        wall: Seconds since the epoch.
        devices: Those that are here; ``None`` where none are served.
    """

    snapshot: Callable[[], Snapshot]
    path: Path | None
    loaded_at: Callable[[], float]
    sessions: Mapping[str, LiveSession]
    connector: Connector
    pools: Callable[[], Sequence[AccountPool]]
    limits: Limits
    spent: Spent
    metrics: Callable[[TextFormat], AsyncIterable[bytes]]
    draining: Callable[[], bool]
    drain: Callable[[], None]
    reload: Callable[[], Awaitable[ReloadOutcome]]
    wall: Callable[[], float]
    devices: Devices | None = None
