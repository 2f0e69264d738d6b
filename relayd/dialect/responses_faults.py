"""What a Responses upstream says has gone wrong, and what it says of its limits.

An error is an event of its own, with its fields under ``error`` or at the top, or the ``error`` of
a failed response. Its status is the upstream's, or follows from its words: a client that is not
told one does not see the error.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import attrs
import msgspec

from relayd.core.redact import redact
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_errors import INVALID_REQUEST, SERVER_ERROR, STATUSES, error_event
from relayd.dialect.responses_events import WireResponse, text_of
from relayd.dialect.responses_members import DoubledMember, NotAnObject, edited, read_members

MESSAGE_MAX_CHARS: Final = 300
"""Of an upstream's message that are kept."""

HEADERS_MAX_BYTES: Final = 16_384
"""Headers of an error that are longer are not read, only sent on."""

STATUS_DEFAULT: Final = 502
"""Of an error whose words say nothing."""

STATUS_BY_WORD: Final[dict[str, int]] = {
    INVALID_REQUEST: 400,
    "previous_response_not_found": 400,
    "invalid_stream_id": 400,
    "websocket_stream_limit_reached": 400,
    "websocket_connection_limit_reached": 400,
    "context_length_exceeded": 400,
    "message_too_big": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "token_expired": 401,
    "account_deactivated": 403,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "usage_limit_reached": 429,
    "usage_not_included": 429,
    "insufficient_quota": 429,
    "credit_balance_exhausted": 429,
    "billing_hard_limit_reached": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "inference_rate_limit_exceeded": 429,
    "too_many_requests": 429,
    SERVER_ERROR: 500,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "overloaded_error": 503,
}
"""By ``error.code``, else by ``error.type``."""

_CONNECTION_LIMIT: Final = "websocket_connection_limit_reached"
_AUTH_WORDS: Final = frozenset(
    {"authentication_error", "invalid_api_key", "token_expired", "account_deactivated"}
)
_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY, _UNAVAILABLE = 401, 403, 429, 503
_AGAIN: Final = re.compile(r"[Tt]ry again in (\d{1,9}(?:\.\d{1,9})?)\s?(ms|s)\b")
_NOTHING: Final = msgspec.Raw(b"null")


class _Wire(msgspec.Struct):
    """``error``, and the same fields at the top of an event."""

    type: msgspec.Raw = _NOTHING
    code: msgspec.Raw = _NOTHING
    message: msgspec.Raw = _NOTHING
    param: msgspec.Raw = _NOTHING
    status: msgspec.Raw = _NOTHING
    status_code: msgspec.Raw = _NOTHING
    headers: msgspec.Raw = _NOTHING
    resets_at: msgspec.Raw = _NOTHING
    resets_in_seconds: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class _WireWindow(msgspec.Struct):
    used_percent: _Amount | None = None
    window_minutes: _Amount | None = None
    reset_at: _Amount | None = None


class _WireWindows(msgspec.Struct):
    primary: _WireWindow | None = None
    secondary: _WireWindow | None = None


class _WireLimits(msgspec.Struct):
    rate_limits: _WireWindows | None = None


_decode_wire: Final = msgspec.json.Decoder(_Wire).decode
_decode_limits: Final = msgspec.json.Decoder(_WireLimits).decode
_decode_headers: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_amount: Final = msgspec.json.Decoder(_Amount).decode
_decode_status: Final = msgspec.json.Decoder(int).decode


@attrs.frozen(kw_only=True)
class TurnError:
    """An error of the upstream's, as far as it made sense.

    Attributes:
        status: The upstream's, else what its words stand for.
        status_told: Whether clients find a status in the event.
        kind: ``error.type``.
        message: Redacted, at most :data:`MESSAGE_MAX_CHARS` characters; empty for none.
        retry_after_s: How long the upstream asks to be left alone.
        resets_at: When its limit is lifted, in seconds since the epoch.
    """

    status: int
    status_told: bool
    kind: str | None
    code: str | None
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    resets_at: float | None = None

    @property
    def abort(self) -> Abort:
        """Which row of the table it falls under."""
        words = {self.code, self.kind}
        if self.code == _CONNECTION_LIMIT:
            return Abort.CONNECTION_LIMIT
        if self.status == _UNAUTHORIZED or words & _AUTH_WORDS:
            return Abort.UPSTREAM_AUTH
        if self.status == _FORBIDDEN and self.kind != INVALID_REQUEST:
            return Abort.UPSTREAM_AUTH  # of an invalid request the client is told by itself
        if self.status == _TOO_MANY or any(_status_by(word) == _TOO_MANY for word in words):
            return Abort.UPSTREAM_LIMIT
        return Abort.UPSTREAM_ERROR

    @property
    def concerns_account(self) -> bool:
        """Whether it says something of the account, and not of the request alone."""
        if self.abort in {Abort.UPSTREAM_AUTH, Abort.UPSTREAM_LIMIT}:
            return True
        return _UNAVAILABLE in {self.status, _status_by(self.code), _status_by(self.kind)}


@attrs.frozen
class Window:
    """One of an account's limits.

    Attributes:
        reset_at: In seconds since the epoch.
    """

    used_percent: float | None
    window_minutes: float | None
    reset_at: float | None


@attrs.frozen
class RateLimits:
    """What ``codex.rate_limits`` says of an account."""

    primary: Window | None
    secondary: Window | None


def read_error(payload: bytes | bytearray) -> TurnError:
    """The error that an ``error`` event reports; what cannot be read of it is absent."""
    try:
        top = _decode_wire(payload)
    except (msgspec.DecodeError, RecursionError):
        top = _Wire()
    return _error(top, _inner(top.error))


def read_failure(response: WireResponse) -> TurnError:
    """The error of a failed response."""
    return _error(_Wire(), _inner(response.error))


def with_status(payload: bytes, error: TurnError, stream_id: str | None) -> bytes:
    """An error event with its status and its words where clients look for them; all else as it was.

    Some upstreams put code and message at the top: then an ``error`` that holds them is added. Of
    one that has a key twice only the words are kept.

    Args:
        error: What :func:`read_error` made of it.
        stream_id: The lane that it names, if it does.
    """
    try:
        members = read_members(payload)
    except (DoubledMember, NotAnObject):
        return error_event(
            error.status,
            error.kind or SERVER_ERROR,
            error.code or "upstream_error",
            error.message or "The upstream reported an error.",
            param=error.param,
            stream_id=stream_id,
        )
    changes: dict[str, bytes | None] = {}
    if not error.status_told:
        changes["status"] = str(error.status).encode()
    if memoryview(members.values.get("error", _NOTHING))[0] != ord("{"):
        words = {
            "type": error.kind or SERVER_ERROR,
            "code": error.code or "upstream_error",
            "message": error.message or "The upstream reported an error.",
            "param": error.param,
        }
        changes["error"] = msgspec.json.encode(words)
    return edited(payload, members.spans, changes) if changes else payload


def read_rate_limits(payload: bytes | bytearray) -> RateLimits | None:
    """What a ``codex.rate_limits`` says; ``None`` for nothing that can be believed."""
    try:
        told = _decode_limits(payload).rate_limits
    except (msgspec.DecodeError, RecursionError):
        return None
    if told is None:
        return None
    return RateLimits(_window(told.primary), _window(told.secondary))


def _window(wire: _WireWindow | None) -> Window | None:
    if wire is None:
        return None
    return Window(wire.used_percent, wire.window_minutes, wire.reset_at)


def _inner(raw: msgspec.Raw) -> _Wire:
    """``error``: an object, or a sentence."""
    if memoryview(raw)[0] == ord('"'):
        return _Wire(message=raw)
    try:
        return _decode_wire(raw)
    except (msgspec.DecodeError, RecursionError):
        return _Wire()


def _error(top: _Wire, inner: _Wire) -> TurnError:
    kind = text_of(inner.type)
    code = text_of(inner.code) or text_of(top.code)
    message = text_of(inner.message, 4 * MESSAGE_MAX_CHARS) or text_of(
        top.message, 4 * MESSAGE_MAX_CHARS
    )
    seen = _status(top.status) or _status(top.status_code)
    status = seen or _status(inner.status) or _status(inner.status_code)
    return TurnError(
        status=status or _status_by(code) or _status_by(kind) or STATUS_DEFAULT,
        status_told=seen is not None,
        kind=kind,
        code=code,
        message=redact(message or "")[:MESSAGE_MAX_CHARS],
        param=text_of(inner.param) or text_of(top.param),
        retry_after_s=_retry_after_s(top, inner, message or ""),
        resets_at=_first(inner.resets_at, top.resets_at),
    )


def _status(raw: msgspec.Raw) -> int | None:
    try:
        status = _decode_status(raw)
    except msgspec.DecodeError:
        return None
    return status if status in STATUSES else None


def _status_by(word: str | None) -> int | None:
    return STATUS_BY_WORD.get(word or "")


def _retry_after_s(top: _Wire, inner: _Wire, message: str) -> float | None:
    if (told := _first(inner.resets_in_seconds, top.resets_in_seconds)) is not None:
        return told
    headers = _headers(top.headers) | _headers(inner.headers)
    if (told := _amount(headers.get("retry-after-ms"))) is not None:
        return told / 1000
    if (told := _amount(headers.get("retry-after"))) is not None:
        return told
    if (found := _AGAIN.search(message)) is None:
        return None
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def _headers(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    if len(memoryview(raw)) > HEADERS_MAX_BYTES:
        return {}
    try:
        return {name.lower(): value for name, value in _decode_headers(raw).items()}
    except (msgspec.DecodeError, RecursionError):
        return {}


def _first(*raws: msgspec.Raw) -> float | None:
    amounts = (_amount(raw) for raw in raws)
    return next((amount for amount in amounts if amount is not None), None)


def _amount(raw: msgspec.Raw | None) -> float | None:
    """A number that is not negative, or a string that spells one."""
    text = None if raw is None else text_of(raw)
    try:
        return None if text is None else _decode_amount(text)
    except msgspec.DecodeError:
        return None
