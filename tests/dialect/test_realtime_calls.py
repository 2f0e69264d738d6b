"""Which tools a response calls."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.meter import ToolCalled
from relayd.dialect.realtime_calls import CALLS_MAX, calls_in
from relayd.dialect.realtime_settings import TEXT_MAX_CHARS


def call(number: int = 1, **more: object) -> dict[str, object]:
    return {"type": "function_call", "name": f"f{number}", "call_id": f"call_{number}", **more}


def calls(*items: object) -> tuple[ToolCalled, ...]:
    return calls_in(msgspec.Raw(json.dumps(items).encode()))


def test_calls_are_told_in_their_order_without_what_they_are_called_with() -> None:
    found = calls(call(1, arguments='{"secret": 1}'), {"type": "message"}, call(2))

    assert found == (ToolCalled("f1", "call_1"), ToolCalled("f2", "call_2"))


def test_only_the_items_are_calls_and_not_what_they_say() -> None:
    assert calls({"type": "message", "content": [{"type": "function_call"}]}) == ()


def test_what_a_call_does_not_say_is_unknown() -> None:
    assert calls({"type": "function_call", "call_id": None}) == (ToolCalled(None, None),)


@pytest.mark.parametrize(
    "output", [b"null", b"[]", b'"function_call"', b'[{"type":"function_call","name":1}]', b"[["]
)
def test_what_cannot_be_read_calls_nothing(output: bytes) -> None:
    assert calls_in(msgspec.Raw(output)) == ()


def test_calls_are_bounded_in_number_and_size() -> None:
    found = calls(*(call(number, name="n" * 1000) for number in range(1000)))

    assert len(found) == CALLS_MAX
    assert {len(each.name or "") for each in found} == {TEXT_MAX_CHARS}


@given(st.binary())
def test_no_bytes_raise(output: bytes) -> None:
    assert len(calls_in(msgspec.Raw(output + b'"function_call"'))) <= CALLS_MAX
