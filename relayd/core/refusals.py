"""Why a connection was refused before the 101: one enum, one table, one JSON shape.

The shape is OpenAI's error object, because the clients' SDKs print its ``message`` and branch
on its ``code``. Every message names the cause and, where there is one, the remedy.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs
import msgspec


class RefusalCode(enum.StrEnum):
    """The code word of a refusal: ``error.code`` in the body, ``reason`` in the log."""

    MALFORMED_REQUEST = "malformed_request"
    EARLY_BYTES = "early_bytes"
    BETA_API_SHAPE_DISABLED = "beta_api_shape_disabled"
    INVALID_PARAMETER = "invalid_parameter"
    INVALID_API_KEY = "invalid_api_key"
    MISSING_API_KEY = "missing_api_key"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    MODEL_NOT_PRICED = "model_not_priced"
    DIALECT_NOT_ALLOWED = "dialect_not_allowed"
    ROLE_NOT_ALLOWED = "role_not_allowed"
    TOPIC_NOT_ALLOWED = "topic_not_allowed"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    DEVICE_NOT_ALLOWED = "device_not_allowed"
    KEY_EXPIRED = "key_expired"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    HEAD_TIMEOUT = "head_timeout"
    HEAD_TOO_LARGE = "head_too_large"
    UPGRADE_REQUIRED = "upgrade_required"
    WEBSOCKET_VERSION = "websocket_version"
    WEBSOCKET_OFF = "websocket_off"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    SESSION_LIMIT_REACHED = "session_limit_reached"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    FIRST_FRAME_TIMEOUT = "first_frame_timeout"
    ADMISSION_TIMEOUT = "admission_timeout"
    NO_ACCOUNT = "no_account"
    ACCOUNT_BUSY = "account_busy"
    OVERLOAD = "overload"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    DRAINING = "draining"
    TLS_FAILED = "tls_failed"
    CLIENT_GONE = "client_gone"
    INTERNAL_ERROR = "internal_error"


STATUS: Final[dict[RefusalCode, int]] = {
    RefusalCode.MALFORMED_REQUEST: 400,
    RefusalCode.EARLY_BYTES: 400,
    RefusalCode.BETA_API_SHAPE_DISABLED: 400,
    RefusalCode.INVALID_PARAMETER: 400,
    RefusalCode.INVALID_API_KEY: 401,
    RefusalCode.MISSING_API_KEY: 401,
    RefusalCode.ORIGIN_NOT_ALLOWED: 403,
    RefusalCode.MODEL_NOT_ALLOWED: 403,
    RefusalCode.MODEL_NOT_PRICED: 403,
    RefusalCode.DIALECT_NOT_ALLOWED: 403,
    RefusalCode.ROLE_NOT_ALLOWED: 403,
    RefusalCode.TOPIC_NOT_ALLOWED: 403,
    RefusalCode.ADDRESS_NOT_ALLOWED: 403,
    RefusalCode.DEVICE_NOT_ALLOWED: 403,
    RefusalCode.KEY_EXPIRED: 403,
    RefusalCode.NOT_FOUND: 404,
    RefusalCode.METHOD_NOT_ALLOWED: 405,
    RefusalCode.IDEMPOTENCY_KEY_REUSED: 422,
    RefusalCode.HEAD_TIMEOUT: 408,
    RefusalCode.HEAD_TOO_LARGE: 431,
    RefusalCode.UPGRADE_REQUIRED: 426,
    RefusalCode.WEBSOCKET_VERSION: 426,
    RefusalCode.WEBSOCKET_OFF: 426,
    RefusalCode.RATE_LIMIT_EXCEEDED: 429,
    RefusalCode.SESSION_LIMIT_REACHED: 429,
    RefusalCode.INSUFFICIENT_QUOTA: 429,
    RefusalCode.UPSTREAM_REFUSED: 502,
    RefusalCode.UPSTREAM_UNREACHABLE: 502,
    RefusalCode.FIRST_FRAME_TIMEOUT: 504,
    RefusalCode.ADMISSION_TIMEOUT: 504,
    RefusalCode.NO_ACCOUNT: 503,
    RefusalCode.ACCOUNT_BUSY: 503,
    RefusalCode.OVERLOAD: 503,
    RefusalCode.LEDGER_UNAVAILABLE: 503,
    RefusalCode.DRAINING: 503,
    RefusalCode.TLS_FAILED: 0,
    RefusalCode.CLIENT_GONE: 0,
    RefusalCode.INTERNAL_ERROR: 500,
}
"""HTTP status by code. 0: nobody is left to send one to."""

ERROR_TYPES: Final[dict[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
"""``error.type`` by status, where it is not told by the hundreds."""


@attrs.frozen
class Refusal:
    """A connection that is not accepted.

    Attributes:
        code: The code word; the status follows from it.
        message: One or two sentences for a person: the cause, then the remedy. Never a secret.
        param: The request's parameter or header at fault, if one is.
        retry_after_s: Seconds after which trying again makes sense, if that can be said.
        headers: Further response headers, such as ``Allow``.
        status: The HTTP status, 0 where none can be sent.
    """

    code: RefusalCode
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    headers: tuple[tuple[str, str], ...] = ()
    status: int = attrs.Factory(lambda self: STATUS[self.code], takes_self=True)

    def body(self) -> bytes:
        """The JSON body, in OpenAI's error shape."""
        return error_body(error_type(self.status), self.code, self.message, self.param)


def not_fatal(refusal: Refusal) -> Refusal:
    """The refusal of a limit for clients that give up for good at a 429."""
    if refusal.status != STATUS[RefusalCode.RATE_LIMIT_EXCEEDED]:
        return refusal
    return attrs.evolve(refusal, status=STATUS[RefusalCode.OVERLOAD])


def error_type(status: int) -> str:
    """OpenAI's ``error.type`` for an HTTP status."""
    default = "server_error" if status >= 500 else "invalid_request_error"
    return ERROR_TYPES.get(status, default)


def error_body(kind: str, code: str, message: str, param: str | None = None) -> bytes:
    """``{"error": {…}}`` as OpenAI's SDKs read it."""
    error = {"message": message, "type": kind, "param": param, "code": str(code)}
    return msgspec.json.encode({"error": error})
