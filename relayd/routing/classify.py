"""What an upstream's refusal means: for the account, for the breaker, and for the next attempt.

Providers say no in four ways: not at all (no connection), by declining the upgrade with an HTTP
status, by a first frame that is an ``error`` event, and by a Close before any frame. All become
one :class:`Failure`. Everything here is pure, and every text from an upstream is hostile: it is
bounded and redacted before it is kept.
"""

from __future__ import annotations

import enum
import math
import re
import string
from typing import Final

import attrs
import msgspec

from relayd.core.redact import redact

MESSAGE_MAX: Final = 300
"""Characters of an upstream's words that are kept: enough for a sentence, too few for a dump."""

REDACTED_MAX: Final = 4 * MESSAGE_MAX
"""Characters that are searched for secrets; what is cut to ``MESSAGE_MAX`` may shrink first."""

RETRY_AFTER_S_MAX: Final = 3600.0
"""An upstream cannot ask to be left alone for longer, lest one bad header disable an account."""

UNKNOWN_CODE: Final = "upstream_error"
"""The code of a failure whose own code is missing or is no word."""


class FailureKind(enum.StrEnum):
    """What follows from a failure. The value is the word used in logs."""

    FATAL = "fatal"  # the account is of no use until somebody mends it: disable it
    RATE_LIMITED = "rate_limited"  # the account has to rest: cool it down
    REFUSED = "refused"  # the account cannot do this, another one may: no penalty
    UNREACHABLE = "unreachable"  # the upstream is broken: the breaker counts it
    CLIENT_FAULT = "client_fault"  # no account can do this: tell the client


@attrs.frozen
class Failure:
    """Why one attempt at one account came to nothing.

    Attributes:
        kind: What follows from it.
        code: A code word, the upstream's own where it gave a usable one.
        message: A redacted sentence for a person, at most ``MESSAGE_MAX`` characters.
        retry_after_s: How long the upstream asked to be left alone, 0 to ``RETRY_AFTER_S_MAX``.
    """

    kind: FailureKind
    code: str
    message: str
    retry_after_s: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether trying another account is pointless."""
        return self.kind is FailureKind.CLIENT_FAULT


_FATAL, _LIMITED, _REFUSED = FailureKind.FATAL, FailureKind.RATE_LIMITED, FailureKind.REFUSED

KINDS_BY_WORD: Final[dict[str, FailureKind]] = {
    "insufficient_quota": _FATAL,
    "credit_balance_exhausted": _FATAL,
    "invalid_api_key": _FATAL,
    "account_deactivated": _FATAL,
    "billing_hard_limit_reached": _FATAL,
    "inference_rate_limit_exceeded": _LIMITED,
    "too_many_requests": _LIMITED,
}
"""Words that mean the same as ``error.code`` and as ``error.type``."""

KINDS_BY_CODE: Final[dict[str, FailureKind]] = {
    "invalid_model": _REFUSED,
    "model_not_found": _REFUSED,
    "model_not_allowed": _REFUSED,
    "unsupported_model": _REFUSED,
    "beta_api_shape_disabled": _REFUSED,
    # A client may name an organization of its own. The upstream's 401 for one that is not the
    # account's must not disable the account, or any client could.
    "mismatched_organization": _REFUSED,
    "invalid_organization": _REFUSED,
    "mismatched_project": _REFUSED,
    "invalid_project": _REFUSED,
    "invalid_intent": FailureKind.CLIENT_FAULT,
    "invalid_parameter": FailureKind.CLIENT_FAULT,
    "invalid_value": FailureKind.CLIENT_FAULT,
    "missing_required_parameter": FailureKind.CLIENT_FAULT,
    "unknown_parameter": FailureKind.CLIENT_FAULT,
}
"""``error.code`` words, looked up when no word of ``KINDS_BY_WORD`` stands in code or type."""

KINDS_BY_TYPE: Final[dict[str, FailureKind]] = {
    "authentication_error": _FATAL,
    "invalid_request_error": _REFUSED,
    "permission_error": _REFUSED,
    "not_found_error": _REFUSED,
}
"""``error.type`` words, for a code that says nothing. Any other type blames the upstream."""

KINDS_BY_STATUS: Final[dict[int, FailureKind]] = {
    401: _FATAL,
    402: _FATAL,
    408: FailureKind.UNREACHABLE,
    429: _LIMITED,
}
"""Statuses that differ from their hundred: 5xx is ``UNREACHABLE``, all else ``REFUSED``."""

SERVER_ERROR_MIN: Final = 500
"""RFC 9110 section 15.6: from here on the status says that the server erred."""

KINDS_BY_CLOSE: Final[dict[int, FailureKind]] = {
    1008: _REFUSED,  # policy violation
    1013: _LIMITED,  # try again later
}
"""Close codes below 4000 that do not simply mean that the upstream went away."""

PRIVATE_CLOSE_MIN: Final = 4000
"""RFC 6455 section 7.4.2: from here on the code is the upstream's own."""

_KNOWN: Final = frozenset(KINDS_BY_WORD) | frozenset(KINDS_BY_CODE) | frozenset(KINDS_BY_TYPE)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_TOKEN_CHARACTERS: Final = string.ascii_letters + string.digits + "._~+/=-"
_RATE_LIMIT_PREFIX: Final = "rate_limit"


class _Envelope(msgspec.Struct):
    """An error event or an error body. Nothing in it is trusted to have the right type."""

    error: object = None
    code: object = None
    type: object = None
    message: object = None


@attrs.frozen
class _Said:
    """What an upstream said, as far as it made sense. Only the message is redacted already."""

    code: str | None = None
    type: str | None = None
    message: str | None = None

    def word(self, default: str = UNKNOWN_CODE) -> str:
        """The word to be logged: one that relayd knows, or that does not look like a key."""
        for word in (self.code, self.type):
            if word is not None and (word in _KNOWN or redact(word) == word):
                return word
        return default


def unreachable(code: str, message: str) -> Failure:
    """A failure of the connection itself: no address, no TCP, no TLS, no frame in time.

    Args:
        code: relayd's own word for it.
        message: A sentence; redacted here.
    """
    return Failure(FailureKind.UNREACHABLE, code, _shown(message))


def from_error_event(payload: bytes) -> Failure:
    """Judge a first frame that is an ``error`` event, or that should have been readable as one.

    Args:
        payload: The message's JSON; what cannot be read blames the upstream.
    """
    said = _read(payload)
    kind = _kind_of(said) or _kind_by_type(said)
    return Failure(kind, said.word(), said.message or "the upstream answered with an error event")


def from_status(
    status: int, *, retry_after_s: float | None = None, body: bytes | str = b""
) -> Failure:
    """Judge an upgrade that was declined.

    A code word in the body goes before the status: an exhausted quota comes as 429, a wrong
    model as 403.

    Args:
        status: The HTTP status, anything but 101.
        retry_after_s: From ``Retry-After``, if it was there.
        body: What there is of the response's body, JSON or not.
    """
    said = _read(body)
    kind = _kind_of(said) or KINDS_BY_STATUS.get(status) or _kind_by_hundred(status)
    message = f"the upstream declined the upgrade with status {status}"
    if said.message is not None:
        message = f"{message}: {said.message}"
    code = said.word(default=f"http_{status}")
    return Failure(kind, code, message[:MESSAGE_MAX], _bounded(retry_after_s))


def from_close(code: int | None, reason: str) -> Failure:
    """Judge a Close that came before any frame.

    Args:
        code: The close code; ``None`` where the Close was empty or never came (1005, 1006).
        reason: The close reason; OpenAI's is ``<error.type>.<error.code>`` beside code 4000.
    """
    message = "the upstream closed before its first frame"
    if code is None:
        return Failure(FailureKind.UNREACHABLE, "closed_early", message)
    message = f"{message} with code {code}"
    if reason:
        message = f"{message}: {_shown(reason)}"[:MESSAGE_MAX]
    said = _split_reason(reason) if code >= PRIVATE_CLOSE_MIN else _Said()
    default = _REFUSED if code >= PRIVATE_CLOSE_MIN else FailureKind.UNREACHABLE
    kind = _kind_of(said) or KINDS_BY_CLOSE.get(code, default)
    return Failure(kind, said.word(default=f"closed_{code}"), message)


def _kind_of(said: _Said) -> FailureKind | None:
    """What the words say, if they are known ones."""
    words = [word for word in (said.code, said.type) if word is not None]
    for word in words:
        if kind := KINDS_BY_WORD.get(word):
            return kind
    if any(word.startswith(_RATE_LIMIT_PREFIX) for word in words):
        return FailureKind.RATE_LIMITED
    return KINDS_BY_CODE.get(said.code or "")


def _kind_by_type(said: _Said) -> FailureKind:
    return KINDS_BY_TYPE.get(said.type or "", FailureKind.UNREACHABLE)


def _kind_by_hundred(status: int) -> FailureKind:
    return FailureKind.UNREACHABLE if status >= SERVER_ERROR_MIN else FailureKind.REFUSED


def _read(body: bytes | str) -> _Said:
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
        if isinstance(envelope.error, dict):
            envelope = msgspec.convert(envelope.error, type=_Envelope)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _Said()
    if isinstance(envelope.error, str) and envelope.message is None:
        envelope.message = envelope.error
    return _Said(
        _word(envelope.code),
        _word(envelope.type),
        _shown(envelope.message) if isinstance(envelope.message, str) else None,
    )


def _split_reason(reason: str) -> _Said:
    kind, dot, code = reason.partition(".")
    return _Said(_word(code), _word(kind)) if dot else _Said(_word(reason))


def _word(value: object) -> str | None:
    """``value`` if it is a word at all: short and plain."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _shown(text: str) -> str:
    """An upstream's text for people.

    It is cut first, so that the cost does not depend on its size, and then at the edge of a
    token: half a key would no longer look like one.
    """
    if len(text) > REDACTED_MAX:
        text = text[:REDACTED_MAX].rstrip(_TOKEN_CHARACTERS)
    return redact(text)[:MESSAGE_MAX]


def _bounded(retry_after_s: float | None) -> float | None:
    if retry_after_s is None or not math.isfinite(retry_after_s):
        return None
    return min(max(retry_after_s, 0.0), RETRY_AFTER_S_MAX)
