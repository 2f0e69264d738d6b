"""What publishers send."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_envelope import envelope
from relayd.dialect.hub_errors import Mistake
from relayd.dialect.hub_publish import (
    DATA_MAX_BYTES,
    DEPTH_MAX,
    DIGITS_MAX,
    EVENTS_MAX,
    NAME_MAX_CHARS,
    Draft,
    Publishing,
    encode_published,
    parse_channel_data,
    parse_publishing,
)
from relayd.dialect.hub_streams import stream_of
from tests.dialect.hub import EPOCH, VALUES, hostile, publication

EVENT = {"topic": "workflow:w1", "event": "error", "data": {"node_id": "n"}}


def publishing(body: object) -> Publishing:
    found = parse_publishing(json.dumps(body).encode())
    assert isinstance(found, Publishing), found
    return found


def mistake(body: object) -> Mistake:
    found = parse_publishing(json.dumps(body).encode())
    assert isinstance(found, Mistake), found
    return found


def draft(data: bytes) -> Draft | Mistake:
    found = parse_publishing(b'{"topic":"workflow:w1","event":"e","data":%b}' % data)
    return found if isinstance(found, Mistake) else found.drafts[0]


def test_one_event() -> None:
    found = publishing(EVENT)

    assert found == Publishing(
        (Draft(topic="workflow:w1", event="error", data=b'{"node_id": "n"}'),), is_batch=False
    )


def test_every_member_of_an_event() -> None:
    (found,) = publishing(
        {"topic": "workflow:w1", "event": "token_stream", "droppable": True}
        | {"session_id": "s", "node_id": "n", "data": {"node_id": "n", "chunk": "x"}}
    ).drafts

    assert (found.session_id, found.node_id, found.droppable) == ("s", "n", True)
    assert found.stream == stream_of("token_stream", found.data)
    assert found.stream is not None


@pytest.mark.parametrize(
    ("topic", "told", "session_id"),
    [
        ("session:s1", {}, "s1"),
        ("session:s1", {"session_id": None}, "s1"),
        ("session:s1", {"session_id": "s2"}, "s2"),
        ("workflow:w1", {}, None),
    ],
)
def test_a_session_s_topic_says_the_session(
    topic: str, told: dict[str, object], session_id: str | None
) -> None:
    assert publishing(EVENT | {"topic": topic} | told).drafts[0].session_id == session_id


def test_a_list_keeps_its_order() -> None:
    names = [f"workflow:w{n}" for n in range(EVENTS_MAX)]

    found = publishing({"events": [EVENT | {"topic": name} for name in names]})

    assert found.is_batch
    assert [each.topic for each in found.drafts] == names


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({}, None),
        ({"event": "e", "data": 1}, None),
        (EVENT | {"more": 1}, None),
        (EVENT | {"topic": "news"}, "topic"),
        (EVENT | {"topic": "workflow:*"}, "topic"),
        (EVENT | {"topic": 5}, "topic"),
        (EVENT | {"event": ""}, "event"),
        (EVENT | {"event": "a\nb"}, "event"),
        (EVENT | {"event": "x" * 65}, "event"),
        (EVENT | {"session_id": "x" * (NAME_MAX_CHARS + 1)}, "session_id"),
        (EVENT | {"node_id": "x" * (NAME_MAX_CHARS + 1)}, "node_id"),
        (EVENT | {"droppable": 1}, "droppable"),
        (EVENT | {"data": "x" * DATA_MAX_BYTES}, "data"),
        ({"events": []}, "events"),
        ({"events": None}, "events"),
        ({"events": {}}, "events"),
        ({"events": [EVENT] * (EVENTS_MAX + 1)}, "events"),
        ({"events": [EVENT], "topic": "ops"}, None),
        ({"events": [EVENT, EVENT | {"topic": "x"}]}, "events[1].topic"),
        ({"events": [EVENT, EVENT | {"event": 5}]}, "events[1].event"),
        ({"events": [5]}, "events[0]"),
        ({"events": [EVENT, {"events": [EVENT]}]}, "events[1]"),
    ],
)
def test_one_mistake_refuses_everything_and_is_named(body: object, param: str | None) -> None:
    found = mistake(body)

    assert (found.param, found.status, found.fatal) == (param, 400, False)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"topic":"\xff"}', b'{"data":"\\ud800"}', b'{"a":' * 100_000]
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    found = parse_publishing(body)

    assert isinstance(found, Mistake)
    assert (found.code, found.status) == ("malformed_request", 400)


@pytest.mark.parametrize(
    "event",
    ["resync_required", "closed", "stats", "session.ended", "turn.x", "account.failed", "usage.y"],
)
def test_what_relayd_alone_tells_cannot_be_published(event: str) -> None:
    assert mistake(EVENT | {"event": event}).param == "event"
    assert mistake({"events": [EVENT, EVENT | {"event": event}]}).param == "events[1].event"
    found = parse_channel_data("workflow:w1", json.dumps({"event": event, "data": 1}).encode())
    assert isinstance(found, Mistake)


@pytest.mark.parametrize(
    "event",
    [
        *("token_stream", "node_state_change", "node:parallel_start", "token_usage", "error"),
        *("execution:paused", "execution:completed", "human_interaction_required", "node_resumed"),
        *("closed.", "statistics", "session", "turns.x"),
    ],
)
def test_councils_names_and_all_others_can(event: str) -> None:
    assert publishing(EVENT | {"event": event}).drafts[0].event == event


@pytest.mark.parametrize(
    "text",
    [rb"\ud800", rb"\uD83Dx", rb"\udc00", rb"\ud83d\ud83d", rb"\\\ud800", rb"\ude00\ud83d"],
)
def test_half_a_character_is_called_so(text: bytes) -> None:
    found = draft(b'"%b"' % text)

    assert isinstance(found, Mistake)
    assert "surrogate" in found.message


@pytest.mark.parametrize("text", [rb"\ud83d\ude00", rb"\\ud800", rb"\ud83d\ude00\ud83d\ude00"])
def test_whole_characters_and_what_looks_like_half_a_one_are_not(text: bytes) -> None:
    assert isinstance(draft(b'"%b"' % text), Draft)
    broken = draft(b'"%b' % text)
    assert isinstance(broken, Mistake)
    assert "surrogate" not in broken.message


def test_the_largest_event() -> None:
    assert isinstance(draft(b'"%b"' % (b"x" * (DATA_MAX_BYTES - 2))), Draft)
    found = draft(b'"%b"' % (b"x" * (DATA_MAX_BYTES - 1)))
    assert isinstance(found, Mistake)
    assert found.code == "event_too_large"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_deepest_event(opening: bytes, closing: bytes) -> None:
    assert isinstance(draft(opening * DEPTH_MAX + b"1" + closing * DEPTH_MAX), Draft)
    deeper = DEPTH_MAX + 1
    assert isinstance(draft(opening * deeper + b"1" + closing * deeper), Mistake)


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b",".join([b"[]"] * 1000) + b"]",
        b'"%b"' % (b"[{" * 1000),
        b'"%b"' % (b'\\"[' * 1000),
        b'{"%b":{}}' % (b"{" * 1000),
    ],
)
def test_brackets_beside_each_other_and_in_texts_are_not_depth(data: bytes) -> None:
    assert isinstance(draft(data), Draft)


def test_a_number_that_a_reader_would_not_take_is_refused() -> None:
    longest = b"9" * DIGITS_MAX

    assert isinstance(draft(longest), Draft)
    assert isinstance(draft(b'["%b9",1]' % longest), Draft)
    for number in (longest + b"9", b'{"a":[0.%b1]}' % longest, b'["",-%b1]' % longest):
        found = draft(number)
        assert isinstance(found, Mistake)
        assert found.param == "data"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{ "a" :\n[1,\r\n\t2] }', b'{"a":[1,2]}'),
        (b'"a\\nb"', b'"a\\nb"'),
        (b"[1, 2]", b"[1, 2]"),
        (b"[1,\t2]", b"[1,2]"),
        (b"1.50\n", b"1.50"),
        (b"12345678901234567890123\t", b"12345678901234567890123"),
    ],
)
def test_an_event_is_one_line_and_says_the_same(data: bytes, expected: bytes) -> None:
    found = draft(data)

    assert isinstance(found, Draft)
    assert found.data == expected


@pytest.mark.parametrize(
    ("data", "event", "inner"),
    [
        (b'{"event":"error","data":[1]}', "error", b"[1]"),
        (b'{"event":"error","data":[1],"node_id":"n","droppable":true}', "error", b"[1]"),
        (b'{"event":"error"}', "message", b'{"event":"error"}'),
        (b'{"event":"error","data":1,"x":2}', "message", b'{"event":"error","data":1,"x":2}'),
        (b'{"text":"hello"}', "message", b'{"text":"hello"}'),
        (b'"hello"', "message", b'"hello"'),
        (b"null", "message", b"null"),
    ],
)
def test_what_a_centrifuge_client_publishes(data: bytes, event: str, inner: bytes) -> None:
    found = parse_channel_data("session:s1", data)

    assert isinstance(found, Draft)
    assert (found.topic, found.event, found.data) == ("session:s1", event, inner)
    assert found.session_id == "s1"


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b'{"event":"a b","data":1}', "data.event"),
        (b'{"event":"a","data":%b}' % (b"[" * 65 + b"]" * 65), "data.data"),
        (b"[" * 65 + b"]" * 65, "data.data"),
        (b'{"event":"a","data":%b}' % (b"[" * 20_000 + b"]" * 20_000), "data"),
    ],
)
def test_what_a_centrifuge_client_may_not_publish(data: bytes, param: str) -> None:
    found = parse_channel_data("workflow:w1", data)

    assert isinstance(found, Mistake)
    assert found.param == param


def test_the_answer_says_where_each_stands() -> None:
    first, second = publication(offset=3, seq=7), publication(topic="session:s", offset=1, seq=8)
    expected: list[dict[str, Any]] = [
        {"id": f"{EPOCH}:3", "topic": "workflow:w1", "epoch": EPOCH, "offset": 3, "seq": 7},
        {"id": f"{EPOCH}:1", "topic": "session:s", "epoch": EPOCH, "offset": 1, "seq": 8},
    ]

    assert json.loads(encode_published([first], is_batch=False)) == expected[0]
    assert json.loads(encode_published([first], is_batch=True)) == {"results": expected[:1]}
    assert json.loads(encode_published([first, second], is_batch=True)) == {"results": expected}


MEMBERS: dict[str, st.SearchStrategy[object]] = {
    "topic": st.sampled_from(["workflow:w1", "session:s1", "ops", "x"]),
    "event": st.sampled_from(["token_stream", "error", "a b"]),
    "data": VALUES | st.just({"node_id": "n", "chunk": "x"}),
    "session_id": st.none() | st.text(max_size=4),
    "node_id": st.none() | st.text(max_size=4),
    "droppable": st.booleans(),
}


@given(
    hostile(MEMBERS)
    | hostile({"events": st.lists(st.fixed_dictionaries({}, optional=MEMBERS), max_size=3)})
    | st.binary(max_size=40)
)
def test_any_body_is_events_that_fit_their_envelope_or_a_mistake(body: bytes) -> None:
    found = parse_publishing(body)

    if isinstance(found, Mistake):
        assert json.loads(msgspec.json.encode(found.error()))["message"]
        return
    assert 1 <= len(found.drafts) <= EVENTS_MAX
    for each in found.drafts:
        line = envelope(
            publication(
                topic=each.topic,
                event=each.event,
                data=each.data,
                session_id=each.session_id,
                node_id=each.node_id,
            )
        )
        assert json.loads(line)["data"] == json.loads(each.data)
        assert min(line) >= 0x20


@given(VALUES, st.sampled_from([None, 1, "\t"]))
def test_data_comes_back_as_it_was_published(value: object, indent: int | str | None) -> None:
    found = draft(json.dumps(value, indent=indent).encode())

    assert isinstance(found, Draft)
    assert json.loads(found.data) == value
