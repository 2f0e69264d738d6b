"""The few Responses server events that relayd reads, as typed partial decodes.

Shapes: the server events as the OpenAI SDKs type them, and those of the ChatGPT backend as Codex
reads them. Every field is read leniently: one of an odd type counts as absent and hides no other.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from relayd.dialect.realtime_events import word
from relayd.dialect.responses_client import RESPONSE_ID_MAX_CHARS

_SIMPLE: Final = rb'"(?:event_id|sequence_number|stream_id)"\s*:\s*(?:\d{1,20}|"[^"\\]{0,256}")'
HEAD: Final = re.compile(
    rb'\s*\{\s*(?:%s\s*,\s*){0,3}"type"\s*:\s*"([A-Za-z0-9_.]{1,80})"' % _SIMPLE
)
"""A message whose first field is its type, or the next behind short ones."""

STATUS_BY_TERMINAL: Final = {
    "response.completed": "completed",
    "response.failed": "failed",
    "response.incomplete": "incomplete",
    "response.done": "completed",
    "response.cancelled": "cancelled",
    "response.canceled": "cancelled",
}
"""Events that end a response, and how."""

ERRORS: Final = frozenset({"error", "response.error"})
"""Events that end a response, or were never one's."""

WORD_MAX_CHARS: Final = 256
"""Of an upstream's words, ids of tool calls among them, that are kept."""

_NOTHING: Final = msgspec.Raw(b"null")
_NO_WORDS: Final = b"{[ntf"  # how an object, an array, null and the booleans begin


class WireResponse(msgspec.Struct):
    """``response`` of an event of its life."""

    id: msgspec.Raw = _NOTHING
    status: msgspec.Raw = _NOTHING
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    incomplete_details: msgspec.Raw = _NOTHING


class WireItem(msgspec.Struct):
    """``item`` of ``response.output_item.added`` and ``.done``."""

    type: msgspec.Raw = _NOTHING
    call_id: msgspec.Raw = _NOTHING
    name: msgspec.Raw = _NOTHING


class ServerEvent(msgspec.Struct):
    """Any server event, as far as relayd looks at one."""

    type: str
    stream_id: msgspec.Raw = _NOTHING
    response: msgspec.Raw = _NOTHING
    item: msgspec.Raw = _NOTHING
    steer: msgspec.Raw = _NOTHING


class _Reason(msgspec.Struct):
    reason: msgspec.Raw = _NOTHING


class _Identified(msgspec.Struct):
    id: msgspec.Raw = _NOTHING


decode_server_event: Final = msgspec.json.Decoder(ServerEvent).decode
_decode_response: Final = msgspec.json.Decoder(WireResponse).decode
_decode_item: Final = msgspec.json.Decoder(WireItem).decode
_decode_reason: Final = msgspec.json.Decoder(_Reason).decode
_decode_identified: Final = msgspec.json.Decoder(_Identified).decode


def text_of(raw: msgspec.Raw, chars_max: int = WORD_MAX_CHARS) -> str | None:
    """A string, or a number as it is spelled, as much of it as is kept; else ``None``."""
    if memoryview(raw)[0] in _NO_WORDS:
        return None  # not copied to find that out
    text = word(raw)
    return None if text is None else text[:chars_max]


def response_of(event: ServerEvent) -> WireResponse:
    """The event's response; an empty one where it has none that can be read."""
    try:
        return _decode_response(event.response)
    except (msgspec.DecodeError, RecursionError):
        return WireResponse()


def id_of(response: WireResponse) -> str | None:
    """A response's id."""
    return text_of(response.id, RESPONSE_ID_MAX_CHARS)


def reason_of(response: WireResponse) -> str | None:
    """``incomplete_details.reason``."""
    if response.incomplete_details == _NOTHING:
        return None
    try:
        return text_of(_decode_reason(response.incomplete_details).reason)
    except (msgspec.DecodeError, RecursionError):
        return None


def item_of(event: ServerEvent) -> tuple[str, str, str | None] | None:
    """Type and ``call_id`` of the event's item, where it has both, and its name, if it has one."""
    try:
        item = _decode_item(event.item)
    except (msgspec.DecodeError, RecursionError):
        return None
    if item.call_id == _NOTHING:
        return None  # as of most items
    kind, call_id = text_of(item.type), text_of(item.call_id)
    return None if kind is None or call_id is None else (kind, call_id, text_of(item.name))


def steer_id_of(event: ServerEvent) -> str | None:
    """The id of the steering that a ``response.steer.*`` is about."""
    try:
        return text_of(_decode_identified(event.steer).id)
    except (msgspec.DecodeError, RecursionError):
        return None
