"""``POST /v1/responses``: a turn of the responses dialect for a client without a WebSocket.

The status is decided by the first event: an error that comes first is the response's own, with its
status and in OpenAI's error shape; behind it the stream says what went wrong.

Such a request holds no session, so ``sessions_max``, of the process and of its key, does not count
it. How many run at once is bounded where their turns are: each has a seat at its account
(``accounts.sessions_max``; beyond, 503) and a slot of its own in that account's pool
(``pool.slots_max``; beyond, it waits ``pool.acquire_s`` and gets 503), and what one holds in memory
counts in ``hold_max_bytes``.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Final

import attrs
import msgspec
import trio

from relayd.config.providers import Dialect
from relayd.config.snapshot import Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode, error_body
from relayd.dialect import responses
from relayd.dialect.responses_client import Create, Mistake, read_message
from relayd.dialect.responses_errors import SERVER_ERROR
from relayd.dialect.responses_events import ERRORS, STATUS_BY_TERMINAL
from relayd.dialect.responses_faults import read_error
from relayd.observe.bus import Bus
from relayd.service.http.refusals import HttpFault, HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json, Response, Sse, SseEvent
from relayd.service.opening import facts_of, purse_of
from relayd.session.admission import Grant, tag_of
from relayd.session.books import Books
from relayd.session.responses.accounting import Totals
from relayd.session.responses.request import RequestedTurn
from relayd.session.responses.shared import Shared
from relayd.session.travelling import travelling_headers
from relayd.session.turn_lines import TurnLines

RETRY_AFTER_S: Final = "1"
"""Where nobody says when to try again: a socket, or a seat, is free soon."""

HEADERS_MAX: Final = 32
"""Headers of an error that are looked at."""

_UNAVAILABLE: Final = 503
_HOPELESS: Final = frozenset({"insufficient_quota", "usage_limit_reached", "usage_not_included"})
_LIMIT_HEADER: Final = re.compile(r"retry-after(?:-ms)?|x-(?:codex|ratelimit)-[a-z0-9-]{1,64}")
_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?")


class _Wanted(msgspec.Struct):
    stream: bool | None = None


class _Event(msgspec.Struct):
    type: str = ""
    error: msgspec.Raw = msgspec.Raw(b"null")
    headers: msgspec.Raw = msgspec.Raw(b"null")
    response: msgspec.Raw = msgspec.Raw(b"null")


class _Headed(msgspec.Struct):
    headers: msgspec.Raw = msgspec.Raw(b"null")


_decode_wanted: Final = msgspec.json.Decoder(_Wanted).decode
_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_headed: Final = msgspec.json.Decoder(_Headed).decode
_decode_headers: Final = msgspec.json.Decoder(dict[str, str | int | float | bool]).decode


@attrs.frozen(kw_only=True)
class ResponsesApi:
    """Answers requests whose key is known."""

    shared: Shared
    books: Books
    bus: Bus

    async def create(self, request: Request, key: Key, snapshot: Snapshot) -> Response:
        """``POST /v1/responses``, with ``stream`` as events, without as one document."""
        grant = self._granted(request, key)
        payload = await request.body()
        create = _created(payload)
        turn = self._turn(request, grant, snapshot, create)
        request.start_soon(turn.run)
        first = await turn.next_event()
        assert first is not None, "a turn has an event"
        event = _event(first)
        if event.type in ERRORS:
            await turn.ended()
            return _error(event, first)
        if _decode_wanted(payload).stream:
            keepalive_s = snapshot.settings.dialects.responses.keepalive_s
            return Sse(_streamed(first, turn, keepalive_s))
        return await _gathered(first, turn)

    def _granted(self, request: Request, key: Key) -> Grant:
        """What the key may do here. Raises :class:`HttpRefused`."""
        if not key.permits_dialect(Dialect.RESPONSES):
            message = f"This key may not use the dialect {Dialect.RESPONSES}."
            raise HttpRefused(Refusal(RefusalCode.DIALECT_NOT_ALLOWED, message))
        tag, headers = tag_of(request.head), travelling_headers(request.head)
        for each in (tag, headers):
            if isinstance(each, Refusal):
                raise HttpRefused(each)
        assert not isinstance(tag, Refusal)
        assert not isinstance(headers, Refusal)
        return Grant(
            key=key,
            dialect=Dialect.RESPONSES,
            client_address=request.client_address,
            granted_at=trio.current_time(),
            wall_granted_at=self.books.wall(),
            tag=tag,
            forward_headers=headers,
        )

    def _turn(
        self, request: Request, grant: Grant, snapshot: Snapshot, create: Create
    ) -> RequestedTurn:
        facts = facts_of(grant, request.request_id, "")
        purse = purse_of(self.books, grant, snapshot, facts, TurnLines(self.bus), Totals())
        return RequestedTurn(
            shared=self.shared,
            grant=grant,
            snapshot=snapshot,
            purse=purse,
            request_id=request.request_id,
            create=create,
        )


def _created(payload: bytes) -> Create:
    """The body as the create that it stands for. Raises :class:`HttpRefused`."""
    message = read_message(payload)
    if isinstance(message, Create) and message.stream_id is None:
        return message
    if isinstance(message, Mistake):
        raise HttpRefused(HttpFault(message.status, message.code, message.message, message.param))
    if isinstance(message, Create):
        text, param = "stream_id is for WebSockets; an HTTP request has one response.", "stream_id"
    else:
        text, param = "The body is that of a response.create; leave type out.", "type"
    raise HttpRefused(Refusal(RefusalCode.INVALID_PARAMETER, text, param))


def _event(payload: bytes) -> _Event:
    try:
        return _decode_event(payload)
    except (msgspec.DecodeError, RecursionError):
        return _Event()


def _type_of(payload: bytes) -> str | None:
    """The type for the ``event`` field, where it is fit for one."""
    kind = _event(payload).type
    return kind if kind.isprintable() and kind else None


def _error(event: _Event, payload: bytes) -> Json:
    """An error that came before anything else, as an HTTP response.

    Of its headers, which an event has in its body, those are the response's that tell of limits.
    What another attempt cannot mend is marked so for the OpenAI SDKs, which would try twice more.
    """
    told = read_error(payload)
    error = bytes(event.error)
    if error.startswith(b"{"):
        body = b'{"error":%b}' % error
    else:
        message = told.message or "The upstream reported an error."
        body = error_body(told.kind or SERVER_ERROR, told.code or "upstream_error", message)
    headers = _limits_told(event)
    if {told.kind, told.code} & _HOPELESS:
        headers["x-should-retry"] = "false"
    elif told.status == _UNAVAILABLE and "retry-after" not in headers:
        headers["retry-after"] = RETRY_AFTER_S
    return Json(body, told.status, tuple(headers.items()))


def _limits_told(event: _Event) -> dict[str, str]:
    """The headers of an error that tell of an account's limits, by name in lower case."""
    found: dict[str, str] = {}
    for raw in (_headers_in(event.error), event.headers):
        try:
            headers = _decode_headers(raw)
        except (msgspec.DecodeError, RecursionError):
            continue
        for name, value in list(headers.items())[:HEADERS_MAX]:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            if _LIMIT_HEADER.fullmatch(name.lower()) and _HEADER_VALUE.fullmatch(text):
                found[name.lower()] = text
    return found


def _headers_in(error: msgspec.Raw) -> msgspec.Raw:
    try:
        return _decode_headed(error).headers
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(b"null")


async def _gathered(first: bytes, turn: RequestedTurn) -> Json:
    """The response object of the last event, once the turn is written down."""
    payload, event = first, _event(first)
    while event.type not in STATUS_BY_TERMINAL and event.type not in ERRORS:
        following = await turn.next_event()
        assert following is not None, "a turn that has begun has an end"
        payload, event = following, _event(following)
    await turn.ended()
    if event.type in ERRORS:
        return _error(event, payload)
    return Json(bytes(event.response))


async def _streamed(
    first: bytes, turn: RequestedTurn, keepalive_s: float
) -> AsyncGenerator[SseEvent]:
    """Each event; a sign of life where none comes."""
    event: bytes | None = first
    while event is not None:
        yield SseEvent(event, _type_of(event))
        with trio.move_on_after(keepalive_s) as scope:
            event = await turn.next_event()
        if scope.cancelled_caught:
            event = responses.keepalive_event(None, None)
