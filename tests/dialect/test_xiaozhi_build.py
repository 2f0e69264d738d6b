"""What a device says that it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.xiaozhi_build import TEXT_MAX_CHARS, UNKNOWN, Build, read_build


def question(**members: object) -> bytes:
    return json.dumps({"version": 2, "mac_address": "24:0a:c4:00:00:01", **members}).encode()


def test_a_board_is_known_by_its_family_and_its_name() -> None:
    body = question(
        application={"name": "xiaozhi", "version": "2.0.3"},
        board={"type": "lichuang-dev", "name": "lichuang", "ssid": "x", "rssi": -40},
    )

    assert read_build(body) == Build(("lichuang-dev", "lichuang"), "2.0.3")


@pytest.mark.parametrize(
    ("body", "build"),
    [
        (b"", UNKNOWN),
        (b"[]", UNKNOWN),
        (b"[" * 60_000, UNKNOWN),
        (b'{"board":' + b"[" * 60_000, UNKNOWN),
        (question(), UNKNOWN),
        (question(board="a", application=3), UNKNOWN),
        (question(board={"type": 3, "name": "a"}), Build(("a",))),
        (question(board={"type": "a", "name": "a"}), Build(("a",))),
        (question(board={"type": "a" * TEXT_MAX_CHARS}), Build(("a" * TEXT_MAX_CHARS,))),
        (question(board={"type": "a" * (TEXT_MAX_CHARS + 1)}), UNKNOWN),
        (question(board={"type": "a\nb", "name": None}), UNKNOWN),
        (question(board=[], application={"version": "1.0"}), Build((), "1.0")),
    ],
)
def test_what_is_no_text_or_too_long_counts_as_not_said(body: bytes, build: Build) -> None:
    assert read_build(body) == build


_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=80),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_BOARDS = st.fixed_dictionaries({}, optional={"type": _VALUES, "name": _VALUES}) | _VALUES


@given(board=_BOARDS, application=st.fixed_dictionaries({}, optional={"version": _VALUES}))
def test_whatever_it_says_is_bounded_and_comes_back_from_the_store(
    board: object, application: object
) -> None:
    build = read_build(question(board=board, application=application))

    assert Build.read(build.written()) == build
    assert len(build.boards) <= 2
    assert all(0 < len(text) <= TEXT_MAX_CHARS for text in build.boards)
    assert len(build.firmware) <= TEXT_MAX_CHARS
