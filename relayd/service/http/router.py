"""Which handler a request is for: a table of routes that can be read, and a lookup in it.

A path is compared segment by segment and never backtracks: whole paths are looked up first, then
the patterns of as many segments, those whose fixed segments come first before the others. The
first pattern that fits the path decides; its methods are then those that the path has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from relayd.core.refusals import Refusal, RefusalCode
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Response
from relayd.service.http.service import Handler

PARAMETER_MAX_BYTES: Final = 256
"""The longest value of a pattern's name, once decoded."""

_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~-]+|\{[a-z_][a-z0-9_]*\}")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_FOUND: Final = Refusal(RefusalCode.NOT_FOUND, "There is nothing at this path.")


def _check_pattern(_: Route, __: attrs.Attribute[str], pattern: str) -> None:
    segments = pattern.removesuffix("/").split("/")[1:]
    fits = pattern == "/" or (bool(segments) and all(map(_SEGMENT.fullmatch, segments)))
    if not (pattern.startswith("/") and fits):
        raise ValueError(f"{pattern} is no pattern: /fixed/{{name}}")
    names = [segment for segment in segments if segment.startswith("{")]
    if len(set(names)) < len(names):
        raise ValueError(f"{pattern} uses a name twice")


@attrs.frozen
class Route:
    """One method of one path.

    Attributes:
        method: In capitals. A GET answers HEAD too, where there is no route of its own for it.
        pattern: ``/fixed/{name}``; a name takes one whole segment. With a slash at its end it is
            another path than without.
        handler: Answers it.
        name: In snake case; no two routes share one.
        summary: What it does, in one line.
    """

    method: str = attrs.field(validator=attrs.validators.matches_re(_METHOD))
    pattern: str = attrs.field(validator=_check_pattern)
    handler: Handler = attrs.field(repr=False)
    name: str
    summary: str

    @property
    def parameters(self) -> tuple[str, ...]:
        """The pattern's names, in order."""
        return tuple(part[1:-1] for part in self.pattern.split("/") if part.startswith("{"))


@attrs.frozen
class _Place:
    """All routes of one pattern."""

    segments: tuple[str, ...]
    methods: dict[str, Route]

    def fits(self, segments: Sequence[str]) -> bool:
        """Whether a path of as many segments fits; an empty segment is no value."""
        return all(
            bool(given) if own.startswith("{") else own == given
            for own, given in zip(self.segments, segments, strict=True)
        )


class Router:
    """Hands each request to its route's handler.

    Args:
        routes: The table.

    Raises:
        ValueError: Two routes are the same, share a name, or differ only in their patterns' names.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes: Final = tuple(routes)
        self._whole: dict[str, _Place] = {}
        self._patterns: dict[int, list[_Place]] = {}
        names = [route.name for route in routes]
        if len(set(names)) < len(names):
            raise ValueError("two routes share a name")
        for route in routes:
            methods = self._place(route).methods
            if route.method in methods:
                raise ValueError(f"{route.method} {route.pattern} is routed twice")
            methods[route.method] = route
        for places in self._patterns.values():
            places.sort(key=lambda place: [part.startswith("{") for part in place.segments])

    async def __call__(self, request: Request) -> Response:
        """Answer ``request``. Raises ``HttpRefused`` where nobody is there to (404, 405)."""
        route = self.find(request.method, request.path)
        if isinstance(route, Refusal):
            raise HttpRefused(route)
        values = [
            given
            for own, given in zip(route.pattern.split("/"), request.path.split("/"), strict=True)
            if own.startswith("{")
        ]
        request.route = route.pattern
        request.parameters = {
            name: _decode(value, name) for name, value in zip(route.parameters, values, strict=True)
        }
        return await route.handler(request)

    def find(self, method: str, path: str) -> Route | Refusal:
        """The route of ``method`` for ``path``, which is still percent-encoded; or a refusal."""
        place = self._whole.get(path)
        if place is None:
            segments = path.split("/")
            candidates = self._patterns.get(len(segments), ())
            place = next((place for place in candidates if place.fits(segments)), None)
        if place is None:
            return _NOT_FOUND
        route = place.methods.get(method)
        if route is None and method == "HEAD":
            route = place.methods.get("GET")
        return _method_not_allowed(place.methods) if route is None else route

    def _place(self, route: Route) -> _Place:
        segments = tuple(route.pattern.split("/"))
        if not route.parameters:
            return self._whole.setdefault(route.pattern, _Place(segments, {}))
        places = self._patterns.setdefault(len(segments), [])
        shape = _shape(segments)
        for place in places:
            if _shape(place.segments) == shape:
                if place.segments != segments:
                    raise ValueError(f"{route.pattern} is there already, with other names")
                return place
        places.append(_Place(segments, {}))
        return places[-1]


def _shape(segments: Sequence[str]) -> tuple[str, ...]:
    return tuple("{" if segment.startswith("{") else segment for segment in segments)


def _method_not_allowed(methods: dict[str, Route]) -> Refusal:
    allowed = sorted({*methods, "HEAD"} if "GET" in methods else methods)
    names = ", ".join(allowed)
    return Refusal(
        RefusalCode.METHOD_NOT_ALLOWED, f"This path takes {names}.", headers=(("Allow", names),)
    )


def _decode(text: str, name: str) -> str:
    """A segment's value, decoded once; what could be taken for another path is refused."""
    if _BAD_ESCAPE.search(text) is None:
        raw = unquote_to_bytes(text)
        try:
            value = raw.decode()
        except UnicodeDecodeError:
            value = ""
        plain = value.isprintable() and "/" not in value and value not in {"", ".", ".."}
        if plain and len(raw) <= PARAMETER_MAX_BYTES:
            return value
    message = f"The path's {name} must be up to {PARAMETER_MAX_BYTES} bytes of text, no slash."
    raise HttpRefused(Refusal(RefusalCode.INVALID_PARAMETER, message, name))
