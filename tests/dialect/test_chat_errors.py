"""OpenAI's error shape, and upstreams' words in it."""

from __future__ import annotations

import json

from relayd.dialect.chat_errors import MESSAGE_MAX_CHARS, Mistake, error_body, shown


def test_every_member_is_there() -> None:
    assert json.loads(error_body("server_error", "c", "m")) == {
        "error": {"message": "m", "type": "server_error", "param": None, "code": "c"}
    }


def test_a_mistake_is_the_request_s() -> None:
    assert json.loads(Mistake(400, "c", "m", "n").body()) == {
        "error": {"message": "m", "type": "invalid_request_error", "param": "n", "code": "c"}
    }


def test_an_upstream_s_words_are_cut_and_cleaned() -> None:
    text = shown("app canary\x1b[0m\n" + "word " * 1000, ("canary", ""))

    assert len(text) == MESSAGE_MAX_CHARS
    assert text.startswith("app [redacted] [0m word")
