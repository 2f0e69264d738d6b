"""What of a client's headers travels on."""

from __future__ import annotations

import pytest

from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head
from relayd.protocol.http1 import RequestReader
from relayd.session.travelling import (
    SESSION_HEADERS,
    TRAVELLING,
    VALUE_MAX_CHARS,
    names_organization,
    travelling_headers,
)


def head(*lines: str) -> Head:
    said = "".join(f"{line}\r\n" for line in ("Host: a", *lines))
    read = RequestReader(32_768).feed(f"GET /v1/responses HTTP/1.1\r\n{said}\r\n".encode())
    assert read is not None
    return read


def test_nothing_travels_that_is_not_named() -> None:
    said = head(
        "Authorization: Bearer x",
        "User-Agent: codex",
        "x-codex-turn-metadata: {}",
        "Session-Id: s",
        "OpenAI-Beta: responses_websockets=2026-02-06",
        "x-codex-beta-features: remote_compaction_v2",
    )

    assert travelling_headers(said) == (
        ("openai-beta", "responses_websockets=2026-02-06"),
        ("x-codex-beta-features", "remote_compaction_v2"),
        ("session-id", "s"),
    )


def test_the_names_of_sessions_travel() -> None:
    assert set(SESSION_HEADERS) <= set(TRAVELLING)


@pytest.mark.parametrize("value", ["x" * (VALUE_MAX_CHARS + 1), "naïve"])
def test_a_value_that_cannot_be_sent_on_is_refused(value: str) -> None:
    read = RequestReader(32_768).feed(
        f"GET / HTTP/1.1\r\nHost: a\r\nsession-id: {value}\r\n\r\n".encode("latin-1")
    )
    assert read is not None
    refused = travelling_headers(read)

    assert isinstance(refused, Refusal)
    assert (refused.code, refused.param) == (RefusalCode.MALFORMED_REQUEST, "session-id")


def test_an_empty_value_says_nothing() -> None:
    assert travelling_headers(head("session-id:", "thread-id: t")) == (("thread-id", "t"),)


def test_an_organization_or_a_project_is_the_clients_choice() -> None:
    assert names_organization((("OpenAI-Organization", "org-1"),))
    assert names_organization((("openai-project", "proj-1"),))
    assert not names_organization((("originator", "codex_exec"), ("session-id", "a")))
