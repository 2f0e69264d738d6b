"""What is wrong, as a client is told."""

from __future__ import annotations

import msgspec
import pytest

from relayd.dialect.hub_errors import MESSAGE_MAX_CHARS, malformed, mistake_in, wrong


class Item(msgspec.Struct, forbid_unknown_fields=True):
    topic: str


class Items(msgspec.Struct):
    items: list[Item]


def mistake_of(body: bytes, *, at: str = "") -> tuple[str | None, bool]:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(body, type=Items)
    mistake = mistake_in(caught.value, at=at)
    assert len(mistake.message) <= MESSAGE_MAX_CHARS
    return mistake.param, mistake.fatal


@pytest.mark.parametrize(
    ("body", "at", "param"),
    [
        (b'{"items":[{"topic":"a"},{"topic":1}]}', "", "items[1].topic"),
        (b'{"items":[{"topic":1}]}', "body", "body.items[0].topic"),
        (b'{"items":5}', "", "items"),
        (b"[]", "", None),
        (b"[]", "events[3]", "events[3]"),
        (b'{"items":[{"t`x":1}]}', "", "items[0]"),
    ],
)
def test_the_place_of_a_mistake_is_its_param(body: bytes, at: str, param: str | None) -> None:
    assert mistake_of(body, at=at) == (param, False)


@pytest.mark.parametrize("body", [b"", b"{", b"nul", b'{"items":[\xff'])
def test_what_is_no_json_is_fatal(body: bytes) -> None:
    assert mistake_of(body) == (None, True)


def test_a_long_name_of_a_member_is_cut() -> None:
    assert mistake_of(b'{"items":[{"%b":1}]}' % (b"x" * 5000))[1] is False


def test_the_answer_has_every_member() -> None:
    assert wrong("topic", "m", code="c").error() == {
        "message": "m",
        "type": "invalid_request_error",
        "param": "topic",
        "code": "c",
    }
    assert malformed("m").error()["code"] == "malformed_request"
