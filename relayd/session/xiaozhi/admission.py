"""Whether a device is let in, and who it is: before anything is dialled, which its hello waits for.

A device says who it is in two headers and presents a token that relayd made for exactly that, or a
key. Browsers can set no header, so both ids and the token, which opens nothing for anybody else and
expires, may stand in the query instead; headers win. A key is never read from there.
"""

from __future__ import annotations

import functools
from typing import Final

import attrs

from relayd.config.patterns import Patterns
from relayd.config.providers import Dialect
from relayd.config.snapshot import Account, Key, Snapshot
from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.xiaozhi_build import Build
from relayd.dialect.xiaozhi_frames import TIMED
from relayd.dialect.xiaozhi_identity import BadIdentity, Identity, read_identity, read_version
from relayd.dialect.xiaozhi_tokens import (
    TokenVerdict,
    bearer,
    check_device_token,
    is_device_token,
)
from relayd.protocol.head import Head, HeadError
from relayd.protocol.upgrade import UpgradeRequest, echo_subprotocol, public_subprotocols
from relayd.session.admission import Grant, RefusedAdmission, check_key, tag_of
from relayd.session.authentication import authenticate
from relayd.session.origin import check_origin

DEVICE_ID: Final = "device-id"
CLIENT_ID: Final = "client-id"
AUTHORIZATION: Final = "authorization"
VERSION: Final = "protocol-version"
GATEWAY: Final = "mqtt_gateway"
"""What an MQTT gateway in front of a server says of itself, as ``from`` in the query."""

_FROM: Final = "from"
_ONCE: Final = frozenset({DEVICE_ID, CLIENT_ID, AUTHORIZATION, _FROM})
_CHALLENGE: Final = (("WWW-Authenticate", "Bearer"),)
_PATTERNS_KEPT: Final = 64
_ANY: Final = "*"

_MISSING: Final = Refusal(
    RefusalCode.MISSING_API_KEY,
    "No credential was sent. Send Authorization: Bearer <token of this device, or key>; in the"
    " query a token alone is read.",
    headers=_CHALLENGE,
)
_WRONG: Final = Refusal(
    RefusalCode.INVALID_API_KEY,
    "The token is not one of this relay for this device. A device gets one from /xiaozhi/ota/.",
    headers=_CHALLENGE,
)
_EXPIRED: Final = Refusal(
    RefusalCode.KEY_EXPIRED,
    "The token of this device has expired. It gets another one from /xiaozhi/ota/.",
)
DENIED: Final = Refusal(
    RefusalCode.DEVICE_NOT_ALLOWED,
    "This device may not come in: see xiaozhi.devices_allowed and xiaozhi.devices_denied.",
)
_NOT_PRICED: Final = Refusal(
    RefusalCode.MODEL_NOT_PRICED,
    "This key has a budget, and no server of this device has a price. The operator can add one for"
    " xiaozhi/<account> to the file that ledger.prices names.",
)


@attrs.frozen(kw_only=True)
class XiaozhiGrant:
    """What an admitted device may do.

    Attributes:
        grant: As every session has one; its key is the one whose limits hold.
        identity: Which device it is.
        version: The framing of its audio: 1, 2 or 3.
        from_gateway: Whether an MQTT gateway speaks for it.
        by_token: Whether it came with a token of relayd's, not with a key.
        subprotocol: What the 101 names.
    """

    grant: Grant
    identity: Identity
    version: int
    from_gateway: bool
    by_token: bool
    subprotocol: str | None


def admit(
    request: UpgradeRequest, client_address: str, snapshot: Snapshot, now: float, wall: float
) -> XiaozhiGrant | RefusedAdmission:
    """Decide about an upgrade on a path of devices.

    Args:
        request: The upgrade.
        client_address: Where it comes from: an IP address, else a word for a socket without one.
        snapshot: The configuration that holds for the whole session.
        now: ``trio.current_time()``.
        wall: Seconds since the epoch.
    """
    head = request.head
    refusal = check_origin(request.origin, request.host, snapshot.settings.server.allowed_origins)
    if refusal is not None:
        return _refused(refusal)
    try:
        query = head.query.parameters(once=_ONCE)
    except HeadError as error:
        return _refused(error.refusal)
    found = _who(head, query, snapshot, wall)
    if isinstance(found, Refusal):
        return _refused(found)
    decided = _decide(found, head, client_address, snapshot, wall)
    if decided is not None:
        return _refused(decided, found.key)
    from_gateway = query.get(_FROM) == GATEWAY
    version = head.get(VERSION)
    public = public_subprotocols(request.subprotocols)
    return XiaozhiGrant(
        grant=Grant(
            key=found.key,
            dialect=Dialect.XIAOZHI,
            client_address=client_address,
            granted_at=now,
            wall_granted_at=wall,
            tag=_tag(head),
            subprotocols=public,
        ),
        identity=found.identity,
        version=TIMED if version is None and from_gateway else read_version(version),
        from_gateway=from_gateway,
        by_token=found.by_token,
        subprotocol=echo_subprotocol(public),
    )


def permits_device(settings: XiaozhiSettings, device_id: str) -> bool:
    """Whether the lists let a device in. Letters count the same in either case."""
    if matches_device(settings.devices_denied, device_id):
        return False
    return matches_device(settings.devices_allowed, device_id)


def matches_device(patterns: tuple[str, ...], device_id: str) -> bool:
    """Whether any of ``patterns`` is for a device. Letters count the same in either case."""
    return _compiled(patterns).matches(device_id.lower())


@functools.lru_cache(maxsize=_PATTERNS_KEPT)
def _compiled(patterns: tuple[str, ...]) -> Patterns:
    return Patterns.of(pattern.lower() for pattern in patterns)


@functools.lru_cache(maxsize=_PATTERNS_KEPT)
def _exactly(patterns: tuple[str, ...]) -> Patterns:
    return Patterns.of(patterns)


def price_name(account_name: str) -> str:
    """The name under which a server has its price: devices name no model."""
    return f"{Dialect.XIAOZHI}/{account_name}"


@attrs.frozen
class _Found:
    """Who comes, and what speaks for it."""

    identity: Identity
    key: Key
    by_token: bool


def _who(head: Head, query: dict[str, str], snapshot: Snapshot, wall: float) -> _Found | Refusal:
    token = _device_token(head, query)
    key: Key | Refusal | None = None
    if token is None:
        key = authenticate(head, snapshot)
        if isinstance(key, Refusal):
            return _MISSING if key.code is RefusalCode.MISSING_API_KEY else key
    try:
        identity = read_identity(
            head.get(DEVICE_ID) or query.get(DEVICE_ID), head.get(CLIENT_ID) or query.get(CLIENT_ID)
        )
    except BadIdentity as bad:
        message = f"Device-Id and Client-Id name the device: {bad}."
        return Refusal(RefusalCode.INVALID_PARAMETER, message, DEVICE_ID)
    if token is None:
        assert isinstance(key, Key), "who has no token has a key"
        return _Found(identity, key, by_token=False)
    return _of_token(token, identity, snapshot, wall)


def _device_token(head: Head, query: dict[str, str]) -> str | None:
    """A token of relayd's own, as far as its shape tells."""
    sent = head.get(AUTHORIZATION) or query.get(AUTHORIZATION)
    if not sent:
        return None
    token = bearer(sent) or sent
    return token if is_device_token(token) else None


def _of_token(token: str, identity: Identity, snapshot: Snapshot, wall: float) -> _Found | Refusal:
    settings = snapshot.settings.xiaozhi
    key = next((each for each in snapshot.keys.values() if each.name == settings.key), None)
    if settings.token_secret is None or key is None or not key.enabled:
        return _WRONG
    verdict = check_device_token(
        token, settings.token_secret.reveal(), identity, tenant=key.tenant, wall=wall
    )
    match verdict:
        case TokenVerdict.GOOD:
            return _Found(identity, key, by_token=True)
        case TokenVerdict.EXPIRED:
            return _EXPIRED
        case TokenVerdict.WRONG:
            return _WRONG


def _decide(
    found: _Found, head: Head, client_address: str, snapshot: Snapshot, wall: float
) -> Refusal | None:
    key, device_id = found.key, found.identity.device_id
    refusal = check_key(key, client_address, wall)
    if refusal is not None:
        return refusal
    if not key.permits_dialect(Dialect.XIAOZHI):
        message = f"This key may not use the dialect {Dialect.XIAOZHI}."
        return Refusal(RefusalCode.DIALECT_NOT_ALLOWED, message)
    if not permits_device(snapshot.settings.xiaozhi, device_id):
        return DENIED
    tag = tag_of(head)
    if isinstance(tag, Refusal):
        return tag
    serving = [each for each in snapshot.accounts if serves(each, device_id, key.tenant, None)]
    if key.budget_nano and serving:
        prices = snapshot.prices
        if not any(prices.find(price_name(each.name)) is not None for each in serving):
            return _NOT_PRICED
    return None


def serves(account: Account, device_id: str, tenant: str, build: Build | None) -> bool:
    """Whether an account is a server of this device, and switched on.

    Args:
        account: The server's.
        device_id: Of the device.
        tenant: Whose it is; the name of a tenant has one spelling.
        build: What it is; ``None`` asks for the servers that it has whatever it is.
    """
    own = account.xiaozhi
    return (
        account.enabled
        and account.speaks(Dialect.XIAOZHI)
        and matches_device(own.devices, device_id)
        and _exactly(own.tenants).matches(tenant)
        and (build is None or _matches_build(own, build))
    )


def asks_build(account: Account) -> bool:
    """Whether an account looks at what a device is."""
    own = account.xiaozhi
    return _ANY not in own.boards or _ANY not in own.firmware


def _matches_build(own: DeviceServerSettings, build: Build) -> bool:
    """What is not known is matched by all, and by nothing else."""
    firmware = (build.firmware,) if build.firmware else ()
    return all(
        _ANY in patterns or any(_compiled(patterns).matches(each.lower()) for each in said)
        for patterns, said in ((own.boards, build.boards), (own.firmware, firmware))
    )


def _tag(head: Head) -> str | None:
    tag = tag_of(head)
    assert not isinstance(tag, Refusal), "it has been looked at"
    return tag


def _refused(refusal: Refusal, key: Key | None = None) -> RefusedAdmission:
    return RefusedAdmission(
        code=refusal.code,
        message=refusal.message,
        param=refusal.param,
        retry_after_s=refusal.retry_after_s,
        headers=refusal.headers,
        dialect=Dialect.XIAOZHI,
        key_name=None if key is None else key.name,
    )
