"""From a grant to an upstream that has proved itself: choose, dial, upgrade, hear it, or try on.

Wrong keys and exhausted quotas arrive behind the 101, as a first frame. So in a dialect that
opens with one, an account is judged by it, and the client is not committed before. Failing over
is invisible to the client; all attempts share the time of its admission.
"""

from __future__ import annotations

import base64
import os
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Final

import attrs
import trio

from relayd.config.snapshot import Account
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.behind import Handshake
from relayd.observe.bus import AccountFailed, Bus, SessionFacts
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.protocol.first import FirstMessage
from relayd.protocol.outcomes import Notice, PeerClosed, Violation
from relayd.protocol.upstream_upgrade import (
    UpstreamAccepted,
    UpstreamMalformed,
    UpstreamResponseReader,
    upstream_request,
)
from relayd.routing.classify import (
    Failure,
    FailureKind,
    from_close,
    from_error_event,
    from_status,
    unreachable,
)
from relayd.routing.roster import Roster, Seat
from relayd.routing.scheduler import Demand, choose, why_none
from relayd.session.accounts import tell_changes
from relayd.session.attempts import (
    AttemptFailed,
    failed_over,
    is_error_event,
    out_of_time,
    refusal_for,
    said_nothing,
    too_late,
)
from relayd.session.travelling import names_organization
from relayd.transport import raw, tls
from relayd.transport.egress import connect
from relayd.transport.endpoint import Endpoint
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.resolve import Resolver

log = get_logger()

ATTEMPT_SHARE: Final = 0.5
"""Of what is left of the admission's time, so that a dead account leaves time for another."""

_RECEIVE_BYTES: Final = 65536


@attrs.frozen(kw_only=True)
class Wish:
    """What a client wants of an upstream, in its dialect's terms.

    Attributes:
        demand: Which accounts will do.
        target: The handshake's path and query at a given account; or a handshake of a provider's
            own, which also says under which host and with what headers beside the account's. No
            key is added to that, since it may be signed.
        headers: The client's headers that travel on.
        subprotocols: Offered on to the upstream.
        hears_first: Whether the account is judged by its first message.
        path_is_clients: Whether the client chose the path, so that a status says nothing of the
            account: no client may close one to others.
    """

    demand: Demand
    target: Callable[[Account], str | Handshake]
    headers: tuple[tuple[str, str], ...] = ()
    subprotocols: tuple[str, ...] = ()
    hears_first: bool
    path_is_clients: bool = False


@attrs.frozen(kw_only=True)
class Opened:
    """A socket to an upstream that has upgraded and, where it was waited for, has spoken.

    Attributes:
        endpoint: Not adopted yet; holds what came behind the handshake. The caller owns it.
        subprotocol: The upstream's choice.
        connect_ms: Dialling and the handshake.
        first_frame_ms: From there to the first message, where one was waited for.
    """

    endpoint: Endpoint
    subprotocol: str | None
    connect_ms: float
    first_frame_ms: float | None


@attrs.frozen(kw_only=True)
class Connected(Opened):
    """An upstream that is ready.

    Attributes:
        seat: The caller releases it when the session is over.
        wait_ms: How long the session has waited for it, attempts at other accounts among it.
    """

    seat: Seat
    wait_ms: float = 0.0


@attrs.define(eq=False, kw_only=True)
class Connector:
    """Connects sessions to upstreams.

    Attributes:
        contexts: TLS contexts by the account's ``tls_ca``, for all accounts of the roster. They
            are replaced together.
    """

    roster: Roster
    resolver: Resolver
    contexts: Mapping[str | None, ssl.SSLContext]
    hold: HoldBudget
    bus: Bus

    async def connect(
        self, wish: Wish, *, facts: SessionFacts, deadline: float
    ) -> Connected | Refusal:
        """Try accounts until one is ready, none is left or ``deadline`` has passed.

        Args:
            wish: What is wanted.
            facts: Whose session it is for; its account is filled in for those who are told.
            deadline: By ``trio.current_time()``.

        Cancelling it closes what it opened and gives its seat back.
        """
        tried: set[str] = set()
        last: AttemptFailed | None = None
        began = trio.current_time()
        while True:
            now = trio.current_time()
            if now >= deadline:
                return out_of_time(last)
            seat = choose(
                self.roster, wish.demand, now=now, random_unit=random.random(), tried=tried
            )
            if seat is None:
                if last is not None:
                    return refusal_for(last)
                return why_none(self.roster, wish.demand, now=now, tried=tried)
            if last is not None:
                self.bus.publish(failed_over(last, facts, seat.account.name))
            tried.add(seat.account.name)
            facts = attrs.evolve(facts, account=seat.account.name)
            try:
                connected = await self.attempt(wish, seat, deadline)
                return attrs.evolve(connected, wait_ms=(trio.current_time() - began) * 1000)
            except AttemptFailed as failed:
                last = failed
                self.note(failed, seat, wish.demand.dialect, facts.session_id)
                seat.release()
            except BaseException:
                seat.release()
                raise
            if last.failure.is_final or last.is_ours:
                return refusal_for(last)

    async def attempt(self, wish: Wish, seat: Seat, deadline: float) -> Connected:
        """One attempt at the account of ``seat``. Raises :class:`AttemptFailed`."""
        opened = await self.open(seat.account, wish, deadline)
        changes = seat.succeed(first_frame_ms=opened.first_frame_ms, now=trio.current_time())
        tell_changes(changes, self.roster, self.bus)
        return Connected(
            endpoint=opened.endpoint,
            seat=seat,
            subprotocol=opened.subprotocol,
            connect_ms=opened.connect_ms,
            first_frame_ms=opened.first_frame_ms,
        )

    async def open(self, account: Account, wish: Wish, deadline: float) -> Opened:
        """Dial ``account``, upgrade, and hear it where ``wish`` says so.

        Raises:
            AttemptFailed: With the reason; every socket is closed.
        """
        began = trio.current_time()
        ends_at = began + (deadline - began) * ATTEMPT_SHARE
        connect_by = min(began + account.timeouts.connect_s, ends_at)
        upgraded: float | None = None
        sock: socket.socket | None = None
        first = FirstMessage(self.hold)
        try:
            sock = await self._dial(account, connect_by)
            # One scope for both waits: its deadline moves on when the upstream has upgraded.
            with trio.CancelScope(deadline=connect_by) as scope:
                subprotocol, leftover = await _upgrade(sock, account, wish)
                upgraded = trio.current_time()
                if wish.hears_first:
                    scope.deadline = min(upgraded + account.timeouts.session_first_frame_s, ends_at)
                    await _hear(sock, first, leftover, wish)
                else:
                    first.raw += leftover
            now = trio.current_time()
            if scope.cancelled_caught:
                raise too_late() if upgraded is None else said_nothing()
            assert upgraded is not None, "the scope was left with an upstream that has upgraded"
            first_frame_ms = (now - upgraded) * 1000 if wish.hears_first else None
            endpoint = Endpoint(sock, Side.UPSTREAM, self.hold, now)
            if endpoint.keep_tail(bytes(first.raw)) is not None:
                raise DialError(DialErrorKind.RESOURCES_EXHAUSTED, Violation.overload().message)
        except DialError as error:
            _close(sock)
            ours = error.kind is DialErrorKind.RESOURCES_EXHAUSTED
            code = RefusalCode.OVERLOAD if ours else None
            raise AttemptFailed(unreachable(error.kind, error.message), code) from None
        except BaseException:
            _close(sock)
            raise
        finally:
            first.close()
        return Opened(
            endpoint=endpoint,
            subprotocol=subprotocol,
            connect_ms=(upgraded - began) * 1000,
            first_frame_ms=first_frame_ms,
        )

    async def _dial(self, account: Account, deadline: float) -> socket.socket:
        url = account.base_url
        assert url is not None, "an enabled account has an address"
        context = self.contexts[account.tls_ca] if url.tls else None  # now: it may be replaced
        sock = await connect(url, account, resolver=self.resolver, deadline=deadline)
        if context is None:
            return sock
        return await tls.start_client(sock, context, url.host, deadline=deadline)

    def note(self, failed: AttemptFailed, seat: Seat, dialect: str, session_id: str) -> None:
        """Tell the log, the bus and the account's health of an attempt that failed."""
        failure = failed.failure
        log.warning(
            LogEvent.UPSTREAM_FAILED,
            session_id=session_id,
            dialect=dialect,
            account=seat.account.name,
            reason=failure.code,
            message=failure.message,
        )
        self.bus.publish(
            AccountFailed(account=seat.account.name, dialect=dialect, reason=failure.code)
        )
        if not failed.is_ours:
            changes = seat.fail(failure, trio.current_time(), jitter=random.random())
            tell_changes(changes, self.roster, self.bus)


async def _upgrade(sock: socket.socket, account: Account, wish: Wish) -> tuple[str | None, bytes]:
    """The WebSocket handshake; returns the chosen subprotocol and what came behind the 101."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = _request(account, wish, key)
    await raw.send_all(sock, request)
    await trio.lowlevel.wait_readable(sock)  # the answer is never there yet: to try is to fail
    reader = UpstreamResponseReader(key, wish.subprotocols)
    try:
        while (answer := reader.feed(await raw.receive(sock, _RECEIVE_BYTES))) is None:
            pass
    except UpstreamMalformed as error:
        raise AttemptFailed(unreachable("malformed_response", str(error))) from None
    if isinstance(answer, UpstreamAccepted):
        return answer.subprotocol, reader.leftover
    failure = from_status(
        answer.status, retry_after_s=answer.retry_after_s, body=answer.body_excerpt
    )
    raise AttemptFailed(_spared(failure, wish), declined=answer)


def _request(account: Account, wish: Wish, key: str) -> bytes:
    """The upgrade request, ready to send."""
    assert account.base_url is not None, "an enabled account has an address"
    asked, authority, headers = wish.target(account), account.base_url.authority, wish.headers
    if isinstance(asked, Handshake):
        authority, headers = asked.authority or authority, (*headers, *asked.headers)
    own = {name.lower() for name in account.headers}
    sent = [
        *account.headers.items(),
        *((name, value) for name, value in headers if name.lower() not in own),
    ]
    if isinstance(asked, Handshake):
        return upstream_request(authority, asked.target, sent, wish.subprotocols, key)
    if account.api_key is not None:
        sent.append(("Authorization", f"Bearer {account.api_key.reveal()}"))
    return upstream_request(authority, asked, sent, wish.subprotocols, key)


async def _hear(sock: socket.socket, first: FirstMessage, data: bytes, wish: Wish) -> None:
    """Wait for the first message and judge it; its bytes stay in ``first.raw``."""
    event = first.feed(data, trio.current_time()) if data else None
    while event is None:
        data = await raw.receive(sock, _RECEIVE_BYTES)
        if not data:
            raise AttemptFailed(from_close(None, ""))
        event = first.feed(data, trio.current_time())
    match event:
        case Notice():
            if is_error_event(first.payload):
                raise AttemptFailed(_spared(from_error_event(first.payload), wish))
        case PeerClosed(code, reason):
            raise AttemptFailed(from_close(code, reason))
        case Violation(reason, message):
            raise AttemptFailed(unreachable(reason.value, message))
        case _:
            raise AssertionError(f"a first message cannot end as {event!r}")


def _spared(failure: Failure, wish: Wish) -> Failure:
    """A failure that may be about what the client chose does not stand against the account."""
    fatal = failure.kind is FailureKind.FATAL
    if wish.path_is_clients or (fatal and names_organization(wish.headers)):
        return attrs.evolve(failure, kind=FailureKind.REFUSED)
    return failure


def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        sock.close()
