"""``/xiaozhi/ota/`` and its ``activate``: what a device asks for before it opens its socket.

The question goes to the server that the device's session will go to, and on to another one where
that gives no answer. In the answer relayd puts itself in the server's place; the server's token
stays here, for when relayd dials it for this device. Nobody has a key yet who asks here: who may
ask is for the lists of devices to say, and how often for a bucket of each address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import attrs
import trio

from relayd.config.snapshot import Account, Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.xiaozhi_build import UNKNOWN, Build, read_build
from relayd.dialect.xiaozhi_identity import BadIdentity, Identity, read_identity
from relayd.dialect.xiaozhi_ota import BODY_MAX_BYTES, Rewritten, websocket_url
from relayd.dialect.xiaozhi_tokens import device_token
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json, Text
from relayd.service.http.router import Route
from relayd.service.xiaozhi import faults
from relayd.service.xiaozhi.asking import Answered, Question
from relayd.service.xiaozhi.judging import passed_on, told
from relayd.service.xiaozhi.pace import AddressPace
from relayd.service.xiaozhi.servers import Servers, T, Use
from relayd.session.connecting import Connector
from relayd.session.origin import check_origin
from relayd.session.xiaozhi.admission import CLIENT_ID, DENIED, DEVICE_ID, permits_device
from relayd.session.xiaozhi.tokens import ServerTokens
from relayd.state.store import Store, StoreError

log = get_logger()

OTA_PATHS: Final = ("/xiaozhi/ota/", "/xiaozhi/ota")
ACTIVATE_PATH: Final = "/xiaozhi/ota/activate"

ASKING_MAX: Final = 256
"""Questions that are on their way at once; each may hold two bodies."""

ACTIVATION_S: Final = 3600.0
"""How long it is remembered which server waits for a device's activation: longer than any code."""

NO_STORE: Final = (("Cache-Control", "no-store"),)

_PREFIX: Final = "xiaozhi.activation"
_NOT_HERE: Final = Refusal(
    RefusalCode.NOT_FOUND,
    "Devices are not told of this relay here: xiaozhi.public_url, xiaozhi.token_secret and"
    " xiaozhi.key are not all set.",
)


class House(Protocol):
    """What the API belongs to."""

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""


@attrs.frozen(kw_only=True)
class Asked:
    """A question that may be put to a server.

    Attributes:
        snapshot: The configuration that holds for it.
        key: What the device's sessions count to.
        build: What the device is: as it says now, else as it said last.
        url: Where relayd's WebSocket is.
        token: relayd's, for this device.
    """

    question: Question
    snapshot: Snapshot
    key: Key
    build: Build
    url: str
    token: str = attrs.field(repr=False)

    @property
    def identity(self) -> Identity:
        """Which device asks."""
        return self.question.identity


@attrs.frozen(kw_only=True)
class SlashedRoute(Route):
    """A route whose path ends with a slash, which is a part of it: devices send it so."""

    pattern: str = attrs.field(validator=attrs.validators.in_(OTA_PATHS))


@attrs.define(eq=False, kw_only=True)
class OtaApi:
    """Makes the routes.

    Attributes:
        house: Whose they are.
        connector: Knows the accounts, and how they are dialled.
        tokens: Keeps those that servers give for devices.
        store: Keeps who waits for an activation. Anybody may ask here, so it is one that forgets,
            and none that limits or tokens stand on.
        wall: Seconds since the epoch.
        pace: How often each address may ask.
    """

    house: House
    connector: Connector
    tokens: ServerTokens
    store: Store
    wall: Callable[[], float]
    pace: AddressPace = attrs.field(factory=AddressPace)
    _asking: int = attrs.field(default=0, init=False)

    def routes(self) -> tuple[Route, ...]:
        """All of them, for the public port's :class:`~relayd.service.http.router.Router`."""
        settings = [
            SlashedRoute(
                method=method,
                pattern=path,
                handler=self.settings,
                name=f"{method.lower()}_device_settings_{number}",
                summary="A device's settings.",
            )
            for number, path in enumerate(OTA_PATHS, 1)
            for method in ("GET", "POST")
        ]
        summary = "A device's activation."
        return (*settings, Route("POST", ACTIVATE_PATH, self.activate, "activate_device", summary))

    async def settings(self, request: Request) -> Json:
        """``GET`` or ``POST /xiaozhi/ota/``: the server's answer, rewritten.

        Raises:
            HttpRefused: 404 where devices are not told of relayd here; 403 for a device that may
                not come in, or a foreign web page; 413, 429; 502 and 503 where no server gave an
                answer. 200, too, for a device that does not say who it is.
        """
        asked = await self._asked(request, activates=False)

        def judge(account: Account, answered: Answered) -> Rewritten:
            return told(account, answered, url=asked.url, token=asked.token)

        rewritten, use = await self._first(asked, judge)
        account, identity = use.account, asked.identity
        ttl_s = asked.snapshot.settings.xiaozhi.token_s
        if rewritten.activates:
            name = account.name.encode()
            await _kept(self.store.put(_activation_of(identity), name, ttl_s=ACTIVATION_S))
        if rewritten.offered and account.xiaozhi.auth_key is None:
            token = rewritten.token or ""
            await _kept(self.tokens.keep(account.name, identity, token, ttl_s=ttl_s))
        await _kept(self.tokens.keep_build(identity, asked.build, ttl_s=ttl_s))
        _tell(request, identity, use, rewritten)
        return Json(rewritten.body, headers=NO_STORE)

    async def activate(self, request: Request) -> Text:
        """``POST /xiaozhi/ota/activate``: what the server answers, untouched.

        It goes to the server that asked for it. Raises as :meth:`settings`.
        """
        asked = await self._asked(request, activates=True)
        only = await _kept(self.store.get(_activation_of(asked.identity)))
        answered, use = await self._first(
            asked, passed_on, only=None if only is None else only.decode()
        )
        _tell(request, asked.identity, use, None)
        return Text(answered.body, answered.status, NO_STORE, answered.content_type)

    async def _asked(self, request: Request, *, activates: bool) -> Asked:
        """Who asks, and what; the body is read last. Raises :class:`HttpRefused`."""
        snapshot, head = self.house.snapshot, request.head
        settings = snapshot.settings.xiaozhi
        key = next(
            (each for each in snapshot.keys.values() if each.enabled and each.name == settings.key),
            None,
        )
        if settings.public_url is None or settings.token_secret is None or key is None:
            raise HttpRefused(_NOT_HERE)
        wait_s = self.pace.take(request.client_address, trio.current_time())
        if wait_s > 0:
            raise HttpRefused(faults.too_often(wait_s))
        origins = snapshot.settings.server.allowed_origins
        foreign = check_origin(head.get("origin"), head.get("host") or "", origins)
        if foreign is not None:
            raise HttpRefused(faults.ota_fault(foreign))
        try:
            identity = read_identity(head.get(DEVICE_ID), head.get(CLIENT_ID), client_required=True)
        except BadIdentity:
            raise HttpRefused(faults.UNIDENTIFIED) from None
        if not permits_device(settings, identity.device_id):
            raise HttpRefused(faults.ota_fault(DENIED))
        try:
            body = await request.body(BODY_MAX_BYTES)
        except HttpRefused as refused:
            raise HttpRefused(faults.ota_fault(refused.refusal)) from None
        build = read_build(body)
        if build == UNKNOWN:
            build = await _kept(self.tokens.find_build(identity))
        token = device_token(
            settings.token_secret.reveal(),
            identity,
            tenant=key.tenant,
            expires_at=int(self.wall() + settings.token_s),
        )
        return Asked(
            question=Question.of(head, identity, body, activates=activates),
            snapshot=snapshot,
            key=key,
            build=build,
            url=websocket_url(settings.public_url),
            token=token,
        )

    async def _first(
        self, asked: Asked, judge: Callable[[Account, Answered], T], *, only: str | None = None
    ) -> tuple[T, Use]:
        """See :meth:`Servers.first`; so many at once, and no more."""
        if self._asking >= ASKING_MAX:
            raise HttpRefused(faults.BUSY)
        self._asking += 1
        try:
            return await Servers(self.connector).first(
                asked.question,
                judge,
                snapshot=asked.snapshot,
                key=asked.key,
                build=asked.build,
                only=only,
            )
        finally:
            self._asking -= 1


async def _kept(doing: Awaitable[T]) -> T:
    """What the store says. Raises :class:`HttpRefused` (503)."""
    try:
        return await doing
    except StoreError as error:
        log.error(LogEvent.STATE_FAILED, message=str(error))
        raise HttpRefused(faults.NOT_KEPT) from None


def _activation_of(identity: Identity) -> str:
    who = f"{identity.device_id}|{identity.client_id}".encode()
    return f"{_PREFIX}:{hashlib.sha256(who).hexdigest()}"


def _tell(request: Request, identity: Identity, use: Use, rewritten: Rewritten | None) -> None:
    log.info(
        LogEvent.OTA_ANSWERED,
        request_id=request.request_id,
        route=request.route,
        device_id=identity.device_id,
        account=use.account.name,
        status=use.status,
        offered=None if rewritten is None else rewritten.offered,
        mqtt=None if rewritten is None else rewritten.mqtt,
        taken_out=None if rewritten is None else ", ".join(rewritten.taken_out),
        duration_ms=use.duration_ms,
    )
