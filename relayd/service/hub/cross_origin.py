"""What pages of allowed origins need to read the hub's answers: CORS (Fetch standard, section 3.3).

Which origins are allowed is ``server.allowed_origins``, as for WebSockets; a request of any other
page is refused before anything is done. Nothing here opens anything: a page has to bring its
credential itself, since cookies are not used and so not allowed for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs
import trio

from relayd.core.refusals import Refusal
from relayd.protocol.head import Head
from relayd.service.http.refusals import HttpFault, HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Headers, Response, Text
from relayd.session.origin import check_origin

MAX_AGE_S: Final = 600
"""For how long a browser does not ask again; after a reload that is how long it may be wrong."""

VARY: Final = ("Vary", "Origin")
"""Sent always: what is kept on the way for one page is not for another."""

_ASKED: Final = "authorization, content-type, idempotency-key, last-event-id, x-api-key"
_SHOWN: Final = "idempotent-replayed, retry-after, x-request-id"


def headers_for(head: Head, allowed: tuple[str, ...]) -> Headers:
    """What every answer to this request says of who may read it.

    Raises:
        HttpRefused: 403: it is of a page that may not ask at all.
    """
    origin = head.get("origin")
    foreign = check_origin(origin, head.get("host") or "", allowed)
    if foreign is not None:
        raise HttpRefused(attrs.evolve(foreign, headers=(*foreign.headers, VARY)))
    if origin is None or not (origin.isascii() and origin.isprintable()):
        return (VARY,)
    shown = ("Access-Control-Expose-Headers", _SHOWN)
    return (VARY, ("Access-Control-Allow-Origin", origin), shown)


def answer_with(response: Response, headers: Headers) -> Response:
    """The response with these headers, too."""
    return attrs.evolve(response, headers=(*response.headers, *headers))


def refusal_with(refusal: Refusal | HttpFault, headers: Headers) -> HttpRefused:
    """Likewise a refusal, which a page reads as well."""
    return HttpRefused(attrs.evolve(refusal, headers=(*refusal.headers, *headers)))


async def answer_options(
    request: Request, allowed: tuple[str, ...], methods: Iterable[str]
) -> Response:
    """Answer OPTIONS, which browsers send ahead of a request and without a credential.

    Args:
        request: Of any client.
        allowed: ``server.allowed_origins``.
        methods: What the path takes.

    Raises:
        HttpRefused: 403 for a page that may not ask.
    """
    headers = headers_for(request.head, allowed)
    await trio.lowlevel.checkpoint()
    names = ", ".join(sorted({*methods, "OPTIONS"}))
    if request.head.get("access-control-request-method") is not None:
        headers = (
            *headers,
            ("Access-Control-Allow-Methods", names),
            ("Access-Control-Allow-Headers", _ASKED),
            ("Access-Control-Max-Age", str(MAX_AGE_S)),
        )
    return Text(b"", 204, (("Allow", names), *headers))
