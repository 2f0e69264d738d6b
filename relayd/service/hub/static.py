"""The dashboard's files: public, held in memory, and fenced in by a strict policy.

They are served without a key, so they hold nothing that anybody may not see. What a page of them
may do is told to the browser: run and load what comes from here, talk to here, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs
import trio

from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Headers, Text

INDEX: Final = "index.html"
"""What is served at the path of the dashboard itself."""

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy (CSP Level 3): no inline script or style, no outside host, no frame."""

_HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),  # kept, and asked for again each time: a 304 is cheap
)
_NO_SUCH_FILE: Final = Refusal(RefusalCode.NOT_FOUND, "There is nothing at this path.")


@attrs.frozen
class _File:
    content_type: str
    content: bytes = attrs.field(repr=False)
    etag: str

    @classmethod
    def of(cls, content_type: str, content: bytes) -> _File:
        return cls(content_type, content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class StaticFiles:
    """Serves a handful of files.

    Args:
        files: By name, each with its ``Content-Type`` and its bytes. A name is one segment of a
            path: what is not in here is not found, wherever else it may exist.
    """

    def __init__(self, files: Mapping[str, tuple[str, bytes]]) -> None:
        self._files: Final[Mapping[str, _File]] = MappingProxyType(
            {name: _File.of(*file) for name, file in files.items()}
        )

    async def index(self, request: Request) -> Text:
        """``GET /dashboard``. Raises ``HttpRefused`` where there is no dashboard."""
        return await self._serve(request, INDEX)

    async def moved(self, request: Request) -> Text:
        """``GET /dashboard/``: the page is without the slash, as its own links count on."""
        await trio.lowlevel.checkpoint()
        return Text(b"", 308, (("Location", "../dashboard"),))

    async def file(self, request: Request) -> Text:
        """``GET /dashboard/{file}``. Raises ``HttpRefused`` (404)."""
        return await self._serve(request, request.parameters["file"])

    async def _serve(self, request: Request, name: str) -> Text:
        await trio.lowlevel.checkpoint()
        file = self._files.get(name)
        if file is None:
            raise HttpRefused(_NO_SUCH_FILE)
        headers: Headers = (*_HEADERS, ("ETag", file.etag))
        if _has(request.head, file.etag):
            return Text(b"", 304, headers)
        return Text(file.content, headers=headers, content_type=file.content_type)


def _has(head: Head, etag: str) -> bool:
    """Whether the client says that it has this very content (RFC 9110 section 13.1.2)."""
    known = head.get_list("if-none-match")
    return "*" in known or etag in [each.removeprefix("W/") for each in known]
