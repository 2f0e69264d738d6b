"""Publications and hostile texts for the tests of the hub's wires."""

from __future__ import annotations

import json
from typing import TypedDict, Unpack

import attrs
from hypothesis import strategies as st

from relayd.dialect.hub_event import Publication

EPOCH = "0123456789abcdef"

PUBLICATION = Publication(
    tenant="acme",
    topic="workflow:w1",
    epoch=EPOCH,
    offset=3,
    seq=7,
    ts=1_763_712_930.25,
    event="node_state_change",
    data=b'{"node_id":"n1","status":"done"}',
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=4), each, max_size=3)
    ),
    max_leaves=8,
)
"""Anything that JSON can say."""


class Changes(TypedDict, total=False):
    """What a publication of a test may have of its own."""

    tenant: str
    topic: str
    epoch: str
    offset: int
    seq: int
    ts: float
    event: str
    data: bytes
    session_id: str | None
    node_id: str | None
    droppable: bool
    stream: tuple[str, str] | None


def publication(**changes: Unpack[Changes]) -> Publication:
    """One publication, like every other but for ``changes``."""
    return attrs.evolve(PUBLICATION, **changes)


def hostile(members: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[bytes]:
    """Messages that are nearly right: some members, some of a wrong kind, some bytes torn.

    Args:
        members: Members that a message may have, with what they may be. Any other value is tried
            in their place too.
    """
    near = st.fixed_dictionaries({}, optional={name: of | VALUES for name, of in members.items()})
    whole = near.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    escaped = near.map(lambda value: json.dumps(value).encode())
    torn = st.builds(_tear, whole | escaped, st.integers(0, 400), st.binary(max_size=3))
    return whole | escaped | torn | st.text(max_size=20).map(str.encode)


def _tear(text: bytes, at: int, put: bytes) -> bytes:
    """``text`` with one byte replaced by what is put there; valid UTF-8 again."""
    return (text[:at] + put + text[at + 1 :]).decode(errors="replace").encode()
