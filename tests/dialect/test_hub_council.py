"""The hub's own WebSocket: what is read from a client, and what it is told."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_council import (
    ID_MAX_BYTES,
    TOKEN_MAX_CHARS,
    Message,
    Ping,
    Refresh,
    Subscribe,
    Unsubscribe,
    encode_council,
    encode_error,
    encode_pong,
    encode_refreshed,
    encode_subscribed,
    encode_unsubscribed,
    encode_welcome,
    parse_message,
)
from relayd.dialect.hub_envelope import envelope
from relayd.dialect.hub_errors import MESSAGE_MAX_CHARS, Mistake
from relayd.dialect.hub_event import Position
from relayd.dialect.hub_topics import SELECTORS_MAX, Filter, Selector
from relayd.dialect.hub_wanted import TOO_MANY_TOPICS, Wanted
from tests.dialect.hub import EPOCH, VALUES, hostile, publication

ONE = Selector("workflow:w1", is_prefix=False)
ALL_SESSIONS = Selector("session:*", is_prefix=True)
TEXTS = ["ping", "subscribe", "unsubscribe", "refresh", "workflow:w1", "session:*", "turn.*", ""]
TEXTS += [f"{EPOCH}:4", f"{EPOCH}@9", "*", "heartbeat", "\ud800"]
WORDS = st.sampled_from(TEXTS)


def mistake(message: object) -> Mistake:
    found = parse_message(json.dumps(message).encode())
    assert isinstance(found, Mistake), found
    return found


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"type": "ping"}, Ping()),
        ({"type": "ping", "ts": 5, "anything": [1]}, Ping()),
        ({"type": "ping", "id": 7}, Ping(b"7")),
        ({"type": "subscribe", "topics": ["workflow:w1"]}, Subscribe(Wanted(topics=(ONE,)))),
        (
            {"type": "subscribe", "topics": ["workflow:w1", "session:*"], "events": ["turn.*"]}
            | {"except": ["error"], "since": f"{EPOCH}@9", "id": "a"},
            Subscribe(
                Wanted(
                    topics=(ONE, ALL_SESSIONS),
                    filter=Filter(("turn.*",), ("error",)),
                    since=Position(EPOCH, 9, overall=True),
                ),
                b'"a"',
            ),
        ),
        (
            {"type": "subscribe", "topics": ["workflow:w1", "session:*"]}
            | {"since": {"workflow:w1": f"{EPOCH}:4"}},
            Subscribe(
                Wanted(
                    topics=(ONE, ALL_SESSIONS),
                    since={"workflow:w1": Position(EPOCH, 4, overall=False)},
                )
            ),
        ),
        (
            {"type": "subscribe", "topics": ["workflow:w1"], "since": f"{EPOCH}:4"},
            Subscribe(Wanted(topics=(ONE,), since=Position(EPOCH, 4, overall=False))),
        ),
        ({"type": "unsubscribe", "topics": ["session:*"]}, Unsubscribe((ALL_SESSIONS,))),
        ({"type": "refresh", "token": "t"}, Refresh("t")),
    ],
)
def test_what_a_client_asks_for(message: object, expected: Message) -> None:
    assert parse_message(json.dumps(message).encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        *[b"ping", b'"ping"', b"heartbeat", b'{"type":"heartbeat"}', b'{"event":"ping"}'],
        *[b'{"event":"heartbeat","data":{}}', b'{"cmd":"ping"}', b'{"type":"ping","data":{}}'],
    ],
)
def test_heartbeats_of_older_clients(text: bytes) -> None:
    assert parse_message(text) == Ping()


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ({}, "unknown_type", "type"),
        ({"event": "token_stream", "data": {}}, "unknown_type", "type"),
        ({"type": "publish"}, "unknown_type", "type"),
        ({"type": 5}, "invalid_parameter", "type"),
        ([], "invalid_parameter", None),
        ({"type": "subscribe"}, "invalid_parameter", None),
        ({"type": "subscribe", "topics": []}, "invalid_parameter", "topics"),
        ({"type": "subscribe", "topics": "a"}, "invalid_parameter", "topics"),
        ({"type": "subscribe", "topics": ["ops", "x"]}, "invalid_parameter", "topics[1]"),
        ({"type": "subscribe", "topics": ["ops"] * (SELECTORS_MAX + 1)}, TOO_MANY_TOPICS, "topics"),
        ({"type": "subscribe", "topics": ["ops"], "event": "a"}, "invalid_parameter", None),
        ({"type": "subscribe", "topics": ["ops"], "events": [""]}, "invalid_parameter", "events"),
        ({"type": "subscribe", "topics": ["ops"], "since": "x"}, "invalid_parameter", "since"),
        ({"type": "subscribe", "topics": ["ops"], "since": 5}, "invalid_parameter", "since"),
        (
            {"type": "subscribe", "topics": ["ops"], "since": {"x": ""}},
            "invalid_parameter",
            "since",
        ),
        ({"type": "unsubscribe", "topics": ["x"]}, "invalid_parameter", "topics[0]"),
        ({"type": "refresh"}, "invalid_parameter", None),
        ({"type": "refresh", "token": ""}, "invalid_parameter", "token"),
        ({"type": "refresh", "token": "x" * (TOKEN_MAX_CHARS + 1)}, "invalid_parameter", "token"),
    ],
)
def test_what_is_wrong_is_answered_and_the_client_stays(
    message: object, code: str, param: str | None
) -> None:
    found = mistake(message)

    assert (found.code, found.param, found.fatal) == (code, param, False)


@pytest.mark.parametrize("text", [b"", b"{", b"hello", b'{"type":"ping"', b'{"a":' * 100_000])
def test_what_is_no_json_is_fatal(text: bytes) -> None:
    found = parse_message(text)

    assert isinstance(found, Mistake)
    assert found.fatal


@given(VALUES.filter(lambda each: len(json.dumps(each)) <= ID_MAX_BYTES))
def test_any_id_comes_back_in_the_answer(id_: object) -> None:
    asked = parse_message(json.dumps({"id": id_, "type": "ping"}).encode())
    refused = mistake({"id": id_, "type": "subscribe", "topics": ["x"]})

    assert isinstance(asked, Ping)
    assert json.loads(encode_pong(0.0, asked.id))["id"] == id_
    assert json.loads(encode_error(refused))["id"] == id_


def test_an_id_is_bounded() -> None:
    assert isinstance(parse_message(b'{"type":"ping","id":"%b"}' % (b"x" * 254)), Ping)
    assert mistake({"type": "ping", "id": "x" * 255}).param == "id"


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(parse_message(b'{"type":"refresh","token":"secret"}'))


@given(
    hostile(
        {
            "type": WORDS,
            "topics": st.lists(WORDS, max_size=3),
            "events": st.lists(WORDS, max_size=3),
            "except": st.lists(WORDS, max_size=3),
            "since": WORDS | st.dictionaries(WORDS, WORDS, max_size=2),
            "token": WORDS,
            "id": VALUES,
        }
    )
)
def test_any_text_is_a_message_or_a_mistake_that_can_be_told(text: bytes) -> None:
    found = parse_message(text)

    if isinstance(found, Mistake):
        told = json.loads(encode_error(found))
        assert told["type"] == "error"
        assert len(told["error"]["message"]) <= MESSAGE_MAX_CHARS
    else:
        assert isinstance(found, Ping | Subscribe | Unsubscribe | Refresh)
        json.loads(encode_pong(0.0, found.id))


def test_an_event_is_its_envelope() -> None:
    assert encode_council(publication()) == envelope(publication())


def test_the_first_message_says_where_the_client_stands() -> None:
    told = encode_welcome(
        client="c1", epoch=EPOCH, seq=4, topics=(ONE, ALL_SESSIONS), recovered=None
    )

    assert json.loads(told) == {
        "type": "welcome",
        "client": "c1",
        "epoch": EPOCH,
        "seq": 4,
        "topics": ["workflow:w1", "session:*"],
        "recovered": None,
    }


@pytest.mark.parametrize("recovered", [True, False, None])
def test_answers(recovered: bool | None) -> None:
    place = {"epoch": EPOCH, "seq": 4}
    subscribed = encode_subscribed(
        topics=(ONE,), epoch=EPOCH, seq=4, recovered=recovered, request_id=b'"a"'
    )

    assert json.loads(subscribed) == place | {
        "type": "subscribed",
        "topics": ["workflow:w1"],
        "recovered": recovered,
        "id": "a",
    }
    assert json.loads(encode_unsubscribed((ALL_SESSIONS,), b"5")) == {
        "type": "unsubscribed",
        "topics": ["session:*"],
        "id": 5,
    }
    assert json.loads(encode_pong(0.5, None)) == {
        "type": "pong",
        "ts": "1970-01-01T00:00:00.500Z",
        "id": None,
    }


@pytest.mark.parametrize(("expires", "shown"), [(None, None), (1.0, "1970-01-01T00:00:01.000Z")])
def test_when_a_new_token_expires(expires: float | None, shown: str | None) -> None:
    told = json.loads(encode_refreshed(expires, b"1"))

    assert told == {"type": "refreshed", "expires": shown, "id": 1}


def test_an_error_has_every_member() -> None:
    told = json.loads(encode_error(mistake({"type": "x", "id": [1]})))

    assert told["id"] == [1]
    assert told["error"].keys() == {"message", "type", "param", "code"}


def test_nothing_that_relayd_says_looks_like_an_event() -> None:
    """A client tells them apart by ``type``, which no envelope has."""
    assert "type" not in msgspec.json.decode(encode_council(publication()))
