"""A server over its WebSocket: the handshake that servers of devices want, and the carrier."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import attrs
import trio

from relayd.config.dialects import XiaozhiKeepalive
from relayd.config.snapshot import Account
from relayd.dialect.behind import Handshake
from relayd.dialect.xiaozhi_actions import Hangup, Loss
from relayd.dialect.xiaozhi_addresses import Refuses, refuses_none
from relayd.dialect.xiaozhi_flow import TEXT, Lane, Route, ServerFlow
from relayd.dialect.xiaozhi_frames import TIMED, AudioFrame, build
from relayd.dialect.xiaozhi_identity import Identity
from relayd.dialect.xiaozhi_usage import AudioTally
from relayd.pool.parting import Partings
from relayd.protocol.flow import Standing
from relayd.protocol.frames import Opcode, encode_frame
from relayd.protocol.outcomes import Crash, EndOfStream, PeerClosed, Violation
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.routing.roster import Seat
from relayd.session.accounts import tell_changes
from relayd.session.attempts import AttemptFailed
from relayd.session.connecting import Connector, Opened
from relayd.session.xiaozhi.admission import GATEWAY
from relayd.session.xiaozhi.carrier import Gone, Heard, Said
from relayd.session.xiaozhi.device import DeviceSide, hear_more
from relayd.session.xiaozhi.doubts import REFUSED_MIN, Doubts
from relayd.transport.endpoint import Endpoint
from relayd.transport.outgoing import AddressRefused, check_learned
from relayd.transport.reactor import Reactor

_PING: Final = b"relayd"
_MESSAGES: Final = {
    Hangup.REFUSED: "the server refused the device in plain text",
    Hangup.NO_HELLO: "the server did not answer the device's hello",
    Hangup.LOST: "the server went away before its hello",
    Hangup.BAD_HELLO: "the server's hello cannot be understood",
}


def handshake(account: Account, identity: Identity, token: str | None) -> Handshake:
    """How a socket for a device is asked for.

    A server that looks at the whole ``Connection`` header gets ``Upgrade`` there, as the connector
    writes it. One that speaks framing 2 does so where the query says that a gateway asks.

    Args:
        account: Whose server it is.
        identity: Whom relayd stands for.
        token: What is presented for it; ``None``: nothing.
    """
    assert account.base_url is not None, "an enabled account has an address"
    version = account.xiaozhi.protocol_version
    headers = [
        ("Protocol-Version", str(version)),
        ("Device-Id", identity.device_id),
        ("Client-Id", identity.client_id),
    ]
    if token:
        # As firmware does: a token with a space brings its own scheme.
        headers.append(("Authorization", token if " " in token else f"Bearer {token}"))
    # Its address ends with a slash, which no setting keeps, and proxies in front look at it.
    target = f"{account.base_url.path}/"
    if version == TIMED:
        target += f"?from={GATEWAY}"
    return Handshake(target, tuple(headers))


def refuses_of(account: Account) -> Refuses:
    """Which hosts a server must not name to its devices: those that relayd would not dial itself.

    The operator's own word for where the server is, an address in ``base_url``, may be named.
    """
    if account.allow_private:
        return refuses_none
    own = None if account.base_url is None else account.base_url.host

    def refuses(host: str) -> bool:
        if host == own:
            return False
        try:
            check_learned(host, allow_private=False)
        except AddressRefused:
            return True
        return False

    return refuses


@attrs.frozen(kw_only=True)
class Surroundings:
    """What every carrier is made with."""

    reactor: Reactor
    partings: Partings
    connector: Connector


@attrs.frozen(kw_only=True)
class Terms:
    """What all servers of one session are dealt with by.

    Attributes:
        device_id: Whose servers they are.
        doubts: Which devices each account has failed.
        tally: Counts the audio that the device is sent.
        device_version: The framing that the device speaks.
        message_max_bytes: Of a server's message.
        keepalive: When a server is pinged, and for how long its answer is awaited.
        stall_s: For how long it may take nothing.
        on_blocked: Told when it takes no more.
        blamed: Told why one is let go of before its hello.
    """

    device_id: str
    doubts: Doubts
    tally: AudioTally
    device_version: int
    message_max_bytes: int
    keepalive: XiaozhiKeepalive
    stall_s: float
    on_blocked: Callable[[Endpoint], None]
    blamed: Callable[[AttemptFailed, Seat], None]


@attrs.define(eq=False, kw_only=True)
class WebSocketCarrier:
    """A :class:`~relayd.session.xiaozhi.carrier.Carrier` over a WebSocket.

    Attributes:
        endpoint: Adopted.
        seat: At the account; released with the server.
        accounts_own: Whether what was presented is the account's own; else a refusal of it says
            nothing of the account.
    """

    surroundings: Surroundings
    terms: Terms
    endpoint: Endpoint
    seat: Seat
    flow: ServerFlow
    connect_ms: float
    accounts_own: bool
    _pinged_at: float = attrs.field(default=0.0, init=False)
    _parted: bool = attrs.field(default=False, init=False)

    @classmethod
    def of(
        cls,
        surroundings: Surroundings,
        terms: Terms,
        opened: Opened,
        seat: Seat,
        *,
        accounts_own: bool,
    ) -> WebSocketCarrier:
        """The carrier of a socket that has upgraded; it is the carrier's from here on.

        Raises:
            OSError: The kernel watches as many descriptors as it may; the socket is still the
                caller's, and so is the seat.
        """
        endpoint = opened.endpoint
        surroundings.reactor.adopt(endpoint)
        lane = Lane(
            tally=terms.tally,
            source=seat.account.xiaozhi.protocol_version,
            target=terms.device_version,
            route=Route.DROP,
        )
        flow = ServerFlow(
            message_max_bytes=terms.message_max_bytes, hold=surroundings.connector.hold, lane=lane
        )
        endpoint.flow, endpoint.on_blocked = flow, terms.on_blocked
        return cls(
            surroundings=surroundings,
            terms=terms,
            endpoint=endpoint,
            seat=seat,
            flow=flow,
            connect_ms=opened.connect_ms,
            accounts_own=accounts_own,
        )

    @property
    def account(self) -> Account:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`."""
        return self.seat.account

    @property
    def version(self) -> int:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`."""
        return self.account.xiaozhi.protocol_version

    @property
    def passed(self) -> tuple[int, int]:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`."""
        return self.flow.messages, self.flow.bytes

    async def hear(self) -> Heard:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`."""
        endpoint = self.endpoint
        hear_more(self.surroundings.reactor, endpoint, trio.current_time())
        event = await endpoint.next_event()
        match event:
            case PeerClosed(code):
                return Gone(Loss.CLOSED, code)
            case EndOfStream():
                return Gone(Loss.CONNECTION)
            case Violation() | Crash():
                return event
            case _:
                assert event is TEXT, "a server's flow stops for texts and for ends"
                return Said(self.flow.take())

    def say(self, text: bytes, now: float) -> bool:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`."""
        if not self.endpoint.sink.send_message(text, now):
            return False
        self._wrote()
        return True

    def say_audio(self, packets: Collection[AudioFrame], now: float) -> None:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`."""
        frames: list[memoryview | bytes] = []
        for packet in packets:
            message = build(packet, self.version)
            if message is not None:  # else the framing has no room for one as long
                frames.append(encode_frame(Opcode.BINARY, message, masked=True))
        if frames:
            self.endpoint.sink.write(frames, Standing.BOUNDARY, now)
            self._wrote()

    def join(self, device: DeviceSide) -> None:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`."""
        self.endpoint.peer = device.endpoint
        self.flow.lane.route = Route.PASS
        device.link(self.endpoint, self.version)

    def greeted(self, hello_s: float, now: float) -> None:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`."""
        changes = self.seat.succeed(first_frame_ms=hello_s * 1000, now=now)
        connector = self.surroundings.connector
        tell_changes(changes, connector.roster, connector.bus)
        self.terms.doubts.greeted(self.account.name, now)

    def look(self, now: float) -> float | None:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`.

        Any byte is life, and silence counts only while relayd is willing to hear.
        """
        endpoint, every_s = self.endpoint, self.terms.keepalive.keepalive_s
        sink = endpoint.sink
        if sink.blocked:
            if now >= sink.blocked_since + self.terms.stall_s:
                return None
            stalled_at = sink.blocked_since + self.terms.stall_s
        else:
            stalled_at = now + every_s
        if not endpoint.armed:
            return min(stalled_at, now + every_s)
        heard_at = max(endpoint.last_received, endpoint.armed_since)
        gone_at = heard_at + every_s + self.terms.keepalive.pong_s
        if now >= gone_at:
            return None
        ping_at = max(heard_at, self._pinged_at) + every_s
        if now >= ping_at:
            sink.ping(_PING, now)
            self._wrote()
            self._pinged_at, ping_at = now, now + every_s
        return min(ping_at, gone_at, stalled_at)

    def blame(self, hangup: Hangup, said: str, now: float) -> None:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`."""
        self.terms.blamed(AttemptFailed(self.failure(hangup, said, now)), self.seat)

    def failure(self, hangup: Hangup, said: str, now: float) -> Failure:
        """What it means for the account that its server is let go of before its hello.

        A device that was failed before says nothing new of it. One that refuses refuses what relayd
        presented: where that is the account's own, and another device was failed too, it is of no
        use to any device, as with a key that is refused.
        """
        message = f"{_MESSAGES[hangup]}: {said}" if said else _MESSAGES[hangup]
        failure = unreachable(f"device_{hangup}", message)
        doubts, name = self.terms.doubts, self.account.name
        if hangup is Hangup.REFUSED and not self.accounts_own:
            return attrs.evolve(failure, kind=FailureKind.REFUSED)
        counts = doubts.count(name, self.terms.device_id, now)
        if hangup is Hangup.REFUSED:
            fatal = doubts.devices(name) >= REFUSED_MIN
            return attrs.evolve(failure, kind=FailureKind.FATAL if fatal else FailureKind.REFUSED)
        return failure if counts else attrs.evolve(failure, kind=FailureKind.REFUSED)

    def part(self, code: int, now: float) -> None:
        """See :class:`~relayd.session.xiaozhi.carrier.Carrier`. Calling again does nothing."""
        if self._parted:
            return
        self._parted = True
        self.flow.lane.route = Route.DROP
        self.surroundings.partings.part(self.endpoint, code, now)
        self.seat.release()

    def _wrote(self) -> None:
        endpoint = self.endpoint
        if endpoint.sink.blocked:
            self.surroundings.reactor.update(endpoint)
            if endpoint.on_blocked is not None:
                endpoint.on_blocked(endpoint)
