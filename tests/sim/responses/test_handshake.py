"""Whom the simulated Responses API serves."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from relayd.sim.responses.handshake import (
    NO_KEY,
    NOT_FOUND,
    choose_subprotocol,
    digest,
    key_of,
)


def asked(path: str, **headers: str) -> object:
    return key_of(Request(path, Headers(headers)))


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/backend-api/codex/responses", "/responses?beta=1"]
)
def test_any_path_with_the_right_end_will_do(path: str) -> None:
    assert asked(path, Authorization="Bearer sk-any") == digest("sk-any")


@pytest.mark.parametrize("path", ["/v1/realtime", "/", "/v1/responses/resp_1", "/v1?x=/responses"])
def test_another_path_is_not_found(path: str) -> None:
    assert asked(path, Authorization="Bearer sk-any") == NOT_FOUND


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer  ", "Basic abc"])
def test_no_key_is_refused_before_the_101(value: str) -> None:
    assert asked("/v1/responses", Authorization=value) == NO_KEY
    assert NO_KEY.status == 401


def test_the_scheme_may_be_written_in_any_case() -> None:
    assert asked("/v1/responses", authorization="bearer k") == digest("k")


def test_keys_are_told_apart_without_being_kept() -> None:
    assert digest("one") != digest("two")
    assert "one" not in digest("one")


def test_no_subprotocol_is_ever_chosen() -> None:
    choose_subprotocol(["realtime"])
