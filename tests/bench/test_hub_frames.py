from __future__ import annotations

import json

import pytest

from bench import frames, hub_frames
from bench.failures import UnexpectedAnswer
from bench.hub_frames import NUMBER_FROM, NUMBER_TO, STAMP_FROM, Publishing
from relayd.dialect.hub_event import Publication
from relayd.dialect.hub_publish import Publishing as Read
from relayd.dialect.hub_publish import parse_publishing
from relayd.hub.shared import Shared, Wire

HEAD_END = b"\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket" + HEAD_END


def published(request: bytes) -> Read:
    """What relayd reads of a request, whose head says how long it is."""
    head, _, body = request.partition(HEAD_END)
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    read = parse_publishing(body)
    assert isinstance(read, Read)
    return read


@pytest.mark.parametrize("count", [1, 3])
def test_each_event_of_a_request_has_its_topic_the_number_and_the_stamp(count: int) -> None:
    topics = [hub_frames.topic(number) for number in range(count)]
    publishing = Publishing("h", "s", topics)
    publishing.request(1, 1)

    read = published(publishing.request(73, 1_790_000_000_123_456_789))

    assert read.is_batch == (count > 1)
    assert [each.topic for each in read.drafts] == topics
    for draft in read.drafts:
        data = json.loads(draft.data)
        assert (int(data["n"]), int(data["sent"])) == (73, 1_790_000_000_123_456_789)


def test_the_frame_that_relayd_makes_has_both_at_their_places_from_its_end() -> None:
    (draft,) = published(Publishing("h", "s", ["workflow:w"]).request(42, 10**18 + 7)).drafts
    publication = Publication(
        tenant="bench",
        topic=draft.topic,
        epoch="0" * 16,
        offset=1,
        seq=1,
        ts=0.0,
        event=draft.event,
        data=draft.data,
        session_id=None,
        node_id=draft.node_id,
        droppable=False,
        stream=None,
    )

    frame = Shared(publication=publication, at=0.0).encoded(Wire.COUNCIL)

    assert frame[1] == 126
    assert int(frame[NUMBER_FROM:NUMBER_TO]) == 42
    assert int(frame[STAMP_FROM:-3]) == 10**18 + 7


def test_the_welcome_ends_where_its_frame_ends() -> None:
    answer = SWITCHED + frames.text_frame(b'{"type":"welcome"}')

    assert hub_frames.welcome_end(answer + b"\x81") == len(answer)
    assert [hub_frames.welcome_end(answer[:size]) for size in (10, len(SWITCHED), -1)] == [None] * 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 Unauthorized" + HEAD_END + b"no key",
        SWITCHED + frames.text_frame(b'{"type":"error"}'),
        b"x" * 40_000,
    ],
)
def test_what_is_no_welcome_fails_the_run(answer: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        hub_frames.welcome_end(answer)


def test_an_answer_ends_where_its_length_says() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3" + HEAD_END + b"{ }"

    assert hub_frames.answer_end(answer + b"HTTP") == len(answer)
    assert [hub_frames.answer_end(answer[:size]) for size in (9, -1)] == [None, None]


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0", b"HTTP/1.1 200 OK\r\nX: 3"]
)
def test_an_answer_that_is_no_success_or_has_no_length_fails_the_run(head: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        hub_frames.answer_end(head + HEAD_END)


def test_a_pong_says_what_the_ping_said() -> None:
    assert hub_frames.pong(b"\x89\x02hi") == b"\x8a\x82\x00\x00\x00\x00hi"


def test_a_subscriber_that_resumes_says_since_when() -> None:
    line = hub_frames.upgrade("h", "s", ["workflow:a", "workflow:b"], "e:7").partition(b"\r\n")[0]

    assert line == b"GET /api/v1/ws?topics=workflow:a,workflow:b&since=e:7 HTTP/1.1"
