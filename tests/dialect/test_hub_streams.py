"""Which parts of a token stream are joined, and into what."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_event import Publication
from relayd.dialect.hub_streams import STREAM_MAX_BYTES, join_chunks, may_join, stream_of
from tests.dialect.hub import publication

TEXT = st.text(max_size=20)


def part(chunk: str, *, offset: int = 1, **members: object) -> Publication:
    data = json.dumps({"node_id": "n", "agent_id": "a", "chunk": chunk, **members}).encode()
    stream = stream_of("token_stream", data)
    return publication(event="token_stream", data=data, offset=offset, seq=offset, stream=stream)


@given(TEXT, TEXT, TEXT)
def test_joined_parts_have_the_text_of_all_and_the_place_of_the_last(
    first: str, second: str, third: str
) -> None:
    parts = [part(first, offset=1), part(second, offset=2), part(third, offset=3)]

    assert may_join(parts[0], parts[1])
    once = join_chunks(parts[0], parts[1])
    assert may_join(once, parts[2])
    joined = join_chunks(once, parts[2])

    assert json.loads(joined.data) == {
        "node_id": "n",
        "agent_id": "a",
        "chunk": first + second + third,
    }
    assert (joined.offset, joined.seq, joined.ts) == (3, 3, parts[2].ts)
    assert joined.stream == stream_of("token_stream", joined.data)


def test_only_what_may_all_be_dropped_may_be_dropped_joined() -> None:
    spared, kept = part("a"), part("b")
    droppable = publication(data=spared.data, stream=spared.stream, droppable=True)

    assert not join_chunks(droppable, kept).droppable
    assert not join_chunks(kept, droppable).droppable
    assert join_chunks(droppable, droppable).droppable


@pytest.mark.parametrize(
    "other",
    [
        part("b", agent_id="other"),
        part("b", node_id="other"),
        part("b", is_thinking=True),
        publication(data=part("b").data, stream=None),
        publication(data=part("b").data, stream=part("b").stream, topic="workflow:w2"),
        publication(data=part("b").data, stream=part("b").stream, tenant="other"),
        publication(data=part("b").data, stream=part("b").stream, session_id="s"),
        publication(data=part("b").data, stream=part("b").stream, node_id="n"),
    ],
)
def test_what_differs_in_more_than_its_text_is_not_joined(other: Publication) -> None:
    assert may_join(part("a"), part("b"))
    assert not may_join(part("a"), other)
    assert not may_join(other, part("a"))


def test_two_without_a_stream_are_not_joined() -> None:
    assert not may_join(publication(), publication())


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("token_usage", '{"node_id":"n","agent_id":"a","chunk":"x"}'),
        ("token_stream", '"chunk"'),
        ("token_stream", '["node_id","chunk"]'),
        ("token_stream", "{}"),
        ("token_stream", '{"node_id":"n"}'),
        ("token_stream", '{"chunk":"x"}'),
        ("token_stream", '{"node_id":"n","chunk":1}'),
        ("token_stream", '{"node_id":null,"chunk":"x"}'),
        ("token_stream", '{"node_id":"n","chunk":"x","chunk":"y"}'),
        ("token_stream", '{"node_id":"n","node_id":"m","chunk":"x"}'),
        ("token_stream", '{"node_id":"n","chunk":"x","more":"%s"}' % ("x" * STREAM_MAX_BYTES)),
    ],
)
def test_what_is_no_part_of_a_stream(event: str, data: str) -> None:
    assert stream_of(event, data.encode()) is None
