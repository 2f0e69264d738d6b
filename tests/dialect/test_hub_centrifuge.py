"""What a client of the Centrifuge protocol is sent, as its published clients take it apart."""

from __future__ import annotations

import json
from typing import Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_centrifuge import (
    PING,
    RESUBSCRIBE,
    ReplyError,
    encode_centrifuge,
    encode_connected,
    encode_done,
    encode_error,
    encode_history,
    encode_presence_stats,
    encode_refreshed,
    encode_subscribed,
    encode_unsubscribe_push,
)
from relayd.dialect.hub_envelope import envelope
from tests.dialect.hub import EPOCH, VALUES, publication


class Asked(TypedDict):
    """What a client asked for, and whether it was given what it missed."""

    recoverable: bool
    positioned: bool
    recovered: bool | None


def read(text: bytes) -> list[dict[str, Any]]:
    """The replies of one text message, as the clients read them: one a line, none empty."""
    return [json.loads(line) for line in text.decode().strip().split("\n")]


def read_one(text: bytes) -> dict[str, Any]:
    (reply,) = read(text)
    return reply


def is_ping(reply: dict[str, Any]) -> bool:
    return not reply.get("id") and not reply.get("push")


def test_a_ping_is_a_reply_without_an_id() -> None:
    assert is_ping(read_one(PING))


def test_an_event_is_a_push_of_its_envelope() -> None:
    event = publication(offset=3)

    assert read_one(encode_centrifuge(event)) == {
        "push": {
            "channel": "workflow:w1",
            "pub": {"data": json.loads(envelope(event)), "offset": 3},
        }
    }


@given(st.lists(VALUES, min_size=1, max_size=5), st.text(max_size=8))
def test_joined_messages_come_apart_again(values: list[object], node_id: str) -> None:
    events = [
        publication(offset=n, node_id=node_id, data=json.dumps(value).encode())
        for n, value in enumerate(values, 1)
    ]
    done = encode_done(9, "publish")

    replies = read(b"\n".join([*map(encode_centrifuge, events), done, PING]))

    assert replies[-2:] == [{"id": 9, "publish": {}}, {}]
    pubs = [reply["push"]["pub"] for reply in replies[:-2]]
    assert [(pub["offset"], pub["data"]["data"]) for pub in pubs] == list(enumerate(values, 1))
    assert {pub["data"]["node_id"] for pub in pubs} == {node_id}


@pytest.mark.parametrize("ttl_s", [None, 0, 60])
def test_connected(ttl_s: int | None) -> None:
    told = encode_connected(1, client="c1", version="relayd 1", ping_s=25, ttl_s=ttl_s)

    expiry = {} if ttl_s is None else {"expires": True, "ttl": max(1, ttl_s)}
    assert read_one(told) == {
        "id": 1,
        "connect": {"client": "c1", "version": "relayd 1", "ping": 25, "pong": True} | expiry,
    }


@pytest.mark.parametrize("ttl_s", [None, 60])
def test_refreshed(ttl_s: int | None) -> None:
    told = read_one(encode_refreshed(2, client="c1", version="v", ttl_s=ttl_s))

    assert told["refresh"]["client"] == "c1"
    assert told["refresh"].get("ttl") == ttl_s
    assert ("expires" in told["refresh"]) == (ttl_s is not None)


@pytest.mark.parametrize(
    ("asked", "flags"),
    [
        ({"recoverable": False, "positioned": False, "recovered": None}, {}),
        ({"recoverable": False, "positioned": True, "recovered": None}, {"positioned": True}),
        (
            {"recoverable": True, "positioned": False, "recovered": None},
            {"recoverable": True, "positioned": True},
        ),
        (
            {"recoverable": True, "positioned": True, "recovered": False},
            {"recoverable": True, "positioned": True, "was_recovering": True, "recovered": False},
        ),
    ],
)
def test_subscribed(asked: Asked, flags: dict[str, bool]) -> None:
    told = encode_subscribed(2, epoch=EPOCH, offset=7, **asked)

    assert read_one(told) == {"id": 2, "subscribe": {"epoch": EPOCH, "offset": 7} | flags}


def test_what_was_missed_takes_the_client_s_offset_on() -> None:
    missed = [publication(offset=4), publication(offset=5, data=b"[1]")]
    told = encode_subscribed(
        2,
        epoch=EPOCH,
        offset=3,
        recoverable=True,
        positioned=False,
        recovered=True,
        publications=missed,
    )

    result = read_one(told)["subscribe"]
    assert (result["offset"], result["recovered"]) == (3, True)
    assert result["publications"] == [
        {"data": json.loads(envelope(each)), "offset": each.offset} for each in missed
    ]


@pytest.mark.parametrize("recovered", [False, None])
def test_events_behind_a_gap_are_a_defect(recovered: bool | None) -> None:
    """Clients deliver what is in the reply, whatever it says of the gap."""
    with pytest.raises(AssertionError):
        encode_subscribed(
            2,
            epoch=EPOCH,
            offset=3,
            recoverable=True,
            positioned=True,
            recovered=recovered,
            publications=[publication()],
        )


@pytest.mark.parametrize("events", [[], [publication(offset=1), publication(offset=2)]])
def test_history(events: list[Any]) -> None:
    told = read_one(encode_history(3, epoch=EPOCH, offset=2, publications=events))

    assert (told["history"]["epoch"], told["history"]["offset"]) == (EPOCH, 2)
    assert [each["offset"] for each in told["history"]["publications"]] == [
        each.offset for each in events
    ]


def test_answers_without_a_result_have_their_member() -> None:
    """A client takes the member of the method it called, whatever is in it."""
    assert read_one(encode_done(4, "unsubscribe")) == {"id": 4, "unsubscribe": {}}
    assert read_one(encode_presence_stats(5, clients=2)) == {
        "id": 5,
        "presence_stats": {"num_clients": 2},
    }


@pytest.mark.parametrize(
    ("error", "code", "message", "temporary"),
    [
        (ReplyError.INTERNAL, 100, "internal", True),
        (ReplyError.UNAUTHORIZED, 101, "unauthorized", False),
        (ReplyError.UNKNOWN_CHANNEL, 102, "unknown channel", False),
        (ReplyError.PERMISSION_DENIED, 103, "permission denied", False),
        (ReplyError.METHOD_NOT_FOUND, 104, "method not found", False),
        (ReplyError.ALREADY_SUBSCRIBED, 105, "already subscribed", False),
        (ReplyError.LIMIT_EXCEEDED, 106, "limit exceeded", False),
        (ReplyError.BAD_REQUEST, 107, "bad request", False),
        (ReplyError.NOT_AVAILABLE, 108, "not available", False),
        (ReplyError.TOKEN_EXPIRED, 109, "token expired", False),
        (ReplyError.EXPIRED, 110, "expired", False),
        (ReplyError.TOO_MANY_REQUESTS, 111, "too many requests", True),
        (ReplyError.UNRECOVERABLE_POSITION, 112, "unrecoverable position", False),
    ],
)
def test_errors(error: ReplyError, code: int, message: str, temporary: bool) -> None:
    told = read_one(encode_error(6, error))

    expected = {"code": code, "message": message} | ({"temporary": True} if temporary else {})
    assert told == {"id": 6, "error": expected}


def test_a_subscription_that_relayd_ends_has_a_code_and_a_reason() -> None:
    told = encode_unsubscribe_push("workflow:w1", code=RESUBSCRIBE, reason="lost")

    assert read_one(told) == {
        "push": {"channel": "workflow:w1", "unsubscribe": {"code": 2500, "reason": "lost"}}
    }


def test_a_reply_without_an_id_is_a_defect() -> None:
    with pytest.raises(AssertionError):
        encode_done(0, "publish")
