"""Connecting a device to a server: in the device's own order, over to the next where one fails.

An attempt has half of what is left of the time, so that a dead server leaves time for another.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from relayd.config.pricebook import PriceBook
from relayd.config.providers import Dialect
from relayd.config.snapshot import Account, Key, Snapshot
from relayd.core.refusals import RefusalCode
from relayd.dialect.xiaozhi_build import UNKNOWN, Build
from relayd.dialect.xiaozhi_identity import Identity
from relayd.dialect.xiaozhi_tokens import server_token
from relayd.dialect.xiaozhi_usage import AudioTally
from relayd.observe.bus import SessionFacts, UpstreamConnected
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.routing.roster import Seat
from relayd.routing.scheduler import Demand
from relayd.session.attempts import AttemptFailed, failed_over
from relayd.session.connecting import Connector, Opened, Wish
from relayd.session.xiaozhi.admission import asks_build
from relayd.session.xiaozhi.doubts import Doubts
from relayd.session.xiaozhi.routing import is_full, take_seat
from relayd.session.xiaozhi.tokens import ServerTokens
from relayd.session.xiaozhi.websocket import Surroundings, Terms, WebSocketCarrier, handshake
from relayd.state.store import StoreError
from relayd.transport.endpoint import Endpoint
from relayd.transport.errors import DialErrorKind

log = get_logger()


@attrs.frozen(kw_only=True)
class Credential:
    """What relayd presents to a server.

    Attributes:
        token: ``None``: nothing.
        accounts_own: Whether it is the account's own, or made with a key of the account's; not so
            is what a server gave for this device, and nothing.
    """

    token: str | None = attrs.field(repr=False)
    accounts_own: bool


@attrs.frozen(kw_only=True)
class Means:
    """What servers of all devices are found with. One per process.

    Attributes:
        tokens: Those that servers gave for devices.
        wall: Seconds since the epoch.
        doubts: Which devices each account has failed.
    """

    surroundings: Surroundings
    tokens: ServerTokens
    wall: Callable[[], float]
    doubts: Doubts = attrs.field(factory=Doubts)

    @property
    def connector(self) -> Connector:
        """Opens the sockets, and has the roster of accounts."""
        return self.surroundings.connector

    async def credential(self, account: Account, identity: Identity) -> Credential:
        """What is presented at ``account`` for a device.

        A token made here, where the key that they are signed with is known; else the one that the
        server gave; else the account's key.

        Raises:
            StoreError: The second cannot be known now.
        """
        settings = account.xiaozhi
        if settings.auth_key is not None:
            token = server_token(settings.auth_key.reveal(), identity, wall=self.wall())
            return Credential(token=token, accounts_own=True)
        if settings.ota_url is not None:
            kept = await self.tokens.find(account.name, identity)
            if kept is not None:
                return Credential(token=kept or None, accounts_own=False)
        key = account.api_key
        if key is None:
            return Credential(token=None, accounts_own=False)
        return Credential(token=key.reveal(), accounts_own=True)

    async def build(self, identity: Identity) -> Build:
        """What a device is. The store is asked only where a server is for some kinds alone.

        While the store is away the device is one of which nothing is known.
        """
        serving = self.connector.roster.serving(Dialect.XIAOZHI, None)
        if not any(asks_build(standing.account) for standing in serving):
            return UNKNOWN
        try:
            return await self.tokens.find_build(identity)
        except StoreError as error:
            log.error(LogEvent.STATE_FAILED, message=str(error))
            return UNKNOWN


@attrs.define(eq=False, kw_only=True)
class WebSocketFinder:
    """A :class:`~relayd.session.xiaozhi.carrier.Finder` of servers over WebSockets.

    Attributes:
        identity: Which device.
        version: The framing that it speaks.
        tally: Counts the audio that it is sent.
        key: Whose session it is.
        facts: Whose session it is, for those who are told.
        on_blocked: Told when a server takes no more.
    """

    means: Means
    snapshot: Snapshot
    identity: Identity
    version: int
    tally: AudioTally
    key: Key
    facts: Callable[[], SessionFacts]
    message_max_bytes: int
    on_blocked: Callable[[Endpoint], None]
    full: bool = attrs.field(default=False, init=False)
    _build: Build = attrs.field(default=UNKNOWN, init=False)
    _tried: set[str] = attrs.field(factory=set, init=False)
    _last: set[str] = attrs.field(factory=set, init=False)
    _failed: tuple[AttemptFailed, SessionFacts] | None = attrs.field(default=None, init=False)

    def settled(self) -> None:
        """See :class:`~relayd.session.xiaozhi.carrier.Finder`."""
        self._tried.clear()
        self._last.clear()
        self._failed = None

    def start_over(self, last: str) -> None:
        """See :class:`~relayd.session.xiaozhi.carrier.Finder`."""
        self._last |= {last, *self._tried}
        self._tried.clear()
        self._failed = None

    async def find(self, deadline: float) -> WebSocketCarrier | None:
        """See :class:`~relayd.session.xiaozhi.carrier.Finder`."""
        began = trio.current_time()
        self._build = await self.means.build(self.identity)
        while (now := trio.current_time()) < deadline:
            seat = take_seat(
                self.means.connector.roster,
                self.identity.device_id,
                self.key,
                self._prices,
                build=self._build,
                now=now,
                tried=self._tried,
                last=self._last,
            )
            if seat is None:
                self.full = not self._tried and self._has_no_room(now)
                await trio.lowlevel.checkpoint()
                return None
            carrier = await self._attempt(seat, deadline)
            if carrier is not None:
                facts = attrs.evolve(self.facts(), account=seat.account.name)
                wait_ms = (trio.current_time() - began) * 1000
                self.means.connector.bus.publish(UpstreamConnected(session=facts, wait_ms=wait_ms))
                return carrier
        return None

    def _has_no_room(self, now: float) -> bool:
        roster = self.means.connector.roster
        return is_full(
            roster, self.identity.device_id, self.key, self._prices, build=self._build, now=now
        )

    @property
    def _prices(self) -> PriceBook:
        return self.snapshot.prices

    async def _attempt(self, seat: Seat, deadline: float) -> WebSocketCarrier | None:
        connector, name = self.means.connector, seat.account.name
        if self._failed is not None:
            connector.bus.publish(failed_over(*self._failed, name))
        self._tried.add(name)
        try:
            return await self._connect(seat, deadline)
        except AttemptFailed as failed:
            self._blame(failed, seat)
            seat.release()
            return None
        except BaseException:
            seat.release()
            raise

    def _blame(self, failed: AttemptFailed, seat: Seat) -> None:
        """Tell routing of an attempt that failed, also behind its 101."""
        facts = attrs.evolve(self.facts(), account=seat.account.name)
        self._failed = failed, facts
        self.means.connector.note(failed, seat, Dialect.XIAOZHI, facts.session_id)

    async def _connect(self, seat: Seat, deadline: float) -> WebSocketCarrier:
        try:
            credential = await self.means.credential(seat.account, self.identity)
        except StoreError:
            raise _ours("state_failed", "the token of this device cannot be read now") from None
        asked = handshake(seat.account, self.identity, credential.token)
        wish = Wish(
            demand=Demand(Dialect.XIAOZHI, account=seat.account.name),
            target=lambda _: asked,
            hears_first=False,
        )
        try:
            opened = await self.means.connector.open(seat.account, wish, deadline)
        except AttemptFailed as failed:
            raise _spared(failed, credential) from None
        return self._carrier(opened, seat, credential)

    def _carrier(self, opened: Opened, seat: Seat, credential: Credential) -> WebSocketCarrier:
        settings = self.snapshot.settings
        terms = Terms(
            device_id=self.identity.device_id.lower(),
            doubts=self.means.doubts,
            tally=self.tally,
            device_version=self.version,
            message_max_bytes=self.message_max_bytes,
            keepalive=settings.dialects.xiaozhi,
            stall_s=settings.limits.stall_s,
            on_blocked=self.on_blocked,
            blamed=self._blame,
        )
        try:
            return WebSocketCarrier.of(
                self.means.surroundings, terms, opened, seat, accounts_own=credential.accounts_own
            )
        except OSError:
            opened.endpoint.close()
            raise _ours(DialErrorKind.RESOURCES_EXHAUSTED, "no descriptor can be watched") from None


def _ours(code: str, message: str) -> AttemptFailed:
    """relayd itself lacks something; the account is not to blame."""
    return AttemptFailed(unreachable(code, message), RefusalCode.OVERLOAD)


def _spared(failed: AttemptFailed, credential: Credential) -> AttemptFailed:
    """A refusal of what is not the account's own says nothing of the account."""
    failure: Failure = failed.failure
    if credential.accounts_own or failure.kind is not FailureKind.FATAL:
        return failed
    spared = attrs.evolve(failure, kind=FailureKind.REFUSED)
    return AttemptFailed(spared, failed.code, declined=failed.declined)
