"""Whether a request may become a session: a pure decision, made before anything is dialled.

The order is fixed, cheapest and least telling first: origin, path, key, its expiry, address,
dialect, tag, parameters, model. No refusal repeats what the client sent, so none can show a key.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

import attrs

from relayd.config.providers import Dialect
from relayd.config.snapshot import Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.fields import is_field_value
from relayd.protocol.head import Head, HeadError
from relayd.protocol.upgrade import UpgradeRequest, public_subprotocols
from relayd.session.authentication import authenticate
from relayd.session.origin import check_origin
from relayd.session.routes import Route, find_route
from relayd.session.travelling import travelling_headers

MODEL_MAX_CHARS: Final = 256
MODELS_TOLD_MAX: Final = 16
"""How many of a key's patterns a refusal names."""

FORWARDED_HEADERS: Final = ("OpenAI-Organization", "OpenAI-Project", "OpenAI-Safety-Identifier")
"""What of a Realtime client's headers its upstream gets; relayd writes all others itself."""

TAG_HEADER: Final = "x-relayd-tag"
"""The client's own word for what it is doing; it ends up in the ledger and goes no further."""

_TAG: Final = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
_ONCE: Final = frozenset({"model", "deployment", "call_id", "intent"})
_CALL_ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,256}")
_BETA_HEADER: Final = "realtime=v1"
_BETA_SUBPROTOCOL: Final = "openai-beta.realtime-v1"


@attrs.frozen(kw_only=True)
class Grant:
    """What an admitted client may do, and all that the rest needs of its request.

    Attributes:
        key: Whose it is.
        dialect: The protocol of the session.
        client_address: The client's IP address, or the name of its socket.
        granted_at: When this was decided, by ``trio.current_time()``.
        wall_granted_at: The same in seconds since the epoch.
        tag: The client's own word for what it is doing.
        model: The model a Realtime client asks for.
        call_id: The call it joins instead.
        intent: ``transcription``, which excludes the two above, or ``realtime``.
        account_name: The account that a passthrough path names; it exists and is enabled.
        tail: The path behind that name, as it came: empty, or from a slash on.
        upstream_query: The raw query that goes upstream behind it.
        subprotocols: The offered ones without credentials, in order.
        forward_headers: Names and values of the client's headers that its upstream gets.
    """

    key: Key
    dialect: Dialect
    client_address: str
    granted_at: float
    wall_granted_at: float
    tag: str | None = attrs.field(default=None, repr=False)
    model: str | None = None
    call_id: str | None = None
    intent: str | None = None
    account_name: str | None = None
    tail: str = attrs.field(default="", repr=False)
    upstream_query: str = attrs.field(default="", repr=False)
    subprotocols: tuple[str, ...] = ()
    forward_headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)


@attrs.frozen
class RefusedAdmission(Refusal):
    """A refusal that knows how far admission came.

    Attributes:
        dialect: What the path leads to, if it leads anywhere.
        key_name: The name of the key, once it is known to be valid.
    """

    dialect: Dialect | None = None
    key_name: str | None = None


class Lease(Protocol):
    """The right to hold one session open."""

    def release(self) -> None:
        """Give it back. Calling this again does nothing."""


class Quota(Protocol):
    """What limits sessions beyond what a request says about itself."""

    async def take(self, grant: Grant) -> Lease | Refusal:
        """A lease for the session, or why there is none now. Cancelling this takes none."""


def admit(
    request: UpgradeRequest, client_address: str, snapshot: Snapshot, now: float, wall: float
) -> Grant | RefusedAdmission:
    """Decide about an upgrade by what it says and what the configuration allows.

    Args:
        request: The upgrade.
        client_address: Where it comes from: an IP address, else a word for a socket without one.
        snapshot: The configuration that holds for the whole session.
        now: ``trio.current_time()``.
        wall: Seconds since the epoch, which the expiry of keys is judged by.
    """
    refusal = check_origin(request.origin, request.host, snapshot.settings.server.allowed_origins)
    if refusal is not None:
        return _refused(refusal)
    route = find_route(request.head.path)
    if isinstance(route, Refusal):
        return _refused(route)
    key = authenticate(request.head, snapshot)
    if isinstance(key, Refusal):
        return _refused(key, route)
    decided = check_key(key, client_address, wall) or _admit_to_dialect(
        request,
        route,
        Grant(
            key=key,
            dialect=route.dialect,
            client_address=client_address,
            granted_at=now,
            wall_granted_at=wall,
        ),
        snapshot,
    )
    return _refused(decided, route, key) if isinstance(decided, Refusal) else decided


def check_key(key: Key, client_address: str, wall: float) -> Refusal | None:
    """Whether a key may be used now and from here.

    Args:
        key: Its secret was presented.
        client_address: See :func:`admit`.
        wall: Seconds since the epoch.
    """
    if key.expires is not None and key.has_expired(wall):
        since = f"{key.expires:%Y-%m-%dT%H:%M:%SZ}"
        message = f"This key expired at {since}. Ask the operator of this relay for a new one."
        return Refusal(RefusalCode.KEY_EXPIRED, message)
    if not key.permits_address(client_address):
        message = "This key may not be used from this address. Its allowed_ips do not name it."
        return Refusal(RefusalCode.ADDRESS_NOT_ALLOWED, message)
    return None


def tag_of(head: Head) -> str | Refusal | None:
    """The client's own word for what it is doing, or why its request is refused for it."""
    tag = head.get(TAG_HEADER)
    if tag is not None and _TAG.fullmatch(tag) is None:
        message = f"{TAG_HEADER} is 1 to 64 letters, digits and characters of ._:/- and sent once."
        return _mistaken(message, TAG_HEADER)
    return tag


def _admit_to_dialect(
    request: UpgradeRequest, route: Route, base: Grant, snapshot: Snapshot
) -> Grant | Refusal:
    if not base.key.permits_dialect(route.dialect):
        message = f"This key may not use the dialect {route.dialect}."
        return Refusal(RefusalCode.DIALECT_NOT_ALLOWED, message)
    tag = tag_of(request.head)
    if isinstance(tag, Refusal):
        return tag
    base = attrs.evolve(base, tag=tag)
    match route.dialect:
        case Dialect.REALTIME:
            return _admit_realtime(request, base)
        case Dialect.RESPONSES:
            return _admit_responses(request, base)
        case Dialect.CHAT | Dialect.HUB | Dialect.XIAOZHI:
            raise AssertionError("its requests are not admitted here")
        case Dialect.PASSTHROUGH:
            return _admit_passthrough(request, route, base, snapshot)


def _admit_passthrough(
    request: UpgradeRequest, route: Route, base: Grant, snapshot: Snapshot
) -> Grant | Refusal:
    account = snapshot.account_named(route.account_name or "")
    if account is None or not account.enabled or not account.speaks(Dialect.PASSTHROUGH):
        message = "No passthrough account of this name is enabled; the path is /relay/{account}/…."
        return Refusal(RefusalCode.NOT_FOUND, message)
    return attrs.evolve(
        base,
        account_name=account.name,
        tail=route.tail,
        upstream_query=request.head.query.raw,
        subprotocols=public_subprotocols(request.subprotocols),
    )


def _admit_responses(request: UpgradeRequest, base: Grant) -> Grant | Refusal:
    if not base.key.websocket:
        message = "This key may not open WebSockets here. Use POST /v1/responses with it."
        return Refusal(RefusalCode.WEBSOCKET_OFF, message)
    headers = travelling_headers(request.head)
    if isinstance(headers, Refusal):
        return headers
    return attrs.evolve(
        base,
        subprotocols=public_subprotocols(request.subprotocols),
        forward_headers=headers,
    )


def _admit_realtime(request: UpgradeRequest, base: Grant) -> Grant | Refusal:
    if _is_beta_shaped(request):
        message = (
            "The Realtime beta is not spoken here. Use the GA API: leave out the OpenAI-Beta header"
            f" and the subprotocol {_BETA_SUBPROTOCOL}."
        )
        return Refusal(RefusalCode.BETA_API_SHAPE_DISABLED, message)
    try:
        parameters = request.head.query.parameters(once=_ONCE)
    except HeadError as error:
        return error.refusal
    subject = _subject(parameters)
    if isinstance(subject, Refusal):
        return subject
    if subject.model is not None and not base.key.permits_model(subject.model):
        allowed = ", ".join(base.key.models[:MODELS_TOLD_MAX])
        message = f"This key may not use the requested model. It may use: {allowed}."
        return Refusal(RefusalCode.MODEL_NOT_ALLOWED, message, "model")
    if subject.call_id is not None and "*" not in base.key.models:
        message = 'A call may use any model, so call_id needs a key with models = ["*"].'
        return Refusal(RefusalCode.MODEL_NOT_ALLOWED, message, "call_id")
    headers = _forwarded(request.head)
    if isinstance(headers, Refusal):
        return headers
    return attrs.evolve(
        base,
        model=subject.model,
        call_id=subject.call_id,
        intent=subject.intent,
        subprotocols=public_subprotocols(request.subprotocols),
        forward_headers=headers,
    )


def _is_beta_shaped(request: UpgradeRequest) -> bool:
    if _BETA_SUBPROTOCOL in request.subprotocols:
        return True
    return request.head.names_token("openai-beta", _BETA_HEADER)


@attrs.frozen
class _Subject:
    """What a Realtime session is about: a model, a call, or transcription."""

    model: str | None = None
    call_id: str | None = None
    intent: str | None = None


def _subject(parameters: dict[str, str]) -> _Subject | Refusal:
    """Exactly one of ``model``, ``call_id`` and ``intent=transcription``.

    Azure's preview clients name the model ``deployment``. Parameters of other names, such as
    Azure's ``api-version``, mean nothing here.
    """
    intent = parameters.get("intent")
    if intent not in {None, "realtime", "transcription"}:
        return _mistaken("intent is either realtime or transcription.", "intent")
    if "deployment" in parameters and "model" in parameters:
        return _mistaken("Send either model or deployment, not both.", "deployment")
    model = parameters.get("model", parameters.get("deployment"))
    call_id = parameters.get("call_id")
    if intent == "transcription" and not (model is None and call_id is None):
        message = (
            "With intent=transcription the URL names neither model nor call_id; set"
            " session.audio.input.transcription.model with session.update."
        )
        return _mistaken(message, "model" if call_id is None else "call_id")
    if model is not None and call_id is not None:
        return _mistaken("Send either model or call_id, not both.", "call_id")
    if model is None and call_id is None and intent != "transcription":
        message = "Send one of ?model=<name>, ?call_id=<id> and ?intent=transcription."
        return _mistaken(message, "model")
    return _checked(_Subject(model, call_id, intent))


def _checked(subject: _Subject) -> _Subject | Refusal:
    model, call_id = subject.model, subject.call_id
    if model is not None and not (0 < len(model) <= MODEL_MAX_CHARS and model.isprintable()):
        return _mistaken(f"model is 1 to {MODEL_MAX_CHARS} printable characters.", "model")
    if call_id is not None and _CALL_ID.fullmatch(call_id) is None:
        return _mistaken("call_id is the id of a call, such as rtc_….", "call_id")
    return subject


def _forwarded(head: Head) -> tuple[tuple[str, str], ...] | Refusal:
    found = [(name, head.get(name.lower())) for name in FORWARDED_HEADERS]
    headers = tuple((name, value) for name, value in found if value)
    for name, value in headers:
        if not is_field_value(value):
            message = f"The header {name} must be printable ASCII."
            return Refusal(RefusalCode.MALFORMED_REQUEST, message, name.lower())
    return headers


def _mistaken(message: str, param: str) -> Refusal:
    return Refusal(RefusalCode.INVALID_PARAMETER, message, param)


def _refused(
    refusal: Refusal, route: Route | None = None, key: Key | None = None
) -> RefusedAdmission:
    return RefusedAdmission(
        code=refusal.code,
        message=refusal.message,
        param=refusal.param,
        retry_after_s=refusal.retry_after_s,
        headers=refusal.headers,
        dialect=None if route is None else route.dialect,
        key_name=None if key is None else key.name,
    )
