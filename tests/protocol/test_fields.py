from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.protocol.fields import Fields, encode_head, is_field_value, is_token

SECRET = "rk_canary0canary0canary0canary0"


def fields(*headers: tuple[str, str]) -> Fields:
    return Fields(headers=tuple((name.encode(), value.encode()) for name, value in headers))


def test_a_header_is_found_by_its_lower_case_name() -> None:
    assert fields(("host", "relay"), ("origin", "null")).get("origin") == "null"
    assert fields(("host", "relay")).get("origin") is None


def test_lines_of_one_name_are_joined_for_get_and_kept_apart_for_get_all() -> None:
    several = fields(("via", "a"), ("x", "-"), ("via", "b, c"))

    assert several.get("via") == "a, b, c"
    assert several.get_all("via") == ("a", "b, c")
    assert several.get_list("via") == ("a", "b", "c")


def test_empty_items_of_a_list_are_left_out() -> None:
    assert fields(("upgrade", " , h2c ,,\twebsocket,")).get_list("upgrade") == ("h2c", "websocket")
    assert fields().get_list("upgrade") == ()


def test_tokens_are_found_in_any_case_but_only_whole() -> None:
    connection = fields(("connection", "keep-alive, UPGRADE"))

    assert connection.names_token("connection", "upgrade")
    assert not connection.names_token("connection", "alive")


def test_bytes_beyond_ascii_are_read_without_failing() -> None:
    assert Fields(headers=((b"x", b"\xff"),)).get("x") == "\xff"


def test_a_repr_counts_and_shows_no_value() -> None:
    shown = repr(fields(("authorization", f"Bearer {SECRET}")))

    assert shown == "<Fields(headers=1)>"


def test_a_head_is_written_in_order() -> None:
    head = encode_head("HTTP/1.1 200 OK", [("B", "1"), ("A", "")])

    assert head == b"HTTP/1.1 200 OK\r\nB: 1\r\nA: \r\n\r\n"


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "ä", "a\n"])
def test_a_name_that_is_no_token_is_not_written(name: str) -> None:
    with pytest.raises(ValueError, match="token"):
        encode_head("GET / HTTP/1.1", [(name, "value")])


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\n", "\x00", "\x7f", "ä", "\u2028", "a\r"])
def test_a_value_that_would_begin_another_line_is_not_written_nor_shown(value: str) -> None:
    with pytest.raises(ValueError, match="header x-key must") as caught:
        encode_head("GET / HTTP/1.1", [("x-key", SECRET + value)])

    assert SECRET not in str(caught.value)


@given(st.text(), st.text())
def test_whatever_is_written_is_one_line_a_header(name: str, value: str) -> None:
    if not (is_token(name) and is_field_value(value)):
        with pytest.raises(ValueError, match="must be"):
            encode_head("GET / HTTP/1.1", [(name, value)])
        return

    head = encode_head("GET / HTTP/1.1", [(name, value)])

    assert head.split(b"\r\n")[1:] == [f"{name}: {value}".encode(), b"", b""]
    assert head.count(b"\n") == 3
