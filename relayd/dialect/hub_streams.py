"""Joining the parts of a token stream, for a client that reads slower than a model writes.

Two parts may become one where nothing but their ``chunk`` tells them apart: the same node and
agent, and whatever else an engine says beside the text, such as that it is a thought.
"""

from __future__ import annotations

from typing import Final

import attrs
import msgspec

from relayd.dialect.exact import unique_fields
from relayd.dialect.hub_event import TOKEN_STREAM, Publication

STREAM_MAX_BYTES: Final = 1024
"""Of what a part says beside its text; more than that is not compared."""


class _Part(msgspec.Struct):
    node_id: str
    chunk: msgspec.Raw


_decode_part: Final = msgspec.json.Decoder(_Part).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def stream_of(event: str, data: bytes) -> tuple[str, str] | None:
    """What a part of a token stream belongs to; ``None`` for what must not be joined.

    Args:
        event: The event's name; no other than ``token_stream`` is joined.
        data: A JSON value, checked.

    Returns:
        The node, and all members beside the text as JSON, the agent among them.
    """
    if event != TOKEN_STREAM:
        return None
    try:
        part = _decode_part(data)
        _decode_text(part.chunk)
        if len(data) - len(memoryview(part.chunk)) > STREAM_MAX_BYTES:
            return None
        fields = unique_fields(data)
    except msgspec.DecodeError:
        return None  # not the shape that this event has elsewhere: nobody's text to join
    if fields is None:
        return None
    del fields["chunk"]
    return part.node_id, msgspec.json.encode(fields).decode()


def may_join(earlier: Publication, later: Publication) -> bool:
    """Whether the two are parts of one stream.

    Whether something stands between them, the caller knows.
    """
    return (
        earlier.stream is not None
        and earlier.stream == later.stream
        and earlier.topic == later.topic
        and earlier.tenant == later.tenant
        and earlier.session_id == later.session_id
        and earlier.node_id == later.node_id
    )


def join_chunks(earlier: Publication, later: Publication) -> Publication:
    """One publication with the text of both, in the place of the later one.

    The two are such as :func:`may_join` allows.
    """
    fields = _decode_fields(later.data)
    text = _decode_text(_decode_fields(earlier.data)["chunk"]) + _decode_text(fields["chunk"])
    fields["chunk"] = msgspec.Raw(msgspec.json.encode(text))
    droppable = earlier.droppable and later.droppable
    return attrs.evolve(later, data=msgspec.json.encode(fields), droppable=droppable)
