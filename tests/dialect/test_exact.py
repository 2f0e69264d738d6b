"""A client's type is what every parser would take it for, or the message is not let through."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relayd.core.endings import Reason
from relayd.dialect.exact import (
    TOKENS_MAX,
    DuplicateType,
    NotAnEvent,
    TypeWatch,
    decode_type,
    unique_fields,
)

CREATE = "response.create"
ESCAPED_KEY = "\\u0074\\u0079\\u0070\\u0065"


@pytest.mark.parametrize(
    "payload",
    [
        '{"type":"response.create"}',
        ' \t\r\n{ "type" : "response.create" } ',
        '{"type":"response\\u002ecreate"}',
        '{"type":"\\u0072esponse.create","x":1}',
        '{"event_id":"e","x":[1,{"type":"no"}],"type":"response.create"}',
        '{"\\u0074ype":"response.create"}',
        f'{{"{ESCAPED_KEY}":"response.create"}}',
        '{"type":"response.create","response":{"type":"type"},"metadata":{"type":"x"}}',
        '{"a":"\\"type\\":\\"x\\"","type":"response.create"}',
        '{"a":1,"a":2,"type":"response.create"}',
        '{"type":"response.create","n":%s}' % ("9" * 5000),
        '{"type":"response.create","n":1e99999}',
    ],
)
def test_every_spelling_of_a_type_is_read(payload: str) -> None:
    assert decode_type(payload.encode()) == CREATE


@pytest.mark.parametrize(
    "payload",
    [
        '{"type":"response.create","type":"x"}',
        '{"type":"x","type":"response.create"}',
        '{"type":"x","type":"x"}',
        '{"type":"x","\\u0074ype":"response.create"}',
        f'{{"{ESCAPED_KEY}":"response.create","type":"x"}}',
        '{"type":1,"type":"response.create"}',
        '{"type":1,"\\u0074ype":"response.create"}',
        '{"type":"response.create","type":null}',
        '{"type":{"type":"x"},"a":[],"type":"response.create"}',
        '{"a":1,"a":2,"type":"x","b":"\\\\","type":"response.create"}',
    ],
)
def test_two_top_level_types_are_refused_in_any_order_and_spelling(payload: str) -> None:
    with pytest.raises(DuplicateType):
        decode_type(payload.encode())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"null",
        b'"type"',
        b'["type","response.create"]',
        b'["type","type"]',
        b'{"type":null}',
        b'{"type":["response.create"]}',
        b'{"Type":"response.create"}',
        b'{"x":{"type":"response.create"}}',
        b'{"type":"response.create"',
        b'{"type":"response.create",}',
        b"{'type':'response.create'}",
        b'{"type":"response.create"}{"type":"response.create"}',
        b'{"type":"x"}\n{"type":"response.create"}',
        b'\xef\xbb\xbf{"type":"response.create"}',
        '{"type":"response.create"}'.encode("utf-16"),
        b'{"type":"response.create","n":NaN}',
        b'{"type":"response.create","n":Infinity}',
        b'{"type":1,"type":}',
        b'{"type":1,"type":2',
        b'{"type":"\\ud800"}',
        b'{"type":"response.create","x":' + b"[" * 100_000,
        b'{"type":1,"type":' + b"[" * 100_000,
        b'{"type":"response.create","x":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    ],
)
def test_what_is_no_event_is_refused_and_nothing_else_is_raised(payload: bytes) -> None:
    with pytest.raises(NotAnEvent):
        decode_type(payload)


def test_a_refusal_shows_nothing_of_the_message() -> None:
    with pytest.raises(NotAnEvent) as refused:
        decode_type(b'{"type":5,"secret":"sk-canary-123456"}')

    assert "canary" not in str(refused.value)


KEYS = st.sampled_from(["type", "Type", "typ", "t", "event_id", 'a"type"', "\\type", "ty\u00e9"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from(["type", CREATE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.lists(st.tuples(KEYS, VALUES | st.just(CREATE)), max_size=5)


def spelled(text: str, *, escaped: bool) -> str:
    return '"' + "".join(f"\\u{ord(c):04x}" for c in text) + '"' if escaped else json.dumps(text)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """A valid JSON object with any keys, doubled or not, spelled and spaced in any way."""
    gap = draw(st.sampled_from(["", " ", "\n\t"]))
    parts = [
        f"{spelled(key, escaped=draw(st.booleans()))}{gap}:{gap}"
        f"{json.dumps(value, ensure_ascii=draw(st.booleans()))}"
        for key, value in draw(FIELDS)
    ]
    return (gap + "{" + gap + f"{gap},{gap}".join(parts) + gap + "}" + gap).encode()


@given(objects())
@example(b"{ }")
def test_the_type_is_the_one_that_the_standard_parser_sees(payload: bytes) -> None:
    pairs: list[tuple[str, object]] = json.loads(payload, object_pairs_hook=lambda found: found)
    types = [value for key, value in pairs if key == "type"]

    if len(types) > 1:
        with pytest.raises(DuplicateType):
            decode_type(payload)
    elif types and isinstance(types[0], str):
        assert decode_type(payload) == types[0]
    else:
        with pytest.raises(NotAnEvent):
            decode_type(payload)


@given(objects(), st.lists(st.integers(0, 300), max_size=8))
def test_a_watch_counts_types_however_the_object_is_cut(payload: bytes, cuts: list[int]) -> None:
    pairs: list[tuple[str, object]] = json.loads(payload, object_pairs_hook=lambda found: found)
    types = sum(key == "type" for key, _ in pairs)
    watch = TypeWatch(inside=False)
    edges = sorted({0, len(payload), *(cut for cut in cuts if cut < len(payload))})

    verdicts = [watch.feed(payload[i:j]) for i, j in itertools.pairwise(edges)]

    assert watch.types == min(types, 2)
    assert [v.reason for v in verdicts if v][:1] == [Reason.DUPLICATE_TYPE] * (types > 1)


@given(objects())
def test_fields_are_unique_or_they_are_not_given(payload: bytes) -> None:
    pairs: list[tuple[str, object]] = json.loads(payload, object_pairs_hook=lambda found: found)
    fields = unique_fields(payload)

    if len({key for key, _ in pairs}) < len(pairs):
        assert fields is None
    else:
        assert fields is not None
        assert list(fields) == [key for key, _ in pairs]


@pytest.mark.parametrize(
    "rest",
    [
        b',"audio":"AAAA","type":"response.create"}',
        b',"audio":"\\/\\"","type":"response.create"}',
        b',"a":"\\\\","type":"x"}',
        b',"\\u0074ype":"response.create"}',
        b'}{"type":"response.create"}',
        b'}}{"type":"response.create"}',
        b'}]}{"type":"response.create"}',
        b',"x":{"type":1},"y":[{"type":2}],"type":3}',
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 1000])
def test_a_second_type_behind_the_first_is_found(rest: bytes, piece_bytes: int) -> None:
    watch = TypeWatch(inside=True)

    verdicts = [watch.feed(rest[i : i + piece_bytes]) for i in range(0, len(rest), piece_bytes)]

    assert [v.reason for v in verdicts if v][:1] == [Reason.DUPLICATE_TYPE]


@pytest.mark.parametrize(
    "rest",
    [
        b',"audio":"' + b"AB\\/CD" * 20_000 + b'"}',
        b',"audio":"type","x":["type","type"],"y":{"type":"type"}}',
        b',"audio":"\\"type\\":\\"x\\""}',
        b',"typ":1,"types":2,"\\u0074yp":3,"\\type":4}',
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
def test_one_type_stays_one(rest: bytes, piece_bytes: int) -> None:
    watch = TypeWatch(inside=True)

    for i in range(0, len(rest), piece_bytes):
        assert watch.feed(rest[i : i + piece_bytes]) is None
    assert watch.types == 1


def test_structure_without_end_is_refused() -> None:
    watch = TypeWatch(inside=True)
    verdict = watch.feed(b',"x":[' + b"1," * TOKENS_MAX)

    assert verdict is not None
    assert verdict.reason is Reason.POLICY


def test_more_fields_than_are_looked_at_are_refused_as_no_event() -> None:
    fields = b",".join(b'"%d":1' % number for number in range(TOKENS_MAX + 1))

    with pytest.raises(NotAnEvent, match="tokens"):
        decode_type(b'{"type":"x","type2":"\\u0041",' + fields + b"}")


def test_many_colons_inside_text_are_no_fields() -> None:
    payload = b'{"type":"x","item":{"type":"message","text":"' + b"a:" * 2 * TOKENS_MAX + b'"}}'

    assert decode_type(payload) == "x"


def test_a_string_full_of_escapes_costs_a_walk_and_no_more() -> None:
    hostile = b'{"a":1,"a":2,"type":"x","\\u0041":"' + b'\\"' * (2 << 20) + b'"}'

    began = time.process_time()
    assert decode_type(hostile) == "x"
    assert time.process_time() - began < 2.0  # copying per escape takes minutes
