"""Commands of the Centrifuge protocol, as its published clients send them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_centrifuge import ReplyError, encode_done, encode_error
from relayd.dialect.hub_commands import (
    COMMANDS_MAX,
    NAME_MAX_CHARS,
    TOKEN_MAX_CHARS,
    Command,
    Connect,
    Declined,
    History,
    Pong,
    PresenceStats,
    Publish,
    Refresh,
    Subscribe,
    Unsubscribe,
    parse_commands,
)
from relayd.dialect.hub_errors import Mistake
from relayd.dialect.hub_event import Position
from relayd.dialect.hub_publish import Draft, parse_channel_data
from relayd.dialect.hub_topics import is_topic
from tests.dialect.hub import EPOCH, VALUES, hostile

CHANNEL = "workflow:w1"


def commands(*told: object) -> tuple[Command, ...]:
    found = parse_commands(b"\n".join(json.dumps(each).encode() for each in told))
    assert not isinstance(found, Mistake), found
    return found


def refused(text: bytes) -> Mistake:
    found = parse_commands(text)
    assert isinstance(found, Mistake), found
    return found


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, Pong()),
        ({"id": 1, "connect": {}}, Connect(1)),
        (
            {"id": 1, "connect": {"token": "t", "name": "js", "version": "5", "data": {"a": 1}}},
            Connect(1, "t", "js", "5"),
        ),
        (
            {"id": 1, "connect": {"name": "js", "subs": {"a": {"recover": True}}, "headers": {}}},
            Connect(1, name="js"),
        ),
        ({"id": 2, "subscribe": {"channel": CHANNEL}}, Subscribe(id=2, channel=CHANNEL)),
        (
            {"id": 2, "subscribe": {"channel": CHANNEL, "recoverable": True, "flag": 1}},
            Subscribe(id=2, channel=CHANNEL, recoverable=True),
        ),
        (
            {"id": 2, "subscribe": {"channel": CHANNEL, "positioned": True, "join_leave": True}},
            Subscribe(id=2, channel=CHANNEL, positioned=True),
        ),
        ({"id": 3, "unsubscribe": {"channel": CHANNEL}}, Unsubscribe(3, CHANNEL)),
        ({"id": 3, "unsubscribe": {"channel": "no topic"}}, Unsubscribe(3, "no topic")),
        ({"id": 4, "publish": {"channel": CHANNEL, "data": None}}, Publish(4, CHANNEL, b"null")),
        ({"id": 5, "presence_stats": {"channel": CHANNEL}}, PresenceStats(5, CHANNEL)),
        (
            {"id": 6, "history": {"channel": CHANNEL, "limit": 0, "reverse": False}},
            History(6, CHANNEL, 0, None, reverse=False),
        ),
        (
            {"id": 6, "history": {"channel": CHANNEL, "limit": -1, "reverse": True}}
            | {"since": {"offset": 9}},
            History(6, CHANNEL, -1, None, reverse=True),
        ),
        (
            {"id": 6, "history": {"channel": CHANNEL, "since": {"offset": 4, "epoch": EPOCH}}},
            History(6, CHANNEL, 0, Position(EPOCH, 4, overall=False), reverse=False),
        ),
        (
            {"id": 6, "history": {"channel": CHANNEL, "since": {"offset": 4}}},
            History(6, CHANNEL, 0, Position("", 4, overall=False), reverse=False),
        ),
        ({"id": 7, "refresh": {"token": "t"}}, Refresh(7, "t")),
    ],
)
def test_what_a_client_asks_for(told: object, expected: Command) -> None:
    assert commands(told) == (expected,)


@pytest.mark.parametrize(
    ("place", "since"),
    [
        ({"epoch": EPOCH, "offset": 4}, Position(EPOCH, 4, overall=False)),
        ({"epoch": EPOCH}, Position(EPOCH, 0, overall=False)),
        ({"epoch": "_"}, Position("_", 0, overall=False)),
        ({}, Position("", 0, overall=False)),
    ],
)
def test_who_asks_for_what_it_missed_is_to_be_able_to_ask_again(
    place: dict[str, object], since: Position
) -> None:
    """An offset of 0 is left out by clients. ``recoverable`` too, by those given a position."""
    told = {"id": 2, "subscribe": {"channel": CHANNEL, "recover": True, "flag": 3} | place}

    assert commands(told) == (
        Subscribe(id=2, channel=CHANNEL, since=since, recoverable=True, rejects_unrecovered=True),
    )


def test_a_place_is_nothing_without_asking_for_what_was_missed() -> None:
    (found,) = commands({"id": 2, "subscribe": {"channel": CHANNEL, "epoch": EPOCH, "offset": 4}})

    assert isinstance(found, Subscribe)
    assert found.since is None


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"id": 1}, ReplyError.METHOD_NOT_FOUND),
        ({"id": 1, "fly": {}}, ReplyError.METHOD_NOT_FOUND),
        ({"id": 1, "rpc": {"method": "m"}}, ReplyError.METHOD_NOT_FOUND),
        ({"id": 1, "send": {"data": 1}}, ReplyError.METHOD_NOT_FOUND),
        ({"id": 1, "presence": {"channel": CHANNEL}}, ReplyError.NOT_AVAILABLE),
        ({"id": 1, "sub_refresh": {"channel": CHANNEL}}, ReplyError.NOT_AVAILABLE),
        ({"id": 1, "subscribe": {"channel": CHANNEL, "type": 4}}, ReplyError.NOT_AVAILABLE),
        ({"id": 1, "subscribe": {"channel": "workflow:*"}}, ReplyError.UNKNOWN_CHANNEL),
        ({"id": 1, "subscribe": {"channel": "x" * 9999}}, ReplyError.UNKNOWN_CHANNEL),
        ({"id": 1, "publish": {"channel": "news", "data": 1}}, ReplyError.UNKNOWN_CHANNEL),
        ({"id": 1, "history": {"channel": ""}}, ReplyError.UNKNOWN_CHANNEL),
        ({"id": 1, "presence_stats": {"channel": "*"}}, ReplyError.UNKNOWN_CHANNEL),
        ({"id": 1, "subscribe": {}}, ReplyError.BAD_REQUEST),
        ({"id": 1, "subscribe": None}, ReplyError.BAD_REQUEST),
        ({"id": 1, "subscribe": {"channel": CHANNEL, "offset": -1}}, ReplyError.BAD_REQUEST),
        ({"id": 1, "subscribe": {"channel": CHANNEL, "offset": 2**64}}, ReplyError.BAD_REQUEST),
        ({"id": 1, "publish": {"channel": CHANNEL}}, ReplyError.BAD_REQUEST),
        ({"id": 1, "connect": {}, "subscribe": {}}, ReplyError.BAD_REQUEST),
        ({"id": 1, "connect": {"token": "x" * (TOKEN_MAX_CHARS + 1)}}, ReplyError.BAD_REQUEST),
        ({"id": 1, "connect": {"name": "x" * (NAME_MAX_CHARS + 1)}}, ReplyError.BAD_REQUEST),
        ({"id": 1, "refresh": {}}, ReplyError.BAD_REQUEST),
    ],
)
def test_what_is_wrong_in_itself_is_declined(told: object, error: ReplyError) -> None:
    assert commands(told) == (Declined(1, error),)


@pytest.mark.parametrize(
    "text",
    [
        *[b"", b"\n \n", b"[]", b"5", b"{", b'{"id":-1}', b'{"id":"1"}', b'{"id":4294967296}'],
        *[b'{"send":{"data":1}}', b'{"id":0,"connect":{}}', b'{"a":' * 100_000],
        b'{"id":1,"connect":{}}\n{',
        b"\n".join([b"{}"] * (COMMANDS_MAX + 1)),
    ],
)
def test_what_cannot_be_answered_is_fatal(text: bytes) -> None:
    assert refused(text).fatal


def test_commands_are_read_in_their_order() -> None:
    names = [f"workflow:w{n}" for n in range(COMMANDS_MAX - 2)]
    told = [{"id": n, "subscribe": {"channel": name}} for n, name in enumerate(names, 2)]

    found = commands({"id": 1, "connect": {}}, *told, {})

    assert found[0] == Connect(1)
    assert [each.channel for each in found if isinstance(each, Subscribe)] == names
    assert found[-1] == Pong()


def test_lines_without_a_command_are_passed_over() -> None:
    text = b'\n{"id":1,"connect":{}}\r\n\n {} \n'

    assert parse_commands(text) == (Connect(1), Pong())


def test_a_token_is_not_shown() -> None:
    told = {"token": "secret"}

    assert "secret" not in repr(commands({"id": 1, "connect": told}, {"id": 2, "refresh": told}))


CHANNELS = st.sampled_from([CHANNEL, "session:s1", "workflow:*", ""])
PLACE = {"offset": st.integers(-1, 2**64), "epoch": st.sampled_from([EPOCH, "_"])}
PARTS = hostile(
    {
        "channel": CHANNELS,
        "token": st.text(max_size=4),
        "recover": st.booleans(),
        "flag": st.integers(),
        "data": VALUES,
        "limit": st.integers(-2, 2),
        "since": st.fixed_dictionaries({}, optional=PLACE),
        **PLACE,
    }
)
METHODS = st.sampled_from(
    ["connect", "subscribe", "unsubscribe", "publish", "presence_stats", "history", "refresh"]
)


@given(
    st.lists(
        st.builds(
            b'{"id":%d,"%b":%b}'.__mod__,
            st.tuples(st.integers(-1, 9), METHODS.map(str.encode), PARTS),
        ),
        max_size=3,
    ),
    hostile({"id": st.integers(), "connect": VALUES, "rpc": VALUES, "send": VALUES}),
)
def test_any_text_is_commands_that_can_be_answered_or_a_mistake(
    lines: list[bytes], more: bytes
) -> None:
    for text in (b"\n".join(lines), more, b"\n".join([*lines, more])):
        found = parse_commands(text)

        if isinstance(found, Mistake):
            assert found.fatal
            continue
        assert found
        for command in found:
            answer(command)


def answer(command: Command) -> None:
    """What can be said of a command by its values alone."""
    if isinstance(command, Pong):
        return
    reply = encode_done(command.id, "publish")
    if isinstance(command, Declined):
        reply = encode_error(command.id, command.error)
    assert json.loads(reply)["id"] == command.id
    if isinstance(command, Subscribe | Publish | History | PresenceStats):
        assert is_topic(command.channel)
    if isinstance(command, Publish):
        assert isinstance(parse_channel_data(command.channel, command.data), Draft | Mistake)
