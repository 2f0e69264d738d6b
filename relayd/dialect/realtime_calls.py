"""Which tools a Realtime response calls: told by the event that ends it, which is read anyway."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from relayd.dialect.meter import ToolCalled
from relayd.dialect.realtime_settings import bounded

CALLS_MAX: Final = 64
"""Calls of one response that are told."""

_CALL: Final = "function_call"
_HAS_CALL: Final = re.compile(rb'"function_call"')


class _Item(msgspec.Struct):
    type: str = ""
    name: str | None = None
    call_id: str | None = None


_decode_items: Final = msgspec.json.Decoder(list[_Item]).decode


def calls_in(output: msgspec.Raw) -> tuple[ToolCalled, ...]:
    """The calls among ``response.output``, in their order; none where it cannot be read.

    Most responses have none, which is seen without decoding them.
    """
    if _HAS_CALL.search(output) is None:
        return ()
    try:
        items = _decode_items(output)
    except (msgspec.DecodeError, RecursionError):
        return ()
    calls = [item for item in items if item.type == _CALL][:CALLS_MAX]
    return tuple(ToolCalled(bounded(call.name), bounded(call.call_id)) for call in calls)
