"""Whether a request for a WebSocket of the hub is let in, and what it wants there.

The order is that of :mod:`relayd.session.admission`: origin, who it is, what it asks for. A client
of the Centrifuge protocol may say who it is after the 101 instead; until then it is a stranger.
"""

from __future__ import annotations

from typing import Final

import attrs

from relayd.config.providers import Dialect
from relayd.config.snapshot import Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_errors import Mistake
from relayd.dialect.hub_topics import EVERYTHING, Scope, Selector
from relayd.dialect.hub_wanted import Wanted, parse_query
from relayd.hub.shared import Wire
from relayd.protocol.upgrade import UpgradeRequest, echo_subprotocol, public_subprotocols
from relayd.session.admission import Grant, RefusedAdmission
from relayd.session.hub.identity import BEARER_SUBPROTOCOL, Identity, identify, is_missing
from relayd.session.origin import check_origin

CENTRIFUGE_PATH: Final = "/connection/websocket"
"""Where the Centrifuge protocol is spoken; on the other paths of the dialect, council's is."""

STRANGER: Final = Key(name="(stranger)", tenant="", digest=b"")
"""Stands for who has not said who it is; no key of the configuration has such a name."""

_NOTHING_TO_CHOOSE: Final = Refusal(
    RefusalCode.INVALID_PARAMETER,
    "A credential is no subprotocol that an answer may name, and browsers give up where none is"
    ' named. Offer a second one, such as ["relayd", "bearer.<token>"].',
    "sec-websocket-protocol",
)


@attrs.frozen(kw_only=True)
class HubGrant:
    """What an admitted client may do, and what it asks for.

    Attributes:
        grant: As every session has one; its key is the one whose limits hold.
        identity: Who it is; ``None`` for a stranger.
        wire: How it is spoken to.
        wanted: What it wants to follow from the start; ``None`` where it says so after the 101.
        subprotocol: What the 101 names.
    """

    grant: Grant
    identity: Identity | None
    wire: Wire
    wanted: Wanted | None
    subprotocol: str | None


def admit(
    request: UpgradeRequest, client_address: str, snapshot: Snapshot, now: float, wall: float
) -> HubGrant | RefusedAdmission:
    """Decide about an upgrade on a path of the hub.

    Args:
        request: The upgrade.
        client_address: Where it comes from: an IP address, else a word for a socket without one.
        snapshot: The configuration in force.
        now: ``trio.current_time()``.
        wall: Seconds since the epoch.
    """
    allowed = snapshot.settings.server.allowed_origins
    refusal = check_origin(request.origin, request.host, allowed)
    if refusal is not None:
        return _refused(refusal)
    wire = Wire.CENTRIFUGE if request.head.path == CENTRIFUGE_PATH else Wire.COUNCIL
    found = identify(request.head, client_address, snapshot, wall)
    if isinstance(found, Refusal) and not (wire is Wire.CENTRIFUGE and is_missing(found)):
        return _refused(found)
    identity = None if isinstance(found, Refusal) else found
    wanted = None
    if wire is Wire.COUNCIL and identity is not None:
        asked = _wanted(request.head.query.raw, identity.scope)
        if isinstance(asked, Refusal):
            return _refused(asked, identity)
        wanted = asked
    public = public_subprotocols(
        item for item in request.subprotocols if not item.lower().startswith(BEARER_SUBPROTOCOL)
    )
    if request.subprotocols and not public:
        return _refused(_NOTHING_TO_CHOOSE, identity)
    grant = Grant(
        key=STRANGER if identity is None else identity.limited_as,
        dialect=Dialect.HUB,
        client_address=client_address,
        granted_at=now,
        wall_granted_at=wall,
        subprotocols=public,
    )
    return HubGrant(
        grant=grant,
        identity=identity,
        wire=wire,
        wanted=wanted,
        subprotocol=echo_subprotocol(public),
    )


def refused_topic(scope: Scope, selectors: tuple[Selector, ...]) -> Selector | None:
    """The first that a client may not follow; ``*`` is for everybody and means what they may."""
    return next(
        (each for each in selectors if each != EVERYTHING and not scope.may_follow(each)), None
    )


def _wanted(query: str, scope: Scope) -> Wanted | Refusal:
    wanted = parse_query(query)
    if isinstance(wanted, Mistake):
        return Refusal(RefusalCode.INVALID_PARAMETER, wanted.message, wanted.param)
    if refused_topic(scope, wanted.topics) is not None:
        message = "The query names a topic that this client may not follow."
        return Refusal(RefusalCode.TOPIC_NOT_ALLOWED, message, "topics")
    return wanted


def _refused(refusal: Refusal, identity: Identity | None = None) -> RefusedAdmission:
    return RefusedAdmission(
        code=refusal.code,
        message=refusal.message,
        param=refusal.param,
        retry_after_s=refusal.retry_after_s,
        headers=refusal.headers,
        dialect=Dialect.HUB,
        key_name=None if identity is None else identity.name,
    )
