"""Text as tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.spark.words import pieces, tokens


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", ()),
        (" \n ", ()),
        ("hello", ("hello",)),
        ("  hello \n there ", ("hello", " there")),
        ("你好 world", ("你", "好", " world")),
        ("get_weather返回", ("get_weather", "返", "回")),
        ("a\u3000b", ("a", " b")),
    ],
)
def test_a_word_is_a_token_and_a_chinese_character_too(text: str, cut: tuple[str, ...]) -> None:
    assert pieces(text) == cut
    assert tokens(text) == len(cut)


@given(st.text())
def test_pieces_give_the_text_back_but_for_its_space(text: str) -> None:
    assert "".join(pieces(text)) == " ".join(text.split())
    assert len(pieces(text)) == tokens(text)
