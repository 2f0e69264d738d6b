"""What the Realtime API makes of an upgrade request: whom it serves, and as what."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

import attrs
import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from relayd.sim.realtime.scenario import (
    BETA_API_SHAPE_DISABLED,
    INVALID_API_KEY,
    HttpRefusal,
    InBandRefusal,
)
from relayd.sim.realtime.session import Kind

PATH: Final = "/v1/realtime"
MODEL_OF_CALLS: Final = "gpt-realtime"
"""What a call, joined by its id, is served with."""

_KEY_PREFIX: Final = "openai-insecure-api-key."
_BETA_SUBPROTOCOL: Final = "openai-beta.realtime-v1"
_PARAMETERS: Final = frozenset({"model", "call_id", "intent"})

NOT_FOUND: Final = HttpRefusal(
    404, "invalid_request_error", "not_found", f"The WebSocket API is at {PATH}."
)


@attrs.frozen
class Wanted:
    """What an acceptable request asks for.

    Attributes:
        kind: The kind of session.
        model: Its model; ``None`` for a transcription session.
    """

    kind: Kind
    model: str | None


def wanted(request: Request) -> Wanted | InBandRefusal | HttpRefusal:
    """What ``request`` asks for, or why it gets nothing.

    As with the real service, only a wrong path is an HTTP error; a missing key, a client of the
    beta and a wrong parameter are upgraded and told in band. Any key will do, as long as one is
    given.
    """
    url = urlsplit(request.path)
    if url.path != PATH:
        return NOT_FOUND
    offered = offered_subprotocols(request.headers)
    if not _has_key(request.headers, offered):
        return INVALID_API_KEY
    beta = "realtime=v1" in ",".join(request.headers.get_all("OpenAI-Beta"))
    if beta or _BETA_SUBPROTOCOL in offered:
        return BETA_API_SHAPE_DISABLED
    return _by_query(parse_qs(url.query))


def offered_subprotocols(headers: Headers) -> list[str]:
    """The subprotocols of a request, in its order."""
    fields = ",".join(headers.get_all("Sec-WebSocket-Protocol")).split(",")
    return [field.strip() for field in fields if field.strip()]


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """``realtime`` where it was offered, else the first that holds no key."""
    if "realtime" in offered:
        return "realtime"
    return next((name for name in offered if not name.startswith(_KEY_PREFIX)), None)


def http_response(refusal: HttpRefusal) -> Response:
    """``refusal`` as the response that stands in for the 101."""
    error = {"message": refusal.message, "type": refusal.kind, "code": refusal.code, "param": None}
    body = msgspec.json.encode({"error": error})
    headers = Headers(
        [
            *refusal.headers,
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
    )
    return Response(refusal.status, HTTPStatus(refusal.status).phrase, headers, body)


def _has_key(headers: Headers, offered: Sequence[str]) -> bool:
    bearer = ",".join(headers.get_all("Authorization"))
    if bearer.lower().startswith("bearer ") and bearer[len("bearer ") :].strip():
        return True
    if any(value.strip() for value in headers.get_all("api-key")):
        return True
    return any(name.removeprefix(_KEY_PREFIX) not in ("", name) for name in offered)


def _by_query(query: dict[str, list[str]]) -> Wanted | InBandRefusal:
    given = {name: query[name][0] for name in _PARAMETERS & query.keys()}
    match given:
        case {"intent": "transcription", "model": _}:
            return _invalid("invalid_model", "A transcription session takes no model in its URL.")
        case {"intent": "transcription"}:
            return Wanted(Kind.TRANSCRIPTION, None)
        case {"intent": str(intent)} if intent != "realtime":
            return _invalid("invalid_intent", f"Unknown intent '{intent}'.")
        case {"model": _, "call_id": _}:
            return _invalid("invalid_value", "Give either 'model' or 'call_id'.")
        case {"call_id": str(call_id)}:
            if not call_id.startswith("rtc_"):
                return _invalid("invalid_value", f"Unknown call '{call_id}'.")
            return Wanted(Kind.REALTIME, MODEL_OF_CALLS)
        case {"model": str(model)}:
            return Wanted(Kind.REALTIME, model)
        case _:
            return _invalid("missing_required_parameter", "You must provide a model parameter.")


def _invalid(code: str, message: str) -> InBandRefusal:
    return InBandRefusal("invalid_request_error", code, message)
