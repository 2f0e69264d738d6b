"""TOML out of bytes that may be anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.parse import parse_toml


def test_a_document_is_read() -> None:
    assert parse_toml(b'[a]\nb = "\xc3\xbc"\n') == {"a": {"b": "ü"}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# fine\n# \xff\n", "not UTF-8 text (at line 2)"),
        (b"a = [" + b"[" * 5000, "nested too deeply"),
        (b"a = " + b"9" * 5000, "not valid TOML"),
        (b"a = 1\na = 2\n", "line 2"),
    ],
)
def test_what_is_none_is_told_in_words(content: bytes, words: str) -> None:
    told = parse_toml(content)

    assert isinstance(told, str)
    assert words in told


@given(st.binary() | st.text('[]{}="\n.#,ab1').map(str.encode))
def test_nothing_is_raised(content: bytes) -> None:
    assert isinstance(parse_toml(content), dict | str)
