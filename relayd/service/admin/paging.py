"""Long lists in pieces: pages with cursors for clients, slices of work for the event loop."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import attrs
import trio

from relayd.config.rules import nearest
from relayd.core.redact import redact
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import HeadError
from relayd.service.admin.shapes import LIMIT_DEFAULT, LIMIT_MAX
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request

LOOKED_AT_PER_SLICE: Final = 250
"""Items that are passed over before other tasks run, each in some 3 µs."""

SHOWN_PER_SLICE: Final = 25
"""Items that are rendered before other tasks run, each in some 20 µs."""

_SHOWN_MAX: Final = 60
_LIMIT: Final = re.compile(r"[0-9]{1,4}")

T = TypeVar("T")


@attrs.define
class Slices:
    """Lets other tasks run between pieces of work that are long together."""

    _left: int = LOOKED_AT_PER_SLICE

    async def looked_at(self) -> None:
        """One more item was passed over. A checkpoint, now and then."""
        await self._spend(1)

    async def shown(self) -> None:
        """One more item was rendered. A checkpoint, now and then."""
        await self._spend(LOOKED_AT_PER_SLICE // SHOWN_PER_SLICE)

    async def _spend(self, count: int) -> None:
        self._left -= count
        if self._left <= 0:
            self._left = LOOKED_AT_PER_SLICE
            await trio.lowlevel.checkpoint()


def parameters(request: Request, known: tuple[str, ...]) -> Mapping[str, str]:
    """The query's parameters, each known and there once. Raises :class:`HttpRefused`.

    An unknown one is refused: a filter that is passed over for a slip in its name would show
    what was not asked for.
    """
    try:
        given = request.query.parameters(once=known)
    except HeadError as error:
        raise HttpRefused(error.refusal) from None
    for name in given:
        if name not in known:
            hint = nearest(name, known) or f"known: {', '.join(known) or 'none'}"
            raise invalid(f"There is no parameter {_quoted(name)}; {hint}.")
    return given


def limit_of(given: Mapping[str, str]) -> int:
    """How many items the page may have. Raises :class:`HttpRefused`."""
    text = given.get("limit", str(LIMIT_DEFAULT))
    limit = int(text) if _LIMIT.fullmatch(text) else 0
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid(f"limit must be 1 to {LIMIT_MAX}.", "limit")
    return limit


async def after(items: Sequence[T], name_of: Callable[[T], str], cursor: str | None) -> Sequence[T]:
    """Those of ``items`` that follow the one whose name ``cursor`` is; all of them without one.

    Raises:
        HttpRefused: There is no such item (any more).
    """
    if cursor is None:
        return items
    slices = Slices()
    for index, item in enumerate(items):
        if name_of(item) == cursor:
            return items[index + 1 :]
        await slices.looked_at()
    raise invalid("The list has changed since this cursor was given; begin anew.", "cursor")


def invalid(message: str, param: str | None = None) -> HttpRefused:
    """A 400 for a parameter."""
    return HttpRefused(Refusal(RefusalCode.INVALID_PARAMETER, message, param))


def _quoted(text: str) -> str:
    """A client's word in a message to it: redacted and cut."""
    return f'"{redact(text)[:_SHOWN_MAX]}"'
