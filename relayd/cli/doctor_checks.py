"""Trying one account, step by step: name, dial, TLS, clock, key, first frame.

The first four are looked at on a connection of their own, which asks nothing of the account. Key
and first frame are what a session's attempt says, made by the very code that makes sessions'.
"""

from __future__ import annotations

import email.utils
import enum
import re
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

import attrs
import trio

from relayd.cli.doctor_remedies import (
    CERTIFICATE_REMEDY,
    CLOCK_REMEDY,
    DIAL_REMEDIES,
    FIRST_FRAME_REMEDY,
    KEY_REMEDIES,
    NAME_REMEDY,
    TLS_REMEDY,
)
from relayd.config.proxy import ProxyKind
from relayd.config.snapshot import Account
from relayd.config.url import Url
from relayd.core.hold import HoldBudget
from relayd.core.refusals import RefusalCode
from relayd.observe.bus import Bus
from relayd.protocol.fields import encode_head
from relayd.protocol.raw_head import HeadScanner, RawHeadError
from relayd.routing.classify import FailureKind
from relayd.routing.roster import Roster, Seat
from relayd.session.attempts import AttemptFailed
from relayd.session.connecting import ATTEMPT_SHARE, Connector
from relayd.session.probing import wish_of_probe
from relayd.transport import egress, raw, tls
from relayd.transport.errors import DialError
from relayd.transport.resolve import Resolver

if TYPE_CHECKING:
    import socket

EXPIRES_SOON_DAYS: Final = 14
SKEW_MAX_S: Final = 30.0
"""Beyond this, tokens that hold a time begin to be refused, and certificates to look expired."""

HOLD_MAX_BYTES: Final = 4 * 1024 * 1024
ADDRESSES_SHOWN_MAX: Final = 3

_HEAD_MAX_BYTES: Final = 65_536
_RECEIVE_BYTES: Final = 16_384
_DAY_S: Final = 86_400
_SAME_TIME_S: Final = 1.5
"""``Date`` says whole seconds, and its way takes a part of one."""
_DATE: Final = re.compile(rb"\r\ndate:[ \t]*([\x20-\x7e]{1,64}?)[ \t]*\r\n", re.IGNORECASE)


class Step(enum.StrEnum):
    """What is looked at, in order."""

    NAME = "name"
    DIAL = "dial"
    TLS = "tls"
    CLOCK = "clock"
    KEY = "key"
    FIRST_FRAME = "first_frame"


class Result(enum.StrEnum):
    """What came of it."""

    OK = "ok"
    WARNED = "warned"  # it works; somebody should know all the same
    FAILED = "failed"
    SKIPPED = "skipped"  # there is nothing to look at, or something before it failed


@attrs.frozen
class Finding:
    """One step at one account.

    Attributes:
        message: What was found.
        remedy: What helps.
        duration_ms: How long it took.
    """

    step: Step
    result: Result
    message: str
    remedy: str | None = None
    duration_ms: float | None = None


@attrs.frozen
class Examination:
    """What was found at one account; ``address`` is where it is."""

    account: str
    address: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether sessions would work."""
        return all(finding.result is not Result.FAILED for finding in self.findings)


class _Over(Exception):
    """A step failed, so that those after it cannot be tried."""


@attrs.define(eq=False)
class Examiner:
    """Examines one account.

    Attributes:
        resolver: Asked for names.
        wall: Seconds since the epoch.
    """

    account: Account
    resolver: Resolver
    wall: Callable[[], float]
    _findings: list[Finding] = attrs.field(factory=list, init=False)
    _began: float = attrs.field(default=0.0, init=False)

    async def run(self) -> Examination:
        """Go through all steps; each ends by the account's timeouts. Raises nothing for a peer.

        Cancelling it closes what it opened.
        """
        account, url = self.account, self.account.base_url
        assert url is not None, "an enabled account has an address"
        try:
            context = self._context(url)
            await self._look_at_connection(url, context)
            await self._look_at_session({account.tls_ca: context} if context else {})
        except _Over:
            pass
        seen = {finding.step for finding in self._findings}
        for step in Step:
            if step not in seen:
                self._note(step, Result.SKIPPED, "not tried")
        order = list(Step)
        findings = sorted(self._findings, key=lambda finding: order.index(finding.step))
        scheme = "https" if url.tls else "http"
        return Examination(account.name, f"{scheme}://{url.authority}{url.path}", tuple(findings))

    def _context(self, url: Url) -> ssl.SSLContext | None:
        if not url.tls:
            return None
        try:
            return tls.client_context(self.account.tls_ca)
        except tls.TlsFileError as error:
            self._fail(Step.TLS, str(error), TLS_REMEDY)

    # -- a connection that asks for nothing

    async def _look_at_connection(self, url: Url, context: ssl.SSLContext | None) -> None:
        await self._resolve(url)
        sock = await self._dial(url)
        try:
            if context is None:
                self._note(Step.TLS, Result.SKIPPED, "the address is plain http")
            else:
                sock = await self._secure(sock, url, context)
            await self._look_at_clock(sock, url)
        finally:
            sock.close()

    async def _resolve(self, url: Url) -> None:
        proxy = self.account.proxy
        if url.is_literal:
            self._note(Step.NAME, Result.SKIPPED, f"{url.host} is an address")
            return
        if proxy is not None and proxy.kind is not ProxyKind.SOCKS5:
            self._note(Step.NAME, Result.SKIPPED, "the account's proxy resolves it")
            return
        self._begin()
        try:
            addresses = await self.resolver.resolve(url.host, url.port)
        except DialError as error:
            self._fail(Step.NAME, error.message, NAME_REMEDY)
        shown = [address.sockaddr[0] for address in addresses]
        more = f" and {len(shown) - ADDRESSES_SHOWN_MAX} more"
        words = ", ".join(shown[:ADDRESSES_SHOWN_MAX])
        self._note(Step.NAME, Result.OK, words + more * (len(shown) > ADDRESSES_SHOWN_MAX))

    async def _dial(self, url: Url) -> socket.socket:
        self._begin()
        try:
            sock = await egress.connect(
                url, self.account, resolver=self.resolver, deadline=self._deadline()
            )
        except DialError as error:
            self._fail(Step.DIAL, error.message, DIAL_REMEDIES[error.kind])
        proxy = self.account.proxy
        if proxy is not None:
            where = f"{url.host} port {url.port} through the proxy {proxy.host} port {proxy.port}"
        else:
            host, port = sock.getpeername()[:2]
            where = f"{host} port {port}"
        self._note(Step.DIAL, Result.OK, where)
        return sock

    async def _secure(
        self, sock: socket.socket, url: Url, context: ssl.SSLContext
    ) -> ssl.SSLSocket:
        self._begin()
        try:
            secured = await tls.start_client(sock, context, url.host, deadline=self._deadline())
        except DialError as error:
            self._fail(Step.TLS, error.message, DIAL_REMEDIES[error.kind])
        days = (_expiry(secured) - self.wall()) / _DAY_S
        words = f"{secured.version()}, the certificate expires in {days:,.0f} days"
        if days < EXPIRES_SOON_DAYS:
            self._note(Step.TLS, Result.WARNED, words, CERTIFICATE_REMEDY)
        else:
            self._note(Step.TLS, Result.OK, words)
        return secured

    async def _look_at_clock(self, sock: socket.socket, url: Url) -> None:
        said = await _date_of(sock, url, self._deadline())
        if said is None:
            self._note(Step.CLOCK, Result.SKIPPED, "the upstream does not tell its time")
            return
        skew_s = self.wall() - said
        if abs(skew_s) <= _SAME_TIME_S:
            self._note(Step.CLOCK, Result.OK, "agrees with the upstream's")
            return
        word = "ahead of" if skew_s > 0 else "behind"
        message = f"{abs(skew_s):,.0f} s {word} the upstream's"
        if abs(skew_s) > SKEW_MAX_S:
            self._note(Step.CLOCK, Result.FAILED, message, CLOCK_REMEDY)
        else:
            self._note(Step.CLOCK, Result.OK, message)

    # -- a session's attempt

    async def _look_at_session(self, contexts: dict[str | None, ssl.SSLContext]) -> None:
        account = self.account
        roster = Roster.of([account])
        connector = Connector(
            roster=roster,
            resolver=self.resolver,
            contexts=contexts,
            hold=HoldBudget(HOLD_MAX_BYTES),
            bus=Bus(),
        )
        standing = roster.standing(account.name)
        assert standing is not None, "it was just put there"
        timeouts, now = account.timeouts, trio.current_time()
        within_s = (timeouts.connect_s + timeouts.session_first_frame_s) / ATTEMPT_SHARE
        wish = wish_of_probe(account)
        with Seat(standing, now) as seat:
            try:
                connected = await connector.attempt(wish, seat, now + within_s)
            except AttemptFailed as failed:
                self._blame(failed)
                return
        connected.endpoint.close()
        with_key = "accepted" if account.api_key is not None else "none is configured"
        self._note(Step.KEY, Result.OK, with_key, duration_ms=connected.connect_ms)
        if connected.first_frame_ms is None:
            self._note(Step.FIRST_FRAME, Result.SKIPPED, "this dialect waits for none")
        else:
            first_frame_ms = connected.first_frame_ms
            self._note(Step.FIRST_FRAME, Result.OK, "as it should be", duration_ms=first_frame_ms)

    def _blame(self, failed: AttemptFailed) -> None:
        """The step that an attempt failed in."""
        failure = failed.failure
        message = f"{failure.code}: {failure.message}"
        if failed.code is RefusalCode.FIRST_FRAME_TIMEOUT:
            self._note(Step.KEY, Result.OK, "the WebSocket was accepted")
            self._note(Step.FIRST_FRAME, Result.FAILED, message, FIRST_FRAME_REMEDY)
            return
        limited = failure.kind is FailureKind.RATE_LIMITED
        result = Result.WARNED if limited else Result.FAILED
        self._note(Step.KEY, result, message, KEY_REMEDIES[failure.kind])

    # -- what the steps share

    def _begin(self) -> None:
        self._began = trio.current_time()

    def _deadline(self) -> float:
        return trio.current_time() + self.account.timeouts.connect_s

    def _note(
        self,
        step: Step,
        result: Result,
        message: str,
        remedy: str | None = None,
        *,
        duration_ms: float | None = None,
    ) -> None:
        timed = step in {Step.NAME, Step.DIAL, Step.TLS} and result is not Result.SKIPPED
        if duration_ms is None and timed:
            duration_ms = (trio.current_time() - self._began) * 1000
        rounded = None if duration_ms is None else round(duration_ms, 1)
        self._findings.append(Finding(step, result, message, remedy, rounded))

    def _fail(self, step: Step, message: str, remedy: str) -> NoReturn:
        self._note(step, Result.FAILED, message, remedy)
        raise _Over from None


def _expiry(sock: ssl.SSLSocket) -> float:
    """When the peer's certificate expires, in seconds since the epoch."""
    certificate = sock.getpeercert()
    assert certificate, "the handshake has verified one"
    return ssl.cert_time_to_seconds(str(certificate["notAfter"]))


async def _date_of(sock: socket.socket, url: Url, deadline: float) -> float | None:
    """The upstream's time, from the answer to a request without any key; ``None`` without one."""
    lines = [("Host", url.authority), ("Connection", "close")]
    scanner = HeadScanner(_HEAD_MAX_BYTES)
    head: bytes | None = None
    with trio.move_on_at(deadline):
        try:
            await raw.send_all(sock, encode_head(f"HEAD {url.path or '/'} HTTP/1.1", lines))
            while head is None:
                data = await raw.receive(sock, _RECEIVE_BYTES)
                if not data:
                    return None
                head = scanner.feed(data)
        except (DialError, RawHeadError):
            return None
    found = _DATE.search(head or b"")
    if found is None:
        return None
    try:
        return email.utils.parsedate_to_datetime(found[1].decode()).timestamp()
    except (ValueError, OverflowError):
        return None
