"""What a ``response.create`` brings for the model to read: how much it is, and which tool outputs.

The rate is that of Realtime estimates: four bytes of text are a token, whether they are words or
the JSON that spells a tool. Images and files come as ``data:`` URLs, megabytes of base64 whose
length says nothing of what they cost; each is taken for one picture. Of the conversation before it
(``previous_response_id``) nothing is known here: an estimate covers what is new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from relayd.dialect.meter import Usage
from relayd.dialect.realtime_estimates import TEXT_BYTES_PER_TOKEN, text_size

DATA_URL_TOKENS: Final = 765
"""Of a picture of 1024 by 1024 pixels in high detail, as OpenAI's vision guide counts it."""

DATA_URL_MIN_BYTES: Final = 64
"""Shorter strings count as the text that they may be."""

TOOL_OUTPUTS_MAX: Final = 1024
"""Tool outputs of one create that are known by id: of a longer history the newest."""

CALL_ID_MAX_CHARS: Final = 256
"""An id that is longer is not kept."""

BRACES_MAX: Final = 65_536
"""Objects in an input that is decoded item by item; each costs a hundred times its two bytes."""

_NOTHING: Final = msgspec.Raw(b"null")
_READ: Final = ("input", "instructions", "tools")
_DATA_URL: Final = re.compile(rb'"data:((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_OUTPUT: Final = b'_output"'
_CALL: Final = b'_call"'


class _Item(msgspec.Struct):
    type: msgspec.Raw = _NOTHING
    call_id: msgspec.Raw = _NOTHING


_decode_items: Final = msgspec.json.Decoder(list[_Item]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


def expected_usage(values: Mapping[str, msgspec.Raw]) -> Usage:
    """The input that a create with these members is due for, as an estimate; no output."""
    text = pictures = 0
    for name in _READ:
        if (raw := values.get(name)) is None:
            continue
        urls = [
            len(found[1])
            for found in _DATA_URL.finditer(raw)
            if len(found[1]) >= DATA_URL_MIN_BYTES
        ]
        text += _size(raw) - sum(urls)
        pictures += len(urls)
    tokens = -(-max(0, text) // TEXT_BYTES_PER_TOKEN) + pictures * DATA_URL_TOKENS
    return Usage(source="response", input_text=tokens, input_total=tokens, estimated=True)


def tool_outputs(raw: msgspec.Raw | None) -> tuple[str, ...]:
    """The ``call_id`` of each tool output in an ``input`` without its call, in order, each once.

    A client that tells the whole conversation sends calls and outputs together; one that goes on
    from a response sends the outputs alone.

    An input that is no list of objects, or has more braces than are looked at, has none: the
    upstream judges it.
    """
    spelled = b"" if raw is None else bytes(raw)
    if _OUTPUT not in spelled or not spelled.startswith(b"["):
        return ()
    if spelled.count(b"{") > BRACES_MAX:
        return ()
    try:
        items = _decode_items(spelled)
    except (msgspec.DecodeError, RecursionError):
        return ()
    found = [_call_id(item.call_id) for item in items if bytes(item.type).endswith(_OUTPUT)]
    calls = {_call_id(item.call_id) for item in items if bytes(item.type).endswith(_CALL)}
    ids = dict.fromkeys(each for each in found if each is not None and each not in calls)
    return tuple(ids)[-TOOL_OUTPUTS_MAX:]


def _size(raw: msgspec.Raw) -> int:
    """Bytes of a string; of anything else those that spell it. A string may not be one."""
    try:
        return text_size(raw)
    except msgspec.DecodeError:
        return len(memoryview(raw))


def _call_id(raw: msgspec.Raw) -> str | None:
    try:
        call_id = _decode_text(raw)
    except msgspec.DecodeError:
        return None
    return call_id if len(call_id) <= CALL_ID_MAX_CHARS else None
