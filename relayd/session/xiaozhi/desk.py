"""The devices that are here: one session for each, and what an operator may ask of them.

A device is known by its tenant and its id: nobody takes the place of another tenant's device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import msgspec
import trio

from relayd.config.patterns import Patterns
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_mcp import PAGES_MAX
from relayd.dialect.xiaozhi_rpc import TOOLS_LIST
from relayd.observe.bus import Bus
from relayd.pool.parting import Partings
from relayd.session.books import Books
from relayd.session.connecting import Connector
from relayd.session.xiaozhi.admission import XiaozhiGrant
from relayd.session.xiaozhi.allowance import Allowances
from relayd.session.xiaozhi.asking import DeviceBusy
from relayd.session.xiaozhi.dialling import Means
from relayd.session.xiaozhi.session import XiaozhiSession
from relayd.session.xiaozhi.tokens import ServerTokens
from relayd.session.xiaozhi.views import Presence
from relayd.session.xiaozhi.websocket import Surroundings
from relayd.state.store import Store
from relayd.transport.reactor import Reactor

TOOL_MAX_CHARS: Final = 128

MAKES_WAY_S: Final = 3.0
"""How long a device that comes back waits for its session of before to be gone, at most."""

_encode: Final = msgspec.json.encode


class NoSuchDevice(Exception):
    """No device of that id is here."""


class SeveralDevices(Exception):
    """Devices of several tenants have that id: the tenant has to be named."""


class ToolNotAllowed(Exception):
    """``xiaozhi.tools_allowed`` does not name that tool."""


class ToolsUnknown(Exception):
    """The device has not said which tools it has, or not in a way that can be read."""


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Listing(msgspec.Struct):
    tools: list[msgspec.Raw] = []
    nextCursor: str | None = None


class _Response(msgspec.Struct):
    result: _Listing | None = None
    error: _Error | None = None


@attrs.define(eq=False, kw_only=True)
class DeviceDesk:
    """One per process.

    Attributes:
        snapshot: The configuration in force; :meth:`apply` changes it.
        means: What servers are found with.
        allowances: What each device may use.
    """

    reactor: Reactor
    hold: HoldBudget
    bus: Bus
    books: Books
    means: Means
    snapshot: Snapshot
    allowances: Allowances = attrs.field(init=False)
    _sessions: dict[tuple[str, str], XiaozhiSession] = attrs.field(factory=dict, init=False)
    _sockets: dict[tuple[str, str], trio.Event] = attrs.field(factory=dict, init=False)

    @allowances.default
    def _of_the_limits(self) -> Allowances:
        return Allowances(limits=self.books.limits)

    @classmethod
    def of(
        cls,
        *,
        reactor: Reactor,
        books: Books,
        connector: Connector,
        partings: Partings,
        store: Store,
        snapshot: Snapshot,
    ) -> DeviceDesk:
        """The desk of a process.

        Args:
            reactor: Serves the sockets.
            books: Ledger and limits.
            connector: Opens sockets to servers, and has the roster of accounts.
            partings: Where servers are told goodbye; somebody runs it.
            store: Where tokens are that servers gave for devices.
            snapshot: The configuration in force.
        """
        surroundings = Surroundings(reactor=reactor, partings=partings, connector=connector)
        means = Means(surroundings=surroundings, tokens=ServerTokens(store), wall=books.wall)
        return cls(
            reactor=reactor,
            hold=connector.hold,
            bus=connector.bus,
            books=books,
            means=means,
            snapshot=snapshot,
        )

    @property
    def tokens(self) -> ServerTokens:
        """Those that servers gave for devices: kept by whoever relays their settings."""
        return self.means.tokens

    def __len__(self) -> int:
        """How many devices are here."""
        return len(self._sessions)

    def apply(self, snapshot: Snapshot) -> None:
        """Go by another configuration. Sessions are told of it by themselves, afterwards."""
        self.snapshot = snapshot

    # -- sessions

    async def make_way(self, granted: XiaozhiGrant) -> Callable[[], None]:
        """End the session that a device has, and wait until it has given back what it held.

        A device that lost its network comes back long before its old socket is known to be dead,
        and must not be refused for the room that this takes. It waits :data:`MAKES_WAY_S` at most.

        Returns:
            What is to be called once the new socket has given back what it holds.
        """
        name = granted.grant.key.tenant, granted.identity.device_id
        before, socket = self._sessions.get(name), self._sockets.get(name)
        if before is not None:
            before.kill(Reason.DEVICE_REPLACED)
        if socket is not None:
            with trio.move_on_after(MAKES_WAY_S):
                await socket.wait()
        gone = self._sockets[name] = trio.Event()

        def give_back() -> None:
            gone.set()
            if self._sockets.get(name) is gone:
                del self._sockets[name]

        return give_back

    def enter(self, session: XiaozhiSession) -> None:
        """A device has come. Its session of before ends: a device has one socket."""
        name = _name(session)
        before, self._sessions[name] = self._sessions.get(name), session
        if before is not None:
            before.kill(Reason.DEVICE_REPLACED)

    def leave(self, session: XiaozhiSession) -> None:
        """A device's session is over. Calling this again does nothing."""
        name = _name(session)
        if self._sessions.get(name) is session:
            del self._sessions[name]

    # -- operators

    def devices(self) -> tuple[Presence, ...]:
        """All devices that are here, in the order in which they came."""
        now = trio.current_time()
        return tuple(session.presence(now) for session in self._sessions.values())

    def find(self, device_id: str, tenant: str | None = None) -> XiaozhiSession:
        """The session of a device.

        Args:
            device_id: What it calls itself; of a MAC address in any spelling.
            tenant: Whose it is; ``None``: the only one of that id.

        Raises:
            NoSuchDevice: It is not here.
            SeveralDevices: Several tenants have one of that id.
        """
        wanted = device_id.lower()
        found = [
            session
            for (owner, name), session in self._sessions.items()
            if name.lower() == wanted and tenant in {None, owner}
        ]
        if not found:
            raise NoSuchDevice(device_id)
        if len(found) > 1:
            raise SeveralDevices(device_id)
        return found[0]

    def kick(self, device_id: str, tenant: str | None = None) -> None:
        """End a device's session. Raises as :meth:`find`."""
        self.find(device_id, tenant).kill()

    def reboot(self, device_id: str, tenant: str | None = None) -> None:
        """Let a device start anew. Raises as :meth:`find`, and :class:`DeviceBusy`."""
        self.find(device_id, tenant).reboot()

    def alert(
        self,
        device_id: str,
        *,
        status: str,
        message: str,
        emotion: str,
        tenant: str | None = None,
    ) -> None:
        """Show something on a device. Raises as :meth:`find`, and :class:`DeviceBusy`."""
        self.find(device_id, tenant).alert(status, message, emotion)

    def alert_all(
        self, *, status: str, message: str, emotion: str, tenant: str | None = None
    ) -> tuple[int, int]:
        """Show something on every device, of one tenant where one is named.

        Returns:
            How many were told, and how many do not read what they are sent.
        """
        told = busy = 0
        for (owner, _), session in tuple(self._sessions.items()):
            if tenant not in {None, owner}:
                continue
            try:
                session.alert(status, message, emotion)
            except DeviceBusy:
                busy += 1
            else:
                told += 1
        return told, busy

    async def tools(self, device_id: str, tenant: str | None = None) -> list[msgspec.Raw]:
        """A device's tools, as it spells them: what it told its server, else asked for now.

        Raises:
            NoSuchDevice: As :meth:`find`, as is ``SeveralDevices``.
            NotConnected: It has not been greeted, or is gone; likewise ``TooManyCalls`` and
                ``DeviceBusy``, see :meth:`Asking.ask
                <relayd.session.xiaozhi.asking.Asking.ask>`.
            ToolsUnknown: It did not say.
        """
        session = self.find(device_id, tenant)
        known = session.machine.conversation.mcp.tools()
        if known is not None:
            return known
        found: list[msgspec.Raw] = []
        params = b"{}"
        for _ in range(PAGES_MAX):
            page = _page_in(await session.asking.ask(TOOLS_LIST, params))
            found += page.tools
            if not page.nextCursor:
                return found
            params = _encode({"cursor": page.nextCursor})
        raise ToolsUnknown(f"more than {PAGES_MAX} pages")

    def check_tool(self, name: str) -> None:
        """Raise :class:`ToolNotAllowed` unless a tool may be called from here."""
        allowed = Patterns.of(self.snapshot.settings.xiaozhi.tools_allowed)
        if len(name) > TOOL_MAX_CHARS or not allowed.matches(name):
            raise ToolNotAllowed(name[:TOOL_MAX_CHARS])

    async def call(
        self, device_id: str, name: str, arguments: msgspec.Raw, tenant: str | None = None
    ) -> bytes:
        """Call a tool of a device.

        Args:
            device_id: Which.
            name: The tool's.
            arguments: One JSON object, the caller's to have checked.
            tenant: As for :meth:`find`.

        Returns:
            The JSON-RPC response; an error with −32001 where none came within 10 s.

        Raises:
            ToolNotAllowed: See :meth:`check_tool`.
            NoSuchDevice: As :meth:`tools`, but ``ToolsUnknown``.
        """
        self.check_tool(name)
        session = self.find(device_id, tenant)
        return await session.asking.ask(
            "tools/call", _encode({"name": name, "arguments": arguments})
        )


def _page_in(answer: bytes) -> _Listing:
    try:
        response = msgspec.json.decode(answer, type=_Response)
    except (msgspec.DecodeError, RecursionError):
        raise ToolsUnknown("its answer cannot be read") from None
    if response.result is None:
        why = response.error.message if response.error is not None else "no result"
        raise ToolsUnknown(why)
    return response.result


def _name(session: XiaozhiSession) -> tuple[str, str]:
    return session.key.tenant, session.granted.identity.device_id
