"""What a create brings is estimated from its text, and its tool outputs are known by id."""

from __future__ import annotations

import json
import time

import msgspec
import pytest

from relayd.dialect.responses_input import (
    BRACES_MAX,
    CALL_ID_MAX_CHARS,
    DATA_URL_TOKENS,
    TOOL_OUTPUTS_MAX,
    expected_usage,
    tool_outputs,
)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value, separators=(",", ":")).encode())


def tokens(**members: object) -> int:
    return expected_usage({name: raw(value) for name, value in members.items()}).input_total


def outputs(value: object) -> tuple[str, ...]:
    return tool_outputs(raw(value))


def output(call_id: object, kind: str = "function_call_output") -> dict[str, object]:
    return {"type": kind, "call_id": call_id, "output": "done"}


def test_four_bytes_of_text_are_a_token() -> None:
    assert tokens(input="a" * 40) == 10
    assert tokens(input="a" * 41) == 11
    assert tokens(input="ä" * 20) == 10
    assert tokens(input="a" * 40, instructions="b" * 8, tools=[{"name": "x"}]) == 16
    assert tokens(metadata={"a": "b" * 100}, model="x" * 100) == 0


def test_an_estimate_says_that_it_is_one() -> None:
    usage = expected_usage({"input": raw("abcd")})

    assert (usage.source, usage.input_text, usage.output_total, usage.estimated) == (
        "response",
        1,
        0,
        True,
    )


@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_a_picture_counts_as_one_however_long_it_is(slash: str) -> None:
    url = f"data:image/png;base64,{'A' * 4_000_000}{slash}AAA"
    spelled = raw([{"type": "input_image", "image_url": url}])
    spelled = msgspec.Raw(bytes(spelled).replace(b"/", slash.encode()))
    around = len('[{"type":"input_image","image_url":"data:"}]')

    usage = expected_usage({"input": spelled})

    assert usage.input_total == -(-around // 4) + DATA_URL_TOKENS
    assert usage.input_image == 0  # billed as input like any other


def test_a_short_string_that_begins_like_one_is_text() -> None:
    assert tokens(input="data: 17") == 2


def test_what_spells_no_string_is_counted_as_it_stands() -> None:
    assert expected_usage({"input": msgspec.Raw(b'"\\ud800"')}).input_total == 2


def test_tool_outputs_of_every_kind_are_found_in_their_order_and_once() -> None:
    assert outputs(
        [
            {"type": "message", "role": "user", "content": "_output"},
            output("call_1"),
            output("call_3", "custom_tool_call_output"),
            output("call_2", "local_shell_call_output"),
            output("call_1", "computer_call_output"),
            {"type": "function_call", "call_id": "call_9"},
        ]
    ) == ("call_1", "call_3", "call_2")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "function_call_output",
        {"type": "function_call_output", "call_id": "call_1"},
        ["function_call_output"],
        [output(None)],
        [output(5)],
        [output(["call_1"])],
        [output("x" * (CALL_ID_MAX_CHARS + 1))],
        [{"type": 5, "call_id": "call_1"}],
        [{"call_id": "call_1", "x": "_output"}],
    ],
)
def test_what_names_no_tool_call_has_none(value: object) -> None:
    assert outputs(value) == ()


def test_an_absent_input_has_none() -> None:
    assert tool_outputs(None) == ()


def test_of_a_long_history_the_newest_are_known() -> None:
    found = outputs([output(f"call_{number}") for number in range(TOOL_OUTPUTS_MAX + 5)])

    assert len(found) == TOOL_OUTPUTS_MAX
    assert found[-1] == f"call_{TOOL_OUTPUTS_MAX + 4}"


def test_an_input_of_millions_of_items_is_not_decoded() -> None:
    one = json.dumps(output("call_1")).encode()

    assert tool_outputs(msgspec.Raw(b"[" + one + b",{}" * (BRACES_MAX - 1) + b"]")) == ("call_1",)
    assert tool_outputs(msgspec.Raw(b"[" + one + b",{}" * BRACES_MAX + b"]")) == ()


def test_strings_without_end_cost_a_walk() -> None:
    hostile = msgspec.Raw(b'["' + b'","'.join([b"data:" + b'\\"' * 40] * 150_000) + b'"]')

    began = time.process_time()
    assert expected_usage({"input": hostile}).input_total > 150_000 * DATA_URL_TOKENS
    assert time.process_time() - began < 2.0
